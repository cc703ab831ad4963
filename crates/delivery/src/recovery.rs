//! After a restart: attempts that had begun and have no outcome on record.

use malote_core::provider::{Reply, SendError, Verdict};
use malote_store::{AttemptOutcome, EventRecord, NextStep, PendingAttempt, Settlement, StoreError};

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
        let Some(stream) = policy.streams.get(&delivery.stream) else {
            continue;
        };
        let reply = Reply::none("the gateway stopped while the call was under way");
        let result = Err(SendError::new(Verdict::Unknown, reply.clone()));
        let mut progress = Progress::read(delivery.progress.as_deref());
        let situation = Situation {
            stream,
            target: &attempt.target,
            others_left: 0,
            attempts: delivery.attempts,
            expires_at: jiff::Timestamp::MAX,
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
        engine
            .metrics
            .attempt(&stream.name, &attempt.target, Verdict::Unknown.as_str());
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
