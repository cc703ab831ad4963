//! What is known of a message and of one delivery when the router is asked.

use std::collections::BTreeMap;

use jiff::Timestamp;
use malote_core::address::EmailAddress;
use malote_core::name::{CredentialName, MailboxProvider, StreamName};

/// The header by which Mautic marks its e-mails; its value is the e-mail's number.
pub const EMAIL_ID_HEADER: &str = "X-EMAIL-ID";

/// The header by which a client asks for a stream.
pub const STREAM_HEADER: &str = "X-Malote-Stream";

/// A message before it has a stream.
#[derive(Debug, Clone, Copy)]
pub struct MessageFacts<'a> {
    /// Who submitted.
    pub credential: &'a CredentialName,
    /// The stream asked for by the API.
    pub asked_stream: Option<&'a StreamName>,
    /// The address in From; of several, the first. Rules name it `sender`: the envelope's sender
    /// is often a bounce address that differs with each message.
    pub sender: Option<&'a EmailAddress>,
    /// The header fields in order: names in any case, values unfolded and trimmed.
    pub headers: &'a [(String, String)],
    /// The tags.
    pub tags: &'a [String],
    /// The metadata.
    pub metadata: &'a BTreeMap<String, String>,
    /// The message's size in octets.
    pub size_bytes: u64,
    /// Recipients of this credential's mail with this `X-EMAIL-ID` in the last
    /// [`crate::EMAIL_ID_WINDOW_S`] seconds, this message's included; 0 without the header.
    pub email_id_recipients: u64,
    /// The time, for rules on the hour of the day.
    pub now: Timestamp,
}

impl<'a> MessageFacts<'a> {
    /// Every value of a header field, first to last.
    pub fn header_values<'s>(&self, name: &'s str) -> impl Iterator<Item = &'a str> + use<'a, 's> {
        self.headers
            .iter()
            .filter(move |(own, _)| own.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The first value of a header field.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.header_values(name).next()
    }

    /// Mautic's e-mail number, if the message carries one.
    #[must_use]
    pub fn email_id(&self) -> Option<&'a str> {
        self.header(EMAIL_ID_HEADER)
            .map(str::trim)
            .filter(|id| !id.is_empty())
    }

    /// The campaign that sticky routes keep together: `X-EMAIL-ID`, else the metadata key
    /// `campaign`.
    #[must_use]
    pub fn campaign(&self) -> Option<&'a str> {
        self.email_id()
            .or_else(|| self.metadata.get("campaign").map(String::as_str))
    }
}

/// One delivery of a message that has a stream, before it has a route.
#[derive(Debug, Clone, Copy)]
pub struct DeliveryFacts<'a> {
    /// The message.
    pub message: &'a MessageFacts<'a>,
    /// Its stream.
    pub stream: &'a StreamName,
    /// Whom to.
    pub recipient: &'a EmailAddress,
    /// Who runs the mailbox, see [`crate::Router::mailbox_provider`].
    pub mailbox_provider: &'a MailboxProvider,
}

/// One delivery, or a group of one message's deliveries, that has a route and is about to leave.
#[derive(Debug, Clone, Copy)]
pub struct PlanFacts<'a> {
    /// The stream. Its own route is planned when the delivery's is no longer configured.
    pub stream: &'a StreamName,
    /// Whom to; of a group, the first.
    pub recipient: &'a EmailAddress,
    /// Who runs the mailbox.
    pub mailbox_provider: &'a MailboxProvider,
    /// The domain in From, lower case; empty if there is none.
    pub sender_domain: &'a str,
    /// The campaign, see [`MessageFacts::campaign`].
    pub campaign: Option<&'a str>,
    /// The message's size in octets.
    pub size_bytes: u64,
    /// Whether an address of the envelope needs SMTPUTF8 (RFC 6531).
    pub needs_smtputf8: bool,
}
