//! The port to what a recipient wants: whether it goes on getting a campaign stream's mail.

use async_trait::async_trait;

use crate::webhook::SinkUnavailable;

/// What a recipient asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// No more of it.
    Unsubscribe,
    /// It again, after it was unsubscribed in the same way.
    Resubscribe,
}

/// Where a recipient stands with the stream that a link came with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// The domain that the mail was from.
    pub sender_domain: String,
    /// Whether its mail is stopped.
    pub is_stopped: bool,
    /// Whether the recipient can undo that.
    pub can_resume: bool,
}

/// Reads and does what recipients want, by the ticket that a link ends in.
#[async_trait]
pub trait Subscriptions: Send + Sync {
    /// Where the recipient stands; `None` for a link that is none of ours, or too old to be known.
    /// Changes nothing.
    ///
    /// # Errors
    /// If the store cannot be read now.
    async fn find(&self, ticket: &str) -> Result<Option<Subscription>, SinkUnavailable>;

    /// Does it, durably before `Ok`; doing it again changes nothing. Answers where the recipient
    /// stands then; `None` as for [`Subscriptions::find`].
    ///
    /// # Errors
    /// If it could not be made durable.
    async fn ask(&self, ticket: &str, wish: Wish) -> Result<Option<Subscription>, SinkUnavailable>;
}
