//! Bounds immediate re-attempts to a tenth of fresh sends per provider, with a floor of one a
//! second, so that an outage does not multiply traffic. Scheduled retries are not counted.

use std::collections::HashMap;
use std::sync::Mutex;

use jiff::Timestamp;
use malote_core::name::ProviderName;

use crate::engine::lock;

/// Re-attempts that may come at once after a quiet time: more than one provider's calls under way.
const SAVED_MAX: f64 = 64.0;
/// What a fresh send adds.
const PER_SEND: f64 = 0.1;
/// What a second adds.
const PER_SECOND: f64 = 1.0;

/// The budgets, by the provider whose failures they pay for.
#[derive(Default)]
pub(crate) struct RetryBudgets {
    saved: Mutex<HashMap<ProviderName, (f64, Timestamp)>>,
}

impl RetryBudgets {
    /// A fresh send to the provider.
    pub(crate) fn earn(&self, provider: &ProviderName, recipients: usize, now: Timestamp) {
        let mut saved = lock(&self.saved);
        if let Some((amount, _)) = saved.get_mut(provider) {
            let recipients = u32::try_from(recipients).unwrap_or(u32::MAX);
            *amount = (*amount + PER_SEND * f64::from(recipients)).min(SAVED_MAX);
        } else {
            saved.insert(provider.clone(), (SAVED_MAX, now));
        }
    }

    /// Whether one more immediate re-attempt is within the budget, without spending it.
    pub(crate) fn has(&self, provider: &ProviderName, now: Timestamp) -> bool {
        let mut saved = lock(&self.saved);
        let (amount, at) = saved.entry(provider.clone()).or_insert((SAVED_MAX, now));
        let elapsed = now.duration_since(*at).as_secs_f64().max(0.0);
        *amount = (*amount + PER_SECOND * elapsed).min(SAVED_MAX);
        *at = now;
        *amount >= 1.0
    }

    /// Spends one.
    pub(crate) fn spend(&self, provider: &ProviderName) {
        if let Some((amount, _)) = lock(&self.saved).get_mut(provider) {
            *amount -= 1.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_spends_what_was_saved_and_then_one_a_second() {
        let budgets = RetryBudgets::default();
        let provider = ProviderName::try_from("ses").unwrap();
        let at = |second: i64| Timestamp::from_second(1_800_000_000 + second).unwrap();
        let spend_all = |second| {
            let mut spent = 0;
            while budgets.has(&provider, at(second)) {
                budgets.spend(&provider);
                spent += 1;
            }
            spent
        };
        assert_eq!(spend_all(0), 64);
        assert_eq!(spend_all(1), 1);
        assert_eq!(spend_all(11), 10);
        budgets.earn(&provider, 50, at(11));
        assert_eq!(spend_all(11), 5);
    }
}
