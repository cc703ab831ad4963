//! The right to one call: its place, and its time.

use std::sync::Arc;

use malote_store::StoreError;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep_until};

use super::rate::{Rates, Unit};

/// The right to one call under way. Dropping it frees the place.
pub struct Permit {
    _places: Vec<OwnedSemaphorePermit>,
    departure: Option<Departure>,
}

impl Permit {
    pub(super) fn new(places: Vec<OwnedSemaphorePermit>, departure: Option<Departure>) -> Self {
        Self {
            _places: places,
            departure,
        }
    }

    /// Waits for the call's time: a tenth of a second at most, unless that is over, since what was
    /// to be done before took too long. Then it waits for another one. It is the last wait before the
    /// call, so that no rate is exceeded.
    ///
    /// # Errors
    /// If there has to be another one and the database cannot be asked.
    pub async fn depart(&mut self) -> Result<(), StoreError> {
        match &mut self.departure {
            Some(departure) => departure.wait().await,
            None => Ok(()),
        }
    }
}

/// When a call goes, by its rates.
pub(super) struct Departure {
    rates: Arc<Rates>,
    recipients: u32,
    unit: Unit,
}

impl Departure {
    /// Waits for a turn.
    ///
    /// # Errors
    /// If the rates are of all nodes and the database cannot be asked.
    pub(super) async fn take(rates: &Arc<Rates>, recipients: u32) -> Result<Self, StoreError> {
        Ok(Self {
            rates: Arc::clone(rates),
            recipients,
            unit: rates.take(recipients).await?,
        })
    }

    async fn wait(&mut self) -> Result<(), StoreError> {
        loop {
            sleep_until(self.unit.from).await;
            if Instant::now() < self.unit.until {
                return Ok(());
            }
            self.unit = self.rates.take(self.recipients).await?;
        }
    }
}
