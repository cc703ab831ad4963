//! Whether a call goes now: a pass of the breaker and a permit of the limits, or what becomes of its
//! deliveries without.

use std::time::Duration;

use jiff::Timestamp;
use malote_core::stream::OnThrottle;

use crate::attempt::{Carriage, Group};
use crate::engine::Engine;
use crate::health::Probe;
use crate::limits::{Admission, Permit, Wish};
use crate::outcome::{self, Outcome};

/// How long a delivery waits for a place or for the rate before it lets others pass: with another
/// target to go to, and without.
const PATIENCE_WITH_CHOICE: Duration = Duration::from_secs(1);
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// Longest wait for a quota: a release of it that nobody tells us of is noticed by then.
const PARKED_MAX: Duration = Duration::from_secs(3600);

/// What a call holds until its target has answered.
pub(crate) struct Admitted<'a> {
    pub(crate) permit: Permit,
    pub(crate) probe: Option<Probe<'a>>,
}

impl Engine {
    /// A pass of the breaker and a permit of the limits, or what becomes of the deliveries
    /// without.
    pub(crate) async fn admit(
        &self,
        carriage: &Carriage<'_>,
        group: Group,
    ) -> Result<(Admitted<'_>, Group), Vec<Outcome>> {
        let now = self.clock.now();
        let call_max = carriage.call_max();
        let pass = match self.registry.pass(&group.target, now, call_max) {
            Ok(Some(probe)) => self.claim(probe, call_max).await.map(Some),
            other => other,
        };
        let probe = match pass {
            Ok(probe) => probe,
            Err(until) => {
                let has_others = group.members.iter().all(|member| member.others_left > 0);
                let wait = if has_others {
                    Duration::ZERO
                } else {
                    until.duration_since(now).unsigned_abs()
                };
                return Err(outcome::wait_all(group.members, now, wait));
            }
        };
        let may_go_on = carriage.stream.failover.on_throttle == OnThrottle::Next
            && group.members.iter().all(|member| member.others_left > 0);
        let wish = Wish {
            target: &group.target,
            class: carriage.stream.class,
            recipients: u32::try_from(group.members.len()).unwrap_or(u32::MAX),
            patience: if may_go_on {
                PATIENCE_WITH_CHOICE
            } else {
                PATIENCE
            },
            now,
        };
        let admission = self.limiters.load_full().admit(&wish).await;
        let now = self.clock.now();
        let admission = match admission {
            Ok(Admission::Go(permit)) => {
                let admitted = Admitted { permit, probe };
                return Ok((admitted, group));
            }
            refused => refused,
        };
        self.release_probe(probe).await;
        match admission {
            Ok(Admission::Go(_)) => Err(outcome::wait_all(group.members, now, Duration::ZERO)),
            Ok(Admission::Later(_)) if may_go_on => {
                let why = "no place or rate free within a second";
                Err(outcome::go_on(group.members, &group.target, why, now))
            }
            Ok(Admission::Later(until)) => {
                let wait = until
                    .duration_since(now)
                    .unsigned_abs()
                    .max(Duration::from_secs(1));
                Err(outcome::wait_all(group.members, now, wait))
            }
            Ok(Admission::Parked(until)) => Err(self.parked(group, until, now)),
            Err(error) => {
                tracing::error!(target = %group.target, %error, "could not take from a quota");
                Err(outcome::wait_all(
                    group.members,
                    now,
                    Duration::from_secs(1),
                ))
            }
        }
    }

    /// What becomes of a group that a quota does not admit. One that is too large for what is left
    /// of it goes one by one, until nothing is left.
    fn parked(&self, mut group: Group, until: Timestamp, now: Timestamp) -> Vec<Outcome> {
        if group.members.len() > 1 {
            for member in &mut group.members {
                member.progress.is_single = true;
            }
            return outcome::wait_all(group.members, now, Duration::ZERO);
        }
        self.registry.park(&group.target, until);
        if group.members.iter().all(|member| member.others_left > 0) {
            let why = format!("its quota is spent until {until}");
            return outcome::go_on(group.members, &group.target, &why, now);
        }
        for member in &mut group.members {
            member.progress.used_up.clear();
        }
        let wait = until.duration_since(now).unsigned_abs().min(PARKED_MAX);
        outcome::wait_all(group.members, now, wait)
    }
}
