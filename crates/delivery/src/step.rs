//! What follows from the outcome of an attempt: pure. The adapter has classified; here it is
//! decided, by the stream's policy, the delivery's notes and the targets that are left.

use std::time::Duration;

use jiff::Timestamp;
use malote_core::clock::later;
use malote_core::event::{Blame, EventKind, State};
use malote_core::name::TargetName;
use malote_core::provider::{Fault, RETRY_AFTER_MAX, Receipt, SendError, Verdict};
use malote_core::stream::{OnThrottle, OnUnknown, RetryPolicy, Stream};

use crate::progress::Progress;

/// Wait before the same provider is asked again after an unknown outcome.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Wait where a provider throttles and does not say for how long.
pub const THROTTLE_DEFAULT: Duration = Duration::from_secs(5);
/// Shortest such wait: a provider that asks to come back in 0 seconds would get a busy loop.
const THROTTLE_MIN: Duration = Duration::from_secs(1);

/// By so much of itself a wait is longer at most, so that gateways, and messages, that were refused
/// together do not come back together.
const THROTTLE_SPREAD: f64 = 0.1;

/// How long to leave alone a target that throttles: what it asked for, from a second to
/// [`RETRY_AFTER_MAX`], and by `chance` (0.0 to 1.0) up to a tenth more. It never comes early.
#[must_use]
pub fn throttle_wait(asked: Option<Duration>, chance: f64) -> Duration {
    let wait = asked
        .unwrap_or(THROTTLE_DEFAULT)
        .clamp(THROTTLE_MIN, RETRY_AFTER_MAX);
    wait + wait.mul_f64(THROTTLE_SPREAD * chance.clamp(0.0, 1.0))
}

/// What the decision may look at.
#[derive(Debug)]
pub struct Situation<'a> {
    /// The stream's policy.
    pub stream: &'a Stream,
    /// The target that was called.
    pub target: &'a TargetName,
    /// How many of the plan's other targets this pass has not used up and that are open now.
    pub others_left: usize,
    /// How many more could carry it but are out now.
    pub others_out: usize,
    /// Attempts that counted before this one.
    pub attempts: u32,
    /// When the message is too old.
    pub expires_at: Timestamp,
    /// When the attempt ended.
    pub now: Timestamp,
    /// Chance, 0.0 to 1.0, for the jitter.
    pub chance: f64,
    /// Whether an immediate re-attempt is within the retry budget.
    pub has_retry_budget: bool,
}

/// Where the delivery goes from here.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Its state.
    pub state: State,
    /// When it is due again, if it waits.
    pub due_at: Option<Timestamp>,
    /// Attempts that counted.
    pub attempts: u32,
    /// What happened, for the timeline.
    pub event: EventKind,
    /// Whose fault it is, for bounces and deferrals.
    pub blame: Option<Blame>,
    /// Whether the address is suppressed everywhere from now on.
    pub suppress: bool,
    /// Whether this was or will be an immediate re-attempt that draws on the retry budget.
    pub draws_on_budget: bool,
}

/// Decides. `progress` is updated in place.
pub fn decide(
    situation: &Situation<'_>,
    progress: &mut Progress,
    result: &Result<Receipt, SendError>,
) -> Step {
    let error = match result {
        Ok(_) => return settled(situation, State::Sent, EventKind::Sent),
        Err(error) => error,
    };
    let mut step = after_failure(situation, progress, error);
    if matches!(step.event, EventKind::Bounced | EventKind::Deferred) {
        step.blame = blame_of(error);
    }
    step
}

/// What the verdict says or, where that is about the receiver, what the reply's words say more
/// exactly. That it is the recipient's fault only the verdict says, since that suppresses.
fn blame_of(error: &SendError) -> Option<Blame> {
    let said = error.blame.filter(|blame| *blame != Blame::Recipient);
    match &error.verdict {
        Verdict::Rejected(Fault::Recipient) => Some(Blame::Recipient),
        Verdict::Throttled { .. } => said.or(Some(Blame::Rate)),
        Verdict::QuotaSpent { .. } => Some(Blame::Rate),
        Verdict::Transient | Verdict::ProviderUnusable | Verdict::PoolUnusable => {
            Some(Blame::Infrastructure)
        }
        Verdict::SenderUnusable => Some(Blame::SenderAuth),
        Verdict::Deferred => said.or(Some(Blame::Unknown)),
        Verdict::Rejected(Fault::Message | Fault::MessageHere) => said.or(Some(Blame::Content)),
        Verdict::Rejected(Fault::Reputation) => said.or(Some(Blame::Reputation)),
        Verdict::Rejected(Fault::NotPermitted) => Some(Blame::Infrastructure),
        Verdict::Ungroup | Verdict::Suppressed | Verdict::Unknown => None,
    }
}

fn after_failure(situation: &Situation<'_>, progress: &mut Progress, error: &SendError) -> Step {
    let word = error.verdict.as_str();
    match &error.verdict {
        Verdict::Throttled { after } => throttled(situation, progress, *after),
        Verdict::Transient => transient(situation, progress),
        Verdict::Deferred => stay(situation, progress),
        Verdict::QuotaSpent { .. }
        | Verdict::ProviderUnusable
        | Verdict::PoolUnusable
        | Verdict::SenderUnusable => {
            progress.use_up(situation.target, word);
            next_target(situation, progress, Count::No)
        }
        // It was alone in its call: nothing is left to take apart.
        Verdict::Ungroup if progress.is_single => back_off(situation, progress, false),
        Verdict::Ungroup => {
            progress.is_single = true;
            waiting(
                situation,
                State::Queued,
                situation.now,
                EventKind::Deferred,
                Count::No,
            )
        }
        Verdict::Suppressed => settled(situation, State::Suppressed, EventKind::Suppressed),
        Verdict::Rejected(fault) => rejected(situation, progress, *fault, word),
        Verdict::Unknown => unknown(situation, progress),
    }
}

/// Wait before pass `passes + 1`: full jitter (between nothing and the exponential bound).
#[must_use]
pub fn back_off_wait(retry: &RetryPolicy, passes: u32, chance: f64) -> Duration {
    let exponent = i32::try_from(passes.saturating_sub(1)).unwrap_or(i32::MAX);
    let bound = retry.first.as_secs_f64() * retry.factor.powi(exponent);
    let bound = bound.min(retry.max.as_secs_f64());
    // A wait of nothing would make a busy loop of a failing target.
    Duration::from_secs_f64((bound * chance.clamp(0.0, 1.0)).max(bound.min(1.0) * 0.1))
}

#[derive(Clone, Copy, PartialEq)]
enum Count {
    Yes,
    No,
}

fn settled(situation: &Situation<'_>, state: State, event: EventKind) -> Step {
    Step {
        state,
        due_at: None,
        attempts: situation.attempts.saturating_add(1),
        event,
        blame: None,
        suppress: false,
        draws_on_budget: false,
    }
}

fn waiting(
    situation: &Situation<'_>,
    state: State,
    due_at: Timestamp,
    event: EventKind,
    count: Count,
) -> Step {
    Step {
        state,
        due_at: Some(due_at),
        attempts: situation
            .attempts
            .saturating_add(u32::from(count == Count::Yes)),
        event,
        blame: None,
        suppress: false,
        draws_on_budget: false,
    }
}

fn throttled(situation: &Situation<'_>, progress: &mut Progress, after: Option<Duration>) -> Step {
    if situation.stream.failover.on_throttle == OnThrottle::Next && situation.others_left > 0 {
        progress.use_up(situation.target, "throttled");
        return waiting(
            situation,
            State::Queued,
            situation.now,
            EventKind::FailedOver,
            Count::No,
        );
    }
    // All that a pass used up was used up by throttling or faults of the targets: start over when
    // this one may send again.
    progress.used_up.clear();
    let due_at = later(situation.now, throttle_wait(after, situation.chance));
    waiting(
        situation,
        State::Deferred,
        due_at,
        EventKind::Deferred,
        Count::No,
    )
}

fn transient(situation: &Situation<'_>, progress: &mut Progress) -> Step {
    let since = progress.failing_since(situation.target, situation.now);
    let patience_ends = later(since, situation.stream.failover.transient_after);
    if situation.now < patience_ends {
        return stay(situation, progress);
    }
    progress.use_up(situation.target, "transient");
    let mut step = next_target(situation, progress, Count::Yes);
    spend_budget(situation, &mut step);
    step
}

fn rejected(situation: &Situation<'_>, progress: &mut Progress, fault: Fault, word: &str) -> Step {
    let may_go_elsewhere = matches!(fault, Fault::MessageHere | Fault::Reputation);
    if may_go_elsewhere && situation.others_left > 0 {
        progress.refuse(situation.target, word);
        return waiting(
            situation,
            State::Queued,
            situation.now,
            EventKind::FailedOver,
            Count::Yes,
        );
    }
    // Another provider may take it as soon as it is well again.
    if may_go_elsewhere && situation.others_out > 0 {
        progress.refuse(situation.target, word);
        return back_off(situation, progress, true);
    }
    let mut step = settled(situation, State::Bounced, EventKind::Bounced);
    step.suppress = fault == Fault::Recipient;
    step
}

fn unknown(situation: &Situation<'_>, progress: &mut Progress) -> Step {
    match situation.stream.on_unknown {
        OnUnknown::PreferNoDuplicate => settled(situation, State::Unknown, EventKind::Unknown),
        OnUnknown::PreferNoLoss if progress.ask_again.as_ref() != Some(situation.target) => {
            progress.ask_again = Some(situation.target.clone());
            let due_at = later(situation.now, ASK_AGAIN_AFTER);
            waiting(
                situation,
                State::Deferred,
                due_at,
                EventKind::ResendRisk,
                Count::Yes,
            )
        }
        OnUnknown::PreferNoLoss => {
            progress.use_up(situation.target, "unknown");
            let mut step = next_target(situation, progress, Count::Yes);
            step.event = EventKind::ResendRisk;
            spend_budget(situation, &mut step);
            step
        }
    }
}

/// The same target later.
fn stay(situation: &Situation<'_>, progress: &mut Progress) -> Step {
    progress.stay_with = Some(situation.target.clone());
    back_off(situation, progress, false)
}

/// The next target of the plan now, or the end of the pass.
fn next_target(situation: &Situation<'_>, progress: &mut Progress, count: Count) -> Step {
    if situation.others_left > 0 {
        return waiting(
            situation,
            State::Queued,
            situation.now,
            EventKind::FailedOver,
            count,
        );
    }
    let mut step = back_off(situation, progress, true);
    if count == Count::No {
        step.attempts = situation.attempts;
    }
    step
}

/// Waits with jitter; what would come after the message's end is set on its end, where it expires.
fn back_off(situation: &Situation<'_>, progress: &mut Progress, ends_pass: bool) -> Step {
    if ends_pass {
        progress.end_pass();
    } else {
        progress.passes = progress.passes.saturating_add(1);
    }
    let wait = back_off_wait(&situation.stream.retry, progress.passes, situation.chance);
    let due_at = later(situation.now, wait).min(situation.expires_at);
    waiting(
        situation,
        State::Deferred,
        due_at,
        EventKind::Deferred,
        Count::Yes,
    )
}

/// An immediate re-attempt beyond the budget becomes one a little later.
fn spend_budget(situation: &Situation<'_>, step: &mut Step) {
    if step.state != State::Queued {
        return;
    }
    if situation.has_retry_budget {
        step.draws_on_budget = true;
    } else {
        let wait = Duration::from_secs_f64(1.0 + 9.0 * situation.chance.clamp(0.0, 1.0));
        step.due_at = Some(later(situation.now, wait).min(situation.expires_at));
    }
}

#[cfg(test)]
mod tests;
