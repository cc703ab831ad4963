//! Why a way to tell Mautic did not work, and what follows for the next one.

use std::time::Duration;

use malote_core::outlet::Untold;

use super::saying::SinkKind;
use crate::web::Lost;

/// The wait after a 429 that names none: Mautic counts by the hour.
const RATE_WAIT: Duration = Duration::from_secs(300);
/// Attempts for which a way that fails for now is waited for, before the next one is taken.
const ATTEMPTS_PATIENT: u32 = 5;

/// It was not told by this way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Miss {
    /// Our own pace: the same way, a little later, however often.
    Wait(Duration),
    /// It works, and asks for time.
    Busy {
        /// The wait asked for.
        after: Duration,
        /// In words.
        why: String,
    },
    /// It may work later.
    Later {
        /// The wait asked for.
        after: Option<Duration>,
        /// In words.
        why: String,
    },
    /// Never this event by this way.
    Refused(String),
    /// Nothing by this way until somebody acts.
    Closed(String),
}

impl From<Lost> for Miss {
    fn from(lost: Lost) -> Self {
        Self::lost(&lost, lost.to_string())
    }
}

impl Miss {
    /// What a call that was lost means, in these words.
    pub(crate) const fn lost(lost: &Lost, why: String) -> Self {
        match lost {
            Lost::Private => Self::Closed(why),
            Lost::NoAnswer(_) => Self::Later { after: None, why },
        }
    }

    /// What 429 and a 5xx mean: 429, and 503 with the wait that it asks for (RFC 9110 15.6.4), are
    /// no failure.
    pub(crate) fn for_now(status: u16, asked: Option<Duration>, why: String) -> Self {
        let after = match status {
            429 => Some(asked.unwrap_or(RATE_WAIT)),
            503 => asked,
            _ => None,
        };
        match after {
            Some(after) => Self::Busy { after, why },
            None => Self::Later { after: asked, why },
        }
    }

    /// Whether the event waits for this way, rather than going on to the next.
    pub(crate) const fn is_worth_waiting(&self, attempt: u32) -> bool {
        match self {
            Self::Wait(_) => true,
            Self::Busy { .. } | Self::Later { .. } => attempt < ATTEMPTS_PATIENT,
            Self::Refused(_) | Self::Closed(_) => false,
        }
    }

    fn why(&self) -> String {
        match self {
            Self::Wait(_) => "requests_per_second".to_owned(),
            Self::Busy { why, .. }
            | Self::Later { why, .. }
            | Self::Refused(why)
            | Self::Closed(why) => why.clone(),
        }
    }
}

/// In words, for each way, why it did not work.
pub(crate) fn words(misses: &[(SinkKind, Miss)]) -> String {
    let word = |(kind, miss): &(SinkKind, Miss)| format!("{}: {}", kind.as_str(), miss.why());
    let words: Vec<String> = misses.iter().map(word).collect();
    words.join("; ")
}

/// What the engine is told when no way worked: that it waits if one of them works and asks for
/// time, later if one may work later, else that somebody must act, if that would help.
pub(crate) fn untold(misses: &[(SinkKind, Miss)]) -> Untold {
    let why = if misses.is_empty() {
        "no sink has words for this event".to_owned()
    } else {
        words(misses)
    };
    let waits = misses.iter().filter_map(|(_, miss)| match miss {
        Miss::Wait(after) | Miss::Busy { after, .. } => Some(Some(*after)),
        Miss::Later { after, .. } => Some(*after),
        Miss::Refused(_) | Miss::Closed(_) => None,
    });
    let is_busy = |(_, miss): &(SinkKind, Miss)| matches!(miss, Miss::Wait(_) | Miss::Busy { .. });
    if let Some(after) = waits.max() {
        if misses.iter().any(is_busy) {
            let after = after.unwrap_or_default();
            return Untold::Busy { after, why };
        }
        return Untold::Later { after, why };
    }
    let is_closed = |(_, miss): &(SinkKind, Miss)| matches!(miss, Miss::Closed(_));
    if misses.iter().any(is_closed) {
        return Untold::Unusable { why };
    }
    Untold::Never { why }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_asks_for_time_is_busy() {
        for (status, asked_s, busy_s) in [
            (429, None, Some(300)),
            (429, Some(40), Some(40)),
            (503, Some(120), Some(120)),
            (503, None, None),
            (500, Some(40), None),
            (502, None, None),
        ] {
            let asked = asked_s.map(Duration::from_secs);
            let found = match Miss::for_now(status, asked, String::new()) {
                Miss::Busy { after, .. } => Some(after.as_secs()),
                Miss::Later { after, .. } => {
                    assert_eq!(after, asked);
                    None
                }
                other @ (Miss::Wait(_) | Miss::Refused(_) | Miss::Closed(_)) => {
                    panic!("{other:?}")
                }
            };
            assert_eq!(found, busy_s, "{status} {asked_s:?}");
        }
    }

    fn later(after: Option<u64>) -> Miss {
        Miss::Later {
            after: after.map(Duration::from_secs),
            why: "answered 500".into(),
        }
    }

    #[test]
    fn what_may_work_later_is_waited_for_five_times() {
        for attempt in 1..5 {
            assert!(later(None).is_worth_waiting(attempt));
        }
        assert!(!later(None).is_worth_waiting(5));
        assert!(Miss::Wait(Duration::ZERO).is_worth_waiting(900));
        assert!(!Miss::Refused(String::new()).is_worth_waiting(1));
        assert!(!Miss::Closed(String::new()).is_worth_waiting(1));
    }

    #[test]
    fn when_no_way_worked_the_most_hopeful_one_counts() {
        let refused = || Miss::Refused("no address".into());
        let closed = || Miss::Closed("answered 403".into());
        let later_in = |after| Untold::Later {
            after,
            why: String::new(),
        };
        let unusable = Untold::Unusable { why: String::new() };
        let busy = || Miss::Busy {
            after: Duration::from_secs(60),
            why: "answered 429".into(),
        };
        let waits = Untold::Busy {
            after: Duration::from_secs(60),
            why: String::new(),
        };
        let never = Untold::Never { why: String::new() };
        for (misses, expected) in [
            (vec![], never.clone()),
            (vec![refused()], never),
            (vec![refused(), closed()], unusable),
            (vec![closed(), later(None)], later_in(None)),
            (vec![busy(), later(None)], waits.clone()),
            (
                vec![later(Some(7)), Miss::Wait(Duration::ZERO), closed()],
                waits,
            ),
            (
                vec![later(Some(7)), later(None), refused()],
                later_in(Some(Duration::from_secs(7))),
            ),
        ] {
            let misses: Vec<_> = misses.into_iter().map(|m| (SinkKind::Api, m)).collect();
            let found = untold(&misses);
            let is_same = std::mem::discriminant(&found) == std::mem::discriminant(&expected);
            assert!(is_same, "{misses:?}: {found:?}");
            if let (Untold::Later { after: a, .. }, Untold::Later { after: b, .. }) =
                (&found, &expected)
            {
                assert_eq!(a, b);
            }
        }
    }
}
