//! The port to a provider: what it can carry, one attempt, and what a failure means.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::address::EmailAddress;
use crate::event::Blame;
use crate::id::{DeliveryId, MessageId};
use crate::message::{DsnParameters, Notify};
use crate::name::{PoolName, StreamName};
use crate::stream::{Class, WritePace};
use crate::tracking::{Tracking, TrackingSwitches};

/// A configured account at a service. The adapter classifies, because only it understands the
/// reply; the engine decides, because only it knows attempts and alternatives.
#[async_trait]
pub trait Provider: Send + Sync {
    /// The adapter's name: `ses`, `mailgun`, `smtp`, `capture`.
    fn kind(&self) -> &'static str;

    /// What this account can carry. Constant for the life of the value.
    fn capabilities(&self) -> &Capabilities;

    /// Whether what becomes of mail is reported to MAIL FROM, in whatever domain that is: a mail
    /// server of one's own. Services want a domain that they know, and report by webhooks.
    fn reports_by_mail(&self) -> bool {
        false
    }

    /// One attempt. Dropping the future is allowed at any time and must leave nothing but an
    /// unknown outcome behind. The report has one result per recipient, in order.
    async fn send(&self, outgoing: &Outgoing) -> SendReport;

    /// Asks the service whether credentials and account are good, without sending mail.
    ///
    /// # Errors
    /// What the service said, classified as a send would be.
    async fn check(&self) -> Result<Account, SendError>;

    /// Looks, without sending mail, for what mail would fail on: pools that the service does not
    /// know, sender domains that it has not verified, an account that may not mail everybody.
    /// Asked by an operator, never on mail's way. What the service cannot be asked is not found, but
    /// told by [`Provider::unasked`].
    ///
    /// # Errors
    /// What the service said, classified as a send would be.
    async fn inspect(&self, _senders: &[String]) -> Result<Vec<Finding>, SendError> {
        Ok(Vec::new())
    }

    /// What [`Provider::inspect`] cannot ask this service, whatever its key may, and where an operator
    /// finds it.
    fn unasked(&self) -> &'static [Unasked] {
        &[]
    }

    /// Asks which DNS records the service wants to find for sender domains, where it tells: names
    /// and keys that only it knows. Asked by an operator, never on mail's way.
    ///
    /// # Errors
    /// What the service said, classified as a send would be.
    async fn sender_records(&self, _senders: &[String]) -> Result<Vec<SenderRecord>, SendError> {
        Ok(Vec::new())
    }

    /// How often [`Provider::check`] should be asked again to learn rate and quota; `None` if the
    /// service tells neither.
    fn account_poll_every(&self) -> Option<Duration> {
        None
    }
}

/// A DNS record that a service wants to find for a sender domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SenderRecord {
    /// The sender domain, lower-case A-labels.
    pub sender: String,
    /// The record's whole name, lower-case, without final dot.
    pub name: String,
    /// Its type.
    pub kind: SenderRecordKind,
    /// What it must hold; of an MX the host without preference.
    pub value: String,
    /// What it is for.
    pub purpose: SenderRecordPurpose,
}

/// The type of a [`SenderRecord`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SenderRecordKind {
    /// Text.
    Txt,
    /// Another name.
    Cname,
    /// A mail exchanger.
    Mx,
}

/// What a [`SenderRecord`] is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SenderRecordPurpose {
    /// The key with which receivers verify the service's signatures.
    Dkim,
    /// MAIL FROM is of this name then, and no longer of the service.
    MailFrom,
}

/// What an account can carry. The router excludes targets that cannot carry a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    /// Largest message in octets, as the gateway stores it.
    pub message_bytes_max: u64,
    /// Most recipients in one call.
    pub recipients_max: u16,
    /// Whether MAIL FROM is ours to choose.
    pub envelope_sender: bool,
    /// Whether UTF-8 local parts can be carried (RFC 6531). `false` excludes such deliveries.
    pub smtputf8: bool,
    /// Whether 8-bit body lines are kept as they are.
    pub eight_bit: bool,
    /// Which tracking a message can switch.
    pub tracking: TrackingSwitches,
}

/// One message on its way to one or more recipients through one target.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// The message.
    pub message: MessageId,
    /// Whom to, 1 to `recipients_max`.
    pub recipients: Vec<OutgoingRecipient>,
    /// MAIL FROM; `None` is `<>`.
    pub mail_from: Option<EmailAddress>,
    /// The message: CRLF line ends only, no Bcc, no control headers but those allowed.
    pub body: Bytes,
    /// The pool to use; adapters know their own pools' settings.
    pub pool: PoolName,
    /// The stream, for connections and labels.
    pub stream: StreamName,
    /// The stream's class. Connections are never shared between classes.
    pub class: Class,
    /// Tags to pass on where the service has such a thing.
    pub tags: Vec<String>,
    /// Metadata to pass on where the service has such a thing.
    pub metadata: BTreeMap<String, String>,
    /// Whether opens and clicks are to be tracked, where the service lets a message say so.
    pub tracking: Tracking,
    /// DSN parameters to pass on where the service has such a thing.
    pub dsn: DsnParameters,
    /// How fast the service must take it.
    pub write_pace: WritePace,
    /// How long to wait for the reply after the last octet.
    pub reply_wait_max: Duration,
}

/// One recipient of an [`Outgoing`].
#[derive(Debug, Clone)]
pub struct OutgoingRecipient {
    /// The delivery, for the service's metadata, so that its events find their way back.
    pub delivery: DeliveryId,
    /// The address.
    pub address: EmailAddress,
    /// `NOTIFY=`, if the client gave it.
    pub notify: Option<Notify>,
    /// `ORCPT=`, if the client gave it.
    pub orcpt: Option<String>,
}

/// The results of one attempt: one per recipient, in the order of [`Outgoing::recipients`].
pub type SendReport = Vec<Result<Receipt, SendError>>;

/// The same result for every recipient of a call that succeeds or fails as a whole.
#[must_use]
pub fn report_for_all(outgoing: &Outgoing, result: &Result<Receipt, SendError>) -> SendReport {
    outgoing.recipients.iter().map(|_| result.clone()).collect()
}

/// The service has taken the message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The service's id, in the form that its events carry.
    pub provider_message_id: String,
    /// What it answered.
    pub reply: Reply,
}

/// The service has not taken the message, or nobody knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendError {
    /// What it means.
    pub verdict: Verdict,
    /// What the service answered, or what happened instead.
    pub reply: Reply,
    /// Whose fault the reply's words say it is, where the verdict says it less exactly.
    #[serde(default)]
    pub blame: Option<Blame>,
}

impl SendError {
    /// A verdict with what was answered.
    #[must_use]
    pub const fn new(verdict: Verdict, reply: Reply) -> Self {
        Self {
            verdict,
            reply,
            blame: None,
        }
    }

    /// The same, with whose fault the reply's words say it is.
    #[must_use]
    pub fn with_blame(mut self, blame: Option<Blame>) -> Self {
        self.blame = blame;
        self
    }
}

/// Longest reply text kept, in octets.
pub const REPLY_TEXT_BYTES_MAX: usize = 512;

/// What a service answered, bounded and free of control characters, fit for timelines and DSNs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Reply {
    /// HTTP status or SMTP reply code.
    pub code: Option<u16>,
    /// Enhanced status code (RFC 3463) or the service's own error code.
    pub enhanced: Option<String>,
    /// The text.
    text: String,
}

impl Reply {
    /// Keeps an answer: control characters become spaces, what is over the bound is cut.
    #[must_use]
    pub fn new(code: Option<u16>, enhanced: Option<String>, text: &str) -> Self {
        Self {
            code,
            enhanced: enhanced.map(|e| bounded(&e, 64)),
            text: bounded(text, REPLY_TEXT_BYTES_MAX),
        }
    }

    /// No answer: what happened instead.
    #[must_use]
    pub fn none(what_happened: &str) -> Self {
        Self::new(None, None, what_happened)
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The answer as logs and operators' views may show it: services quote senders and recipients
    /// in their refusals, and of an address only the domain may stand there.
    #[must_use]
    pub fn without_local_parts(&self) -> String {
        let text = self.to_string();
        let mut masked = String::with_capacity(text.len());
        let mut rest = text.as_str();
        while let Some((before, after)) = rest.split_once('@') {
            masked.push_str(before.get(..local_part_start(before)).unwrap_or_default());
            masked.push_str("***@");
            rest = after;
        }
        masked.push_str(rest);
        masked
    }
}

/// Where the local part begins that ends `text`; if in doubt, earlier.
fn local_part_start(text: &str) -> usize {
    // RFC 5321 4.1.2: what is quoted may hold anything.
    if let Some(quoted) = text.strip_suffix('"') {
        return quoted.rfind('"').unwrap_or(0);
    }
    let outside = |c: char| c.is_whitespace() || "<>()[],;:\"\\".contains(c);
    let before = text.rfind(outside);
    before.map_or(0, |at| {
        at + text[at..].chars().next().map_or(0, char::len_utf8)
    })
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(code) = self.code {
            write!(f, "{code} ")?;
        }
        if let Some(enhanced) = &self.enhanced {
            write!(f, "{enhanced} ")?;
        }
        f.write_str(&self.text)
    }
}

/// Cuts `text` at `bytes_max` and replaces control characters by spaces.
#[must_use]
pub fn bounded(text: &str, bytes_max: usize) -> String {
    let mut kept = String::with_capacity(text.len().min(bytes_max));
    for c in text.chars() {
        if kept.len() + c.len_utf8() > bytes_max {
            break;
        }
        let hidden = c.is_control() || crate::address::is_invisible(c);
        kept.push(if hidden { ' ' } else { c });
    }
    kept
}

/// Longest wait that a provider may ask for (`Retry-After`, RFC 9110 10.2.3), so that one reply
/// cannot park a queue.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// What a failed attempt means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Too fast: this target slows down; the delivery's attempt does not count.
    Throttled {
        /// The wait asked for, at most [`RETRY_AFTER_MAX`].
        after: Option<Duration>,
    },
    /// The provider is out of order for now. Counts against its breaker.
    Transient,
    /// The recipient's own server asks to come back later (a 4xx to one RCPT): same target
    /// later, nothing against the provider.
    Deferred,
    /// A quota is spent: the target rests until `until`, or an hour if the service does not say.
    QuotaSpent {
        /// When it is renewed.
        until: Option<Timestamp>,
    },
    /// Credentials refused, account suspended or paused: the provider is out until checked.
    ProviderUnusable,
    /// The pool is missing at the service: that pool is out.
    PoolUnusable,
    /// From is not verified or not allowed here: the target is out for this sender domain.
    SenderUnusable,
    /// The call failed as a whole because it was a group: send its recipients one by one.
    Ungroup,
    /// The service refuses this recipient because it has itself suppressed the address.
    Suppressed,
    /// Refused for good.
    Rejected(Fault),
    /// Octets were written and no clear answer came: it may have been sent.
    Unknown,
}

/// Whose fault a final refusal is. Only `Recipient` ever suppresses an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// The address does not exist or takes no mail.
    Recipient,
    /// Content, size or syntax, which no other provider would take either.
    Message,
    /// Content, size or syntax by a rule of this provider alone: the next one may take it.
    MessageHere,
    /// IP or domain block, policy. Never the recipient's fault.
    Reputation,
    /// The account may not mail this recipient (a sandbox): bounced with an alert, the
    /// provider stays in.
    NotPermitted,
}

impl Verdict {
    /// The closed set of words for metrics, timelines and `explain`.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Throttled { .. } => "throttled",
            Self::Transient => "transient",
            Self::Deferred => "deferred",
            Self::QuotaSpent { .. } => "quota_spent",
            Self::ProviderUnusable => "provider_unusable",
            Self::PoolUnusable => "pool_unusable",
            Self::SenderUnusable => "sender_unusable",
            Self::Ungroup => "ungroup",
            Self::Suppressed => "suppressed",
            Self::Rejected(Fault::Recipient) => "rejected_recipient",
            Self::Rejected(Fault::Message) => "rejected_message",
            Self::Rejected(Fault::MessageHere) => "rejected_message_here",
            Self::Rejected(Fault::Reputation) => "rejected_reputation",
            Self::Rejected(Fault::NotPermitted) => "rejected_not_permitted",
            Self::Unknown => "unknown",
        }
    }
}

/// What a service says of our account.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Account {
    /// Recipients a second that the service allows.
    pub per_second: Option<f64>,
    /// Recipients in any 24 hours that the service allows.
    pub per_day: Option<u64>,
    /// Recipients in the last 24 hours as the service counts them.
    pub sent_last_day: Option<u64>,
    /// One line for the operator.
    pub note: String,
}

/// What mail through an account would fail on, found without sending any.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What it is about.
    pub about: About,
    /// One line for the operator, with the way out.
    pub text: String,
}

/// What a [`Finding`] is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum About {
    /// The account as a whole: it may not mail everybody yet, or is on probation.
    Account,
    /// This pool: what its table names does not exist at the service.
    Pool(PoolName),
    /// This sender domain: the service does not accept mail from it.
    Sender(String),
}

/// A question that a service has no answer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unasked {
    /// What cannot be asked.
    pub question: Question,
    /// Where the answer stands.
    pub look_at: &'static str,
}

/// What [`Provider::inspect`] asks a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// Whether it accepts mail from our sender domains.
    Senders,
    /// Whether it knows what our pools name.
    Pools,
    /// Whether the account may mail everybody.
    Account,
}

impl Question {
    /// As an operator reads it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Senders => "senders",
            Self::Pools => "pools",
            Self::Account => "account",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_quoted_addresses_only_the_domains_stay() {
        for (text, shown) in [
            (
                "<ana.b+x=y@one.example>: user unknown",
                "<***@one.example>: user unknown",
            ),
            (
                "rejected: Ana <a@x.test>,b@y.test",
                "rejected: Ana <***@x.test>,***@y.test",
            ),
            (
                "identities failed the check: news@shop.example",
                "identities failed the check: ***@shop.example",
            ),
            ("\"an a\"@x.test is gone", "***@x.test is gone"),
            ("a@b@x.test", "***@***@x.test"),
            ("não é josé@x.test", "não é ***@x.test"),
            ("no address here", "no address here"),
            ("@", "***@"),
        ] {
            let reply = Reply::new(Some(550), Some("5.1.1".into()), text);
            assert_eq!(reply.without_local_parts(), format!("550 5.1.1 {shown}"));
        }
    }
}
