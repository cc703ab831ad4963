//! Why a way to tell Mautic did not work, and what follows for the next one.

use std::time::Duration;

use malote_core::outlet::Untold;

use super::saying::SinkKind;
use crate::web::Lost;

/// Attempts for which a way that fails for now is waited for, before the next one is taken.
const ATTEMPTS_PATIENT: u32 = 5;

/// It was not told by this way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Miss {
    /// Our own pace: the same way, a little later, however often.
    Wait(Duration),
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
        let why = lost.to_string();
        match lost {
            Lost::Private => Self::Closed(why),
            Lost::NoAnswer(_) => Self::Later { after: None, why },
        }
    }
}

impl Miss {
    /// Whether the event waits for this way, rather than going on to the next.
    pub(crate) const fn is_worth_waiting(&self, attempt: u32) -> bool {
        match self {
            Self::Wait(_) => true,
            Self::Later { .. } => attempt < ATTEMPTS_PATIENT,
            Self::Refused(_) | Self::Closed(_) => false,
        }
    }

    fn why(&self) -> String {
        match self {
            Self::Wait(_) => "requests_per_second".to_owned(),
            Self::Later { why, .. } | Self::Refused(why) | Self::Closed(why) => why.clone(),
        }
    }
}

/// In words, for each way, why it did not work.
pub(crate) fn words(misses: &[(SinkKind, Miss)]) -> String {
    let word = |(kind, miss): &(SinkKind, Miss)| format!("{}: {}", kind.as_str(), miss.why());
    let words: Vec<String> = misses.iter().map(word).collect();
    words.join("; ")
}

/// What the engine is told when no way worked: later if one of them may work later, else that
/// somebody must act, if that would help.
pub(crate) fn untold(misses: &[(SinkKind, Miss)]) -> Untold {
    let why = if misses.is_empty() {
        "no sink has words for this event".to_owned()
    } else {
        words(misses)
    };
    let waits = misses.iter().filter_map(|(_, miss)| match miss {
        Miss::Wait(wait) => Some(Some(*wait)),
        Miss::Later { after, .. } => Some(*after),
        Miss::Refused(_) | Miss::Closed(_) => None,
    });
    if let Some(after) = waits.max() {
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
        let never = Untold::Never { why: String::new() };
        for (misses, expected) in [
            (vec![], never.clone()),
            (vec![refused()], never),
            (vec![refused(), closed()], unusable),
            (vec![closed(), later(None)], later_in(None)),
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
