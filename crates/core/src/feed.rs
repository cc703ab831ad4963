//! The feed: every event of every delivery in the order in which it became durable, as apps, Mautic
//! and `GET /v1/events` are told of it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::address::EmailAddress;
use crate::event::{Blame, EventKind};
use crate::id::{DeliveryId, IdFault};
use crate::name::{CredentialName, PoolName, ProviderName, StreamName};

/// A place in the feed: behind the event of this number. Numbers grow, with gaps; a reader that
/// goes on from the last place it was given misses nothing and sees nothing twice.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct FeedCursor(pub i64);

/// Identifies an event for ever: the delivery and the event's place on its timeline, from 1.
/// Written `evt_<message, 32 hex digits>_<index>_<seq>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EventId {
    /// The delivery.
    pub delivery: DeliveryId,
    /// The event's place on the delivery's timeline.
    pub seq: u32,
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DeliveryId { message, index } = self.delivery;
        write!(f, "evt_{}_{index}_{}", message.simple(), self.seq)
    }
}

impl FromStr for EventId {
    type Err = IdFault;

    fn from_str(text: &str) -> Result<Self, IdFault> {
        let mut parts = text.strip_prefix("evt_").ok_or(IdFault)?.split('_');
        let mut next = || parts.next().ok_or(IdFault);
        let message = next()?.parse()?;
        let index = next()?.parse().map_err(|_| IdFault)?;
        let seq = next()?.parse().map_err(|_| IdFault)?;
        match parts.next() {
            Some(_) => Err(IdFault),
            None => Ok(Self {
                delivery: DeliveryId { message, index },
                seq,
            }),
        }
    }
}

impl TryFrom<String> for EventId {
    type Error = IdFault;

    fn try_from(text: String) -> Result<Self, IdFault> {
        text.parse()
    }
}

impl From<EventId> for String {
    fn from(id: EventId) -> Self {
        id.to_string()
    }
}

/// One event with what a reader needs to know of its message.
#[derive(Debug, Clone, PartialEq)]
pub struct FeedEvent {
    /// Where a reader that has seen it goes on.
    pub cursor: FeedCursor,
    /// Which event.
    pub id: EventId,
    /// What happened.
    pub kind: EventKind,
    /// By whose fault, where something failed.
    pub blame: Option<Blame>,
    /// When it happened, by the clock of who told.
    pub at: Timestamp,
    /// Who submitted the message.
    pub credential: CredentialName,
    /// The message's stream.
    pub stream: StreamName,
    /// The recipient, as submitted.
    pub recipient: String,
    /// MAIL FROM as submitted; `None` is `<>`.
    pub mail_from: Option<EmailAddress>,
    /// The provider that told, or whose answer it is.
    pub provider: Option<ProviderName>,
    /// The pool of that provider's last attempt.
    pub pool: Option<PoolName>,
    /// The provider's id of the message.
    pub provider_message_id: Option<String>,
    /// The provider's or the remote server's words.
    pub reply: String,
    /// The message's tags.
    pub tags: Vec<String>,
    /// The message's metadata.
    pub metadata: BTreeMap<String, String>,
    /// The campaign: Mautic's X-EMAIL-ID, or metadata `campaign`.
    pub campaign: Option<String>,
    /// Mautic's tracking hash.
    pub tracking_hash: Option<String>,
    /// The https address of the message's List-Unsubscribe field, if it takes one-click posts
    /// (RFC 8058).
    pub one_click: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_s_id_survives_being_written_and_read() {
        let text = "evt_0192b3a0000070008000000000000000_3_12";
        let id: EventId = text.parse().unwrap();
        assert_eq!((id.delivery.index, id.seq), (3, 12));
        assert_eq!(id.to_string(), text);
        for wrong in [
            "",
            "evt_",
            "0192b3a0000070008000000000000000_3_12",
            "evt_0192b3a0000070008000000000000000_3",
            "evt_0192b3a0000070008000000000000000_3_12_1",
            "evt_0192b3a0000070008000000000000000_65536_1",
        ] {
            assert!(wrong.parse::<EventId>().is_err(), "{wrong}");
        }
    }
}
