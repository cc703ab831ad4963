//! What follows from a peer's answer: when an event comes again, when it is given up, and when its
//! outlet rests or is set aside. Pure.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use malote_core::outlet::Untold;
use malote_store::OutboxStep;

/// First wait between two attempts to tell an event.
pub(crate) const FIRST_WAIT: Duration = Duration::from_secs(5);
/// Longest wait, also of those that a peer asks for: one answer cannot park an outlet for longer.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(3600);
/// How long after its first attempt an event is given up, and how long an outlet may fail on end
/// before it is set aside.
pub(crate) const GIVE_UP_AFTER: SignedDuration = SignedDuration::from_hours(3 * 24);
/// How long nothing can be told to an outlet before somebody is told of that.
pub(crate) const BEHIND_AFTER: SignedDuration = SignedDuration::from_hours(1);
/// How often an outlet that takes nothing at all is probed.
pub(crate) const PROBE_EVERY: Duration = Duration::from_secs(300);
/// Failures in a row up to which an outlet is told as many events at once as ever.
pub(crate) const FAILURES_FREE: u32 = 8;

/// What a peer's answer is judged by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Situation<'a> {
    /// What the peer answered.
    pub(crate) answer: &'a Result<(), Untold>,
    /// Attempts to tell this event that failed before.
    pub(crate) attempts: u32,
    /// When the first of them was made.
    pub(crate) first_at: Option<Timestamp>,
    /// Since when the outlet can be told nothing.
    pub(crate) failing_since: Option<Timestamp>,
    /// Failures in a row before this answer.
    pub(crate) failures: u32,
    /// When an operator last put the outlet to work: what was before does not count.
    pub(crate) enabled_at: Option<Timestamp>,
    /// The time.
    pub(crate) now: Timestamp,
    /// Chance, 0.0 to 1.0, for the jitter.
    pub(crate) chance: f64,
}

/// What follows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NextStep {
    /// The event.
    pub(crate) event: OutboxStep,
    /// The word for metrics.
    pub(crate) outcome: Outcome,
    /// Since when the outlet can be told nothing.
    pub(crate) failing_since: Option<Timestamp>,
    /// Failures in a row.
    pub(crate) failures: u32,
    /// How long the outlet is told nothing.
    pub(crate) rest: Duration,
    /// Why the outlet is to be set aside, if so.
    pub(crate) disable: Option<String>,
}

/// What became of one attempt to tell an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The peer knows.
    Told,
    /// It may know later.
    Later,
    /// It asks for time.
    Busy,
    /// It takes nothing at all.
    Unusable,
    /// It will never take this event.
    Refused,
    /// It could not be told in all the time there is.
    GivenUp,
    /// The event's record cannot be read.
    Unreadable,
    /// A later event undid it before it was told.
    Overtaken,
}

impl Outcome {
    /// All of them, for metrics.
    pub(crate) const ALL: [Self; 8] = [
        Self::Told,
        Self::Later,
        Self::Busy,
        Self::Unusable,
        Self::Refused,
        Self::GivenUp,
        Self::Unreadable,
        Self::Overtaken,
    ];

    /// The word for metrics.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Told => "told",
            Self::Later => "later",
            Self::Busy => "busy",
            Self::Unusable => "unusable",
            Self::Refused => "refused",
            Self::GivenUp => "given_up",
            Self::Unreadable => "unreadable",
            Self::Overtaken => "overtaken",
        }
    }
}

/// Decides.
pub(crate) fn next_step(situation: &Situation<'_>) -> NextStep {
    match situation.answer {
        Ok(()) => well(OutboxStep::Told, Outcome::Told),
        // It answered, so it works.
        Err(Untold::Never { why }) => well(OutboxStep::Dropped(why.clone()), Outcome::Refused),
        Err(Untold::Later { after, why }) => later(situation, *after, why),
        Err(Untold::Busy { after, why }) => busy(situation, *after, why),
        Err(Untold::Unusable { why }) => unusable(situation, why),
    }
}

const fn well(event: OutboxStep, outcome: Outcome) -> NextStep {
    NextStep {
        event,
        outcome,
        failing_since: None,
        failures: 0,
        rest: Duration::ZERO,
        disable: None,
    }
}

fn later(situation: &Situation<'_>, after: Option<Duration>, why: &str) -> NextStep {
    let after = after.map(|after| after.min(WAIT_MAX)).unwrap_or_default();
    let wait = back_off(situation.attempts, situation.chance).max(after);
    let beyond = situation.failures.saturating_sub(FAILURES_FREE - 1);
    let tired = match beyond {
        0 => Duration::ZERO,
        beyond => back_off(beyond - 1, situation.chance).min(PROBE_EVERY),
    };
    NextStep {
        rest: after.max(tired),
        ..in_its_time(situation, failed(situation, Outcome::Later, wait, why), why)
    }
}

/// The peer is well and asks for time. The outlet rests, and is told one event at once where that
/// goes on; but what asks for ever takes nothing either.
fn busy(situation: &Situation<'_>, after: Duration, why: &str) -> NextStep {
    let after = after.min(WAIT_MAX);
    let wait = back_off(situation.attempts, situation.chance).max(after);
    NextStep {
        rest: after,
        ..in_its_time(situation, failed(situation, Outcome::Busy, wait, why), why)
    }
}

/// The step, or the end of an event that was told in vain for all the time there is. An outlet that
/// is set aside keeps its events.
fn in_its_time(situation: &Situation<'_>, step: NextStep, why: &str) -> NextStep {
    let first_at = situation.first_at.max(situation.enabled_at);
    let is_over = step.disable.is_none()
        && first_at.is_some_and(|first| situation.now.duration_since(first) >= GIVE_UP_AFTER);
    if !is_over {
        return step;
    }
    NextStep {
        event: OutboxStep::Dropped(format!("given up after three days: {why}")),
        outcome: Outcome::GivenUp,
        ..step
    }
}

fn unusable(situation: &Situation<'_>, why: &str) -> NextStep {
    NextStep {
        rest: PROBE_EVERY,
        ..failed(situation, Outcome::Unusable, PROBE_EVERY, why)
    }
}

/// The event comes again after `wait`; an outlet that has failed for too long is set aside, and
/// then the event waits for it.
fn failed(situation: &Situation<'_>, outcome: Outcome, wait: Duration, why: &str) -> NextStep {
    let now = situation.now;
    let since = situation.failing_since.unwrap_or(now);
    let is_over = now.duration_since(since) >= GIVE_UP_AFTER;
    NextStep {
        event: OutboxStep::Again {
            due_at: now.checked_add(wait).unwrap_or(Timestamp::MAX),
            error: why.to_owned(),
        },
        outcome,
        failing_since: Some(since),
        failures: situation.failures.saturating_add(1),
        rest: Duration::ZERO,
        disable: is_over.then(|| format!("nothing could be told for three days: {why}")),
    }
}

/// Full jitter under a bound that doubles from [`FIRST_WAIT`] to [`WAIT_MAX`], and never less than
/// a second.
fn back_off(attempts: u32, chance: f64) -> Duration {
    let doublings = i32::try_from(attempts.min(16)).unwrap_or(16);
    let bound = (FIRST_WAIT.as_secs_f64() * 2_f64.powi(doublings)).min(WAIT_MAX.as_secs_f64());
    Duration::from_secs_f64((bound * chance.clamp(0.0, 1.0)).max(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_795_305_600 + seconds).unwrap()
    }

    fn later(after: Option<u64>) -> Result<(), Untold> {
        Err(Untold::Later {
            after: after.map(Duration::from_secs),
            why: "503".into(),
        })
    }

    fn decide(answer: &Result<(), Untold>, change: impl FnOnce(&mut Situation<'_>)) -> NextStep {
        let mut situation = Situation {
            answer,
            attempts: 0,
            first_at: None,
            failing_since: None,
            failures: 0,
            enabled_at: None,
            now: at(3 * DAY),
            chance: 1.0,
        };
        change(&mut situation);
        next_step(&situation)
    }

    fn wait_s(step: &NextStep) -> Option<i64> {
        match &step.event {
            OutboxStep::Again { due_at, .. } => Some(due_at.duration_since(at(3 * DAY)).as_secs()),
            OutboxStep::Told | OutboxStep::Dropped(_) => None,
        }
    }

    #[test]
    fn a_peer_that_asks_for_time_gets_an_hour_at_most_and_three_days_in_all() {
        let busy = |asked_s| {
            Err(Untold::Busy {
                after: Duration::from_secs(asked_s),
                why: "429".into(),
            })
        };
        for (attempts, asked_s, wait) in
            [(0, 60, 60), (3, 1, 40), (30, 60, 3_600), (0, 86_400, 3_600)]
        {
            let step = decide(&busy(asked_s), |s| {
                s.attempts = attempts;
                s.first_at = Some(at(1));
                s.failing_since = Some(at(1));
                s.failures = 9;
            });
            assert_eq!(wait_s(&step), Some(wait), "{attempts} {asked_s}");
            assert_eq!((step.outcome, step.disable), (Outcome::Busy, None));
            assert_eq!((step.failing_since, step.failures), (Some(at(1)), 10));
            assert_eq!(step.rest.as_secs(), asked_s.min(3_600));
        }
        for (first_at, failing_since, outcome, is_disabled) in [
            (0, Some(1), Outcome::GivenUp, false),
            (0, None, Outcome::GivenUp, false),
            (0, Some(0), Outcome::Busy, true),
        ] {
            let step = decide(&busy(60), |s| {
                s.first_at = Some(at(first_at));
                s.failing_since = failing_since.map(at);
            });
            let seen = (step.outcome, step.disable.is_some());
            assert_eq!(seen, (outcome, is_disabled), "{first_at} {failing_since:?}");
        }
    }

    #[test]
    fn waits_double_with_full_jitter_and_a_peer_s_wish_is_kept_up_to_an_hour() {
        for (attempts, chance, after, wait) in [
            (0, 1.0, None, 5),
            (0, 0.0, None, 1),
            (1, 1.0, None, 10),
            (3, 0.5, None, 20),
            (30, 1.0, None, 3_600),
            (0, 1.0, Some(120), 120),
            (5, 1.0, Some(10), 160),
            (0, 1.0, Some(86_400), 3_600),
        ] {
            let step = decide(&later(after), |s| {
                s.attempts = attempts;
                s.chance = chance;
            });
            assert_eq!(wait_s(&step), Some(wait), "{attempts} {chance} {after:?}");
            assert_eq!(step.rest.as_secs(), after.unwrap_or(0).min(3_600));
            assert_eq!(step.outcome, Outcome::Later);
            assert_eq!((step.failing_since, step.failures), (Some(at(3 * DAY)), 1));
        }
    }

    #[test]
    fn an_outlet_that_fails_and_fails_is_asked_ever_more_rarely() {
        for (failures, rest) in [(0, 0), (6, 0), (7, 0), (8, 5), (9, 10), (12, 80), (40, 300)] {
            let step = decide(&later(None), |s| s.failures = failures);
            assert_eq!(step.rest.as_secs(), rest, "{failures}");
            assert_eq!(step.failures, failures + 1);
        }
    }

    #[test]
    fn an_event_is_given_up_after_three_days_and_an_outlet_set_aside() {
        let told = decide(&Ok(()), |s| s.failures = 9);
        assert_eq!((&told.event, told.failures), (&OutboxStep::Told, 0));
        assert_eq!((told.failing_since, told.rest), (None, Duration::ZERO));

        for (first_at, failing_since, enabled_at, outcome, is_disabled) in [
            (Some(1), Some(1), None, Outcome::Later, false),
            (Some(0), Some(1), None, Outcome::GivenUp, false),
            (Some(0), None, None, Outcome::GivenUp, false),
            (Some(0), Some(0), None, Outcome::Later, true),
            (None, Some(0), None, Outcome::Later, true),
            (Some(0), Some(2 * DAY), Some(2 * DAY), Outcome::Later, false),
        ] {
            let step = decide(&later(None), |s| {
                s.first_at = first_at.map(at);
                s.failing_since = failing_since.map(at);
                s.enabled_at = enabled_at.map(at);
            });
            let case = format!("{first_at:?} {failing_since:?} {enabled_at:?}");
            assert_eq!(
                (step.outcome, step.disable.is_some()),
                (outcome, is_disabled),
                "{case}"
            );
            let is_kept = matches!(step.event, OutboxStep::Again { .. });
            assert_eq!(is_kept, outcome == Outcome::Later, "{case}");
        }
    }

    #[test]
    fn an_unusable_outlet_is_probed_every_five_minutes_for_three_days() {
        let answer = Err(Untold::Unusable { why: "401".into() });
        for (failing_since, is_disabled) in [(None, false), (Some(1), false), (Some(0), true)] {
            let step = decide(&answer, |s| {
                s.failing_since = failing_since.map(at);
                s.first_at = Some(at(-DAY));
            });
            assert_eq!((step.rest, wait_s(&step)), (PROBE_EVERY, Some(300)));
            assert_eq!(step.outcome, Outcome::Unusable);
            assert_eq!(step.disable.is_some(), is_disabled);
        }
    }

    #[test]
    fn what_a_peer_never_takes_is_dropped_and_says_that_it_works() {
        let answer = Err(Untold::Never { why: "413".into() });
        let step = decide(&answer, |s| s.failing_since = Some(at(0)));
        assert_eq!(step.event, OutboxStep::Dropped("413".into()));
        assert_eq!((step.outcome, step.failing_since), (Outcome::Refused, None));
    }
}
