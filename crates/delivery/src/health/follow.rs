//! Breakers that other nodes opened and closed, and the one probe that all nodes have together.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use malote_core::name::TargetName;
use malote_store::{BreakerChanges, StoreError};

use super::kept::Kept;
use super::{Inner, Probe, Registry};
use crate::breaker::Breaker;
use crate::engine::Engine;

/// How soon a probe that another node makes is asked for again.
const PROBE_ELSEWHERE: SignedDuration = SignedDuration::from_secs(1);

impl Registry {
    /// Takes over what other nodes wrote of breakers, each change once, but for those that changed
    /// here meanwhile. Answers whether anything is different now.
    pub(crate) fn follow_breakers(&self, found: BreakerChanges, now: Timestamp) -> bool {
        let mut inner = self.lock();
        let mut is_changed = false;
        for (key, state, epoch) in found.changes {
            let known = inner.followed.get(&key).copied().unwrap_or(0);
            if epoch <= known || inner.unkept.contains_key(&key) {
                continue;
            }
            inner.adopt(&key, state.as_deref(), now);
            inner.followed.insert(key, epoch);
            is_changed = true;
        }
        if is_changed {
            inner.picture = None;
        }
        is_changed
    }
}

impl Inner {
    /// Takes a breaker over as the store has it; one that cannot be read is left out.
    pub(super) fn adopt(&mut self, key: &str, state: Option<&str>, now: Timestamp) {
        let breaker = match state {
            Some(state) => serde_json::from_str::<Breaker>(state).ok(),
            None => Some(Breaker::default()),
        };
        if let Some(breaker) = breaker {
            self.put(key, breaker.as_seen_from(now));
        }
    }

    fn put(&mut self, key: &str, breaker: Breaker) {
        match Kept::read(key) {
            Some(Kept::Target(target)) => put(&mut self.breakers, target, breaker),
            Some(Kept::Reputation(key)) => put(&mut self.reputations, key, breaker),
            Some(Kept::Told(key)) => put(&mut self.told, key, breaker),
            None => {}
        }
    }
}

fn put<K: Eq + Hash>(breakers: &mut HashMap<K, Breaker>, key: K, found: Breaker) {
    let found = found.in_place_of(breakers.get(&key));
    breakers.insert(key, found);
}

/// Under what a target's breaker is kept.
pub(super) fn target_key(target: &TargetName) -> String {
    format!("target:{target}")
}

impl Engine {
    /// Takes over what other nodes know of targets. While it cannot be asked for, each node goes on
    /// with what it sees by itself.
    pub(crate) async fn follow_breakers(&self, after: i64) -> Result<i64, StoreError> {
        let Some(nodes) = self.shared.nodes() else {
            return Ok(after);
        };
        match nodes.breaker_changes(after).await {
            Ok(found) => {
                let next = found.next;
                if self.registry.follow_breakers(found, self.clock.now()) {
                    self.wake_all();
                }
                Ok(next)
            }
            Err(error @ StoreError::Unavailable(_)) => {
                tracing::debug!(%error, "could not look for breakers");
                Ok(after)
            }
            Err(error) => Err(error),
        }
    }

    /// Makes a probe the only one of all nodes, or says when to come back.
    pub(crate) async fn claim<'a>(
        &self,
        probe: Probe<'a>,
        call_max: Duration,
    ) -> Result<Probe<'a>, Timestamp> {
        let Some(nodes) = self.shared.nodes() else {
            return Ok(probe);
        };
        // What opened it here may not be written yet, and is what others would probe by.
        self.keep_breakers().await;
        let key = target_key(&probe.target);
        match nodes.claim_probe(&key, call_max).await {
            Ok(true) => Ok(probe),
            Ok(false) => Err(probe.leave_to_another(self.clock.now())),
            Err(error) => {
                tracing::debug!(target = %probe.target, %error, "could not ask who probes");
                Err(probe.leave_to_another(self.clock.now()))
            }
        }
    }

    /// Lets other nodes probe that were kept from it meanwhile.
    pub(crate) async fn release_probe(&self, probe: Option<Probe<'_>>) {
        let (Some(probe), Some(nodes)) = (probe, self.shared.nodes()) else {
            return;
        };
        if let Err(error) = nodes.release_probe(&target_key(&probe.target)).await {
            tracing::debug!(target = %probe.target, %error, "could not give a probe back");
        }
    }
}

impl Probe<'_> {
    fn leave_to_another(self, now: Timestamp) -> Timestamp {
        let until = now.checked_add(PROBE_ELSEWHERE).unwrap_or(now);
        let mut inner = self.registry.lock();
        if let Some(breaker) = inner.breakers.get_mut(&self.target) {
            breaker.leave_probe(until);
            inner.picture = None;
        }
        drop(inner);
        until
    }
}
