//! Which deliveries are meant, as typed.

use std::fmt::Display;
use std::str::FromStr;

use jiff::Timestamp;
use malote_core::address::EmailAddress;
use malote_core::event::State;
use malote_core::id::{DeliveryId, MessageId};
use malote_core::name::{CredentialName, StreamName};
use malote_core::units::Span;

use super::exit::{Failure, Outcome};
use crate::admin::api::FilterBody;

/// Which deliveries are meant. All given conditions must hold.
#[derive(Debug, Clone, clap::Args)]
#[group(required = true, multiple = true)]
pub(super) struct FilterArgs {
    /// A message (all its deliveries) or one delivery.
    #[arg(value_name = "ID")]
    id: Option<Id>,
    /// All of this stream.
    #[arg(long)]
    stream: Option<StreamName>,
    /// All to this address.
    #[arg(long, value_name = "ADDRESS")]
    rcpt: Option<EmailAddress>,
    /// All in this state.
    #[arg(long, value_parser = state)]
    state: Option<State>,
    /// All of this credential.
    #[arg(long)]
    credential: Option<CredentialName>,
}

impl From<FilterArgs> for FilterBody {
    fn from(args: FilterArgs) -> Self {
        let (delivery, message) = match args.id {
            Some(Id::Delivery(id)) => (Some(id), None),
            Some(Id::Message(id)) => (None, Some(id)),
            None => (None, None),
        };
        Self {
            delivery,
            message,
            stream: args.stream,
            rcpt: args.rcpt,
            state: args.state,
            credential: args.credential,
        }
    }
}

/// An id of either kind, as lists print them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Id {
    /// A message.
    Message(MessageId),
    /// One delivery of it.
    Delivery(DeliveryId),
}

impl Id {
    /// The message it is, or is of.
    pub(super) const fn message(self) -> MessageId {
        match self {
            Self::Message(id) => id,
            Self::Delivery(id) => id.message,
        }
    }
}

impl FromStr for Id {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let message = text.parse().map(Self::Message);
        message
            .or_else(|_| text.parse().map(Self::Delivery))
            .map_err(|_| "not an id of a message or delivery".to_owned())
    }
}

/// A state by its word.
///
/// # Errors
/// The words that there are.
pub(super) fn state(word: &str) -> Result<State, String> {
    State::from_word(word).ok_or_else(|| {
        let words: Vec<&str> = State::ALL.iter().map(|state| state.as_str()).collect();
        format!("there are {}", words.join(", "))
    })
}

/// A time in the past: `1h` ago, or RFC 3339.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Since {
    /// This long ago.
    Ago(Span),
    /// At this time.
    At(Timestamp),
}

impl Since {
    /// The time that is meant.
    ///
    /// # Errors
    /// Exit code 2 if it is before the calendar.
    pub(super) fn timestamp(self, now: Timestamp) -> Outcome<Timestamp> {
        match self {
            Self::At(at) => Ok(at),
            Self::Ago(span) => now
                .checked_sub(span.0)
                .map_err(|error| Failure::Usage(error.to_string())),
        }
    }
}

impl FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let ago = text.parse().map(Self::Ago);
        ago.or_else(|_| text.parse().map(Self::At)).map_err(|_| {
            "write how long ago, as in 30m, 1h or 7d, or a time as in 2026-11-22T08:00:00Z"
                .to_owned()
        })
    }
}

/// A cell for what may be missing.
pub(super) fn or_dash<T: Display>(value: Option<&T>) -> String {
    value.map_or_else(|| "-".to_owned(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_both_kinds_are_read_as_they_are_printed() {
        let message = MessageId::from_bytes([1; 16]);
        let delivery = DeliveryId { message, index: 3 };
        assert_eq!(message.to_string().parse(), Ok(Id::Message(message)));
        assert_eq!(delivery.to_string().parse(), Ok(Id::Delivery(delivery)));
        assert!("x".parse::<Id>().is_err());
    }

    #[test]
    fn since_is_a_span_or_a_time() {
        let now: Timestamp = "2026-11-22T08:00:00Z".parse().unwrap();
        let at = |text: &str| text.parse::<Since>().unwrap().timestamp(now).unwrap();
        assert_eq!(at("1h").to_string(), "2026-11-22T07:00:00Z");
        assert_eq!(
            at("2026-01-01T00:00:00Z").to_string(),
            "2026-01-01T00:00:00Z"
        );
        assert!("yesterday".parse::<Since>().is_err());
    }
}
