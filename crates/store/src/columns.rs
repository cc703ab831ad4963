//! How the gateway's words stand in columns of every engine, and back.

use jiff::Timestamp;
use malote_core::event::State;
use malote_core::message::{Channel, Notify};
use malote_core::stream::Class;

use sha2::{Digest, Sha256};

use crate::StoreError;

/// Microseconds since 1970.
pub(crate) fn micros(at: Timestamp) -> i64 {
    at.as_microsecond()
}

/// The time of a column.
pub(crate) fn timestamp(micros: i64) -> Result<Timestamp, StoreError> {
    Timestamp::from_microsecond(micros).map_err(|_| damaged("time out of range"))
}

/// The number of a state. Written to disk: never change one.
pub(crate) const fn state_number(state: State) -> i64 {
    match state {
        State::Scheduled => 0,
        State::Queued => 1,
        State::Sending => 2,
        State::Sent => 3,
        State::Delivered => 4,
        State::Deferred => 5,
        State::Held => 6,
        State::Bounced => 7,
        State::Suppressed => 8,
        State::Expired => 9,
        State::Cancelled => 10,
        State::Unknown => 11,
        State::Quarantined => 12,
    }
}

/// The state of a number.
pub(crate) fn state(number: i64) -> Result<State, StoreError> {
    let found = State::ALL.into_iter().find(|s| state_number(*s) == number);
    found.ok_or_else(|| damaged("unknown state"))
}

/// The class of a column.
pub(crate) fn class(word: &str) -> Result<Class, StoreError> {
    [Class::Transactional, Class::Campaign]
        .into_iter()
        .find(|class| class.as_str() == word)
        .ok_or_else(|| damaged("unknown class"))
}

/// A name or address of a column; the text itself stays out of the error.
pub(crate) fn parsed<T, S>(text: S, what: &str) -> Result<T, StoreError>
where
    S: AsRef<str>,
    T: std::str::FromStr,
{
    text.as_ref()
        .parse()
        .map_err(|_| damaged(&format!("unreadable {what}")))
}

/// The channel as one column.
pub(crate) fn channel_text(channel: Channel) -> String {
    match channel {
        Channel::Http(peer) => format!("http {peer}"),
        Channel::Smtp(peer) => format!("smtp {peer}"),
        Channel::Internal => "internal".into(),
    }
}

/// The channel of a column.
pub(crate) fn channel(text: &str) -> Result<Channel, StoreError> {
    match text.split_once(' ') {
        Some(("http", peer)) => Ok(Channel::Http(parsed(peer, "peer")?)),
        Some(("smtp", peer)) => Ok(Channel::Smtp(parsed(peer, "peer")?)),
        Some(_) => Err(damaged("unknown channel")),
        None if text == "internal" => Ok(Channel::Internal),
        None => Err(damaged("unknown channel")),
    }
}

/// `NOTIFY=` as bits.
pub(crate) fn notify_bits(notify: Notify) -> i64 {
    i64::from(notify.success) | i64::from(notify.failure) << 1 | i64::from(notify.delay) << 2
}

/// `NOTIFY=` of its bits.
pub(crate) const fn notify(bits: i64) -> Notify {
    Notify {
        success: bits & 1 != 0,
        failure: bits & 2 != 0,
        delay: bits & 4 != 0,
    }
}

/// A count or size of a column; negative ones are none of ours.
pub(crate) fn unsigned<T: TryFrom<i64>>(number: i64) -> Result<T, StoreError> {
    T::try_from(number).map_err(|_| damaged("number out of range"))
}

/// A count or size as a column holds it.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A record that cannot be read.
pub(crate) fn damaged(what: &str) -> StoreError {
    StoreError::Damaged(what.to_owned())
}

/// The first 8 octets of a body's SHA-256.
pub(crate) fn body_sum(body: &[u8]) -> i64 {
    let digest = Sha256::digest(body);
    let mut head = [0; 8];
    head.copy_from_slice(&digest[..8]);
    i64::from_be_bytes(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_and_channel_survives_its_column() {
        for one in State::ALL {
            assert_eq!(state(state_number(one)).unwrap(), one);
        }
        for one in [
            Channel::Http("2001:db8::1".parse().unwrap()),
            Channel::Smtp("192.0.2.1".parse().unwrap()),
            Channel::Internal,
        ] {
            assert_eq!(channel(&channel_text(one)).unwrap(), one);
        }
        assert!(channel("http").is_err() && channel("fax 1").is_err() && state(13).is_err());
    }
}
