//! Identities: a message and one delivery of it.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::{NoContext, Uuid};

/// A text that is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a message id")]
pub struct IdFault;

/// Identifies a message for ever. A UUIDv7 (RFC 9562 5.7): ids of later messages sort later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MessageId(Uuid);

impl MessageId {
    /// A new id for a message accepted at `now`; the rest of the id is random.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        let millis = now.as_millisecond().max(0).unsigned_abs();
        let nanos = u32::try_from(now.subsec_nanosecond().max(0)).unwrap_or(0);
        Self(Uuid::new_v7(uuid::Timestamp::from_unix(
            NoContext,
            millis / 1000,
            nanos,
        )))
    }

    /// When its message was accepted, to the millisecond.
    #[must_use]
    pub fn accepted_at(&self) -> Timestamp {
        let since = self.0.get_timestamp().map(|made| made.to_unix());
        let (seconds, nanos) = since.unwrap_or_default();
        let second = i64::try_from(seconds).unwrap_or_default();
        let nanos = i32::try_from(nanos).unwrap_or_default();
        Timestamp::new(second, nanos).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// The 16 octets in which the store keeps it.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// The id kept in these 16 octets.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// 32 hex digits without hyphens, for places where a hyphen is not welcome.
    #[must_use]
    pub fn simple(&self) -> String {
        self.0.simple().to_string()
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for MessageId {
    type Err = IdFault;

    /// Accepts the hyphenated and the simple form.
    fn from_str(text: &str) -> Result<Self, IdFault> {
        if text.len() != 36 && text.len() != 32 {
            return Err(IdFault);
        }
        Uuid::try_parse(text).map(Self).map_err(|_| IdFault)
    }
}

/// One message to one envelope recipient. Written `<message, 32 hex digits>.<index>`, which is
/// what adapters put into a provider's metadata (letters, digits and a dot only).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DeliveryId {
    /// The message.
    pub message: MessageId,
    /// Position of the recipient in the envelope, from 0.
    pub index: u16,
}

impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.message.0.simple(), self.index)
    }
}

impl FromStr for DeliveryId {
    type Err = IdFault;

    fn from_str(text: &str) -> Result<Self, IdFault> {
        let (message, index) = text.split_once('.').ok_or(IdFault)?;
        Ok(Self {
            message: message.parse()?,
            index: index.parse().map_err(|_| IdFault)?,
        })
    }
}

impl TryFrom<String> for DeliveryId {
    type Error = IdFault;

    fn try_from(text: String) -> Result<Self, IdFault> {
        text.parse()
    }
}

impl From<DeliveryId> for String {
    fn from(id: DeliveryId) -> Self {
        id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_survive_being_written_and_read() {
        let message = MessageId::new("2026-11-22T00:00:00Z".parse().unwrap());
        let delivery = DeliveryId { message, index: 7 };
        assert_eq!(message.to_string().parse(), Ok(message));
        assert_eq!(message.simple().parse(), Ok(message));
        assert_eq!(delivery.to_string().parse(), Ok(delivery));
    }

    #[test]
    fn other_texts_are_not_ids() {
        for text in [
            "",
            "' OR 1",
            "../../x",
            "{0192b3a0-0000-7000-8000-000000000000}",
        ] {
            assert_eq!(text.parse::<MessageId>(), Err(IdFault), "{text}");
        }
    }
}
