//! What is left of the quotas, for forecasts and operators; admission does not ask here.

use std::sync::atomic::Ordering;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use malote_core::stream::Class;
use malote_store::{Shared, StoreError};

use super::windows::{day_start, named_windows};
use super::{Account, Limiters};

/// What is left of one quota.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuotaLeft {
    /// Whose: `provider`, or `provider/pool`.
    pub account: String,
    /// Which: `hour`, `day` or `warmup`.
    pub window: &'static str,
    /// Recipients in the window.
    pub cap: u64,
    /// Recipients left of them.
    pub left: u64,
    /// How many of these this process has taken ahead and not used yet.
    pub in_hand: u64,
}

impl Limiters {
    /// What is left of each quota now.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub async fn quotas(&self, now: Timestamp) -> Result<Vec<QuotaLeft>, StoreError> {
        let mut left = Vec::new();
        for account in self.of_all() {
            account.left(self.shared.as_ref(), now, &mut left).await?;
        }
        Ok(left)
    }
}

impl Account {
    async fn left(
        &self,
        shared: &dyn Shared,
        now: Timestamp,
        all: &mut Vec<QuotaLeft>,
    ) -> Result<(), StoreError> {
        let mut windows = named_windows(&self.limits, Class::Transactional, now);
        if self.warmup.is_some() && !self.is_warm.load(Ordering::Relaxed) {
            let today = now.to_zoned(TimeZone::UTC).date();
            let record = shared.warmup(&self.key).await?;
            if let Some(record) = record.filter(|record| record.day == today) {
                windows.push(("warmup", day_start(&TimeZone::UTC, now), record.cap));
            }
        }
        if windows.is_empty() {
            return Ok(());
        }
        // Units in hand are booked as used and are not yet.
        let in_hand: u64 = self.slices.lock().await.values().map(|s| s.units).sum();
        for (window, since, cap) in windows {
            let used = shared.quota_used(&self.key, since).await?;
            all.push(QuotaLeft {
                account: self.key.clone(),
                window,
                cap,
                left: cap.saturating_sub(used.saturating_sub(in_hand)),
                in_hand,
            });
        }
        Ok(())
    }
}
