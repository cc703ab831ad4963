//! One leased message on its way: checks, plan, admission, the call, and what follows from it.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use jiff::Timestamp;
use malote_core::name::{MailboxProvider, TargetName};
use malote_core::provider::{
    Outgoing, OutgoingRecipient, Reply, SendError, SendReport, Verdict, report_for_all,
};
use malote_core::stream::{OnThrottle, OnUnknown, Stream};
use malote_store::{
    AttemptStart, Lane, Leased, LeasedMessage, MessageRecord, Settlement, StoreError, Suppression,
};

use crate::breaker::Pass;
use crate::engine::Engine;
use crate::limits::{Admission, Permit, Wish};
use crate::outcome::{self, Outcome};
use crate::planning::NO_TARGET_WAIT;
use crate::policy::Policy;
use crate::progress::Progress;

/// How long a delivery waits for a place or for the rate before it lets others pass: with another
/// target to go to, and without.
const PATIENCE_WITH_CHOICE: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(5);
/// Added to an adapter's own deadlines: beyond it the call is cut, whatever the adapter does.
const CALL_GRACE: Duration = Duration::from_secs(90);
/// Slowest upload that is waited for, octets a second.
const UPLOAD_MIN: u64 = 32_000;
/// Seconds for which a full disk is waited for before a settlement is left to the next start.
const SETTLE_TRIES: u32 = 600;

/// A message on its way, as every step needs it.
pub(crate) struct Carriage<'a> {
    pub(crate) policy: &'a Policy,
    pub(crate) stream: &'a Stream,
    pub(crate) lane: &'a Lane,
    pub(crate) record: &'a MessageRecord,
    pub(crate) body: &'a Bytes,
}

/// Deliveries that go in one call.
pub(crate) struct Group {
    pub(crate) target: TargetName,
    pub(crate) members: Vec<Member>,
}

/// One delivery of a call.
pub(crate) struct Member {
    pub(crate) delivery: Leased,
    pub(crate) progress: Progress,
    pub(crate) mailbox_provider: MailboxProvider,
    /// Targets of the plan besides the one called.
    pub(crate) others_left: usize,
    /// Why this target.
    pub(crate) reason: String,
}

impl Engine {
    /// Carries a leased message as far as it goes now, and settles every delivery of it. Returns
    /// whether one is due again at once.
    pub(crate) async fn carry(
        &self,
        policy: &Arc<Policy>,
        lane: &Lane,
        message: LeasedMessage,
        suppressed: Vec<Option<Suppression>>,
    ) -> bool {
        let Some(stream) = policy.streams.get(&message.record.stream) else {
            self.put_back(
                std::slice::from_ref(&message),
                self.clock.now(),
                NO_TARGET_WAIT,
            )
            .await;
            return false;
        };
        let carriage = Carriage {
            policy,
            stream,
            lane,
            record: &message.record,
            body: &message.body,
        };
        let now = self.clock.now();
        let mut outcomes = Vec::new();
        let mut ready = Vec::with_capacity(message.deliveries.len());
        for (delivery, suppression) in message.deliveries.into_iter().zip(suppressed) {
            match outcome::before_call(&carriage, &delivery, suppression.as_ref(), now) {
                Some(outcome) => outcomes.push(outcome),
                None => ready.push(delivery),
            }
        }
        let groups = self.group(&carriage, ready, &mut outcomes, now);
        let mut is_due_again = self.finish(&carriage, outcomes).await;
        let calls = groups.into_iter().map(|group| self.call(&carriage, group));
        for is_due in futures_util::future::join_all(calls).await {
            is_due_again |= is_due;
        }
        is_due_again
    }

    /// One call, from admission to settlement. Returns whether a delivery is due again at once.
    async fn call(&self, carriage: &Carriage<'_>, group: Group) -> bool {
        let Some(provider) = carriage.policy.providers.get(&group.target.provider) else {
            let outcomes = outcome::wait_all(group.members, self.clock.now(), Duration::ZERO);
            return self.finish(carriage, outcomes).await;
        };
        let (permit, mut group) = match self.admit(carriage, group).await {
            Ok(admitted) => admitted,
            Err(outcomes) => return self.finish(carriage, outcomes).await,
        };
        let mut outcomes = self.take_quiet(carriage, &mut group);
        if group.members.is_empty() {
            return self.finish(carriage, outcomes).await;
        }
        let started_at = self.clock.now();
        let starts = starts(&group, started_at);
        if carriage.stream.on_unknown == OnUnknown::PreferNoDuplicate
            && let Err(error) = self.spool.start_attempts(starts.clone()).await
        {
            tracing::error!(message.id = %carriage.record.id, %error, "could not journal an attempt");
            outcomes.extend(outcome::wait_all(
                group.members,
                started_at,
                Duration::from_secs(1),
            ));
            return self.finish(carriage, outcomes).await;
        }
        let outgoing = outgoing(carriage, &group);
        let in_flight = self
            .metrics
            .in_flight
            .with_label_values(&[group.target.provider.as_str()]);
        in_flight.inc();
        self.budgets
            .earn(&group.target.provider, group.members.len(), started_at);
        let (report, has_panicked) = self.send(&provider.provider, &outgoing).await;
        in_flight.dec();
        drop(permit);
        let ended_at = self.clock.now();
        let seconds = ended_at.duration_since(started_at).as_secs_f64();
        self.metrics
            .calls
            .with_label_values(&[group.target.provider.as_str()])
            .observe(seconds);
        for ((member, start), result) in group.members.into_iter().zip(starts).zip(report) {
            let attempt = outcome::Attempt {
                start,
                ended_at,
                result,
                has_panicked,
            };
            outcomes.push(
                self.conclude(carriage, &group.target, member, attempt)
                    .await,
            );
        }
        self.finish(carriage, outcomes).await
    }

    /// A pass of the breaker and a permit of the limits, or what becomes of the deliveries
    /// without.
    async fn admit(
        &self,
        carriage: &Carriage<'_>,
        mut group: Group,
    ) -> Result<(Permit, Group), Vec<Outcome>> {
        let now = self.clock.now();
        if let Pass::NotUntil(until) = self.registry.pass(&group.target, now, carriage.call_max()) {
            let has_others = group.members.iter().all(|member| member.others_left > 0);
            let wait = if has_others {
                Duration::ZERO
            } else {
                until.duration_since(now).unsigned_abs()
            };
            return Err(outcome::wait_all(group.members, now, wait));
        }
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
        match admission {
            Ok(Admission::Go(permit)) => Ok((permit, group)),
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
            Ok(Admission::Parked(until)) => {
                self.registry.park(&group.target, until);
                if group.members.iter().all(|member| member.others_left > 0) {
                    let why = format!("its quota is spent until {until}");
                    return Err(outcome::go_on(group.members, &group.target, &why, now));
                }
                let wait = until.duration_since(now).unsigned_abs();
                group
                    .members
                    .iter_mut()
                    .for_each(|member| member.progress.used_up.clear());
                Err(outcome::wait_all(group.members, now, wait))
            }
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

    /// Takes out what was suppressed since the lease.
    fn take_quiet(&self, carriage: &Carriage<'_>, group: &mut Group) -> Vec<Outcome> {
        let now = self.clock.now();
        let scopes = carriage
            .policy
            .scopes_of(&carriage.stream.name, carriage.stream.class);
        let (quiet, going): (Vec<_>, Vec<_>) = std::mem::take(&mut group.members)
            .into_iter()
            .partition(|member| self.quiet.holds(&member.delivery.recipient, &scopes, now));
        group.members = going;
        quiet
            .into_iter()
            .map(|member| outcome::suppressed(member.delivery, "suppressed while it waited", now))
            .collect()
    }

    /// The call itself. A panic or a call that never ends is an unknown outcome, never the end of
    /// the others.
    async fn send(
        &self,
        provider: &Arc<dyn malote_core::provider::Provider>,
        outgoing: &Outgoing,
    ) -> (SendReport, bool) {
        let unknown = |what: &str| {
            report_for_all(
                outgoing,
                &Err(SendError::new(Verdict::Unknown, Reply::none(what))),
            )
        };
        let upload = Duration::from_secs(outgoing.body.len() as u64 / UPLOAD_MIN);
        let call_max = outgoing.reply_wait_max + upload + CALL_GRACE;
        let call = AssertUnwindSafe(provider.send(outgoing)).catch_unwind();
        match tokio::time::timeout(call_max, call).await {
            Ok(Ok(report)) if report.len() == outgoing.recipients.len() => (report, false),
            Ok(Ok(_)) => (
                unknown("the adapter did not report on every recipient"),
                false,
            ),
            Ok(Err(_)) => {
                self.metrics.panics.inc();
                (unknown("the adapter panicked"), true)
            }
            Err(_) => (unknown("the call did not end"), false),
        }
    }

    /// Gives leases back without an attempt.
    pub(crate) async fn put_back(&self, leased: &[LeasedMessage], now: Timestamp, wait: Duration) {
        let batch: Vec<Settlement> = leased
            .iter()
            .flat_map(|message| &message.deliveries)
            .map(|delivery| outcome::back(delivery, now, wait))
            .collect();
        if let Err(error) = self.spool.settle(self.session, batch).await {
            tracing::error!(%error, "could not give leases back; the next start does");
        }
    }

    /// Settles outcomes, once more after a moment if the store was busy. Returns whether one is
    /// due at once.
    pub(crate) async fn finish(&self, carriage: &Carriage<'_>, outcomes: Vec<Outcome>) -> bool {
        if outcomes.is_empty() {
            return false;
        }
        let now = self.clock.now();
        let is_due = outcomes.iter().any(|outcome| outcome.is_due_by(now));
        let mut batch = Vec::with_capacity(outcomes.len());
        for outcome in outcomes {
            self.consequences(carriage, &outcome, now).await;
            batch.push(outcome.settlement);
        }
        let mut result = self.spool.settle(self.session, batch.clone()).await;
        for _ in 0..SETTLE_TRIES {
            match &result {
                Err(StoreError::Busy | StoreError::Full) => {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    result = self.spool.settle(self.session, batch.clone()).await;
                }
                Ok(()) | Err(_) => break,
            }
        }
        if let Err(error) = result {
            tracing::error!(message.id = %carriage.record.id, %error, "could not settle; the next start decides");
        }
        is_due
    }
}

impl Carriage<'_> {
    /// Longest time that one call can take.
    fn call_max(&self) -> Duration {
        let upload = Duration::from_secs(self.record.size_bytes / UPLOAD_MIN);
        self.stream.reply_wait_max + upload + CALL_GRACE
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

fn outgoing(carriage: &Carriage<'_>, group: &Group) -> Outgoing {
    let recipient = |member: &Member| OutgoingRecipient {
        delivery: member.delivery.id,
        address: member.delivery.recipient.clone(),
        notify: member.delivery.notify,
        orcpt: member.delivery.orcpt.clone(),
    };
    Outgoing {
        message: carriage.record.id,
        recipients: group.members.iter().map(recipient).collect(),
        mail_from: carriage.record.mail_from.clone(),
        body: carriage.body.clone(),
        pool: group.target.pool.clone(),
        stream: carriage.stream.name.clone(),
        class: carriage.stream.class,
        tags: carriage.record.tags.clone(),
        metadata: carriage.record.metadata.clone(),
        dsn: carriage.record.dsn.clone(),
        reply_wait_max: carriage.stream.reply_wait_max,
    }
}
