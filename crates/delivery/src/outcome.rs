//! What becomes of a delivery: the settlement to write, and its consequences (suppression, notice
//! to the sender, health, counters).

use std::time::Duration;

use jiff::Timestamp;
use malote_core::clock::later;
use malote_core::event::{Blame, EventKind, State};
use malote_core::name::{MailboxProvider, ProviderName, TargetName};
use malote_core::provider::{Receipt, Reply, SendError, Verdict};
use malote_core::suppression::source_of;
use malote_store::{
    AttemptOutcome, AttemptStart, EventRecord, Leased, MessageRecord, NextStep, Settlement,
    Suppression, SuppressionReason, SuppressionScope,
};

use crate::alert::Alert;
use crate::attempt::{Carriage, Member};
use crate::engine::Engine;
use crate::health::Call;
use crate::notice::Failure;
use crate::progress::Progress;
use crate::settling::patiently;
use crate::step::{Situation, Step, decide};

/// Panics of an adapter over one delivery after which it is set aside.
pub(crate) const PANICS_MAX: u32 = 3;

/// One delivery's end of this lease.
pub(crate) struct Outcome {
    pub(crate) settlement: Settlement,
    pub(crate) delivery: Leased,
    /// What the provider said, if one was asked.
    pub(crate) reply: Option<Reply>,
    /// The target that was called or passed over.
    pub(crate) target: Option<TargetName>,
    /// Whether the address is suppressed everywhere from now on.
    pub(crate) suppress: bool,
}

/// One recipient's part of a call that ended.
pub(crate) struct Attempt {
    pub(crate) start: AttemptStart,
    pub(crate) ended_at: Timestamp,
    pub(crate) result: Result<Receipt, SendError>,
    pub(crate) has_panicked: bool,
    /// Whether it says something of the target: it was called, by the adapter that mail still goes by.
    pub(crate) is_news: bool,
}

impl Outcome {
    /// When the delivery is due, if it waits.
    pub(crate) const fn due_at(&self) -> Option<Timestamp> {
        self.settlement.next.due_at
    }

    /// Whether the delivery is held.
    pub(crate) fn is_held(&self) -> bool {
        self.settlement.next.state == State::Held
    }

    fn without_attempt(delivery: Leased, next: NextStep, events: Vec<EventRecord>) -> Self {
        let settlement = Settlement {
            delivery: delivery.id,
            attempt: None,
            next,
            events,
        };
        Self {
            settlement,
            delivery,
            reply: None,
            target: None,
            suppress: false,
        }
    }
}

/// What a delivery is settled as before any call: damaged, poisonous, too old or suppressed.
pub(crate) fn before_call(
    carriage: &Carriage<'_>,
    delivery: &Leased,
    suppression: Option<&Suppression>,
    now: Timestamp,
) -> Option<Outcome> {
    if let Some(why) = &delivery.damaged {
        return Some(quarantine(delivery.clone(), why, now));
    }
    if delivery.crashes >= carriage.policy.bounds.crashes_max {
        let why = format!("under way in {} crashes of the gateway", delivery.crashes);
        return Some(quarantine(delivery.clone(), &why, now));
    }
    if now >= carriage.record.expires_at {
        let why = "not sent within the stream's give_up_after";
        return Some(settled(
            delivery.clone(),
            State::Expired,
            (EventKind::Expired, None, why),
            now,
        ));
    }
    suppression.map(|entry| suppressed(delivery.clone(), entry, now))
}

/// Sets a delivery aside.
pub(crate) fn quarantine(delivery: Leased, why: &str, now: Timestamp) -> Outcome {
    settled(
        delivery,
        State::Quarantined,
        (EventKind::Quarantined, None, why),
        now,
    )
}

/// The address is suppressed: nothing is sent.
pub(crate) fn suppressed(delivery: Leased, by: &Suppression, now: Timestamp) -> Outcome {
    let note = (EventKind::Suppressed, by.reason.blame(), &by.detail[..]);
    settled(delivery, State::Suppressed, note, now)
}

/// No target of the route can ever carry it, or those that can have refused it.
pub(crate) fn bounced_unsendable(
    delivery: Leased,
    (blame, why): (Blame, &str),
    now: Timestamp,
) -> Outcome {
    let note = (EventKind::Bounced, Some(blame), why);
    let mut outcome = settled(delivery, State::Bounced, note, now);
    outcome.reply = Some(Reply::new(None, Some("5.3.4".into()), why));
    outcome
}

/// An end without a call, and what is said of it on the timeline.
pub(crate) fn settled(
    delivery: Leased,
    state: State,
    (kind, blame, why): (EventKind, Option<Blame>, &str),
    now: Timestamp,
) -> Outcome {
    let next = NextStep {
        state,
        due_at: None,
        attempts: delivery.attempts,
        progress: None,
        lane: None,
    };
    let event = EventRecord {
        at: now,
        kind,
        blame,
        provider: None,
        detail: why.to_owned(),
    };
    Outcome::without_attempt(delivery, next, vec![event])
}

/// Back to the queue as it was, due after `wait`.
pub(crate) fn back(delivery: &Leased, now: Timestamp, wait: Duration) -> Settlement {
    let state = if delivery.attempts > 0 {
        State::Deferred
    } else {
        State::Queued
    };
    let next = NextStep {
        state,
        due_at: Some(later(now, wait)),
        attempts: delivery.attempts,
        progress: delivery.progress.clone(),
        lane: None,
    };
    Settlement {
        delivery: delivery.id,
        attempt: None,
        next,
        events: Vec::new(),
    }
}

/// All of a group back to the queue, with their notes, due after `wait`.
pub(crate) fn wait_all(members: Vec<Member>, now: Timestamp, wait: Duration) -> Vec<Outcome> {
    let wait = |member: Member| wait_one(member.delivery, &member.progress, now, wait);
    members.into_iter().map(wait).collect()
}

/// One delivery back to the queue with its notes, due after `wait`, without a word on the timeline.
pub(crate) fn wait_one(
    delivery: Leased,
    progress: &Progress,
    now: Timestamp,
    wait: Duration,
) -> Outcome {
    let mut next = back(&delivery, now, wait).next;
    next.progress = progress.write();
    Outcome::without_attempt(delivery, next, Vec::new())
}

/// All of a group on to their next target now.
pub(crate) fn go_on(
    members: Vec<Member>,
    target: &TargetName,
    why: &str,
    now: Timestamp,
) -> Vec<Outcome> {
    let go_on_one = |mut member: Member| {
        member.progress.use_up(target, why);
        let detail = format!("{target}: {why}");
        let note = (EventKind::FailedOver, detail.as_str());
        let mut outcome = wait_with(
            member.delivery,
            member.progress,
            (now, Duration::ZERO),
            note,
        );
        outcome.settlement.next.state = State::Queued;
        outcome.target = Some(target.clone());
        outcome
    };
    members.into_iter().map(go_on_one).collect()
}

/// A delivery back to the queue with new notes and an event.
pub(crate) fn wait_with(
    delivery: Leased,
    progress: Progress,
    (now, wait): (Timestamp, Duration),
    (kind, detail): (EventKind, &str),
) -> Outcome {
    let next = NextStep {
        state: State::Deferred,
        due_at: Some(later(now, wait)),
        attempts: delivery.attempts,
        progress: progress.write(),
        lane: None,
    };
    let event = EventRecord {
        at: now,
        kind,
        blame: None,
        provider: None,
        detail: detail.to_owned(),
    };
    Outcome::without_attempt(delivery, next, vec![event])
}

impl Engine {
    /// Takes in what a call said of one recipient, and decides.
    pub(crate) fn conclude(
        &self,
        carriage: &Carriage<'_>,
        target: &TargetName,
        mut member: Member,
        attempt: Attempt,
    ) -> Outcome {
        self.take_in(carriage, target, &member.mailbox_provider, &attempt);
        let situation = Situation {
            stream: carriage.stream,
            target,
            others_left: member.others_left,
            others_out: member.others_out,
            attempts: member.delivery.attempts,
            expires_at: carriage.record.expires_at,
            now: attempt.ended_at,
            chance: rand::random(),
            has_retry_budget: self.budgets.has(&target.provider, attempt.ended_at),
        };
        let mut step = decide(&situation, &mut member.progress, &attempt.result);
        if step.draws_on_budget {
            self.budgets.spend(&target.provider);
        }
        if attempt.has_panicked {
            member.progress.panics = member.progress.panics.saturating_add(1);
            if member.progress.panics >= PANICS_MAX {
                step = Step {
                    state: State::Quarantined,
                    due_at: None,
                    event: EventKind::Quarantined,
                    ..step
                };
            }
        }
        let place = (target, &member.mailbox_provider);
        self.count_attempt(carriage, place, &attempt, &step);
        self.count_send(carriage, place, &step);
        conclusion(target, member, attempt, step)
    }

    fn take_in(
        &self,
        carriage: &Carriage<'_>,
        target: &TargetName,
        mailbox_provider: &MailboxProvider,
        attempt: &Attempt,
    ) {
        if !attempt.is_news {
            return;
        }
        let sender_domain = carriage.record.from.domain();
        let call = Call {
            target,
            sender_domain,
            mailbox_provider,
            started_at: attempt.start.at,
            chance: rand::random(),
        };
        let alert = self
            .registry
            .record(&call, attempt.result.as_ref().err(), attempt.ended_at);
        let result = std::slice::from_ref(&attempt.result);
        self.raise(alert, carriage, target, result);
    }

    /// Tells a human, with the first failure of the call as the reason.
    pub(crate) fn raise(
        &self,
        alert: Option<Alert>,
        carriage: &Carriage<'_>,
        target: &TargetName,
        results: &[Result<Receipt, SendError>],
    ) {
        let Some(alert) = alert else { return };
        self.metrics
            .alerts
            .with_label_values(&[alert.as_str(), target.provider.as_str()])
            .inc();
        let failure = results.iter().find_map(|result| result.as_ref().err());
        let reply = failure.map(|error| error.reply.without_local_parts());
        tracing::error!(
            alert = alert.as_str(),
            provider = %target.provider,
            pool = %target.pool,
            sender_domain = carriage.record.from.domain(),
            reply = reply.as_deref().unwrap_or_default(),
            "raised an alert"
        );
    }

    /// What follows from an outcome, made durable before the outcome itself: a crash in between
    /// repeats it, and each of these may be repeated.
    pub(crate) async fn consequences(
        &self,
        carriage: &Carriage<'_>,
        outcome: &Outcome,
        now: Timestamp,
    ) {
        let state = outcome.settlement.next.state;
        let is_failover = outcome
            .settlement
            .events
            .iter()
            .any(|event| event.kind == EventKind::FailedOver);
        if let (true, Some(target)) = (is_failover, &outcome.target) {
            let labels = [carriage.stream.name.as_str(), target.provider.as_str()];
            self.metrics.failovers.with_label_values(&labels).inc();
        }
        if outcome.suppress {
            let entry = hard_bounce(carriage.record, outcome, now);
            let entries = vec![entry];
            match patiently(|| self.shared.suppress(entries.clone())).await {
                Ok(()) => self.metrics.suppress(&entries),
                Err(error) => {
                    tracing::error!(message.id = %carriage.record.id, %error, "could not suppress");
                }
            }
        }
        let events = &outcome.settlement.events;
        if events.iter().any(is_about_content) {
            self.warn_of_content(carriage.record, now);
        }
        if state.is_settled() {
            let mailbox_provider = outcome.delivery.mailbox_provider.as_ref();
            self.metrics
                .settle(&carriage.stream.name, state.as_str(), mailbox_provider);
        }
        if matches!(state, State::Bounced | State::Expired) {
            let failure = Failure {
                record: carriage.record,
                body: carriage.body,
                delivery: (&outcome.delivery).into(),
                state,
                reply: outcome.reply.as_ref(),
            };
            let told = patiently(|| self.notify_failure(carriage.policy, &failure, now));
            if let Err(error) = told.await {
                tracing::error!(message.id = %carriage.record.id, %error, "could not queue a DSN");
            }
        }
    }
}

fn conclusion(target: &TargetName, member: Member, attempt: Attempt, step: Step) -> Outcome {
    let (word, reply, provider_message_id) = match &attempt.result {
        Ok(receipt) => (
            "sent",
            receipt.reply.clone(),
            Some(receipt.provider_message_id.clone()),
        ),
        Err(error) => (error.verdict.as_str(), error.reply.clone(), None),
    };
    let event = EventRecord {
        at: attempt.ended_at,
        kind: step.event.clone(),
        blame: step.blame,
        provider: Some(target.provider.clone()),
        detail: detail(target, word, &reply, &attempt.result),
    };
    let waits = step.due_at.is_some();
    let settlement = Settlement {
        delivery: member.delivery.id,
        attempt: Some(AttemptOutcome {
            start: attempt.start,
            ended_at: attempt.ended_at,
            outcome: word.to_owned(),
            reply: reply.clone(),
            provider_message_id,
        }),
        next: NextStep {
            state: step.state,
            due_at: step.due_at,
            attempts: step.attempts,
            progress: if waits { member.progress.write() } else { None },
            lane: None,
        },
        events: vec![event],
    };
    Outcome {
        settlement,
        delivery: member.delivery,
        reply: Some(reply),
        target: Some(target.clone()),
        suppress: step.suppress,
    }
}

fn detail(
    target: &TargetName,
    word: &str,
    reply: &Reply,
    result: &Result<Receipt, SendError>,
) -> String {
    let text = match result {
        Ok(_) => format!("{target}: {reply}"),
        Err(SendError {
            verdict: Verdict::Unknown,
            ..
        }) => {
            format!("{target}: nobody knows whether it was sent: {reply}")
        }
        Err(_) => format!("{target}: {word}: {reply}"),
    };
    malote_core::provider::bounded(&text, 512)
}

fn hard_bounce(record: &MessageRecord, outcome: &Outcome, now: Timestamp) -> Suppression {
    let provider: Option<ProviderName> = outcome.target.as_ref().map(|t| t.provider.clone());
    Suppression {
        address: outcome.delivery.recipient.clone().into(),
        scope: SuppressionScope::Global,
        reason: SuppressionReason::HardBounce,
        detail: outcome
            .reply
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        source: provider
            .as_ref()
            .map_or_else(|| "gateway".to_owned(), source_of),
        provider,
        credential: Some(record.credential.clone()),
        created_at: now,
        expires_at: None,
    }
}

fn is_about_content(event: &EventRecord) -> bool {
    event.kind == EventKind::Bounced && event.blame == Some(Blame::Content)
}
