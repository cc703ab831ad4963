//! What counts mean: pure.

use std::fmt;
use std::time::Duration;

use malote_core::guard::GuardPolicy;
use malote_store::{GuardState, GuardTally};

/// What slowed goes on when it is below this part of the limit, so that it does not flap.
const EASE: f64 = 0.8;

/// How far the guard would go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Slow,
    Pause,
}

/// A share that is above its limit, in numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Finding {
    level: Level,
    count: u64,
    /// What is counted, and of what.
    words: (&'static str, &'static str),
    of: u64,
    limit: f64,
    window: Duration,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, of) = self.words;
        let verb = match self.level {
            Level::Slow => "slow",
            Level::Pause => "pause",
        };
        write!(
            f,
            "{} {what} of {} {of} ({}) in {} h; {verb} above {}",
            self.count,
            self.of,
            percent(share(self.count, self.of)),
            self.window.as_secs().div_ceil(3600),
            percent(self.limit),
        )
    }
}

/// A share as people write it: two digits that say something, at most.
fn percent(share: f64) -> String {
    let percent = share * 100.0;
    let digits = match percent {
        p if p >= 1.0 => 1,
        p if p >= 0.1 => 2,
        _ => 3,
    };
    let text = format!("{percent:.digits$}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{} %", if text.is_empty() { "0" } else { text })
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn share(count: u64, of: u64) -> f64 {
    if of == 0 {
        return 0.0;
    }
    count as f64 / of as f64
}

/// What complaints are measured against: the mail whose complaints would be told, once that is
/// enough to say something; until then all mail, which says too little and never too much.
fn complained_of(policy: &GuardPolicy, tally: &GuardTally) -> (u64, &'static str) {
    if tally.reported >= policy.min_sends {
        (
            tally.reported,
            "sends to mailbox providers that report them",
        )
    } else {
        (tally.sends, "sends")
    }
}

/// The first share that is above its limit of this level; `ease` is the part of the limit that
/// counts.
fn above(policy: &GuardPolicy, tally: &GuardTally, level: Level, ease: f64) -> Option<Finding> {
    if tally.sends < policy.min_sends {
        return None;
    }
    let (reporting, reporting_word) = complained_of(policy, tally);
    let (bounce_limit, complaint_limit) = match level {
        Level::Slow => (policy.bounce_slow, policy.complaint_slow),
        Level::Pause => (policy.bounce_pause, policy.complaint_pause),
    };
    let measures = [
        (
            tally.bounces,
            tally.sends,
            bounce_limit,
            ("hard bounces", "sends"),
        ),
        (
            tally.complaints,
            reporting,
            complaint_limit,
            ("complaints", reporting_word),
        ),
    ];
    let mut found = measures.into_iter();
    let found = found.find(|(count, of, limit, _)| share(*count, *of) > limit * ease);
    found.map(|(count, of, limit, words)| Finding {
        level,
        count,
        words,
        of,
        limit,
        window: policy.window,
    })
}

/// What is to change.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Change {
    Slow(Finding),
    Pause(Finding),
    /// What was slowed goes on as before.
    Open,
}

/// What follows from counts: first slow, then, if more mail does not better it, pause. What is
/// paused stays so until a person resumes it. `before` is the decision that stands, with the
/// counts that it was made on.
pub(super) fn next(
    policy: &GuardPolicy,
    before: Option<(GuardState, &GuardTally)>,
    tally: &GuardTally,
) -> Option<Change> {
    let found = |level| above(policy, tally, level, 1.0);
    match before {
        None | Some((GuardState::Resumed, _)) => found(Level::Slow).map(Change::Slow),
        Some((GuardState::Slowed, then)) => {
            let has_news = tally.sends > then.sends
                || tally.bounces > then.bounces
                || tally.complaints > then.complaints;
            let is_well = above(policy, tally, Level::Slow, EASE).is_none();
            match found(Level::Pause).filter(|_| has_news) {
                Some(finding) => Some(Change::Pause(finding)),
                None => is_well.then_some(Change::Open),
            }
        }
        Some((GuardState::Paused, _)) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(sends: u64, reported: u64, bounces: u64, complaints: u64) -> GuardTally {
        GuardTally {
            sends,
            reported,
            bounces,
            complaints,
        }
    }

    #[test]
    fn a_share_above_its_limit_is_found_once_there_is_enough_mail() {
        let policy = GuardPolicy::default();
        for (tally, level) in [
            (tally(499, 0, 400, 0), None),
            (tally(500, 0, 15, 0), None),
            (tally(500, 0, 16, 0), Some(Level::Slow)),
            (tally(500, 0, 25, 0), Some(Level::Slow)),
            (tally(500, 0, 26, 0), Some(Level::Pause)),
            (tally(499, 499, 0, 1), None),
            (tally(500, 500, 0, 1), Some(Level::Pause)),
            (tally(999, 999, 0, 1), Some(Level::Pause)),
            (tally(1_000, 1_000, 0, 1), Some(Level::Slow)),
            (tally(1_999, 0, 0, 1), Some(Level::Slow)),
            (tally(2_000, 2_000, 0, 1), None),
            (tally(3_000, 3_000, 0, 2), Some(Level::Slow)),
            (tally(4_000, 4_000, 0, 2), None),
            // Measured against mail whose complaints are told.
            (tally(100_000, 1_000, 0, 2), Some(Level::Pause)),
            // Too little of that: against all mail.
            (tally(100_000, 499, 0, 2), None),
            (tally(1_000, 0, 0, 2), Some(Level::Pause)),
            (tally(0, 0, 0, 0), None),
        ] {
            let found = [Level::Pause, Level::Slow].into_iter();
            let found = found.filter_map(|level| above(&policy, &tally, level, 1.0));
            let found = found.map(|finding| finding.level).next();
            assert_eq!(found, level, "{tally:?}");
        }
    }

    #[test]
    fn the_reason_tells_the_numbers() {
        let policy = GuardPolicy::default();
        let words = |tally, level| above(&policy, &tally, level, 1.0).unwrap().to_string();
        assert_eq!(
            words(tally(612, 0, 37, 0), Level::Pause),
            "37 hard bounces of 612 sends (6 %) in 24 h; pause above 5 %"
        );
        assert_eq!(
            words(tally(1_000, 0, 33, 0), Level::Slow),
            "33 hard bounces of 1000 sends (3.3 %) in 24 h; slow above 3 %"
        );
        assert_eq!(
            words(tally(9_000, 2_000, 0, 3), Level::Pause),
            "3 complaints of 2000 sends to mailbox providers that report them (0.15 %) in 24 h; \
             pause above 0.1 %"
        );
    }

    #[test]
    fn it_slows_first_then_pauses_and_only_what_is_slowed_opens_by_itself() {
        let policy = GuardPolicy::default();
        let (well, high, worse) = (
            tally(1_000, 0, 5, 0),
            tally(1_000, 0, 40, 0),
            tally(1_000, 0, 60, 0),
        );
        let later = tally(1_001, 0, 60, 0);
        let eased = tally(1_000, 0, 28, 0);
        use GuardState::{Paused, Resumed, Slowed};
        for (before, now, then) in [
            (None, well, "-"),
            (None, high, "slow"),
            (None, worse, "slow"),
            (Some((Resumed, well)), worse, "slow"),
            (Some((Slowed, high)), high, "-"),
            // Above the limit, and nothing new: nothing has shown yet what slowing does.
            (Some((Slowed, worse)), worse, "-"),
            (Some((Slowed, worse)), later, "pause"),
            (Some((Slowed, high)), worse, "pause"),
            (Some((Slowed, high)), eased, "-"),
            (Some((Slowed, high)), well, "open"),
            (Some((Slowed, high)), tally(3, 0, 3, 0), "open"),
            (Some((Paused, worse)), well, "-"),
            (Some((Paused, worse)), later, "-"),
        ] {
            let before = before.as_ref().map(|(state, tally)| (*state, tally));
            let change = match next(&policy, before, &now) {
                None => "-",
                Some(Change::Slow(_)) => "slow",
                Some(Change::Pause(_)) => "pause",
                Some(Change::Open) => "open",
            };
            assert_eq!(change, then, "{before:?} {now:?}");
        }
    }

    #[test]
    fn shares_are_written_short() {
        for (share, text) in [
            (0.0, "0 %"),
            (0.05, "5 %"),
            (0.07, "7 %"),
            (0.0604, "6 %"),
            (0.001, "0.1 %"),
            (0.0005, "0.05 %"),
            (1.0, "100 %"),
        ] {
            assert_eq!(percent(share), text);
        }
    }
}
