//! Delivery status notifications (RFC 3464).

use bytes::Bytes;
use jiff::Timestamp;
use malote_core::address::EmailAddress;
use malote_core::event::State;
use malote_core::id::MessageId;
use malote_core::provider::Reply;
use malote_store::{Leased, MessageRecord};

/// A final failure to be told of.
pub struct DsnInput<'a> {
    /// The id of the notification itself.
    pub id: MessageId,
    /// Now.
    pub now: Timestamp,
    /// Our name.
    pub reporting_mta: &'a str,
    /// The message that failed.
    pub record: &'a MessageRecord,
    /// Its body; empty once retention has dropped it.
    pub body: &'a Bytes,
    /// The delivery that failed.
    pub delivery: &'a Leased,
    /// `Bounced` or `Expired`.
    pub state: State,
    /// What was said of it last.
    pub reply: Option<&'a Reply>,
}

/// A notification ready to be queued.
pub struct Dsn {
    /// The address in its From.
    pub from: EmailAddress,
    /// Its Message-ID with angle brackets.
    pub message_id: String,
    /// The message, CRLF line ends.
    pub body: Bytes,
}

/// Composes the notification; `None` if the message had no sender.
#[must_use]
pub fn compose(_input: &DsnInput<'_>) -> Option<Dsn> {
    None
}
