//! Fakes behind the ports, and a server on a port of its own.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use async_trait::async_trait;
use jiff::Timestamp;
use malote_core::address::EmailAddress;
use malote_core::clock::FixedClock;
use malote_core::credential::{
    BadRecipients, Credential, Credentials, OnFinalFailure, OnForeignFrom, ReceivedDetail,
};
use malote_core::event::{Blame, EventKind, ProviderEvent, State};
use malote_core::feed::{EventId, FeedCursor, FeedEvent, FeedPage, FeedQuery};
use malote_core::id::{DeliveryId, MessageId};
use malote_core::intake::{Accepted, AcceptedRecipient, Intake, Openness, Refusal};
use malote_core::ledger::{
    AttemptView, Cancelled, DeliveryView, EventView, Ledger, LedgerFault, MessageView, RawEvent,
    Search, SearchPage, SearchRow,
};
use malote_core::message::Submission;
use malote_core::name::{CredentialName, ProviderName};
use malote_core::provider::Reply;
use malote_core::secret::Secret;
use malote_core::units::{ByteSize, Span};
use malote_core::webhook::{
    EventSink, SinkUnavailable, Webhook, WebhookParser, WebhookRefusal, WebhookRequest,
};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::suppressions::FakeSuppressions;
use super::unsubscribe::FakeSubscriptions;
use crate::http::{HttpConfig, HttpMetrics, HttpPorts, HttpState, TlsInForce, serve};

pub(crate) const NOW: &str = "2026-11-22T10:00:00Z";

fn credential(name: &str, streams: &[&str]) -> Credential {
    Credential {
        name: name.try_into().unwrap(),
        api_key: Some(Secret::new(format!("mk_test_{name}"))),
        smtp_login: None,
        streams: streams.iter().map(|s| (*s).try_into().unwrap()).collect(),
        default_stream: None,
        from_domains: vec!["shop.example".into()],
        on_foreign_from: OnForeignFrom::Reject,
        bad_recipients: BadRecipients::Refuse,
        on_final_failure: OnFinalFailure::Event,
        provider_headers: false,
        received: ReceivedDetail::Brief,
        lenient_headers: false,
    }
}

pub(crate) fn credentials() -> Credentials {
    Credentials::new([
        credential("shop", &["transactional"]),
        credential("news", &["campaign"]),
    ])
}

/// A credential's name and its key.
type Key = (String, String);
/// The fingerprint under a key and the message.
type Kept = (Option<[u8; 32]>, MessageId);

/// An intake that keeps what it accepts, honours keys, and refuses what it is told to.
#[derive(Default)]
pub(crate) struct FakeIntake {
    pub(crate) accepted: Mutex<Vec<Submission>>,
    keys: Mutex<HashMap<Key, Kept>>,
    pub(crate) refusal: Mutex<Option<Refusal>>,
}

#[async_trait]
impl Intake for FakeIntake {
    async fn accept(&self, submission: Submission) -> Result<Accepted, Refusal> {
        self.can_accept()?;
        let credential = Arc::clone(&submission.credential);
        let stream = submission
            .stream
            .clone()
            .unwrap_or(credential.streams[0].clone());
        if !credential.may_use(&stream) {
            return Err(Refusal::StreamNotAllowed(stream.to_string()));
        }
        let recipients = submission.recipients.iter();
        let mut accepted = Accepted {
            id: MessageId::new(NOW.parse().unwrap()),
            stream,
            recipients: recipients
                .map(|r| AcceptedRecipient::queued(&r.address))
                .collect(),
            is_replay: false,
        };
        if let Some(own) = &submission.idempotency {
            let mut keys = self.keys.lock().unwrap();
            let key = (credential.name.to_string(), own.key.clone());
            if let Some((fingerprint, id)) = keys.get(&key) {
                if *fingerprint != own.fingerprint {
                    return Err(Refusal::KeyReused);
                }
                (accepted.id, accepted.is_replay) = (*id, true);
                return Ok(accepted);
            }
            keys.insert(key, (own.fingerprint, accepted.id));
        }
        self.accepted.lock().unwrap().push(submission);
        Ok(accepted)
    }

    fn can_accept(&self) -> Result<(), Refusal> {
        self.refusal.lock().unwrap().clone().map_or(Ok(()), Err)
    }
}

/// A ledger with one message, the shop's.
pub(crate) struct FakeLedger {
    pub(crate) known: MessageId,
    pub(crate) searches: Mutex<Vec<Search>>,
    pub(crate) feeds: Mutex<Vec<FeedQuery>>,
}

impl FakeLedger {
    fn owns(owner: Option<&CredentialName>) -> bool {
        owner.is_some_and(|owner| owner.as_str() == "shop")
    }

    fn delivery(&self) -> DeliveryView {
        let at: Timestamp = NOW.parse().unwrap();
        DeliveryView {
            id: DeliveryId {
                message: self.known,
                index: 0,
            },
            recipient: "ana@dest.example".into(),
            state: State::Sent,
            route: Some("transactional".try_into().unwrap()),
            route_reason: "stream transactional".into(),
            mailbox_provider: Some("google".try_into().unwrap()),
            provider: Some("ses".try_into().unwrap()),
            pool: Some("tx".try_into().unwrap()),
            provider_message_id: Some("0100-abc".into()),
            due_at: None,
            attempts: vec![AttemptView {
                number: 1,
                started_at: at,
                ended_at: Some(at),
                provider: "ses".try_into().unwrap(),
                pool: "tx".try_into().unwrap(),
                outcome: Some("sent".into()),
                reply: Some(Reply::new(Some(200), None, "ok")),
                reason: "first of the plan".into(),
            }],
            events: vec![EventView {
                at,
                kind: EventKind::Sent,
                blame: None,
                provider: Some("ses".try_into().unwrap()),
                detail: "taken".into(),
            }],
        }
    }
}

#[async_trait]
impl Ledger for FakeLedger {
    async fn message(
        &self,
        id: MessageId,
        owner: Option<&CredentialName>,
    ) -> Result<Option<MessageView>, LedgerFault> {
        let view = MessageView {
            id,
            credential: "shop".try_into().unwrap(),
            stream: "transactional".try_into().unwrap(),
            stream_reason: "credential".into(),
            mail_from: Some("orders@shop.example".into()),
            size_bytes: 512,
            accepted_at: NOW.parse().unwrap(),
            tags: vec!["order".into()],
            metadata: BTreeMap::new(),
            deliveries: vec![self.delivery()],
        };
        Ok((id == self.known && Self::owns(owner)).then_some(view))
    }

    async fn search(&self, query: &Search) -> Result<SearchPage, LedgerFault> {
        self.searches.lock().unwrap().push(query.clone());
        if query
            .cursor
            .as_deref()
            .is_some_and(|cursor| cursor != "next")
        {
            return Err(LedgerFault::BadCursor);
        }
        let row = SearchRow {
            message: self.known,
            delivery: self.delivery().id,
            accepted_at: NOW.parse().unwrap(),
            stream: "transactional".try_into().unwrap(),
            recipient: "ana@dest.example".into(),
            state: State::Sent,
            provider: None,
            last_reply: None,
        };
        Ok(SearchPage {
            rows: vec![row],
            next_cursor: Some("next".into()),
        })
    }

    async fn cancel(
        &self,
        id: MessageId,
        owner: Option<&CredentialName>,
    ) -> Result<Cancelled, LedgerFault> {
        if id != self.known || !Self::owns(owner) {
            return Err(LedgerFault::NotFound);
        }
        Ok(Cancelled {
            cancelled: 1,
            too_late: 2,
        })
    }

    async fn feed(&self, query: &FeedQuery) -> Result<FeedPage, LedgerFault> {
        self.feeds.lock().unwrap().push(query.clone());
        let event = FeedEvent {
            cursor: FeedCursor(7),
            id: EventId {
                delivery: self.delivery().id,
                seq: 2,
            },
            kind: EventKind::Bounced,
            blame: Some(Blame::MailboxFull),
            at: NOW.parse().unwrap(),
            credential: "shop".try_into().unwrap(),
            stream: "transactional".try_into().unwrap(),
            recipient: "ana@dest.example".into(),
            mail_from: None,
            provider: Some("ses".try_into().unwrap()),
            pool: None,
            provider_message_id: None,
            reply: "552 full".into(),
            tags: Vec::new(),
            metadata: BTreeMap::new(),
            campaign: None,
            tracking_hash: None,
            one_click: None,
        };
        Ok(FeedPage {
            events: vec![event],
            next: FeedCursor(7),
            is_end: true,
        })
    }

    async fn raw_events(&self, _: MessageId) -> Result<Vec<RawEvent>, LedgerFault> {
        Err(LedgerFault::Unavailable)
    }
}

/// A parser that believes `x-proof: good` and reads one event a line.
#[derive(Default)]
pub(crate) struct FakeParser {
    pub(crate) seen: Mutex<Vec<WebhookRequest>>,
}

#[async_trait]
impl WebhookParser for FakeParser {
    async fn parse(&self, request: &WebhookRequest) -> Result<Webhook, WebhookRefusal> {
        self.seen.lock().unwrap().push(request.clone());
        match request.header("x-proof") {
            Some("good") => {}
            Some("foreign") => return Err(WebhookRefusal::Forbidden("foreign topic")),
            Some("later") => return Err(WebhookRefusal::Unavailable("no certificate")),
            Some("panic") => panic!("a parser broke"),
            Some(_) | None => return Err(WebhookRefusal::Unverified("no proof")),
        }
        let lines = request
            .body
            .split(|b| *b == b'\n')
            .filter(|line| !line.is_empty());
        let events = lines.map(|line| ProviderEvent {
            dedup_key: String::from_utf8_lossy(line).into_owned(),
            at: NOW.parse().unwrap(),
            kind: EventKind::Delivered,
            blame: None,
            delivery: None,
            provider_message_id: None,
            recipient: EmailAddress::parse("ana@dest.example").ok(),
            detail: String::new(),
            raw: bytes::Bytes::new(),
        });
        Ok(Webhook {
            events: events.collect(),
            unreadable: Vec::new(),
        })
    }
}

/// A sink that keeps what it is given, or is out of order.
#[derive(Default)]
pub(crate) struct FakeSink {
    pub(crate) applied: Mutex<Vec<(ProviderName, Webhook)>>,
    pub(crate) is_down: Mutex<bool>,
}

#[async_trait]
impl EventSink for FakeSink {
    async fn apply(
        &self,
        provider: &ProviderName,
        webhook: Webhook,
    ) -> Result<(), SinkUnavailable> {
        if *self.is_down.lock().unwrap() {
            return Err(SinkUnavailable);
        }
        self.applied
            .lock()
            .unwrap()
            .push((provider.clone(), webhook));
        Ok(())
    }
}

/// A server under test; it is stopped when dropped.
pub(crate) struct Gateway {
    pub(crate) address: SocketAddr,
    pub(crate) intake: Arc<FakeIntake>,
    pub(crate) openness: watch::Sender<Openness>,
    pub(crate) ledger: Arc<FakeLedger>,
    pub(crate) parser: Arc<FakeParser>,
    pub(crate) sink: Arc<FakeSink>,
    pub(crate) suppressions: Arc<FakeSuppressions>,
    pub(crate) subscriptions: Arc<FakeSubscriptions>,
    pub(crate) registry: prometheus::Registry,
    pub(crate) shutdown: CancellationToken,
    pub(crate) task: Option<JoinHandle<std::io::Result<()>>>,
    pub(crate) client: reqwest::Client,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// Settings with short times and small bounds.
pub(crate) fn test_config() -> HttpConfig {
    HttpConfig {
        body_max: ByteSize(1 << 20),
        raw_body_max: ByteSize(2 << 20),
        header_timeout: Span(Duration::from_millis(500)),
        body_timeout: Span(Duration::from_millis(500)),
        drain: Span(Duration::from_secs(2)),
        ..HttpConfig::default()
    }
}

impl Gateway {
    pub(crate) async fn start() -> Self {
        Self::start_with(test_config(), None).await
    }

    pub(crate) async fn start_with(config: HttpConfig, tls: TlsInForce) -> Self {
        let intake = Arc::new(FakeIntake::default());
        let ledger = Arc::new(FakeLedger {
            known: MessageId::new(NOW.parse().unwrap()),
            searches: Mutex::default(),
            feeds: Mutex::default(),
        });
        let suppressions = Arc::new(FakeSuppressions::default());
        let (parser, sink) = (
            Arc::new(FakeParser::default()),
            Arc::new(FakeSink::default()),
        );
        let subscriptions = Arc::new(FakeSubscriptions::default());
        let own = Arc::clone(&parser) as Arc<dyn WebhookParser>;
        let parsers = BTreeMap::from([("mailgun".try_into().unwrap(), own)]);
        let openness = watch::Sender::new(Openness::Open);
        let ports = HttpPorts {
            intake: Arc::clone(&intake) as _,
            openness: openness.subscribe(),
            ledger: Arc::clone(&ledger) as _,
            suppressions: Arc::clone(&suppressions) as _,
            sink: Arc::clone(&sink) as _,
            subscriptions: Arc::clone(&subscriptions) as _,
            parsers: Arc::new(ArcSwap::from_pointee(parsers)),
            credentials: Arc::new(ArcSwap::from_pointee(credentials())),
            operator: Arc::new(ArcSwapOption::from_pointee(Secret::new("operators-secret"))),
            clock: Arc::new(FixedClock(NOW.parse().unwrap())),
        };
        let registry = prometheus::Registry::new();
        let metrics = HttpMetrics::new(&registry).unwrap();
        let state = Arc::new(HttpState::new(ports, config, metrics));
        let listener = crate::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(serve(listener, tls, state, shutdown.clone()));
        Self {
            address,
            intake,
            openness,
            ledger,
            parser,
            sink,
            suppressions,
            subscriptions,
            registry,
            shutdown,
            task: Some(task),
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// A JSON post with the shop's key.
    pub(crate) fn post(
        &self,
        path: &str,
        body: impl Into<reqwest::Body>,
    ) -> reqwest::RequestBuilder {
        self.client
            .post(self.url(path))
            .bearer_auth("mk_test_shop")
            .header("content-type", "application/json")
            .body(body)
    }

    pub(crate) fn accepted_count(&self) -> usize {
        self.intake.accepted.lock().unwrap().len()
    }
}

/// A good message.
pub(crate) fn letter() -> String {
    serde_json::json!({
        "from": "orders@shop.example", "to": ["ana@dest.example"],
        "subject": "Hi", "text": "Hello",
    })
    .to_string()
}

/// The last part of a problem's type, and its first pointer.
pub(crate) async fn problem(response: reqwest::Response) -> (u16, String, String) {
    let status = response.status().as_u16();
    let media_type = response.headers()["content-type"].clone();
    assert_eq!(media_type, "application/problem+json");
    let body: serde_json::Value = response.json().await.unwrap();
    assert_eq!(body["status"], status);
    let word = body["type"]
        .as_str()
        .unwrap()
        .trim_start_matches("urn:malote:problem:");
    let pointer = body["errors"][0]["pointer"].as_str().unwrap_or_default();
    (status, word.to_owned(), pointer.to_owned())
}
