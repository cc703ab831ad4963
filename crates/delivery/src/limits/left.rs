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
    /// Recipients that campaign streams have left: they stop at the reserve of transactional ones.
    pub left_to_campaigns: u64,
    /// How many of these this process has taken ahead and not used yet.
    pub in_hand: u64,
}

impl QuotaLeft {
    /// Recipients left to streams of a class.
    #[must_use]
    pub const fn left_to(&self, class: Class) -> u64 {
        match class {
            Class::Transactional => self.left,
            Class::Campaign => self.left_to_campaigns,
        }
    }
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
        let windows = named_windows(&self.limits, Class::Transactional, now).into_iter();
        let of_campaigns = named_windows(&self.limits, Class::Campaign, now);
        let mut windows: Vec<_> = windows
            .zip(of_campaigns)
            .map(|((window, since, cap), (_, _, campaigns))| (window, since, cap, campaigns))
            .collect();
        if self.warmup.is_some() && !self.is_warm.load(Ordering::Relaxed) {
            let today = now.to_zoned(TimeZone::UTC).date();
            let record = shared.warmup(&self.key).await?;
            if let Some(record) = record.filter(|record| record.day == today) {
                let midnight = day_start(&TimeZone::UTC, now);
                windows.push(("warmup", midnight, record.cap, record.cap));
            }
        }
        if windows.is_empty() {
            return Ok(());
        }
        // Units in hand are booked as used and are not yet.
        let in_hand: u64 = self.slices.lock().await.values().map(|s| s.units).sum();
        for (window, since, cap, campaigns) in windows {
            let booked = shared.quota_used(&self.key, since).await?;
            let used = booked.saturating_sub(in_hand);
            all.push(QuotaLeft {
                account: self.key.clone(),
                window,
                cap,
                left: cap.saturating_sub(used),
                left_to_campaigns: campaigns.saturating_sub(used),
                in_hand,
            });
        }
        Ok(())
    }
}
