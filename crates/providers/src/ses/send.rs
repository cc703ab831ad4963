//! One call of `SendEmail` (API v2) with the raw message, signed, answered, classified.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Method;
use jiff::{SignedDuration, Timestamp};
use malote_core::clock::Clock;
use malote_core::name::ProviderName;
use malote_core::provider::{
    Account, Capabilities, Finding, Outgoing, Provider, Receipt, Reply, SendError, SendReport,
    SenderRecord, Verdict, report_for_all,
};
use malote_core::stream::Class;
use malote_core::tracking::{Tracking, TrackingSwitches};
use serde::Serialize;

use super::account;
use super::classify::{Sent, addresses, classify, clock_skew};
use super::config::Settings;
use super::credentials::{Credentials, NoKeys};
use super::inspect;
use super::records;
use super::sign::{Signable, sha256_hex, sign};
use crate::correlation;
use crate::http::{Answer, Call, HttpClients, Lost, Patience};
use crate::reencode::{self, EightBit};
use crate::settings::join;

const SEND_PATH: &str = "/v2/email/outbound-emails";
pub(super) const ACCOUNT_PATH: &str = "/v2/email/account";
const JSON: &str = "application/json";
/// SES takes 40 MB after base64 (developer guide, "Service quotas"); this leaves 130 kB for the
/// rest of the document.
const MESSAGE_BYTES_MAX: u64 = 29_900_000;
/// SES asks for parts outside of ASCII to be encoded (API reference, RawMessage), and re-encodes
/// them itself, not always well, where the configuration set tracks opens or clicks. It refuses
/// none, so one that cannot be encoded leaves as it is. Lines over 1,000 octets with their CRLF
/// it does not take (same page).
const EIGHT_BIT: EightBit = EightBit::Unwanted;
/// Recipients per message (developer guide, "Service quotas").
const RECIPIENTS_MAX: u16 = 50;
/// GetAccount may be called once a second; rate and quota change by the day.
const ACCOUNT_POLL_EVERY: Duration = Duration::from_secs(300);
/// Encoding and hashing from this size on would hold up other tasks of the thread.
const BLOCKING_FROM_BYTES: usize = 256 * 1024;
/// Largest tag name and value (API reference, MessageTag).
const TAG_BYTES_MAX: usize = 256;
/// Most tags and metadata of a message that are passed on.
const TAGS_MAX: usize = 30;

/// An Amazon SES account in one region.
pub(crate) struct Ses {
    pub(super) name: ProviderName,
    pub(super) settings: Settings,
    pub(super) credentials: Credentials,
    pub(super) clients: HttpClients,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) capabilities: Capabilities,
    /// How far the service's clock was ahead of ours when it last complained, in seconds.
    pub(super) clock_ahead_s: AtomicI64,
}

/// What SES can carry. 8-bit parts leave encoded, see [`EIGHT_BIT`].
pub(super) const fn capabilities() -> Capabilities {
    Capabilities {
        message_bytes_max: MESSAGE_BYTES_MAX,
        recipients_max: RECIPIENTS_MAX,
        envelope_sender: false,
        smtputf8: false,
        eight_bit: true,
        tracking: TrackingSwitches::BOTH,
    }
}

#[async_trait]
impl Provider for Ses {
    fn kind(&self) -> &'static str {
        "ses"
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn send(&self, outgoing: &Outgoing) -> SendReport {
        let result = self.send_email(outgoing).await;
        report_for_all(outgoing, &result)
    }

    async fn check(&self) -> Result<Account, SendError> {
        let answer = self.ask(ACCOUNT_PATH.into()).await?;
        let account = account::read(&answer, self.clock.now());
        self.forget_refused_keys(account.as_ref().err());
        account
    }

    async fn inspect(&self, senders: &[String]) -> Result<Vec<Finding>, SendError> {
        inspect::inspect(self, senders).await
    }

    async fn sender_records(&self, senders: &[String]) -> Result<Vec<SenderRecord>, SendError> {
        records::ask(self, senders).await
    }

    fn account_poll_every(&self) -> Option<Duration> {
        Some(ACCOUNT_POLL_EVERY)
    }
}

/// A request that may be signed more than once.
struct Prepared {
    method: Method,
    path: Cow<'static, str>,
    query: Option<String>,
    body: Bytes,
    body_sha256: String,
}

/// Why a call has no answer.
enum CallFault {
    Keys(NoKeys),
    Signing(String),
    Lost(Lost),
}

impl CallFault {
    fn of_send(self) -> SendError {
        match self {
            Self::Keys(NoKeys::Busy) => {
                SendError::new(Verdict::Transient, Reply::none(&NoKeys::Busy.to_string()))
            }
            Self::Keys(fault) => {
                SendError::new(Verdict::ProviderUnusable, Reply::none(&fault.to_string()))
            }
            Self::Signing(what) => SendError::new(Verdict::ProviderUnusable, Reply::none(&what)),
            Self::Lost(lost) => lost.into(),
        }
    }

    /// A check sends no mail, so nothing about it is in doubt.
    fn of_check(self) -> SendError {
        let mut error = self.of_send();
        if error.verdict == Verdict::Unknown {
            error.verdict = Verdict::Transient;
        }
        error
    }
}

impl Ses {
    /// Asks a question that carries no mail.
    pub(super) async fn ask(&self, path: Cow<'static, str>) -> Result<Answer, SendError> {
        self.call_for(Method::GET, path, None, Vec::new()).await
    }

    /// A call that carries no mail; `query` is encoded.
    pub(super) async fn call_for(
        &self,
        method: Method,
        path: impl Into<Cow<'static, str>>,
        query: Option<String>,
        body: Vec<u8>,
    ) -> Result<Answer, SendError> {
        let request = Prepared {
            method,
            path: path.into(),
            query,
            body_sha256: sha256_hex(&body),
            body: body.into(),
        };
        self.call(&request, Class::Transactional, Patience::SHORT)
            .await
            .map_err(CallFault::of_check)
    }

    async fn send_email(&self, outgoing: &Outgoing) -> Result<Receipt, SendError> {
        let configuration_set = self.settings.configuration_sets.get(&outgoing.pool);
        let body = reencode::fit(&outgoing.body, EIGHT_BIT, MESSAGE_BYTES_MAX).await?;
        let request = prepare(outgoing, body, configuration_set.cloned()).await;
        let patience = Patience::for_message(outgoing, request.body.len() as u64);
        let answer = self
            .call(&request, outgoing.class, patience)
            .await
            .map_err(CallFault::of_send)?;
        let recipients = addresses(outgoing);
        let sent = Sent {
            sender: outgoing.mail_from.as_ref(),
            recipients: &recipients,
            names_configuration_set: configuration_set.is_some(),
        };
        let result = classify(&answer, sent, self.clock.now());
        self.forget_refused_keys(result.as_ref().err());
        result
    }

    /// Rotated keys are found by looking again.
    fn forget_refused_keys(&self, error: Option<&SendError>) {
        if error.is_some_and(|error| error.verdict == Verdict::ProviderUnusable) {
            self.credentials.forget();
        }
    }

    /// One exchange; a second one if the service refuses our clock: that refusal is final, so
    /// nothing can be sent twice.
    async fn call(
        &self,
        request: &Prepared,
        class: Class,
        patience: Patience,
    ) -> Result<Answer, CallFault> {
        let answer = self.call_once(request, class, patience).await?;
        let Some(ahead) = clock_skew(&answer, self.clock.now()) else {
            return Ok(answer);
        };
        self.clock_ahead_s.store(ahead.as_secs(), Ordering::Relaxed);
        tracing::warn!(provider = %self.name, skew_s = ahead.as_secs(), "the service refused our clock, corrected for its own");
        self.call_once(request, class, patience).await
    }

    async fn call_once(
        &self,
        request: &Prepared,
        class: Class,
        patience: Patience,
    ) -> Result<Answer, CallFault> {
        let keys = self
            .credentials
            .keys(self.clock.now())
            .await
            .map_err(CallFault::Keys)?;
        let mut url = join(&self.settings.endpoint, &request.path);
        url.set_query(request.query.as_deref());
        let signable = Signable {
            method: request.method.as_str(),
            url: &url,
            content_type: (!request.body.is_empty()).then_some(JSON),
            body_sha256: &request.body_sha256,
        };
        let headers = sign(signable, &keys, &self.settings.region, self.service_time())
            .map_err(|error| CallFault::Signing(error.to_string()))?;
        let call = Call {
            method: request.method.clone(),
            url,
            headers,
            body: vec![request.body.clone()],
        };
        self.clients
            .exchange(class, call, patience)
            .await
            .map_err(CallFault::Lost)
    }

    fn service_time(&self) -> Timestamp {
        let now = self.clock.now();
        let ahead = SignedDuration::from_secs(self.clock_ahead_s.load(Ordering::Relaxed));
        now.checked_add(ahead).unwrap_or(now)
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Rest {
    destination: Destination,
    email_tags: Vec<Tag>,
    #[serde(skip_serializing_if = "Option::is_none")]
    configuration_overrides: Option<Overrides>,
    #[serde(skip_serializing_if = "Option::is_none")]
    configuration_set_name: Option<String>,
}

/// What a message says in place of its configuration set (API reference, ConfigurationOverrides).
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Overrides {
    tracking: TrackingOptions,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct TrackingOptions {
    #[serde(skip_serializing_if = "Option::is_none")]
    open_tracking_enabled: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    click_tracking_enabled: Option<&'static str>,
}

fn overrides(tracking: Tracking) -> Option<Overrides> {
    let word = |is_on| if is_on { "ENABLED" } else { "DISABLED" };
    (!tracking.is_silent()).then(|| Overrides {
        tracking: TrackingOptions {
            open_tracking_enabled: tracking.opens.map(word),
            click_tracking_enabled: tracking.clicks.map(word),
        },
    })
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Destination {
    to_addresses: Vec<String>,
}

#[derive(Serialize, Debug, PartialEq, Eq)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Tag {
    pub(crate) name: String,
    pub(crate) value: String,
}

async fn prepare(
    outgoing: &Outgoing,
    message: Bytes,
    configuration_set: Option<String>,
) -> Prepared {
    let rest = Rest {
        destination: Destination {
            to_addresses: outgoing
                .recipients
                .iter()
                .map(|r| r.address.as_str().to_owned())
                .collect(),
        },
        email_tags: email_tags(outgoing),
        configuration_overrides: overrides(outgoing.tracking),
        configuration_set_name: configuration_set,
    };
    let message_bytes = message.len();
    let encode = move || {
        let body = Bytes::from(document(&message, &rest));
        let body_sha256 = sha256_hex(&body);
        Prepared {
            method: Method::POST,
            path: SEND_PATH.into(),
            query: None,
            body,
            body_sha256,
        }
    };
    if message_bytes < BLOCKING_FROM_BYTES {
        return encode();
    }
    match tokio::task::spawn_blocking(encode).await {
        Ok(prepared) => prepared,
        Err(stopped) => std::panic::resume_unwind(stopped.into_panic()),
    }
}

/// The request body. The message is encoded straight into it: a copy of 40 MB per call is enough.
/// `FromEmailAddress` and `ReplyToAddresses` stay away, since they would replace the message's own
/// fields; the destination decides who gets it and changes no field.
fn document(message: &[u8], rest: &Rest) -> String {
    const BEFORE: &str = r#"{"Content":{"Raw":{"Data":""#;
    const BETWEEN: &str = r#""}},"#;
    let rest = serde_json::to_string(rest).unwrap_or_default();
    let rest = rest.strip_prefix('{').unwrap_or("}");
    let encoded_bytes = message.len().div_ceil(3) * 4;
    // No octet more: it is kept until the service answers, times the calls under way.
    let bytes = BEFORE.len() + encoded_bytes + BETWEEN.len() + rest.len();
    let mut json = String::with_capacity(bytes);
    json.push_str(BEFORE);
    STANDARD.encode_string(message, &mut json);
    json.push_str(BETWEEN);
    json.push_str(rest);
    json
}

/// Our ids, so that events find their deliveries, then the message's tags and metadata as far as
/// SES takes them. SES allows letters, digits, `-` and `_` only.
pub(crate) fn email_tags(outgoing: &Outgoing) -> Vec<Tag> {
    let mut tags = vec![tag(correlation::MESSAGE, &outgoing.message.simple())];
    let values = correlation::recipients(outgoing, TAG_BYTES_MAX);
    for (n, value) in values.iter().enumerate() {
        tags.push(tag(&format!("{}-{n}", correlation::RECIPIENTS), value));
    }
    let own = tags.len();
    let named = outgoing.tags.iter().enumerate();
    let named = named.map(|(n, value)| tag(&format!("tag-{n}"), value));
    let metadata = outgoing
        .metadata
        .iter()
        .map(|(name, value)| tag(name, value));
    for tag in named.chain(metadata) {
        let is_taken = tags.iter().any(|other| other.name == tag.name);
        let is_empty = tag.name.is_empty() || tag.value.is_empty();
        let is_ours = tag.name.starts_with("malote-");
        if !is_taken && !is_empty && !is_ours && tags.len() < own + TAGS_MAX {
            tags.push(tag);
        }
    }
    tags
}

fn tag(name: &str, value: &str) -> Tag {
    Tag {
        name: sanitised(name),
        value: sanitised(value),
    }
}

fn sanitised(text: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    text.chars()
        .take(TAG_BYTES_MAX)
        .map(|c| if allowed(c) { c } else { '_' })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::correlation::tests::outgoing;

    #[tokio::test]
    async fn the_document_holds_the_raw_message_the_envelope_and_our_ids() {
        let mut message = outgoing(&["a@x.test", "b@y.test"]);
        message.metadata.insert("olá mundo".into(), "ç/1".into());
        let request = prepare(&message, message.body.clone(), Some("transactional".into())).await;
        let json: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
        assert_eq!(
            json["Content"]["Raw"]["Data"],
            STANDARD.encode(&message.body)
        );
        let to = &json["Destination"]["ToAddresses"];
        assert_eq!(*to, serde_json::json!(["a@x.test", "b@y.test"]));
        assert_eq!(json["ConfigurationSetName"], "transactional");
        assert!(json.get("FromEmailAddress").is_none());
        let tags = json["EmailTags"].as_array().unwrap();
        let has = |name: &str, value: &str| {
            tags.contains(&serde_json::json!({"Name": name, "Value": value}))
        };
        assert!(has("malote-message", &message.message.simple()));
        assert!(has("tag-0", "welcome") && has("order", "42") && has("ol__mundo", "__1"));
    }

    #[tokio::test]
    async fn tracking_is_switched_in_place_of_the_configuration_set() {
        let (on, off) = ("ENABLED", "DISABLED");
        for (opens, clicks, expected) in [
            (None, None, serde_json::Value::Null),
            (
                Some(true),
                None,
                serde_json::json!({"Tracking": {"OpenTrackingEnabled": on}}),
            ),
            (
                Some(false),
                Some(true),
                serde_json::json!({"Tracking": {"OpenTrackingEnabled": off, "ClickTrackingEnabled": on}}),
            ),
        ] {
            let mut message = outgoing(&["a@x.test"]);
            message.tracking = Tracking { opens, clicks };
            let request = prepare(&message, message.body.clone(), None).await;
            let json: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
            assert_eq!(json["ConfigurationOverrides"], expected);
        }
    }

    #[tokio::test]
    async fn a_full_call_stays_within_the_services_bounds() {
        let addresses: Vec<String> = (0..50).map(|n| format!("r{n}@x.test")).collect();
        let mut message = outgoing(&addresses.iter().map(String::as_str).collect::<Vec<_>>());
        message.tags = (0..10).map(|n| format!("{n}").repeat(500)).collect();
        message.body = vec![b'x'; 29_900_000].into();
        let request = prepare(&message, message.body.clone(), None).await;
        assert!(request.body.len() < 40_000_000);
        for tag in email_tags(&message) {
            assert!(tag.name.len() <= 256 && tag.value.len() <= 256, "{tag:?}");
        }
    }
}
