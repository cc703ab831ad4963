//! The port through which events go out again: one outlet for each app webhook and each Mautic.
//!
//! An outlet tells one event to one peer and says what became of it. When to come again, in which
//! order and for how long is the engine's, which keeps a durable outbox for each outlet.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::address::EmailAddress;
use crate::event::EventKind;
use crate::feed::FeedEvent;
use crate::name::{CredentialName, ProviderName};

/// The name of an outlet: `CREDENTIAL/mautic`, or `CREDENTIAL/webhook-` and eight hex digits of a
/// hash of its URL, so that it stays the same while other webhooks come and go. At most 100
/// octets.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OutletName(String);

impl OutletName {
    /// The outlet `label` of a credential.
    #[must_use]
    pub fn new(credential: &CredentialName, label: &str) -> Self {
        Self(format!("{credential}/{label}"))
    }

    /// A name as the store kept it.
    #[must_use]
    pub const fn kept(name: String) -> Self {
        Self(name)
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for OutletName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Tells events to one peer.
#[async_trait]
pub trait Outlet: Send + Sync {
    /// Its name, for the outbox, metrics and operators.
    fn name(&self) -> &OutletName;

    /// Whose events it is told; it never sees another credential's.
    fn credential(&self) -> &CredentialName;

    /// Whether the peer wants to hear of this event.
    fn wants(&self, event: &FeedEvent) -> bool;

    /// The kind of event that undoes one of this kind, where the peer keeps what was told last of a
    /// recipient. Of two that undo each other only the later by its own time is told, in whichever
    /// order they come, and one of a recipient at a time. `None`: it is told for itself.
    fn undone_by(&self, _kind: &EventKind) -> Option<EventKind> {
        None
    }

    /// Tells it. The peer may have heard it before: the same event comes again after a crash, a
    /// lost answer or an operator's replay, under the same id. `attempt` counts from 1. Ends by
    /// itself within [`TELL_WAIT_MAX`]. Dropping the future is allowed at any time.
    ///
    /// # Errors
    /// [`Untold`]: what the peer's answer means for this event and those after it.
    async fn tell(&self, event: &FeedEvent, attempt: u32) -> Result<Told, Untold>;

    /// Looks, without telling anything, whether the peer could be told. Asked by an operator, never on an event's way. Ends by itself within
    /// [`TELL_WAIT_MAX`].
    ///
    /// # Errors
    /// [`Untold`]: what stands in the way.
    async fn check(&self) -> Result<Checked, Untold>;
}

/// Longest that [`Outlet::tell`] may take.
pub const TELL_WAIT_MAX: Duration = Duration::from_secs(60);

/// Nothing was found that stands in the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// What was asked and found well, in words; empty if nothing was.
    pub words: String,
    /// What nobody can be asked.
    pub unasked: Option<Unasked>,
}

/// What no check can find out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unasked {
    /// What, and why, in words.
    pub what: String,
    /// How the operator sees it.
    pub way_out: String,
}

impl Checked {
    /// All of it was asked and found well.
    #[must_use]
    pub const fn well(words: String) -> Self {
        Self {
            words,
            unasked: None,
        }
    }
}

/// The peer knows.
#[derive(Debug, Clone, PartialEq)]
pub enum Told {
    /// By a call; in words for the operator, without addresses and secrets.
    Done(String),
    /// By mail, which the engine has to take into its own custody first.
    ByMail(OutletMail),
}

/// Mail that an outlet wants sent.
#[derive(Debug, Clone, PartialEq)]
pub struct OutletMail {
    /// Whom to. MAIL FROM is `<>`.
    pub to: EmailAddress,
    /// The address in From.
    pub from: EmailAddress,
    /// The message with its header, CRLF line ends.
    pub body: Bytes,
    /// The provider that is to carry it.
    pub provider: ProviderName,
}

/// The peer does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Untold {
    /// It may know later: a timeout, a cut, a 5xx.
    #[error("{why}")]
    Later {
        /// The wait asked for.
        after: Option<Duration>,
        /// In words.
        why: String,
    },
    /// It is well and asks for time (429, or 503 with the wait that it asks for), or it is our own
    /// pace. Who asks for days on end is treated as one that fails.
    #[error("{why}")]
    Busy {
        /// The wait asked for.
        after: Duration,
        /// In words.
        why: String,
    },
    /// It will never take this event; those after it may go on.
    #[error("{why}")]
    Never {
        /// In words.
        why: String,
    },
    /// It takes nothing at all until somebody acts: credentials refused, the address gone.
    #[error("{why}")]
    Unusable {
        /// In words.
        why: String,
    },
}
