//! Providers that refuse us, for their credentials or their account: out until a check of them is
//! good, then on trial until they take a message. A service may call an account good by whose key it
//! refuses every message.

use std::time::Duration;

use jiff::Timestamp;
use malote_core::clock::later;
use malote_core::name::ProviderName;

use super::{Inner, Registry};

/// Rest between a refusal and the check after it.
const REST_FIRST: Duration = Duration::from_secs(60);
/// How often that rest doubles at most, once for each trial that failed: 16 minutes.
const DOUBLINGS_MAX: u32 = 4;
/// Trial after which an outage is over although no message was taken: longer than any rest, so that a
/// provider that goes on refusing is told of once, and one that refuses months later once more.
const TRIAL_MAX: Duration = Duration::from_secs(3600);

/// What is known of a provider that refused us.
#[derive(Debug)]
pub(super) struct Outage {
    /// What it said, in one line.
    reason: String,
    /// Trials of this outage that failed.
    relapses: u32,
    state: State,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// It gets nothing; a check that begins then, or later, says whether it is put on trial.
    Out { check_at: Timestamp },
    /// It was checked and gets mail again.
    OnTrial { since: Timestamp },
    /// It has taken a message of this trial.
    Over { since: Timestamp },
}

impl Outage {
    fn begun(reason: String, now: Timestamp) -> Self {
        let mut outage = Self {
            reason,
            relapses: 0,
            state: State::Over { since: now },
        };
        outage.rest(now);
        outage
    }

    fn rest(&mut self, now: Timestamp) {
        let rest = REST_FIRST.saturating_mul(1 << self.relapses.min(DOUBLINGS_MAX));
        let check_at = later(now, rest);
        self.state = State::Out { check_at };
    }

    /// Why it gets nothing, if it does not.
    pub(super) fn why_out(&self) -> Option<&str> {
        matches!(self.state, State::Out { .. }).then_some(&self.reason)
    }

    /// Takes in another refusal. Returns whether an outage begins with it.
    fn refused(&mut self, reason: String, started_at: Timestamp, now: Timestamp) -> bool {
        match self.state {
            State::Out { .. } => self.reason = reason,
            // What began before the check was good says nothing of what is since.
            State::OnTrial { since } | State::Over { since } if started_at <= since => {}
            State::OnTrial { since } if now < later(since, TRIAL_MAX) => {
                self.reason = reason;
                self.relapses = self.relapses.saturating_add(1);
                self.rest(now);
            }
            State::OnTrial { .. } | State::Over { .. } => {
                *self = Self::begun(reason, now);
                return true;
            }
        }
        false
    }
}

impl Inner {
    /// Takes in that a provider refused a call or a check that began at `started_at`. Returns
    /// whether an outage begins with it.
    pub(super) fn provider_refused(
        &mut self,
        provider: ProviderName,
        reason: String,
        (started_at, now): (Timestamp, Timestamp),
    ) -> bool {
        if let Some(outage) = self.outages.get_mut(&provider) {
            return outage.refused(reason, started_at, now);
        }
        self.outages.insert(provider, Outage::begun(reason, now));
        true
    }

    /// Takes in that a provider took a message of a call that began at `started_at`.
    pub(super) fn provider_took(&mut self, provider: &ProviderName, started_at: Timestamp) {
        if let Some(outage) = self.outages.get_mut(provider)
            && let State::OnTrial { since } = outage.state
            && started_at > since
        {
            outage.state = State::Over { since };
        }
    }
}

impl Registry {
    /// A check that began at `started_at` was good: the provider is on trial, if it was out and has
    /// rested. Returns how many trials of this outage have failed.
    pub(crate) fn provider_is_well(
        &self,
        provider: &ProviderName,
        (started_at, now): (Timestamp, Timestamp),
    ) -> Option<u32> {
        let mut inner = self.lock();
        let outage = inner.outages.get_mut(provider)?;
        if !matches!(outage.state, State::Out { check_at } if started_at >= check_at) {
            return None;
        }
        outage.state = State::OnTrial { since: now };
        let relapses = outage.relapses;
        inner.picture = None;
        Some(relapses)
    }

    /// A check that began at `started_at` failed for good: the provider is out. Returns whether an
    /// outage begins with it.
    pub(crate) fn provider_is_out(
        &self,
        provider: &ProviderName,
        reason: String,
        times: (Timestamp, Timestamp),
    ) -> bool {
        let mut inner = self.lock();
        inner.picture = None;
        inner.provider_refused(provider.clone(), reason, times)
    }

    /// When a provider that is out is to be checked; `None` if it is not out.
    pub(crate) fn check_at(&self, provider: &ProviderName) -> Option<Timestamp> {
        match self.lock().outages.get(provider)?.state {
            State::Out { check_at } => Some(check_at),
            State::OnTrial { .. } | State::Over { .. } => None,
        }
    }

    /// Ends the rests of providers that are out: with another configuration the next check of each
    /// may have another answer.
    pub(crate) fn check_all(&self, now: Timestamp) {
        for outage in self.lock().outages.values_mut() {
            if let State::Out { check_at } = &mut outage.state {
                *check_at = now;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn provider() -> ProviderName {
        "ses".try_into().unwrap()
    }

    /// A call that begins and is refused then.
    fn refuse(registry: &Registry, second: i64) -> bool {
        let now = at(second);
        registry.provider_is_out(&provider(), "no".into(), (now, now))
    }

    fn check(registry: &Registry, second: i64) -> Option<u32> {
        registry.provider_is_well(&provider(), (at(second), at(second)))
    }

    #[test]
    fn one_that_is_refused_after_each_good_check_rests_twice_as_long_and_is_told_of_once() {
        let registry = Registry::default();
        assert!(refuse(&registry, 0));
        let mut now = 0;
        for (relapses, rest) in (0..).zip([60, 120, 240, 480, 960, 960, 960]) {
            assert_eq!(registry.check_at(&provider()), Some(at(now + rest)));
            now += rest;
            assert_eq!(check(&registry, now), Some(relapses));
            assert_eq!(registry.check_at(&provider()), None);
            now += 1;
            assert!(!refuse(&registry, now));
        }
    }

    #[test]
    fn an_outage_is_over_when_a_message_is_taken_or_a_trial_was_long_enough() {
        let registry = Registry::default();
        let took = |second| registry.lock().provider_took(&provider(), at(second));
        assert!(refuse(&registry, 0));
        took(1);
        assert!(registry.check_at(&provider()).is_some(), "it is still out");
        check(&registry, 60);
        took(60);
        assert!(!refuse(&registry, 61), "what was taken began before");
        check(&registry, 181);
        took(182);
        assert!(refuse(&registry, 183));
        assert_eq!(registry.check_at(&provider()), Some(at(243)));
        check(&registry, 243);
        assert!(!refuse(&registry, 243 + 3599));
        check(&registry, 4000);
        assert!(refuse(&registry, 4000 + 3600));
    }

    #[test]
    fn refusals_and_checks_from_before_say_nothing() {
        let registry = Registry::default();
        assert!(refuse(&registry, 10));
        assert_eq!(check(&registry, 69), None, "it rests");
        let late = registry.provider_is_well(&provider(), (at(69), at(71)));
        assert_eq!(late, None, "the check began too early");
        assert_eq!(check(&registry, 70), Some(0));
        let late = |began, now| {
            let reason = "no".to_owned();
            registry.provider_is_out(&provider(), reason, (at(began), at(now)))
        };
        assert!(!late(70, 75));
        assert_eq!(registry.check_at(&provider()), None, "it is on trial");
        registry.lock().provider_took(&provider(), at(71));
        assert!(!late(70, 76));
        assert_eq!(registry.check_at(&provider()), None, "its outage is over");
        assert!(late(77, 77));
    }

    #[test]
    fn another_configuration_ends_its_rest_and_nothing_else() {
        let registry = Registry::default();
        refuse(&registry, 0);
        registry.check_all(at(5));
        assert_eq!(registry.check_at(&provider()), Some(at(5)));
        assert_eq!(check(&registry, 5), Some(0));
        assert!(!refuse(&registry, 6), "the same outage");
        assert_eq!(registry.check_at(&provider()), Some(at(126)));
    }
}
