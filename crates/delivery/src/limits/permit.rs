//! The right to one call: its place, and its time.

use std::sync::Arc;

use malote_store::StoreError;
use tokio::sync::OwnedSemaphorePermit;

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

    /// Waits for the call's time: 150 ms at most, unless that is over, since what was to be done before
    /// took too long. Then it waits for another one. It is the last wait before the call, so that no
    /// rate is exceeded.
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
    /// Of a call of several recipients. One of a single one goes with the first unit that is due.
    own: Option<Unit>,
}

impl Departure {
    /// Waits for a turn.
    ///
    /// # Errors
    /// If the rates are of all nodes and the database cannot be asked.
    pub(super) async fn take(rates: &Arc<Rates>, recipients: u32) -> Result<Self, StoreError> {
        let mut departure = Self {
            rates: Arc::clone(rates),
            recipients,
            own: None,
        };
        departure.take_again().await?;
        Ok(departure)
    }

    async fn take_again(&mut self) -> Result<(), StoreError> {
        let unit = self.rates.take(self.recipients).await?;
        if self.recipients > 1 {
            self.own = Some(unit);
        } else {
            self.rates.put_due(unit);
        }
        Ok(())
    }

    async fn wait(&mut self) -> Result<(), StoreError> {
        loop {
            let has_gone = match self.own {
                Some(unit) => unit.is_used().await,
                None => self.rates.go().await,
            };
            if has_gone {
                return Ok(());
            }
            self.take_again().await?;
        }
    }
}
