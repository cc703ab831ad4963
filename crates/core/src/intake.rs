//! The port through which a submission becomes a message.

use std::time::Duration;

use async_trait::async_trait;

use crate::address::EmailAddress;
use crate::id::MessageId;
use crate::message::Submission;
use crate::name::StreamName;

/// Takes custody of submissions. When [`Intake::accept`] returns `Ok`, the message is on disk.
#[async_trait]
pub trait Intake: Send + Sync {
    /// Classifies, checks, and makes the message durable.
    ///
    /// # Errors
    /// A [`Refusal`]; then nothing was kept.
    async fn accept(&self, submission: Submission) -> Result<Accepted, Refusal>;

    /// Whether custody can be taken at all right now (disk, queue bounds); for readiness and for
    /// refusing MAIL FROM before the data is sent.
    fn can_accept(&self) -> Result<(), Refusal>;
}

/// Whether the doors of a gateway take new mail. A drain goes through all three.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Openness {
    /// They do.
    Open,
    /// They do, and the gateway says that it is not ready, so that balancers turn to others:
    /// clients are told to connect anew.
    Closing,
    /// They do not. What was begun before is taken.
    Closed,
}

/// A message is ours now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// Its id; the id of the first submission if this one repeats it.
    pub id: MessageId,
    /// Its stream.
    pub stream: StreamName,
    /// What becomes of each recipient, in the envelope's order, impossible ones last.
    pub recipients: Vec<AcceptedRecipient>,
    /// Whether this repeats an earlier submission with the same idempotency key.
    pub is_replay: bool,
}

/// What becomes of one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptedRecipient {
    /// The address as kept.
    pub address: String,
    /// Whether mail will be sent to it.
    pub status: RecipientStatus,
}

/// Whether mail will be sent to a recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecipientStatus {
    /// It will.
    Queued,
    /// The address is suppressed.
    Suppressed,
    /// The address cannot exist.
    Bounced,
}

/// Why custody was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The credential may not use the stream it asked for. HTTP 403, never said over SMTP.
    #[error("this credential may not use the stream {0}")]
    StreamNotAllowed(String),
    /// Nothing says which stream this is. HTTP 422 `/stream`, SMTP 550 5.7.1.
    #[error("no stream: give `stream`, or set default_stream for this credential")]
    StreamMissing,
    /// From's domain is not the credential's. HTTP 422 `/from`, SMTP 550 5.7.1.
    #[error("this credential may not send from {domain}")]
    FromNotAllowed {
        /// The domain in From.
        domain: String,
    },
    /// The header cannot be sent. HTTP 422, SMTP 550 5.6.0 or as given.
    #[error("{reason}")]
    Malformed {
        /// Enhanced status code: `5.6.0`, `5.6.7`, `5.6.11`.
        enhanced: &'static str,
        /// What is wrong and the way out.
        reason: String,
    },
    /// A header section over its bound. HTTP 422, SMTP 552 5.3.4.
    #[error("{reason}")]
    TooLarge {
        /// Which bound.
        reason: String,
    },
    /// More than 100 `Received` fields. HTTP 422, SMTP 554 5.4.6.
    #[error("mail loop: more than 100 Received fields")]
    Loop,
    /// The idempotency key was used with another body. HTTP 422, SMTP 550 5.6.0.
    #[error("this idempotency key was used with another body")]
    KeyReused,
    /// The first submission with this key is still under way. HTTP 409 + Retry-After.
    #[error("a submission with this idempotency key is under way")]
    InProgress,
    /// Another gateway began with this key and has not said how it ended. HTTP 503 + Retry-After,
    /// SMTP 451 4.3.0.
    #[error(
        "another gateway began a submission with this idempotency key and has not said how it ended"
    )]
    KeyHeld,
    /// Whether another gateway has the key cannot be known. HTTP 503 + Retry-After, SMTP 451 4.3.0.
    #[error(
        "the idempotency key cannot be checked now: the database that gateways share does not answer"
    )]
    KeyUnchecked,
    /// The gateway is being drained. HTTP 503 + Retry-After, SMTP 421 4.3.2.
    #[error("the gateway is being drained and takes no new mail")]
    Draining,
    /// The queue is full. HTTP 503 + Retry-After, SMTP 452 4.3.1.
    #[error("the queue is full, come back in {} s", retry_after.as_secs())]
    QueueFull {
        /// When to come back.
        retry_after: Duration,
    },
    /// The disk is full or not writable. HTTP 507, SMTP 452 4.3.1.
    #[error("the store cannot take mail now")]
    StorageFull,
    /// The gateway cannot take custody for another reason. HTTP 503, SMTP 451 4.3.0.
    #[error("the gateway cannot take mail now")]
    Unavailable,
}

impl AcceptedRecipient {
    /// A recipient whose mail is queued.
    #[must_use]
    pub fn queued(address: &EmailAddress) -> Self {
        Self {
            address: address.to_string(),
            status: RecipientStatus::Queued,
        }
    }
}
