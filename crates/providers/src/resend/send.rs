//! `POST /emails` as a [`Service`].

use std::time::Duration;

use async_trait::async_trait;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName};
use http::{HeaderValue, Method};
use jiff::Timestamp;
use malote_core::provider::{
    Account, Capabilities, Finding, Outgoing, SendError, SendReport, SenderRecord, report_for_all,
};
use malote_core::tracking::TrackingSwitches;
use sha2::{Digest, Sha256};

use super::account;
use super::classify::classify;
use super::config::Settings;
use super::message::{REQUEST_BYTES_MAX, body};
use crate::api::{Line, Service, json_call, rendered};
use crate::http::{Answer, Call};

/// Most recipients of one call.
const RECIPIENTS_MAX: u16 = 50;
/// The daily quota of a free account is counted by rolling 24 hours.
const POLL_EVERY: Duration = Duration::from_secs(600);

/// A team at Resend.
pub(super) struct Resend {
    settings: Settings,
    capabilities: Capabilities,
}

impl Resend {
    pub(super) const fn new(settings: Settings) -> Self {
        Self {
            settings,
            capabilities: Capabilities {
                message_bytes_max: REQUEST_BYTES_MAX as u64,
                recipients_max: RECIPIENTS_MAX,
                envelope_sender: false,
                smtputf8: false,
                eight_bit: true,
                tracking: TrackingSwitches::ACCOUNT,
            },
        }
    }

    /// A question; `query` is already encoded.
    pub(super) fn get(&self, path: &str, query: Option<&str>) -> Call {
        let mut call = self.call(Method::GET, path, HeaderMap::new(), None);
        call.url.set_query(query);
        call
    }

    pub(super) fn call(
        &self,
        method: Method,
        path: &str,
        mut headers: HeaderMap,
        body: Option<Vec<u8>>,
    ) -> Call {
        headers.insert(AUTHORIZATION, self.settings.authorization.clone());
        json_call(method, &self.settings.endpoint, path, headers, body)
    }
}

/// What the message and the recipients of this call make the same within 24 hours, whatever became
/// of the call: the service takes one call under a key and answers the others with its id.
fn idempotency_key(outgoing: &Outgoing) -> String {
    let mut digest = Sha256::new();
    for recipient in &outgoing.recipients {
        digest.update(recipient.delivery.index.to_be_bytes());
    }
    let digest = digest.finalize();
    let to: String = digest[..8].iter().map(|b| format!("{b:02x}")).collect();
    format!("malote/{}/{to}", outgoing.message.simple())
}

#[async_trait]
impl Service for Resend {
    fn kind(&self) -> &'static str {
        "resend"
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn request(&self, outgoing: &Outgoing) -> Result<Call, SendError> {
        let body = rendered(outgoing, body).await?;
        let mut headers = HeaderMap::new();
        if let Ok(key) = HeaderValue::from_str(&idempotency_key(outgoing)) {
            headers.insert(HeaderName::from_static("idempotency-key"), key);
        }
        Ok(self.call(Method::POST, "/emails", headers, Some(body)))
    }

    fn report(&self, outgoing: &Outgoing, answer: &Answer, now: Timestamp) -> SendReport {
        let result = classify(answer, outgoing.recipients.len(), now);
        report_for_all(outgoing, &result)
    }

    async fn check(&self, line: Line<'_>) -> Result<Account, SendError> {
        account::check(self, line).await
    }

    async fn inspect(&self, line: Line<'_>, senders: &[String]) -> Result<Vec<Finding>, SendError> {
        account::inspect(self, line, senders).await
    }

    async fn sender_records(
        &self,
        line: Line<'_>,
        senders: &[String],
    ) -> Result<Vec<SenderRecord>, SendError> {
        account::sender_records(self, line, senders).await
    }

    fn account_poll_every(&self) -> Option<Duration> {
        Some(POLL_EVERY)
    }
}

#[cfg(test)]
mod tests {
    use super::idempotency_key;
    use crate::correlation::tests::outgoing;

    #[test]
    fn the_key_is_of_message_and_recipients_and_within_256_characters() {
        let one = outgoing(&["a@x.test"]);
        let two = outgoing(&["a@x.test", "b@x.test"]);
        let mut other = one.clone();
        other.message = malote_core::id::MessageId::from_bytes([8; 16]);
        let mut second = two.clone();
        second.recipients.remove(0);
        let keys = [&one, &two, &other, &second].map(idempotency_key);
        for (n, key) in keys.iter().enumerate() {
            assert!(key.len() <= 256 && !keys[..n].contains(key), "{key}");
        }
        let mut again = one.clone();
        again.tags.clear();
        assert_eq!(idempotency_key(&again), keys[0]);
    }
}
