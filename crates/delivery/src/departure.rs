//! The last steps before a call: the look at the suppressions, the attempts' entries in the store, and
//! the wait for the call's time.

use std::time::Duration;

use jiff::Timestamp;
use malote_core::event::State;
use malote_core::provider::{Reply, Verdict};
use malote_core::stream::OnUnknown;
use malote_store::{AttemptOutcome, AttemptStart};
use tokio::time::{Instant, timeout_at};

use crate::admission::PATIENCE;
use crate::attempt::{Carriage, Group, Member};
use crate::engine::Engine;
use crate::limits::Permit;
use crate::outcome::{self, Outcome};

/// Age of the look at the suppressions from which it is repeated. It and the 150 ms of a time, with what a
/// node learns of others' entries in 300 ms, are less than the second that is promised.
const LOOK_MAX: Duration = Duration::from_millis(500);
/// Wait of deliveries whose call is not made.
const NO_CALL_WAIT: Duration = Duration::from_secs(1);

/// Deliveries whose time has come.
pub(crate) struct Departed {
    pub(crate) group: Group,
    pub(crate) starts: Vec<AttemptStart>,
    pub(crate) started_at: Timestamp,
}

impl Engine {
    /// What becomes of those that do not go, and the others, if any. Whose time is over, and who gets
    /// no other one within the patience, waits in the queue: their target was not asked and has said
    /// nothing.
    pub(crate) async fn depart(
        &self,
        carriage: &Carriage<'_>,
        mut group: Group,
        permit: &mut Permit,
    ) -> (Vec<Outcome>, Option<Departed>) {
        let looked_at = Instant::now();
        let mut outcomes = self.take_suppressed(carriage, &mut group).await;
        if group.members.is_empty() {
            return (outcomes, None);
        }
        let started_at = self.clock.now();
        let starts = starts(&group, started_at);
        let is_journaled =
            carriage.stream.on_unknown == OnUnknown::PreferNoDuplicate || self.spool.is_shared();
        if is_journaled && let Err(error) = self.spool.start_attempts(starts.clone()).await {
            tracing::error!(message.id = %carriage.record.id, %error, "could not journal an attempt");
            outcomes.extend(outcome::wait_all(group.members, started_at, NO_CALL_WAIT));
            return (outcomes, None);
        }
        let mut unmade = self.wait(carriage, &mut group, permit, looked_at).await;
        if is_journaled {
            end_unmade(&mut unmade, &starts, self.clock.now());
        }
        outcomes.extend(unmade);
        let departed = (!group.members.is_empty()).then(|| Departed {
            starts: self::starts(&group, started_at),
            group,
            started_at,
        });
        (outcomes, departed)
    }

    /// Waits for the time of a call, and for another one where that is over. Takes out those that are
    /// suppressed meanwhile; all, if no time comes within the patience.
    async fn wait(
        &self,
        carriage: &Carriage<'_>,
        group: &mut Group,
        permit: &mut Permit,
        mut looked_at: Instant,
    ) -> Vec<Outcome> {
        let deadline = Instant::now() + PATIENCE;
        let mut unmade = Vec::new();
        loop {
            if looked_at.elapsed() > LOOK_MAX {
                looked_at = Instant::now();
                unmade.extend(self.take_suppressed(carriage, group).await);
            }
            if group.members.is_empty() || permit.is_due().await {
                return unmade;
            }
            let another = timeout_at(deadline, permit.take_another()).await;
            if !matches!(another, Ok(Ok(()))) || Instant::now() >= deadline {
                let late = std::mem::take(&mut group.members);
                unmade.extend(outcome::wait_all(late, self.clock.now(), NO_CALL_WAIT));
                return unmade;
            }
        }
    }

    /// Takes out what was suppressed since the lease, here or at another node; all, if that cannot
    /// be known.
    async fn take_suppressed(&self, carriage: &Carriage<'_>, group: &mut Group) -> Vec<Outcome> {
        let now = self.clock.now();
        let scopes = carriage
            .policy
            .scopes_of(&carriage.stream.name, carriage.stream.class);
        let members = std::mem::take(&mut group.members);
        let address = |member: &Member| member.delivery.recipient.clone();
        let addresses: Vec<_> = members.iter().map(address).collect();
        let found = match self.shared.suppressed(&addresses, &scopes, now).await {
            Ok(found) => found,
            Err(error) => {
                tracing::debug!(message.id = %carriage.record.id, %error, "could not ask for suppressions");
                return outcome::wait_all(members, now, Duration::from_secs(1));
            }
        };
        let mut outcomes = Vec::new();
        for (member, entry) in members.into_iter().zip(found) {
            match entry {
                Some(entry) => {
                    outcomes.push(outcome::suppressed(member.delivery, &entry, now));
                }
                None => group.members.push(member),
            }
        }
        outcomes
    }
}

/// Ends what was journaled of a call that is not made, or it would be taken for one whose outcome
/// nobody knows.
fn end_unmade(outcomes: &mut [Outcome], starts: &[AttemptStart], now: Timestamp) {
    for outcome in outcomes {
        let id = outcome.settlement.delivery;
        let verdict = if outcome.settlement.next.state == State::Suppressed {
            Verdict::Suppressed
        } else {
            Verdict::Throttled { after: None }
        };
        let start = starts.iter().find(|start| start.delivery == id);
        outcome.settlement.attempt = start.map(|start| AttemptOutcome {
            start: start.clone(),
            ended_at: now,
            outcome: verdict.as_str().to_owned(),
            reply: Reply::none("not called: it missed its time"),
            provider_message_id: None,
        });
    }
}

fn starts(group: &Group, at: Timestamp) -> Vec<AttemptStart> {
    let start = |member: &Member| AttemptStart {
        delivery: member.delivery.id,
        number: member.delivery.calls.saturating_add(1),
        target: group.target.clone(),
        at,
        reason: member.reason.clone(),
    };
    group.members.iter().map(start).collect()
}
