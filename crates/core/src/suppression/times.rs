//! The times that are given for an entry.

use jiff::{SignedDuration, Timestamp};

/// How far ahead of ours the clock of who gives an entry may be.
pub const CLOCK_LEAD_MAX: SignedDuration = SignedDuration::from_mins(1);

/// Why no entry stands for the times that are given for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TimesFault {
    /// It begins more than [`CLOCK_LEAD_MAX`] from now.
    #[error("this time is still to come: leave it out to begin now")]
    BeginsLater,
    /// Its end is not after its beginning.
    #[error("the entry would end before it begins: give a later time, or none for ever")]
    EndsFirst,
}

/// Since when an entry stands that is given now for these times: now at the latest.
///
/// What began later, or stood for no time, would pass for somebody's return, and refuse what is told
/// of the address until then.
///
/// # Errors
/// If its beginning is to come, or its end not after it.
pub fn stands_since(
    at: Option<Timestamp>,
    expires_at: Option<Timestamp>,
    now: Timestamp,
) -> Result<Timestamp, TimesFault> {
    let begin = at.unwrap_or(now);
    if begin > now.saturating_add(CLOCK_LEAD_MAX).unwrap_or(now) {
        return Err(TimesFault::BeginsLater);
    }
    if expires_at.is_some_and(|end| end <= begin) {
        return Err(TimesFault::EndsFirst);
    }
    Ok(begin.min(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_begins_now_at_the_latest_and_ends_later() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let (ahead, over) = (Err(TimesFault::BeginsLater), Err(TimesFault::EndsFirst));
        for (given, until, since) in [
            (None, None, Ok(at(100))),
            (Some(40), None, Ok(at(40))),
            (Some(160), None, Ok(at(100))),
            (Some(161), None, ahead),
            (Some(161), Some(5), ahead),
            (Some(40), Some(41), Ok(at(40))),
            (Some(40), Some(40), over),
            (Some(160), Some(150), over),
            (None, Some(100), over),
            (None, Some(101), Ok(at(100))),
        ] {
            let told = stands_since(given.map(at), until.map(at), at(100));
            assert_eq!(told, since, "{given:?} {until:?}");
        }
    }
}
