//! After a restart: attempts that had begun and have no outcome on record.

use jiff::Timestamp;
use malote_core::event::{EventKind, State};
use malote_core::provider::{Reply, SendError, Verdict};
use malote_store::{
    AttemptOutcome, AttemptStart, EventRecord, Leased, NextStep, PendingAttempt, Settlement,
    StoreError,
};

use crate::engine::Engine;
use crate::progress::Progress;
use crate::step::{Situation, decide};

/// Settles what an earlier process left under way, as an unknown outcome of its stream's policy.
pub(crate) async fn settle_pending(
    engine: &Engine,
    pending: Vec<PendingAttempt>,
) -> Result<(), StoreError> {
    if pending.is_empty() {
        return Ok(());
    }
    tracing::warn!(
        resend_risk = pending.len(),
        "found attempts of an earlier process whose outcome nobody knows"
    );
    let policy = engine.policy.load_full();
    let now = engine.clock.now();
    let mut batch = Vec::with_capacity(pending.len());
    for PendingAttempt { delivery, attempt } in pending {
        let reply = Reply::none("the gateway stopped while the call was under way");
        let result = Err(SendError::new(Verdict::Unknown, reply.clone()));
        let mut progress = Progress::read(delivery.progress.as_deref());
        let Some(stream) = policy.streams.get(&delivery.stream) else {
            // Its stream is gone, and with it the word that a duplicate may be risked.
            batch.push(unknown(&delivery, attempt, reply, now));
            continue;
        };
        let situation = Situation {
            stream,
            target: &attempt.target,
            others_left: 0,
            others_out: 0,
            attempts: delivery.attempts,
            expires_at: Timestamp::MAX,
            now,
            chance: rand::random(),
            has_retry_budget: true,
        };
        let step = decide(&situation, &mut progress, &result);
        let event = EventRecord {
            at: now,
            kind: step.event.clone(),
            blame: None,
            provider: Some(attempt.target.provider.clone()),
            detail: format!("{}: {reply}", attempt.target),
        };
        let place = (&attempt.target, delivery.mailbox_provider.as_ref());
        engine
            .metrics
            .attempt(&stream.name, place, Verdict::Unknown.as_str());
        if step.event == EventKind::ResendRisk {
            let risk = &engine.metrics.duplicate_risk;
            risk.with_label_values(&[stream.name.as_str()]).inc();
        }
        let waits = step.due_at.is_some();
        batch.push(Settlement {
            delivery: delivery.id,
            attempt: Some(AttemptOutcome {
                start: attempt,
                ended_at: now,
                outcome: Verdict::Unknown.as_str().into(),
                reply,
                provider_message_id: None,
            }),
            next: NextStep {
                state: step.state,
                due_at: step.due_at,
                attempts: step.attempts,
                progress: if waits { progress.write() } else { None },
                lane: None,
            },
            events: vec![event],
        });
    }
    engine.spool.settle(engine.session, batch).await
}

fn unknown(delivery: &Leased, start: AttemptStart, reply: Reply, now: Timestamp) -> Settlement {
    let event = EventRecord {
        at: now,
        kind: EventKind::Unknown,
        blame: None,
        provider: Some(start.target.provider.clone()),
        detail: format!("{}: {reply}", start.target),
    };
    Settlement {
        delivery: delivery.id,
        attempt: Some(AttemptOutcome {
            start,
            ended_at: now,
            outcome: Verdict::Unknown.as_str().into(),
            reply,
            provider_message_id: None,
        }),
        next: NextStep {
            state: State::Unknown,
            due_at: None,
            attempts: delivery.attempts.saturating_add(1),
            progress: None,
            lane: None,
        },
        events: vec![event],
    }
}
