//! Addresses that must not be mailed, and the port through which they are listed, added and lifted.

mod times;

use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::address::{AddressFault, EmailAddress};
use crate::credential::Credential;
use crate::event::Blame;
use crate::ledger::LedgerFault;
use crate::name::{CredentialName, NameFault, ProviderName, StreamName};

pub use times::{CLOCK_LEAD_MAX, TimesFault, stands_since};

/// Most octets of a [`Suppression::source`].
pub const SOURCE_BYTES_MAX: usize = 128;
/// The [`Suppression::source`] of what an operator adds by hand.
pub const SOURCE_OPERATOR: &str = "operator";
/// The [`Suppression::source`] of what its owner asked the gateway itself for.
pub const SOURCE_RECIPIENT: &str = "recipient";
/// The [`Suppression::source`] of an import that names none.
pub const SOURCE_IMPORT: &str = "import";
/// What the [`Suppression::source`] of an app's own entry begins with; its name follows.
pub const SOURCE_APP_PREFIX: &str = "credential:";
/// Most entries of one page of [`Suppressions::list`].
pub const SUPPRESSION_PAGE_MAX: u16 = 1_000;

/// How [`SuppressionScope::Global`] is written. No stream may have this name.
const GLOBAL: &str = "global";
/// How an erased address is written: behind it stand 32 hex digits. No address begins like this,
/// since a colon must be quoted in one.
const ERASED_PREFIX: &str = "hash:";

/// Where an address must not be mailed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SuppressionScope {
    /// By no stream.
    Global,
    /// By this stream.
    Stream(StreamName),
}

impl SuppressionScope {
    /// `global`, or the stream's name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Global => GLOBAL,
            Self::Stream(stream) => stream.as_str(),
        }
    }
}

impl FromStr for SuppressionScope {
    type Err = NameFault;

    fn from_str(text: &str) -> Result<Self, NameFault> {
        if text == GLOBAL {
            return Ok(Self::Global);
        }
        StreamName::try_from(text).map(Self::Stream)
    }
}

impl fmt::Display for SuppressionScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why an address must not be mailed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SuppressionReason {
    /// Its server refused it for good.
    HardBounce,
    /// Its mailbox stayed full.
    MailboxFull,
    /// Its owner called our mail spam.
    Complaint,
    /// Its owner unsubscribed.
    Unsubscribe,
    /// An operator or an import said so.
    Manual,
}

impl SuppressionReason {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::HardBounce,
        Self::MailboxFull,
        Self::Complaint,
        Self::Unsubscribe,
        Self::Manual,
    ];

    /// The word for it, in the store and wherever it is told.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HardBounce => "hard_bounce",
            Self::MailboxFull => "mailbox_full",
            Self::Complaint => "complaint",
            Self::Unsubscribe => "unsubscribe",
            Self::Manual => "manual",
        }
    }

    /// The reason of this word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|own| own.as_str() == word)
    }

    /// By whose fault mail to the address is not sent; `None` where somebody wished it so.
    #[must_use]
    pub const fn blame(self) -> Option<Blame> {
        match self {
            Self::HardBounce => Some(Blame::Recipient),
            Self::MailboxFull => Some(Blame::MailboxFull),
            Self::Complaint | Self::Unsubscribe | Self::Manual => None,
        }
    }
}

/// Whom a suppression stops: an address, or what is left of one that was erased.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum SuppressedAddress {
    /// The address.
    Known(EmailAddress),
    /// The keyed hash of scope and address, by which the store still finds it.
    Erased([u8; 16]),
}

impl SuppressedAddress {
    /// The address, unless it was erased.
    #[must_use]
    pub const fn known(&self) -> Option<&EmailAddress> {
        match self {
            Self::Known(address) => Some(address),
            Self::Erased(_) => None,
        }
    }
}

impl From<EmailAddress> for SuppressedAddress {
    fn from(address: EmailAddress) -> Self {
        Self::Known(address)
    }
}

impl fmt::Display for SuppressedAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(address) => address.fmt(f),
            Self::Erased(hash) => {
                f.write_str(ERASED_PREFIX)?;
                hash.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
            }
        }
    }
}

impl FromStr for SuppressedAddress {
    type Err = AddressFault;

    fn from_str(text: &str) -> Result<Self, AddressFault> {
        let hash = text.strip_prefix(ERASED_PREFIX).and_then(|digits| {
            let is_hash = digits.len() == 32 && digits.bytes().all(|b| b.is_ascii_hexdigit());
            let number = u128::from_str_radix(digits, 16).ok();
            number.filter(|_| is_hash).map(u128::to_be_bytes)
        });
        match hash {
            Some(hash) => Ok(Self::Erased(hash)),
            None => EmailAddress::parse(text).map(Self::Known),
        }
    }
}

impl TryFrom<String> for SuppressedAddress {
    type Error = AddressFault;

    fn try_from(text: String) -> Result<Self, AddressFault> {
        text.parse()
    }
}

impl From<SuppressedAddress> for String {
    fn from(address: SuppressedAddress) -> Self {
        address.to_string()
    }
}

/// An address that must not be mailed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suppression {
    /// The address.
    pub address: SuppressedAddress,
    /// Where.
    pub scope: SuppressionScope,
    /// Why.
    pub reason: SuppressionReason,
    /// In words: the diagnostic that caused it.
    pub detail: String,
    /// Where it comes from: `provider:NAME`, `credential:NAME`, `recipient`, `operator`, `import`, or
    /// what an import says; at most [`SOURCE_BYTES_MAX`] octets.
    pub source: String,
    /// The provider that told, if one did.
    pub provider: Option<ProviderName>,
    /// Whose mail caused it, or who added it, if known.
    pub credential: Option<CredentialName>,
    /// Since when.
    pub created_at: Timestamp,
    /// Until when; `None` is for ever.
    pub expires_at: Option<Timestamp>,
}

/// The [`Suppression::source`] of what a provider told.
#[must_use]
pub fn source_of(provider: &ProviderName) -> String {
    format!("provider:{provider}")
}

/// The [`Suppression::source`] of what an app put in by itself, and may take out again.
#[must_use]
pub fn source_of_app(name: &CredentialName) -> String {
    format!("{SOURCE_APP_PREFIX}{name}")
}

/// The place of an entry in a list: behind it, the list goes on.
pub type SuppressionPlace = (SuppressedAddress, SuppressionScope);

/// A place as it is given out for the next page: `SCOPE/ADDRESS`, since names hold no slash.
#[must_use]
pub fn cursor_behind(entry: &Suppression) -> String {
    format!("{}/{}", entry.scope, entry.address)
}

/// The place that [`cursor_behind`] wrote; `None` if it did not.
#[must_use]
pub fn place_of(cursor: &str) -> Option<SuppressionPlace> {
    let (scope, address) = cursor.split_once('/')?;
    Some((address.parse().ok()?, scope.parse().ok()?))
}

/// Which suppressions to list, in the order of address and scope. All given conditions must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SuppressionQuery {
    /// Only those that this credential's mail caused, or that it added.
    pub owner: Option<CredentialName>,
    /// Only those of this scope.
    pub scope: Option<SuppressionScope>,
    /// Only those behind this one.
    pub after: Option<SuppressionPlace>,
    /// Entries at most.
    pub limit: u32,
}

/// Who asks about suppressions, and so what may be seen and done.
#[derive(Debug, Clone, Copy)]
pub enum Asker<'a> {
    /// Who runs the gateway.
    Operator,
    /// An app, by its key.
    Credential(&'a Credential),
}

impl Asker<'_> {
    /// Whether it may be told of an entry: an app of what its own mail caused and what it put in.
    #[must_use]
    pub fn may_see(&self, entry: &Suppression) -> bool {
        match self {
            Self::Operator => true,
            Self::Credential(own) => entry.credential.as_ref() == Some(&own.name),
        }
    }

    /// Whether it may put entries in this scope: an app where it may send.
    #[must_use]
    pub fn may_put(&self, scope: &SuppressionScope) -> bool {
        match (self, scope) {
            (Self::Operator, _) => true,
            (Self::Credential(_), SuppressionScope::Global) => false,
            (Self::Credential(own), SuppressionScope::Stream(stream)) => own.may_use(stream),
        }
    }

    /// Whether it may lift an entry: an app what it put in itself and nobody else stands behind. A
    /// bounce, a complaint or an unsubscribe that its mail caused is the recipient's word.
    #[must_use]
    pub fn may_lift(&self, entry: &Suppression) -> bool {
        match self {
            Self::Operator => true,
            Self::Credential(own) => {
                self.may_see(entry)
                    && self.may_put(&entry.scope)
                    && entry.source == source_of_app(&own.name)
            }
        }
    }
}

/// What an entry that was put came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Put {
    /// It is new.
    Added(Suppression),
    /// One stood, or was replaced because the new one lasts longer: this one stands now.
    Stands(Suppression),
    /// It was not put, and nothing stands: it had ended, or whom it stops came back after it.
    Outlived,
    /// It was not put: its scope is a transactional stream, see [`without_effect`].
    WithoutEffect,
}

/// Why an entry in the scope of a transactional stream is refused, and the way out.
#[must_use]
pub fn without_effect(stream: &StreamName) -> String {
    format!(
        "the mail of {stream} is transactional and stopped by global entries only: use the scope \
         global, or a campaign stream"
    )
}

/// Lists, adds and lifts suppressions. It does not ask who may: [`Asker`] says that.
#[async_trait]
pub trait Suppressions: Send + Sync {
    /// One page in the order of address and scope.
    ///
    /// # Errors
    /// If the store cannot be read.
    async fn list(&self, query: &SuppressionQuery) -> Result<Vec<Suppression>, LedgerFault>;

    /// Every entry that stands for an address now, however it is spelt: global, then by stream.
    ///
    /// # Errors
    /// If the store cannot be read.
    async fn entries_of(&self, address: &EmailAddress) -> Result<Vec<Suppression>, LedgerFault>;

    /// Adds an entry, durably; one that stands is replaced by one that lasts longer. Between an app's
    /// own word and anybody else's the latter counts, and the entry ends with the later of both; what
    /// two apps put in is neither's to lift.
    ///
    /// # Errors
    /// `NotFound` if its scope is a stream that is not configured; or if the store cannot be
    /// written.
    async fn put(&self, entry: Suppression) -> Result<Put, LedgerFault>;

    /// Lifts the entries of an address in these scopes. Returns how many went.
    ///
    /// # Errors
    /// If the store cannot be written.
    async fn lift(
        &self,
        address: &EmailAddress,
        scopes: &[SuppressionScope],
    ) -> Result<u64, LedgerFault>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_reasons_and_scopes_survive_being_written_and_read() {
        for reason in SuppressionReason::ALL {
            assert_eq!(SuppressionReason::from_word(reason.as_str()), Some(reason));
            let written = serde_json::to_value(reason).unwrap();
            assert_eq!(written, reason.as_str());
        }
        assert_eq!(SuppressionReason::from_word("bored"), None);
        for text in ["global", "news"] {
            let scope: SuppressionScope = text.parse().unwrap();
            assert_eq!(scope.as_str(), text);
        }
        assert!("News".parse::<SuppressionScope>().is_err());
    }

    #[test]
    fn cursors_survive_being_given_back_and_others_are_refused() {
        let erased = "news/hash:000102030405060708090a0b0c0d0e0f";
        for text in [
            "global/a@x.test",
            "news/a@x.test",
            "global/a/b@x.test",
            erased,
        ] {
            let (address, scope) = place_of(text).unwrap();
            assert_eq!(format!("{scope}/{address}"), text);
        }
        for text in ["", "a@x.test", "News/a@x.test", "/", "news/", "/a@x.test"] {
            assert!(place_of(text).is_none(), "{text}");
        }
    }

    fn credential(streams: &[&str]) -> Credential {
        Credential {
            name: "shop".parse().unwrap(),
            api_key: None,
            smtp_login: None,
            streams: streams.iter().map(|name| name.parse().unwrap()).collect(),
            default_stream: None,
            from_domains: Vec::new(),
            on_foreign_from: crate::credential::OnForeignFrom::Reject,
            bad_recipients: crate::credential::BadRecipients::Refuse,
            on_final_failure: crate::credential::OnFinalFailure::Event,
            provider_headers: false,
            received: crate::credential::ReceivedDetail::Brief,
            lenient_headers: false,
        }
    }

    #[test]
    fn an_app_sees_what_it_caused_and_lifts_what_it_put_in() {
        let shop = credential(&["news"]);
        let own = Asker::Credential(&shop);
        let by_shop = "credential:shop";
        for (scope, owner, source, [sees, puts, lifts]) in [
            ("global", None, SOURCE_OPERATOR, [false, false, false]),
            ("global", Some("shop"), "provider:ses", [true, false, false]),
            ("global", Some("shop"), by_shop, [true, false, false]),
            (
                "global",
                Some("blog"),
                "provider:ses",
                [false, false, false],
            ),
            ("news", None, SOURCE_OPERATOR, [false, true, false]),
            ("news", None, by_shop, [false, true, false]),
            ("news", Some("shop"), by_shop, [true, true, true]),
            ("news", Some("shop"), "provider:ses", [true, true, false]),
            ("news", Some("shop"), SOURCE_RECIPIENT, [true, true, false]),
            ("news", Some("shop"), SOURCE_IMPORT, [true, true, false]),
            (
                "news",
                Some("blog"),
                "credential:blog",
                [false, true, false],
            ),
            ("news", Some("blog"), by_shop, [false, true, false]),
            ("offers", None, SOURCE_OPERATOR, [false, false, false]),
            ("offers", Some("shop"), by_shop, [true, false, false]),
        ] {
            let entry = Suppression {
                address: "a@x.test".parse().unwrap(),
                scope: scope.parse().unwrap(),
                reason: SuppressionReason::Manual,
                detail: String::new(),
                source: source.into(),
                provider: None,
                credential: owner.map(|name| name.parse().unwrap()),
                created_at: Timestamp::UNIX_EPOCH,
                expires_at: None,
            };
            let found = |asker: Asker<'_>| {
                [
                    asker.may_see(&entry),
                    asker.may_put(&entry.scope),
                    asker.may_lift(&entry),
                ]
            };
            assert_eq!(
                found(own),
                [sees, puts, lifts],
                "{scope} {owner:?} {source}"
            );
            assert_eq!(found(Asker::Operator), [true; 3]);
        }
    }

    #[test]
    fn an_erased_address_is_no_address_and_an_address_no_hash() {
        let text = "hash:000102030405060708090a0b0c0d0e0f";
        let erased: SuppressedAddress = text.parse().unwrap();
        assert!(erased.known().is_none() && erased.to_string() == text);
        let known: SuppressedAddress = "a@x.test".parse().unwrap();
        assert!(known.known().is_some());
        for wrong in [
            "hash:",
            "hash:00",
            "hash:+00102030405060708090a0b0c0d0e0f",
            "hash:a@x.test",
        ] {
            assert!(wrong.parse::<SuppressedAddress>().is_err(), "{wrong}");
        }
    }
}
