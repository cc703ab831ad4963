//! Events: normalised facts about a delivery, in one language across all providers.

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::address::EmailAddress;
use crate::id::DeliveryId;

/// Where a delivery is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Waits for its `send_at`.
    Scheduled,
    /// Waits for its turn.
    Queued,
    /// An attempt is under way.
    Sending,
    /// A provider has taken it. Not yet delivered.
    Sent,
    /// The recipient's server has taken it.
    Delivered,
    /// Our own retry is pending.
    Deferred,
    /// Held by an operator, or since a restore, until released.
    Held,
    /// Refused for good.
    Bounced,
    /// Not sent, since the address is suppressed.
    Suppressed,
    /// Too old to be sent.
    Expired,
    /// Taken back before it left.
    Cancelled,
    /// A provider may have taken it; nobody knows.
    Unknown,
    /// It broke the gateway repeatedly and is set aside.
    Quarantined,
}

impl State {
    /// Every state, for metrics and schemas.
    pub const ALL: [Self; 13] = [
        Self::Scheduled,
        Self::Queued,
        Self::Sending,
        Self::Sent,
        Self::Delivered,
        Self::Deferred,
        Self::Held,
        Self::Bounced,
        Self::Suppressed,
        Self::Expired,
        Self::Cancelled,
        Self::Unknown,
        Self::Quarantined,
    ];

    /// The word used in answers, metrics and the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Queued => "queued",
            Self::Sending => "sending",
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Deferred => "deferred",
            Self::Held => "held",
            Self::Bounced => "bounced",
            Self::Suppressed => "suppressed",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
            Self::Unknown => "unknown",
            Self::Quarantined => "quarantined",
        }
    }

    /// The state of this word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }

    /// Whether the gateway itself will do nothing more for it.
    #[must_use]
    pub const fn is_settled(self) -> bool {
        match self {
            Self::Scheduled | Self::Queued | Self::Sending | Self::Deferred | Self::Held => false,
            Self::Sent
            | Self::Delivered
            | Self::Bounced
            | Self::Suppressed
            | Self::Expired
            | Self::Cancelled
            | Self::Unknown
            | Self::Quarantined => true,
        }
    }
}

/// What happened to a delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// The gateway took custody.
    Accepted,
    /// A provider took it.
    Sent,
    /// The recipient's server took it.
    Delivered,
    /// An attempt failed and another is planned, by us or by the provider.
    Deferred,
    /// Another target takes over.
    FailedOver,
    /// Refused for good.
    Bounced,
    /// The recipient called it spam.
    Complained,
    /// The recipient wants no more of it.
    Unsubscribed,
    /// The recipient wants it again.
    Resubscribed,
    /// Opened, as far as an image tells.
    Opened,
    /// A link was followed.
    Clicked,
    /// Not sent, since the address is suppressed, by us or by the service.
    Suppressed,
    /// The provider took it and then refused to send it (virus, policy).
    Rejected,
    /// Held until released.
    Held,
    /// Released by an operator.
    Released,
    /// Too old.
    Expired,
    /// Taken back.
    Cancelled,
    /// Nobody knows whether it was sent.
    Unknown,
    /// A restart found an attempt without an outcome and sends it again.
    ResendRisk,
    /// Set aside.
    Quarantined,
    /// Anything else a service tells, with its own word.
    Other(String),
}

impl EventKind {
    /// The word used in answers and the store.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Accepted => "accepted",
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Deferred => "deferred",
            Self::FailedOver => "failed_over",
            Self::Bounced => "bounced",
            Self::Complained => "complained",
            Self::Unsubscribed => "unsubscribed",
            Self::Resubscribed => "resubscribed",
            Self::Opened => "opened",
            Self::Clicked => "clicked",
            Self::Suppressed => "suppressed",
            Self::Rejected => "rejected",
            Self::Held => "held",
            Self::Released => "released",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
            Self::Unknown => "unknown",
            Self::ResendRisk => "resend_risk",
            Self::Quarantined => "quarantined",
            Self::Other(word) => word,
        }
    }

    /// The word for metrics: `other` for a service's own words, so that the set is closed.
    #[must_use]
    pub fn label(&self) -> &str {
        if matches!(self, Self::Other(_)) {
            "other"
        } else {
            self.as_str()
        }
    }

    /// The kind of this word; a word that is none of ours is [`EventKind::Other`].
    #[must_use]
    pub fn from_word(word: &str) -> Self {
        const OURS: [EventKind; 20] = [
            EventKind::Accepted,
            EventKind::Sent,
            EventKind::Delivered,
            EventKind::Deferred,
            EventKind::FailedOver,
            EventKind::Bounced,
            EventKind::Complained,
            EventKind::Unsubscribed,
            EventKind::Resubscribed,
            EventKind::Opened,
            EventKind::Clicked,
            EventKind::Suppressed,
            EventKind::Rejected,
            EventKind::Held,
            EventKind::Released,
            EventKind::Expired,
            EventKind::Cancelled,
            EventKind::Unknown,
            EventKind::ResendRisk,
            EventKind::Quarantined,
        ];
        let ours = OURS.into_iter().find(|kind| kind.as_str() == word);
        ours.unwrap_or_else(|| Self::Other(word.to_owned()))
    }
}

/// By whose fault mail did not arrive: `class` in answers. Only [`Blame::Recipient`] suppresses an
/// address at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Blame {
    /// The address does not exist or takes no mail.
    Recipient,
    /// The mailbox is full.
    MailboxFull,
    /// Content, size or syntax of the message.
    Content,
    /// The sender's domain does not prove itself: SPF, DKIM, DMARC, a missing PTR.
    SenderAuth,
    /// The sending address or domain is blocked or mistrusted.
    Reputation,
    /// Too much mail at a time.
    Rate,
    /// Somebody's machines: an outage, a full disk, a broken route, our account at the service.
    Infrastructure,
    /// A rule of the receiver that is neither about content nor about reputation.
    Policy,
    /// Nobody says.
    Unknown,
}

impl Blame {
    /// Every blame, for metrics and schemas.
    pub const ALL: [Self; 9] = [
        Self::Recipient,
        Self::MailboxFull,
        Self::Content,
        Self::SenderAuth,
        Self::Reputation,
        Self::Rate,
        Self::Infrastructure,
        Self::Policy,
        Self::Unknown,
    ];

    /// The word used in answers, metrics and the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Recipient => "recipient",
            Self::MailboxFull => "mailbox_full",
            Self::Content => "content",
            Self::SenderAuth => "sender_auth",
            Self::Reputation => "reputation",
            Self::Rate => "rate",
            Self::Infrastructure => "infrastructure",
            Self::Policy => "policy",
            Self::Unknown => "unknown",
        }
    }

    /// The blame of this word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|blame| blame.as_str() == word)
    }
}

/// One fact that a provider reported, already verified, normalised and bounded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderEvent {
    /// What the service repeats when it repeats the event; applied once per provider and key.
    pub dedup_key: String,
    /// When it happened, by the service's clock.
    pub at: Timestamp,
    /// What happened.
    pub kind: EventKind,
    /// Whose fault it is, for bounces.
    pub blame: Option<Blame>,
    /// Our own id, if the service gave it back.
    pub delivery: Option<DeliveryId>,
    /// The service's id of the message, as in [`crate::provider::Receipt`].
    pub provider_message_id: Option<String>,
    /// The recipient it is about; `None` where the service does not say.
    pub recipient: Option<EmailAddress>,
    /// The service's or the remote server's words, bounded by
    /// [`crate::provider::REPLY_TEXT_BYTES_MAX`].
    pub detail: String,
    /// The event as the service told it, kept beside ours; at most [`RAW_EVENT_BYTES_MAX`], empty
    /// if it is longer.
    pub raw: Bytes,
}

/// Longest raw event kept, in octets.
pub const RAW_EVENT_BYTES_MAX: usize = 16 << 10;

/// A raw event as it is kept: whole, or empty if it is longer than [`RAW_EVENT_BYTES_MAX`].
#[must_use]
pub fn raw_event(octets: &[u8]) -> Bytes {
    if octets.len() > RAW_EVENT_BYTES_MAX {
        return Bytes::new();
    }
    Bytes::copy_from_slice(octets)
}
