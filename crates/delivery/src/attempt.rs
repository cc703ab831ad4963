//! One leased message on its way: checks, plan, admission, the call, and what follows from it.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use jiff::Timestamp;
use malote_core::address::EmailAddress;
use malote_core::name::{MailboxProvider, TargetName};
use malote_core::provider::{
    Outgoing, OutgoingRecipient, Reply, SendError, SendReport, Verdict, report_for_all,
};
use malote_core::returned::{ReturnAddress, ReturnPurpose};
use malote_core::stream::{OnUnknown, Stream, WritePace};
use malote_core::ticket::Ticket;
use malote_store::{Lane, Leased, LeasedMessage, MessageRecord, Suppression};

use crate::admission::Admitted;
use crate::departure::Departed;
use crate::engine::Engine;
use crate::health::WholeCall;
use crate::limits::Permit;
use crate::outcome::{self, Outcome};
use crate::panicked::Memo;
use crate::planning::NO_TARGET_WAIT;
use crate::policy::Policy;
use crate::progress::Progress;
use crate::returns::attempt_of;

/// Added to an adapter's own deadlines: beyond it the call is cut, whatever the adapter does.
const CALL_GRACE: Duration = Duration::from_secs(90);
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

/// A call that has ended.
struct Called {
    report: SendReport,
    has_panicked: bool,
    ended_at: Timestamp,
}

/// One delivery of a call.
pub(crate) struct Member {
    pub(crate) delivery: Leased,
    pub(crate) progress: Progress,
    pub(crate) mailbox_provider: MailboxProvider,
    /// Targets of the plan besides the one called.
    pub(crate) others_left: usize,
    /// Targets that could carry it and are out now.
    pub(crate) others_out: usize,
    /// Why this target.
    pub(crate) reason: String,
}

impl Engine {
    /// As [`Engine::carry`]; a panic of ours over one message is not the end of the others, nor of
    /// the message: it would stay under way until the next start.
    pub(crate) async fn carry_safely(
        &self,
        policy: &Arc<Policy>,
        lane: &Lane,
        message: LeasedMessage,
        suppressed: Vec<Option<Suppression>>,
    ) -> Option<Timestamp> {
        let id = message.record.id;
        let deliveries = message.deliveries.iter();
        let memos: Vec<Memo> = deliveries.map(Memo::of).collect();
        let carried = AssertUnwindSafe(self.carry(policy, lane, message, suppressed));
        match carried.catch_unwind().await {
            Ok(first_due) => first_due,
            Err(_) => {
                self.metrics.panics.inc();
                tracing::error!(message.id = %id, "panicked over a message");
                let may_repeat = policy
                    .streams
                    .get(&lane.stream)
                    .is_some_and(|stream| stream.on_unknown == OnUnknown::PreferNoLoss);
                let now = self.clock.now();
                let batch = memos.into_iter().map(|memo| memo.settle(may_repeat, now));
                if let Err(error) = self.settle(batch.collect()).await {
                    tracing::error!(message.id = %id, %error, "could not settle; the next start decides");
                }
                None
            }
        }
    }

    /// Carries a leased message as far as it goes now, and settles every delivery of it. Returns
    /// when the first of those that wait is due again.
    async fn carry(
        &self,
        policy: &Arc<Policy>,
        lane: &Lane,
        message: LeasedMessage,
        suppressed: Vec<Option<Suppression>>,
    ) -> Option<Timestamp> {
        if self.leaves_to_others() {
            let leased = std::slice::from_ref(&message);
            self.put_back(leased, Duration::ZERO).await;
            return None;
        }
        let Some(stream) = policy.streams.get(&message.record.stream) else {
            let leased = std::slice::from_ref(&message);
            self.put_back(leased, NO_TARGET_WAIT).await;
            return None;
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
            let settled = outcome::before_call(&carriage, &delivery, suppression.as_ref(), now);
            match settled.or_else(|| self.guarded(&carriage, &delivery, now)) {
                Some(outcome) => outcomes.push(outcome),
                None => ready.push(delivery),
            }
        }
        let groups = self.group(&carriage, ready, &mut outcomes, now);
        let is_held = outcomes.iter().any(Outcome::is_held);
        let first_due = self.finish(&carriage, outcomes).await;
        if is_held {
            self.let_go_if_resumed(&carriage).await;
        }
        let calls = groups.into_iter().map(|group| self.call(&carriage, group));
        let due = futures_util::future::join_all(calls).await;
        due.into_iter().chain([first_due]).flatten().min()
    }

    /// One call, from admission to settlement. Returns when the first delivery is due again.
    async fn call(&self, carriage: &Carriage<'_>, group: Group) -> Option<Timestamp> {
        let Some(provider) = carriage.policy.providers.get(&group.target.provider) else {
            let outcomes = outcome::wait_all(group.members, self.clock.now(), NO_TARGET_WAIT);
            return self.finish(carriage, outcomes).await;
        };
        let (admitted, group) = match self.admit(carriage, group).await {
            Ok(admitted) => admitted,
            Err(outcomes) => return self.finish(carriage, outcomes).await,
        };
        let Admitted { mut permit, probe } = admitted;
        let (mut outcomes, departed) = self.depart(carriage, group, &mut permit).await;
        let Some(departed) = departed else {
            permit.unspend().await;
            self.release_probe(probe).await;
            return self.finish(carriage, outcomes).await;
        };
        let Departed {
            group,
            starts,
            started_at,
        } = departed;
        let outgoing = outgoing(carriage, &group);
        self.budgets
            .earn(&group.target.provider, group.members.len(), started_at);
        let Called {
            report,
            has_panicked,
            ended_at,
        } = self
            .make(&group.target, &provider.provider, &outgoing, permit)
            .await;
        let is_news = self.is_in_force(&group.target.provider, &provider.provider);
        let results = report.iter().map(|result| result.as_ref().err());
        let call = WholeCall {
            target: &group.target,
            probe: probe.as_ref(),
            started_at,
            ended_at,
        };
        let alert = is_news.then(|| self.registry.call_ended(&call, results));
        self.release_probe(probe).await;
        self.raise(alert.flatten(), carriage, &group.target, &report);
        for ((member, start), result) in group.members.into_iter().zip(starts).zip(report) {
            let attempt = outcome::Attempt {
                start,
                ended_at,
                result,
                has_panicked,
                is_news,
            };
            outcomes.push(self.conclude(carriage, &group.target, member, attempt));
        }
        self.keep_breakers().await;
        self.finish(carriage, outcomes).await
    }

    /// Makes a call whose time has come, and gives its place back when it has ended.
    async fn make(
        &self,
        target: &TargetName,
        provider: &Arc<dyn malote_core::provider::Provider>,
        outgoing: &Outgoing,
        permit: Permit,
    ) -> Called {
        let labels = [target.provider.as_str()];
        let in_flight = self.metrics.in_flight.with_label_values(&labels);
        in_flight.inc();
        let called_at = self.clock.now();
        let (report, has_panicked) = self.send(provider, outgoing).await;
        in_flight.dec();
        let ended_at = self.clock.now();
        let seconds = ended_at.duration_since(called_at).as_secs_f64();
        self.metrics
            .calls
            .with_label_values(&labels)
            .observe(seconds);
        drop(permit);
        Called {
            report,
            has_panicked,
            ended_at,
        }
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
        let bytes = outgoing.body.len() as u64;
        let call_max = call_max(outgoing.write_pace, bytes, outgoing.reply_wait_max);
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
}

impl Carriage<'_> {
    /// Longest time that one call can take.
    pub(crate) fn call_max(&self) -> Duration {
        let stream = self.stream;
        call_max(
            stream.write_pace,
            self.record.size_bytes,
            stream.reply_wait_max,
        )
    }
}

/// A service may be given the message in another coding, a half longer or so, and the last of it
/// lies in buffers when the wait for the reply begins.
fn call_max(pace: WritePace, bytes: u64, reply_wait_max: Duration) -> Duration {
    pace.wait_max + pace.at_slowest(bytes.saturating_mul(2)) + reply_wait_max + CALL_GRACE
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
        mail_from: mail_from(carriage, group),
        body: carriage.body.clone(),
        pool: group.target.pool.clone(),
        stream: carriage.stream.name.clone(),
        class: carriage.stream.class,
        tags: carriage.record.tags.clone(),
        metadata: carriage.record.metadata.clone(),
        tracking: carriage.tracking(),
        dsn: carriage.record.dsn.clone(),
        write_pace: carriage.stream.write_pace,
        reply_wait_max: carriage.stream.reply_wait_max,
    }
}

/// MAIL FROM of a call: the client's, or where we can choose it and take mail back, an address that
/// names the delivery. Such calls carry one delivery each. `<>` stays: nothing is to come back.
fn mail_from(carriage: &Carriage<'_>, group: &Group) -> Option<EmailAddress> {
    let given = carriage.record.mail_from.clone()?;
    let path = carriage.policy.return_path_of(&group.target.provider);
    let signed = path.zip(group.members.first()).and_then(|(path, member)| {
        path.address(ReturnAddress {
            purpose: ReturnPurpose::Bounce,
            ticket: Ticket {
                delivery: member.delivery.id,
                attempt: attempt_of(member.delivery.calls.saturating_add(1)),
            },
        })
    });
    Some(signed.unwrap_or(given))
}
