//! The calls: one send, and the questions that `check` and `inspect` ask.

use async_trait::async_trait;
use http::Method;
use http::header::{HeaderMap, HeaderName};
use jiff::Timestamp;
use malote_core::provider::{
    About, Account, Capabilities, Finding, Outgoing, Question, SendError, SendReport, Unasked,
    Verdict, bounded,
};
use malote_core::tracking::TrackingSwitches;

use super::classify::{self, Outcome};
use super::config::Settings;
use super::request;
use crate::api::{Line, Service, json_call, rendered};
use crate::http::{Answer, Call, sensitive};
use crate::reencode::{self, EightBit};

/// The API states no bound; this is what Postal's own SMTP takes (`max_message_size`).
const MESSAGE_BYTES_MAX: u64 = 14 << 20;
/// What `send/message` takes in each list. `send/raw` states no bound, but keeps a copy of the
/// message for each recipient before it answers.
const RECIPIENTS_MAX: u16 = 50;

const SEND: &str = "/api/v1/send/raw";
/// A look at one message; without its id there is nothing to look at.
const LOOK: &str = "/api/v1/messages/message";

/// A mail server of a Postal installation.
pub(super) struct Postal {
    settings: Settings,
    capabilities: Capabilities,
}

impl Postal {
    pub(super) const fn new(settings: Settings) -> Self {
        Self {
            settings,
            capabilities: Capabilities {
                message_bytes_max: MESSAGE_BYTES_MAX,
                recipients_max: RECIPIENTS_MAX,
                // It is kept with the message, and a return path of Postal's own leaves.
                envelope_sender: false,
                smtputf8: false,
                eight_bit: true,
                tracking: TrackingSwitches::ACCOUNT,
            },
        }
    }

    fn call(&self, path: &str, body: Vec<u8>) -> Call {
        let mut headers = HeaderMap::new();
        if let Some(key) = sensitive(self.settings.server_key.expose()) {
            headers.insert(HeaderName::from_static("x-server-api-key"), key);
        }
        json_call(
            Method::POST,
            &self.settings.endpoint,
            path,
            headers,
            Some(body),
        )
    }

    async fn ask(&self, line: Line<'_>, path: &str, body: Vec<u8>) -> Result<Outcome, SendError> {
        let answer = line.ask(self.call(path, body)).await?;
        classify::outcome(&answer, line.now)
    }
}

#[async_trait]
impl Service for Postal {
    fn kind(&self) -> &'static str {
        "postal"
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn request(&self, outgoing: &Outgoing) -> Result<Call, SendError> {
        // Postal sends on without 8BITMIME, whatever the next server says.
        let eight_bit = EightBit::Unwanted;
        let message = reencode::fit(&outgoing.body, eight_bit, MESSAGE_BYTES_MAX).await?;
        let make = move |outgoing: &Outgoing| request::body(outgoing, &message);
        Ok(self.call(SEND, rendered(outgoing, make).await?))
    }

    fn report(&self, outgoing: &Outgoing, answer: &Answer, now: Timestamp) -> SendReport {
        classify::report(outgoing, answer, now)
    }

    /// The API tells nothing of the server. A look at no message tells a good key: it is missing
    /// its parameter.
    async fn check(&self, line: Line<'_>) -> Result<Account, SendError> {
        self.ask(line, LOOK, b"{}".to_vec()).await?;
        Ok(Account::default())
    }

    /// A message to nobody is taken if its author may send, and nothing is sent.
    async fn inspect(&self, line: Line<'_>, senders: &[String]) -> Result<Vec<Finding>, SendError> {
        let mut findings = Vec::new();
        for sender in senders {
            match self.ask(line, SEND, request::question(sender)?).await {
                Ok(Outcome::Success | Outcome::ParameterError) => {}
                Err(error) if error.verdict == Verdict::SenderUnusable => findings.push(Finding {
                    about: About::Sender(bounded(sender, 255)),
                    text: "is no verified domain of this mail server: add and verify it there"
                        .to_owned(),
                }),
                Err(error) => return Err(error),
            }
        }
        Ok(findings)
    }

    fn unasked(&self) -> &'static [Unasked] {
        &[Unasked {
            question: Question::Account,
            look_at: "the mail server's page at the installation: its mode and its limits are told \
                      nowhere else",
        }]
    }
}
