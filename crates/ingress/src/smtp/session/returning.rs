//! Mail that comes back: taken without a login, from anybody, for addresses that we signed, for the
//! one of feedback loops, and for no other. So such a listener is no relay, and refuses before any content what it would have to
//! bounce.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use malote_core::address::EmailAddress;
use malote_core::returned::{ReturnPlace, ReturnSender, Returns};
use malote_core::webhook::SinkUnavailable;

use super::super::reply::{self, Reply};
use super::{Session, State};

/// Tells addresses of ours from others. Computes only.
#[derive(Clone)]
pub(crate) struct Recogniser(pub(crate) Arc<dyn Returns>);

impl fmt::Debug for Recogniser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recogniser")
    }
}

impl Recogniser {
    pub(super) fn recognise(&self, address: &EmailAddress) -> Option<ReturnPlace> {
        self.0.recognise(address)
    }
}

/// A message that came back.
#[derive(Debug)]
pub(crate) struct CameBack {
    /// The addresses that it came to, each once.
    pub(crate) to: Vec<ReturnPlace>,
    /// Whom MAIL FROM named.
    pub(crate) sender: ReturnSender,
    /// The message.
    pub(crate) message: Bytes,
}

impl Session {
    /// The answer to [`super::Step::TakeBack`].
    pub(crate) fn taken_back(&mut self, outcome: Result<(), SinkUnavailable>) {
        self.state = State::Command;
        match outcome {
            Ok(()) => {
                self.errors = 0;
                self.write(&reply::TAKEN_BACK);
            }
            Err(fault) => self.write(&Reply::with_text(451, "4.3.0", fault.to_string())),
        }
    }
}
