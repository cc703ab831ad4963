//! The ports through which mail comes back: whose address it is, what it says, what follows.

use async_trait::async_trait;
use bytes::Bytes;

use crate::address::EmailAddress;
use crate::event::{Blame, EventKind};
use crate::ticket::{Ticket, TicketKeys, TicketUse};
use crate::webhook::SinkUnavailable;

/// An address that we signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ReturnAddress {
    /// What it was given out for.
    pub purpose: ReturnPurpose,
    /// What it is about.
    pub ticket: Ticket,
}

/// An address that mail may come back to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReturnPlace {
    /// One that we signed: the mail is about what it names.
    Signed(ReturnAddress),
    /// The one that feedback loops report to (RFC 6449 3.2): what the mail is about has to be told by
    /// an address that we signed in it.
    FeedbackLoop,
}

impl ReturnPlace {
    /// The words in metrics.
    pub const WORDS: [&str; 3] = [
        ReturnPurpose::Bounce.as_str(),
        ReturnPurpose::Unsubscribe.as_str(),
        Self::FEEDBACK_LOOP,
    ];

    const FEEDBACK_LOOP: &str = "feedback_loop";

    /// The word in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Signed(address) => address.purpose.as_str(),
            Self::FeedbackLoop => Self::FEEDBACK_LOOP,
        }
    }
}

/// The local part of [`ReturnPlace::FeedbackLoop`].
const LOOP_LOCAL_PART: &str = "fbl";

/// What an address of ours was given out for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReturnPurpose {
    /// Reports on a delivery, as its MAIL FROM.
    Bounce,
    /// Unsubscribing by mail, in its List-Unsubscribe (RFC 2369 3.2).
    Unsubscribe,
}

impl ReturnPurpose {
    /// The word in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bounce => "bounce",
            Self::Unsubscribe => "unsubscribe",
        }
    }
}

impl ReturnPurpose {
    const fn prefix(self) -> &'static str {
        match self {
            Self::Bounce => "b+",
            Self::Unsubscribe => "u+",
        }
    }

    const fn ticket_use(self) -> TicketUse {
        match self {
            Self::Bounce => TicketUse::Bounce,
            Self::Unsubscribe => TicketUse::UnsubscribeMail,
        }
    }
}

/// The domain whose mail comes back to the gateway, and the keys that its addresses are signed
/// with.
#[derive(Debug, Clone)]
pub struct ReturnPath {
    /// The domain: lower case, A-labels.
    pub domain: String,
    /// Signs and recognises.
    pub keys: TicketKeys,
}

impl ReturnPath {
    /// The address that names this ticket; `None` only if the domain leaves no room for it.
    #[must_use]
    pub fn address(&self, to: ReturnAddress) -> Option<EmailAddress> {
        let (prefix, domain) = (to.purpose.prefix(), &self.domain);
        let ticket = self.keys.write(to.ticket, to.purpose.ticket_use());
        EmailAddress::parse(&format!("{prefix}{ticket}@{domain}")).ok()
    }

    /// Which of our addresses this is; `None` for every other one.
    #[must_use]
    pub fn place(&self, address: &EmailAddress) -> Option<ReturnPlace> {
        let is_loop = address.domain() == self.domain
            && address.local_part().eq_ignore_ascii_case(LOOP_LOCAL_PART);
        match is_loop {
            true => Some(ReturnPlace::FeedbackLoop),
            false => self.recognise(address).map(ReturnPlace::Signed),
        }
    }

    /// What an address of ours names, in any case of letters; `None` for every other address.
    #[must_use]
    pub fn recognise(&self, address: &EmailAddress) -> Option<ReturnAddress> {
        if address.domain() != self.domain {
            return None;
        }
        let local = address.local_part();
        let (prefix, ticket) = local.split_at_checked(2)?;
        let purposes = [ReturnPurpose::Bounce, ReturnPurpose::Unsubscribe];
        let purpose = purposes
            .into_iter()
            .find(|purpose| purpose.prefix().eq_ignore_ascii_case(prefix))?;
        let ticket = self.keys.read(ticket, purpose.ticket_use())?;
        Some(ReturnAddress { purpose, ticket })
    }
}

/// What a mail says that came back. Nothing in it is proven; only its address is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReturnedMail {
    /// A report in a form that we know, at least one entry.
    Report(Vec<Report>),
    /// A program answered by itself (RFC 3834): an absence note, a receipt.
    Automatic,
    /// Anything else: somebody wrote it. How it begins, bounded by [`UNREADABLE_BYTES_MAX`].
    Written(String),
    /// A report that cannot be read: why, and how it begins. Bounded by
    /// [`UNREADABLE_BYTES_MAX`].
    Unreadable(String),
}

/// Whom MAIL FROM named. It proves nothing, and `<>` only that no answer is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReturnSender {
    /// `<>`, as of everything that a server sends by itself.
    Nobody,
    /// An address.
    Somebody,
}

/// Longest text kept of a mail that cannot be read, in octets.
pub const UNREADABLE_BYTES_MAX: usize = 4 << 10;

/// One thing that a mail reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// What happened.
    pub kind: EventKind,
    /// Whose fault it is, for bounces.
    pub blame: Option<Blame>,
    /// The addresses that it names as the recipient; empty where it names none.
    pub recipients: Vec<EmailAddress>,
    /// Addresses of which one may be ours and tell what the report is about: MAIL FROM and
    /// List-Unsubscribe of the mail complained of. Empty where the report names none.
    pub named: Vec<EmailAddress>,
    /// The reporting server's words, bounded by [`crate::provider::REPLY_TEXT_BYTES_MAX`].
    pub detail: String,
    /// The fields as they came, at most [`crate::event::RAW_EVENT_BYTES_MAX`].
    pub raw: Bytes,
}

/// Reads mail that came back. Never fails: what is no report is something else.
pub trait ReturnReader: Send + Sync {
    /// What a message says.
    fn read(&self, message: &[u8]) -> ReturnedMail;
}

/// Takes mail that came back.
#[async_trait]
pub trait Returns: Send + Sync {
    /// Whether mail comes back to this address. Mail to any other must be refused.
    fn recognise(&self, recipient: &EmailAddress) -> Option<ReturnPlace>;

    /// Applies what a mail to these addresses says: durable before `Ok`.
    ///
    /// # Errors
    /// If it could not be made durable, or not yet be matched; the peer will come again.
    async fn take_back(
        &self,
        to: &[ReturnPlace],
        mail: ReturnedMail,
        sender: ReturnSender,
    ) -> Result<(), SinkUnavailable>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{DeliveryId, MessageId};
    use crate::secret::Secret;

    #[test]
    fn only_addresses_that_we_signed_are_recognised() {
        let keys = TicketKeys::new(Secret::new("0123456789abcdef"), Vec::new());
        let path = ReturnPath {
            domain: "bounces.example".to_owned(),
            keys,
        };
        let message = MessageId::from_bytes([9; 16]);
        let ticket = Ticket {
            delivery: DeliveryId { message, index: 1 },
            attempt: 1,
        };
        for purpose in [ReturnPurpose::Bounce, ReturnPurpose::Unsubscribe] {
            let to = ReturnAddress { purpose, ticket };
            let address = path.address(to).unwrap();
            assert_eq!(path.recognise(&address), Some(to));
            let shouted = EmailAddress::parse(&address.as_str().to_uppercase()).unwrap();
            assert_eq!(path.recognise(&shouted), Some(to));
            assert_eq!(path.place(&shouted), Some(ReturnPlace::Signed(to)));
            let text = address.as_str();
            let swapped = if text.starts_with('b') { "u" } else { "b" };
            for other in [
                format!("{swapped}{}", &text[1..]),
                text.replace("bounces.example", "other.example"),
                text.replace("bounces.example", "x.bounces.example"),
                format!("x{text}"),
                "postmaster@bounces.example".to_owned(),
                "b+@bounces.example".to_owned(),
                "é@bounces.example".to_owned(),
            ] {
                let other = EmailAddress::parse(&other).unwrap();
                assert_eq!(path.place(&other), None, "{}", other.as_str());
            }
        }
        for (text, place) in [
            ("FBL@bounces.example", Some(ReturnPlace::FeedbackLoop)),
            ("fbl@other.example", None),
            ("fbl2@bounces.example", None),
        ] {
            assert_eq!(
                path.place(&EmailAddress::parse(text).unwrap()),
                place,
                "{text}"
            );
        }
    }
}
