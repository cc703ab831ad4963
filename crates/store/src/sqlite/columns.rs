//! How the gateway's words stand in columns of SQLite, and back: row ids of deliveries, and faults.

use jiff::Timestamp;
use malote_core::event::State;
use malote_core::id::DeliveryId;
use malote_core::message::Channel;
use malote_core::stream::Class;

use crate::columns as words;
use crate::sqlite::fault::Fault;

pub(crate) use crate::columns::{channel_text, micros, notify, notify_bits, signed, state_number};

/// Deliveries of one message have ids in a row of this many.
const DELIVERIES_PER_MESSAGE: i64 = 1 << 16;

/// The row id of a delivery.
pub(crate) const fn delivery_pk(message_pk: i64, index: u16) -> i64 {
    message_pk * DELIVERIES_PER_MESSAGE + index as i64
}

/// The row id of a delivery's message.
pub(crate) const fn message_pk(delivery_pk: i64) -> i64 {
    delivery_pk / DELIVERIES_PER_MESSAGE
}

/// The position of a delivery in its message.
pub(crate) fn index(delivery_pk: i64) -> u16 {
    u16::try_from(delivery_pk % DELIVERIES_PER_MESSAGE).unwrap_or(u16::MAX)
}

/// First and last row id that deliveries of a message can have.
pub(crate) const fn delivery_range(message_pk: i64) -> (i64, i64) {
    (
        delivery_pk(message_pk, 0),
        delivery_pk(message_pk, u16::MAX),
    )
}

/// The time of a column.
pub(crate) fn timestamp(micros: i64) -> Result<Timestamp, Fault> {
    Ok(words::timestamp(micros)?)
}

/// The state of a number.
pub(crate) fn state(number: i64) -> Result<State, Fault> {
    Ok(words::state(number)?)
}

/// The class of a column.
pub(crate) fn class(word: &str) -> Result<Class, Fault> {
    Ok(words::class(word)?)
}

/// The channel of a column.
pub(crate) fn channel(text: &str) -> Result<Channel, Fault> {
    Ok(words::channel(text)?)
}

/// A name or address of a column; the text itself stays out of the error.
pub(crate) fn parsed<T, S>(text: S, what: &str) -> Result<T, Fault>
where
    S: AsRef<str>,
    T: std::str::FromStr,
{
    Ok(words::parsed(text, what)?)
}

/// A count or size of a column; negative ones are none of ours.
pub(crate) fn unsigned<T: TryFrom<i64>>(number: i64) -> Result<T, Fault> {
    Ok(words::unsigned(number)?)
}

/// A record that cannot be read.
pub(crate) fn damaged(what: &str) -> Fault {
    words::damaged(what).into()
}

/// The word of a delivery in errors and cursors.
pub(crate) fn delivery_id(message: [u8; 16], delivery_pk: i64) -> DeliveryId {
    DeliveryId {
        message: malote_core::id::MessageId::from_bytes(message),
        index: index(delivery_pk),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_is_found_between_its_message_s_bounds() {
        let pk = delivery_pk(7, u16::MAX);
        assert_eq!((message_pk(pk), index(pk)), (7, u16::MAX));
        assert_eq!(delivery_range(7), (7 << 16, pk));
        assert!(delivery_range(8).0 > pk);
    }
}
