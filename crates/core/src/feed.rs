//! The feed: every event of every delivery in the order in which it became durable, as apps, Mautic
//! and `GET /v1/events` are told of it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::address::EmailAddress;
use crate::event::{Blame, EventKind};
use crate::id::{DeliveryId, IdFault, MessageId};
use crate::name::{CredentialName, PoolName, ProviderName, StreamName};

/// A place in the feed: behind the event of this number. Numbers grow, with gaps; a reader that
/// goes on from the last place it was given misses nothing and sees nothing twice.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct FeedCursor(pub i64);

/// What a cursor begins with where others see it.
const CURSOR_PREFIX: &str = "cur_";

impl fmt::Display for FeedCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{CURSOR_PREFIX}{:016x}", self.0)
    }
}

impl FromStr for FeedCursor {
    type Err = CursorFault;

    fn from_str(text: &str) -> Result<Self, CursorFault> {
        let digits = text.strip_prefix(CURSOR_PREFIX).ok_or(CursorFault)?;
        let is_ours = digits.len() == 16 && digits.bytes().all(|b| b.is_ascii_hexdigit());
        let number = i64::from_str_radix(digits, 16).map_err(|_| CursorFault)?;
        if is_ours && number >= 0 {
            Ok(Self(number))
        } else {
            Err(CursorFault)
        }
    }
}

/// A text that is not a place in the feed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor that this gateway gave out")]
pub struct CursorFault;

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

/// One event as others read it: the body of an app webhook, and one of `GET /v1/events`. What is
/// not known is `null`, never left out.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EventBody<'a> {
    /// Which event. The same one may be told again, under the same id.
    pub id: EventId,
    /// What happened: a word of ours, or `other`'s own.
    #[serde(rename = "type")]
    pub kind: &'a str,
    /// By whose fault, where something failed.
    pub class: Option<Blame>,
    /// When it happened.
    pub at: Timestamp,
    /// The message.
    pub message_id: MessageId,
    /// The recipient, as submitted.
    pub recipient: &'a str,
    /// The message's stream.
    pub stream: &'a StreamName,
    /// The provider that told, or whose answer it is.
    pub provider: Option<&'a ProviderName>,
    /// The pool of that provider's last attempt.
    pub pool: Option<&'a PoolName>,
    /// The provider's id of the message.
    pub provider_message_id: Option<&'a str>,
    /// The provider's or the remote server's words.
    pub reply: &'a str,
    /// The message's tags.
    pub tags: &'a [String],
    /// The message's metadata.
    pub metadata: &'a BTreeMap<String, String>,
}

impl<'a> From<&'a FeedEvent> for EventBody<'a> {
    fn from(event: &'a FeedEvent) -> Self {
        Self {
            id: event.id,
            kind: event.kind.as_str(),
            class: event.blame,
            at: event.at,
            message_id: event.id.delivery.message,
            recipient: &event.recipient,
            stream: &event.stream,
            provider: event.provider.as_ref(),
            pool: event.pool.as_ref(),
            provider_message_id: event.provider_message_id.as_deref(),
            reply: &event.reply,
            tags: &event.tags,
            metadata: &event.metadata,
        }
    }
}

/// Which events to read. All given conditions must hold. Events of mail that the gateway itself
/// made (delivery status notifications, mail of outlets) are never among them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FeedQuery {
    /// Only events behind this place; the default is the oldest kept.
    pub after: FeedCursor,
    /// Only events of this credential's messages.
    pub owner: Option<CredentialName>,
    /// Only events of this message.
    pub message: Option<MessageId>,
    /// Only events of deliveries to this address.
    pub recipient: Option<EmailAddress>,
    /// Only events of these kinds; empty is every kind.
    pub kinds: Vec<EventKind>,
    /// Only events that became durable at or after this time.
    pub since: Option<Timestamp>,
    /// Only events that became durable at or before this time.
    pub until: Option<Timestamp>,
    /// Events a page, 1 to [`FEED_LIMIT_MAX`].
    pub limit: u16,
}

/// Most events of one page.
pub const FEED_LIMIT_MAX: u16 = 1_000;

/// Events in the order in which they became durable.
#[derive(Debug, Clone, PartialEq)]
pub struct FeedPage {
    /// The events; a page may come short, or empty, since a call looks at so many only.
    pub events: Vec<FeedEvent>,
    /// Where to go on: behind everything looked at, whether or not it matched.
    pub next: FeedCursor,
    /// Whether everything that was durable has been looked at.
    pub is_end: bool,
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

    #[test]
    fn a_cursor_survives_being_written_and_read() {
        for number in [0, 1, 0xABCD, i64::MAX] {
            let text = FeedCursor(number).to_string();
            assert_eq!(text.parse(), Ok(FeedCursor(number)));
        }
        for wrong in [
            "",
            "cur_",
            "0000000000000001",
            "cur_1",
            "cur_+000000000000001",
            "cur_ffffffffffffffff",
            "cur_00000000000000001",
        ] {
            assert_eq!(wrong.parse::<FeedCursor>(), Err(CursorFault), "{wrong}");
        }
    }

    #[test]
    fn an_event_as_others_read_it_says_null_for_what_is_not_known() {
        let event = FeedEvent {
            cursor: FeedCursor(7),
            id: "evt_0192b3a0000070008000000000000000_0_2".parse().unwrap(),
            kind: EventKind::Bounced,
            blame: Some(Blame::MailboxFull),
            at: Timestamp::from_second(1_795_305_600).unwrap(),
            credential: "shop".parse().unwrap(),
            stream: "tx".parse().unwrap(),
            recipient: "a@x.test".into(),
            mail_from: None,
            provider: Some("ses".parse().unwrap()),
            pool: None,
            provider_message_id: None,
            reply: "552 full".into(),
            tags: vec!["welcome".into()],
            metadata: BTreeMap::from([("order".into(), "7".into())]),
            campaign: None,
            tracking_hash: None,
            one_click: None,
        };
        let written = serde_json::to_string(&EventBody::from(&event)).unwrap();
        assert_eq!(
            written,
            concat!(
                r#"{"id":"evt_0192b3a0000070008000000000000000_0_2","type":"bounced","#,
                r#""class":"mailbox_full","at":"2026-11-22T00:00:00Z","#,
                r#""message_id":"0192b3a0-0000-7000-8000-000000000000","recipient":"a@x.test","#,
                r#""stream":"tx","provider":"ses","pool":null,"provider_message_id":null,"#,
                r#""reply":"552 full","tags":["welcome"],"metadata":{"order":"7"}}"#
            )
        );
    }
}
