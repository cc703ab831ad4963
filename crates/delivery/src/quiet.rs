//! Addresses suppressed a moment ago. The store is asked when mail is leased; this closes the gap
//! between the lease and the call.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use jiff::Timestamp;
use malote_core::address::EmailAddress;
use malote_store::{Suppression, SuppressionScope};

use crate::engine::lock;

/// Longer than any delivery stays leased before its call.
const KEPT_FOR: Duration = Duration::from_secs(600);
/// Addresses remembered at most; beyond, those that are over go, then the rest: the store still
/// knows them.
const ADDRESSES_MAX: usize = 100_000;

/// The addresses, with the scopes and since when.
#[derive(Default)]
pub(crate) struct Quiet {
    addresses: Mutex<HashMap<String, Vec<(SuppressionScope, Timestamp)>>>,
}

impl Quiet {
    /// Remembers an address in a scope.
    pub(crate) fn add(&self, address: &EmailAddress, scope: SuppressionScope, now: Timestamp) {
        let mut addresses = lock(&self.addresses);
        if addresses.len() >= ADDRESSES_MAX {
            addresses.retain(|_, scopes| scopes.iter().any(|(_, since)| is_fresh(*since, now)));
            if addresses.len() >= ADDRESSES_MAX {
                addresses.clear();
            }
        }
        let scopes = addresses.entry(address.key()).or_default();
        scopes.retain(|(known, _)| *known != scope);
        scopes.push((scope, now));
    }

    /// Remembers whom an entry stops. An erased address is in no mail that waits.
    pub(crate) fn add_entry(&self, entry: &Suppression, now: Timestamp) {
        if let Some(address) = entry.address.known() {
            self.add(address, entry.scope.clone(), now);
        }
    }

    /// Whether mail to this address that any of `scopes` stops must not leave.
    pub(crate) fn holds(
        &self,
        address: &EmailAddress,
        scopes: &[SuppressionScope],
        now: Timestamp,
    ) -> bool {
        let addresses = lock(&self.addresses);
        if addresses.is_empty() {
            return false;
        }
        addresses.get(&address.key()).is_some_and(|known| {
            known
                .iter()
                .any(|(scope, since)| is_fresh(*since, now) && scopes.contains(scope))
        })
    }

    /// Forgets an address in a scope, or in all: its suppression was lifted.
    pub(crate) fn remove(&self, address: &EmailAddress, scope: Option<&SuppressionScope>) {
        let mut addresses = lock(&self.addresses);
        let Some(scopes) = addresses.get_mut(&address.key()) else {
            return;
        };
        scopes.retain(|(known, _)| scope.is_some_and(|lifted| lifted != known));
        if scopes.is_empty() {
            addresses.remove(&address.key());
        }
    }
}

fn is_fresh(since: Timestamp, now: Timestamp) -> bool {
    now.duration_since(since).unsigned_abs() < KEPT_FOR
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unsubscribe_stops_its_own_stream_and_a_hard_bounce_everything() {
        let quiet = Quiet::default();
        let at = |second: i64| Timestamp::from_second(1_800_000_000 + second).unwrap();
        let address = EmailAddress::parse("a@x.test").unwrap();
        let news = SuppressionScope::Stream("news".try_into().unwrap());
        let offers = SuppressionScope::Stream("offers".try_into().unwrap());
        quiet.add(&address, news.clone(), at(0));
        assert!(quiet.holds(&address, &[SuppressionScope::Global, news], at(1)));
        assert!(!quiet.holds(&address, &[SuppressionScope::Global, offers.clone()], at(1)));
        assert!(!quiet.holds(&address, &[SuppressionScope::Global], at(1)));
        quiet.add(
            &EmailAddress::parse("A@X.test").unwrap(),
            SuppressionScope::Global,
            at(2),
        );
        assert!(quiet.holds(&address, &[SuppressionScope::Global, offers], at(3)));
        assert!(!quiet.holds(&address, &[SuppressionScope::Global], at(602)));
        let news = SuppressionScope::Stream("news".try_into().unwrap());
        quiet.remove(&address, Some(&SuppressionScope::Global));
        assert!(!quiet.holds(&address, &[SuppressionScope::Global], at(3)));
        assert!(quiet.holds(&address, std::slice::from_ref(&news), at(3)));
        quiet.remove(&address, None);
        assert!(!quiet.holds(&address, &[news], at(3)));
    }
}
