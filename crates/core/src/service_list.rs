//! The port to the list of addresses that a service itself suppresses: read page by page and added
//! to, never taken from.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::address::EmailAddress;
use crate::name::PoolName;
use crate::provider::SendError;
use crate::suppression::SuppressionReason;

/// The suppression list of a service's account. Asked by an operator, never on mail's way.
#[async_trait]
pub trait ServiceList: Send + Sync {
    /// How it may be used. Constant for the life of the value.
    fn manners(&self) -> ListManners;

    /// The parts of the list that an addition of this reach is put in, as [`ListEntry::part`] names
    /// them.
    fn parts(&self, _reach: &Reach) -> Vec<String> {
        vec![String::new()]
    }

    /// One page. `cursor` is `None` for the first one, then [`ListPage::next`] of the last.
    ///
    /// # Errors
    /// What the service said, classified as a send would be.
    async fn page(&self, cursor: Option<&str>) -> Result<ListPage, SendError>;

    /// Adds addresses, at least one and at most [`Taking::batch_max`], to a list that
    /// [`takes`](ListManners::takes) some. What is on the list stays on it, so the same call may be
    /// repeated.
    ///
    /// # Errors
    /// What the service said, classified as a send would be. Some may have been added.
    async fn add(&self, additions: &[Addition]) -> Result<Added, SendError>;
}

/// How a service's list may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListManners {
    /// What is on the list, one line for the operator.
    pub tells: &'static str,
    /// What the service wants to pass between two calls.
    pub pause: Duration,
    /// How it takes additions; if it takes none, why, for the operator.
    pub takes: Result<Taking, &'static str>,
}

/// How a service's list takes additions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taking {
    /// Most addresses of one [`ServiceList::add`].
    pub batch_max: usize,
    /// Whether it can hold an address for campaigns alone. A list of the whole account stops
    /// transactional mail, too.
    pub spares_transactional: bool,
    /// What becomes of an address that is added, one line for the operator.
    pub becomes: &'static str,
}

/// One page of a service's list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListPage {
    /// What is on it; may be empty without being the last.
    pub entries: Vec<ListEntry>,
    /// Where the next page begins; `None` on the last.
    pub next: Option<String>,
}

/// An address that a service suppresses, as the service says it: nothing of it is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListEntry {
    /// The address, or what stands in its place.
    pub address: String,
    /// The part of the list that holds it, where parts stop different mail; else empty.
    pub part: String,
    /// What it means for us.
    pub meaning: ListMeaning,
    /// Since when, if the service tells.
    pub at: Option<Timestamp>,
    /// What the service says of it: a server's reply, a note.
    pub detail: String,
    /// The pools by which mail to the address is stopped; empty if the list does not tell.
    pub pools: Vec<PoolName>,
}

/// What an entry of a service's list means for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListMeaning {
    /// The address must not be mailed, for this reason.
    Suppressed(SuppressionReason),
    /// It says nothing of the recipient, or nothing that we could keep.
    LeftOut(LeftOut),
}

/// Why an entry of a service's list is not taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LeftOut {
    /// The server's reply blames somebody else than the recipient.
    NotTheRecipient,
    /// It is of one mailing list or tag of the service.
    OneList,
    /// It is of another subaccount.
    Elsewhere,
    /// The service has put it there by itself, for reasons of its own.
    ByTheService,
    /// A word that we do not know.
    Unknown,
}

impl ListMeaning {
    /// Whether the service sends nothing to the address because of it, our reasons aside.
    #[must_use]
    pub const fn stops_mail(self) -> bool {
        match self {
            Self::Suppressed(_)
            | Self::LeftOut(LeftOut::NotTheRecipient | LeftOut::ByTheService | LeftOut::Unknown) => {
                true
            }
            Self::LeftOut(LeftOut::OneList | LeftOut::Elsewhere) => false,
        }
    }
}

impl LeftOut {
    /// In words, for the operator.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotTheRecipient => "the server's reply does not blame the recipient",
            Self::OneList => "of one mailing list or tag of the service",
            Self::Elsewhere => "of another subaccount",
            Self::ByTheService => "put there by the service for reasons of its own",
            Self::Unknown => "for a reason that malote does not know",
        }
    }
}

/// An address to be put on a service's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addition {
    /// The address.
    pub address: EmailAddress,
    /// Why.
    pub reason: SuppressionReason,
    /// What it stops.
    pub reach: Reach,
}

/// What an [`Addition`] stops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// All mail.
    Everything,
    /// Campaigns that leave by these pools; never given to a list that does not
    /// [`spare transactional mail`](Taking::spares_transactional).
    Campaigns(Vec<PoolName>),
}

/// What became of [`Addition`]s.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Added {
    /// Those that the service refused by themselves.
    pub refused: u64,
    /// What it said of the first of them.
    pub why: Option<String>,
}
