//! Messages: what is submitted and what is kept.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::address::EmailAddress;
use crate::credential::Credential;
use crate::name::StreamName;
use crate::tracking::Tracking;

/// What ingress hands over: authenticated, bounded and parsed, not yet anybody's responsibility.
#[derive(Debug, Clone)]
pub struct Submission {
    /// Who submits.
    pub credential: Arc<Credential>,
    /// Through which door.
    pub channel: Channel,
    /// MAIL FROM; `None` is the null reverse-path `<>`.
    pub mail_from: Option<EmailAddress>,
    /// The envelope's recipients, without repeats, at most 1,000.
    pub recipients: Vec<Recipient>,
    /// Addresses that cannot exist, accepted only because the credential says `report`.
    pub impossible: Vec<ImpossibleRecipient>,
    /// The message (RFC 5322), CRLF line ends only, a trace field already in front if the channel
    /// is SMTP. Contains neither a bare CR nor a bare LF.
    pub body: Bytes,
    /// The stream asked for by the API's `stream`. The header `X-Malote-Stream` is not looked at
    /// by ingress.
    pub stream: Option<StreamName>,
    /// Tags, at most 10 of 128 octets.
    pub tags: Vec<String>,
    /// Metadata, at most 20 pairs.
    pub metadata: BTreeMap<String, String>,
    /// What the message itself wants tracked, as the API's `tracking` says. `X-Malote-Track-Opens`
    /// and `X-Malote-Track-Clicks` are not looked at by ingress.
    pub tracking: Tracking,
    /// When to send; `None` is now.
    pub send_at: Option<Timestamp>,
    /// The client's idempotency key, if it gave one by HTTP header or batch member.
    pub idempotency: Option<IdempotencyKey>,
    /// DSN parameters of MAIL FROM (RFC 3461).
    pub dsn: DsnParameters,
}

/// The door that a submission came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// The HTTP API; the peer's address.
    Http(IpAddr),
    /// SMTP; the peer's address, after PROXY protocol.
    Smtp(IpAddr),
    /// The gateway itself (delivery status notifications).
    Internal,
}

/// One recipient of the envelope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipient {
    /// The address.
    pub address: EmailAddress,
    /// `NOTIFY=` (RFC 3461 4.1); `None` if not given.
    pub notify: Option<Notify>,
    /// `ORCPT=` as given, decoded of nothing (RFC 3461 4.2).
    pub orcpt: Option<String>,
}

impl Recipient {
    /// A recipient without DSN parameters.
    #[must_use]
    pub const fn new(address: EmailAddress) -> Self {
        Self {
            address,
            notify: None,
            orcpt: None,
        }
    }
}

/// An address that cannot exist, kept as the client wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImpossibleRecipient {
    /// The client's text, at most 256 octets, control characters replaced.
    pub text: String,
    /// Why no mail can be sent to it.
    pub reason: String,
    /// As [`Recipient::notify`].
    pub notify: Option<Notify>,
    /// As [`Recipient::orcpt`].
    pub orcpt: Option<String>,
}

/// `NOTIFY=` (RFC 3461 4.1). All false is `NEVER`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notify {
    /// Tell the sender of delivery.
    pub success: bool,
    /// Tell the sender of failure.
    pub failure: bool,
    /// Tell the sender of delay.
    pub delay: bool,
}

/// DSN parameters of MAIL FROM (RFC 3461 4.3 and 4.4).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DsnParameters {
    /// `RET=FULL` returns the whole message; `HDRS` and absence return its header.
    pub ret_full: bool,
    /// `ENVID=`, at most 100 octets, as given.
    pub envid: Option<String>,
}

/// A client's key for one submission. A credential's keys are its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// 1 to 255 visible ASCII characters.
    pub key: String,
    /// SHA-256 of request target and raw body; another body under the same key is refused.
    /// `None` for keys whose repeats differ in body by nature (Mautic's tracking hash).
    pub fingerprint: Option<[u8; 32]>,
}

/// Whether a CR stands without its LF, or an LF without its CR (RFC 5321 2.3.8). Such a message
/// could be read as two by a lenient server, so none is stored and none leaves.
#[must_use]
pub fn has_bare_cr_lf(message: &[u8]) -> bool {
    let (Some(first), Some(last)) = (message.first(), message.last()) else {
        return false;
    };
    // Without an early exit the compiler turns this into vector code; bad messages are rare.
    let pairs = message.iter().zip(message.iter().skip(1));
    let broken = pairs.fold(false, |broken, (a, b)| {
        broken | ((*a == b'\r') != (*b == b'\n'))
    });
    broken || *first == b'\n' || *last == b'\r'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cr_and_lf_stand_together_or_are_found() {
        for good in ["", "a", "\r\n", "a\r\nb\r\n", "\r\n\r\n.\r\n"] {
            assert!(!has_bare_cr_lf(good.as_bytes()), "{good:?}");
        }
        for bad in [
            "\n", "\r", "a\nb", "a\rb", "\r\r\n", "\r\n\n", "\n.\n", "a\r\n\r", "\n\r",
        ] {
            assert!(has_bare_cr_lf(bad.as_bytes()), "{bad:?}");
        }
    }
}
