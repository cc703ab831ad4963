//! The right to one call: its place, its time, and what it has taken of quotas.

use std::sync::Arc;

use jiff::Timestamp;
use malote_core::stream::Class;
use malote_store::StoreError;
use tokio::sync::{Mutex, OwnedSemaphorePermit};

use super::rate::{Rates, Unit};
use super::{Slices, hour};

/// The right to one call under way. Dropping it frees the place.
pub struct Permit {
    _places: Vec<OwnedSemaphorePermit>,
    departure: Option<Departure>,
    spent: Vec<Spent>,
}

impl Permit {
    pub(super) fn new(
        places: Vec<OwnedSemaphorePermit>,
        departure: Option<Departure>,
        spent: Vec<Spent>,
    ) -> Self {
        Self {
            _places: places,
            departure,
            spent,
        }
    }

    /// Waits for the call's time, 150 ms at most; false if that is over, since what was to be done
    /// before took too long. It is the last wait before the call, so that no rate is exceeded.
    pub async fn is_due(&self) -> bool {
        match &self.departure {
            Some(departure) => departure.is_due().await,
            None => true,
        }
    }

    /// Waits until the call has another time, at most 150 ms ahead.
    ///
    /// # Errors
    /// If the rate is of all nodes and the database cannot be asked.
    pub async fn take_another(&mut self) -> Result<(), StoreError> {
        match &mut self.departure {
            Some(departure) => departure.take_another().await,
            None => Ok(()),
        }
    }

    /// Ends it without a call: its quotas have back what it took of them.
    pub async fn unspend(self) {
        for spent in self.spent {
            spent.undo().await;
        }
    }
}

/// What a call has taken of an account's quota.
pub(super) struct Spent {
    pub(super) slices: Arc<Mutex<Slices>>,
    pub(super) class: Class,
    pub(super) units: u64,
    pub(super) at: Timestamp,
}

impl Spent {
    /// Puts it back in hand. In another hour, or with nothing in hand, it stays used: the store has it
    /// booked in its hour.
    pub(super) async fn undo(self) {
        if let Some(slice) = self.slices.lock().await.get_mut(&self.class)
            && slice.taken_at.is_some_and(|at| hour(at) == hour(self.at))
        {
            slice.units += self.units;
        }
    }
}

/// When a call goes, by its rates.
pub(super) struct Departure {
    rates: Arc<Rates>,
    /// Of a call of several recipients. One of a single one goes with the first unit that is due.
    own: Option<Unit>,
}

impl Departure {
    /// Waits for a turn.
    ///
    /// # Errors
    /// If the rates are of all nodes and the database cannot be asked.
    pub(super) async fn take(rates: &Arc<Rates>, recipients: u32) -> Result<Self, StoreError> {
        let unit = rates.take(recipients).await?;
        let own = (recipients > 1).then_some(unit);
        if own.is_none() {
            rates.put_due(unit);
        }
        Ok(Self {
            rates: Arc::clone(rates),
            own,
        })
    }

    /// Of a call of several recipients the one that it goes with was lost, not those of the others.
    async fn take_another(&mut self) -> Result<(), StoreError> {
        let unit = self.rates.take(1).await?;
        match &mut self.own {
            Some(own) => *own = unit,
            None => self.rates.put_due(unit),
        }
        Ok(())
    }

    async fn is_due(&self) -> bool {
        match self.own {
            Some(unit) => unit.is_used().await,
            None => self.rates.go().await,
        }
    }
}
