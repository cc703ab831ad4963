//! Real sockets, a fake engine behind them.

use std::collections::VecDeque;
use std::fs;
use std::sync::Mutex;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use malote_core::clock::FixedClock;
use malote_core::credential::{
    BadRecipients, Credential, Credentials, OnFinalFailure, OnForeignFrom, ReceivedDetail,
    SmtpLogin,
};
use malote_core::id::MessageId;
use malote_core::intake::{Accepted, Refusal};
use malote_core::message::{Channel, Submission};
use malote_core::secret::Secret;
use prometheus::Registry;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::sync::Notify;
use tokio_rustls::TlsConnector;

use super::super::config::{ListenerConfig, SmtpConfig};
use super::*;

mod sessions;
mod stops;
mod tls;

/// No answer takes so long on a machine that works.
const PATIENCE: Duration = Duration::from_secs(10);
const LOGIN: &str = "AUTH PLAIN AHNob3AAcHc=\r\n";
const MESSAGE: &str = "Subject: x\r\n\r\nx\r\n.\r\n";

/// An engine that keeps what it accepts in memory.
#[derive(Default)]
struct FakeIntake {
    kept: Mutex<Vec<Submission>>,
    refusals: Mutex<VecDeque<Refusal>>,
    /// Whether `accept` panics.
    is_broken: bool,
    /// If set, `accept` waits for it.
    gate: Option<Arc<Notify>>,
    entered: Notify,
}

#[async_trait]
impl Intake for FakeIntake {
    async fn accept(&self, submission: Submission) -> Result<Accepted, Refusal> {
        self.entered.notify_one();
        assert!(!self.is_broken, "a bug of the engine");
        if let Some(gate) = &self.gate {
            gate.notified().await;
        }
        if let Some(refusal) = self.refusals.lock().unwrap().pop_front() {
            return Err(refusal);
        }
        self.kept.lock().unwrap().push(submission);
        Ok(Accepted {
            id: MessageId::from_bytes([1; 16]),
            stream: "transactional".try_into().unwrap(),
            recipients: Vec::new(),
            is_replay: false,
        })
    }

    fn can_accept(&self) -> Result<(), Refusal> {
        Ok(())
    }
}

fn credential(password: &str) -> Credential {
    Credential {
        name: "shop".try_into().unwrap(),
        api_key: None,
        smtp_login: Some(SmtpLogin {
            user: "shop".to_owned(),
            password: Secret::new(password),
        }),
        streams: vec!["transactional".try_into().unwrap()],
        default_stream: None,
        from_domains: Vec::new(),
        on_foreign_from: OnForeignFrom::Reject,
        bad_recipients: BadRecipients::Refuse,
        on_final_failure: OnFinalFailure::Dsn,
        provider_headers: false,
        received: ReceivedDetail::Brief,
        lenient_headers: false,
    }
}

/// A server on a port of its own.
struct Rig {
    address: SocketAddr,
    intake: Arc<FakeIntake>,
    credentials: CredentialsInForce,
    registry: Registry,
    openness: watch::Sender<Openness>,
    shutdown: CancellationToken,
    server: tokio::task::JoinHandle<()>,
}

/// A rig before it runs.
struct Plan {
    listener: serde_json::Value,
    settings: SmtpSettings,
    intake: FakeIntake,
}

impl Plan {
    fn with(listener: serde_json::Value) -> Self {
        let settings = SmtpConfig {
            hostname: Some("mx.test".to_owned()),
            ..SmtpConfig::default()
        };
        Self {
            listener,
            settings: settings.settings(),
            intake: FakeIntake::default(),
        }
    }

    fn trusted() -> Self {
        Self::with(json!({
            "listen": "127.0.0.1:0", "tls": "none", "trusted_plaintext": true,
            "anonymous": {"credential": "shop", "allow_from": ["127.0.0.1/32"]},
        }))
    }

    fn for_strangers() -> Self {
        Self::with(json!({"listen": "127.0.0.1:0", "tls": "none", "trusted_plaintext": false}))
    }

    fn start(self) -> Rig {
        self.start_after(|_| ())
    }

    /// Calls `first` with the address before anything is accepted.
    fn start_after(self, first: impl FnOnce(SocketAddr)) -> Rig {
        let config: ListenerConfig = serde_json::from_value(self.listener).unwrap();
        let listener = config.open().unwrap();
        let socket = crate::net::bind(listener.address()).unwrap();
        let address = socket.local_addr().unwrap();
        first(address);
        let intake = Arc::new(self.intake);
        let held = Credentials::new([credential("pw")]);
        let credentials: CredentialsInForce = Arc::new(ArcSwap::from_pointee(held));
        let registry = Registry::new();
        let service = SmtpService::new(
            self.settings,
            Arc::clone(&intake) as Arc<dyn Intake>,
            Arc::clone(&credentials),
            Arc::new(FixedClock("2026-11-22T00:00:00Z".parse().unwrap())),
            SmtpMetrics::new(&registry).unwrap(),
        );
        let openness = watch::Sender::new(Openness::Open);
        let service = service.with_openness(openness.subscribe());
        let shutdown = CancellationToken::new();
        let serving = serve(socket, listener, Arc::new(service), shutdown.clone());
        Rig {
            address,
            intake,
            credentials,
            registry,
            openness,
            shutdown,
            server: tokio::spawn(serving),
        }
    }
}

impl Rig {
    async fn connect(&self) -> Client {
        let mut client = self.connect_silently().await;
        assert_eq!(client.hear().await, "220 mx.test ESMTP malote");
        client
    }

    async fn connect_silently(&self) -> Client {
        Client::over(TcpStream::connect(self.address).await.unwrap())
    }

    fn kept(&self) -> usize {
        self.intake.kept.lock().unwrap().len()
    }

    fn metric(&self, name: &str) -> f64 {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == name);
        family.map_or(0.0, |f| {
            f.get_metric()
                .iter()
                .map(|m| m.get_counter().get_value() + m.get_gauge().get_value())
                .sum()
        })
    }

    async fn still_works(&self) {
        let mut client = self.connect().await;
        client.ask("EHLO x\r\n").await;
        client.send_message().await;
        client.say("QUIT\r\n").await;
        assert_eq!(client.hear_to_end().await, "221 2.0.0 Bye\r\n");
    }

    async fn stop(self) {
        self.shutdown.cancel();
        timeout(PATIENCE, self.server).await.unwrap().unwrap();
    }
}

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A client that waits for nothing longer than its patience.
struct Client {
    stream: BufReader<Box<dyn Duplex>>,
}

impl Client {
    fn over(stream: impl Duplex + 'static) -> Self {
        Self {
            stream: BufReader::new(Box::new(stream)),
        }
    }

    async fn say(&mut self, text: impl AsRef<[u8]>) {
        let writing = self.stream.get_mut().write_all(text.as_ref());
        timeout(PATIENCE, writing).await.unwrap().unwrap();
        self.stream.get_mut().flush().await.unwrap();
    }

    /// The next line.
    async fn hear(&mut self) -> String {
        let mut line = String::new();
        let reading = self.stream.read_line(&mut line);
        timeout(PATIENCE, reading).await.unwrap().unwrap();
        line.trim_end().to_owned()
    }

    /// The last line of the next reply.
    async fn hear_reply(&mut self) -> String {
        loop {
            let line = self.hear().await;
            if line.as_bytes().get(3) != Some(&b'-') {
                return line;
            }
        }
    }

    async fn ask(&mut self, text: &str) -> String {
        self.say(text).await;
        self.hear_reply().await
    }

    async fn hear_to_end(&mut self) -> String {
        let mut all = String::new();
        loop {
            let line = timeout(PATIENCE, self.stream.read_line(&mut all))
                .await
                .unwrap();
            // A reset after the last reply is an end as good as any.
            if !matches!(line, Ok(bytes) if bytes > 0) {
                return all;
            }
        }
    }

    async fn send_envelope(&mut self) {
        assert_eq!(
            self.ask("MAIL FROM:<a@x.test>\r\n").await,
            "250 2.1.0 Sender ok"
        );
        assert_eq!(
            self.ask("RCPT TO:<b@x.test>\r\n").await,
            "250 2.1.5 Recipient ok"
        );
        assert!(self.ask("DATA\r\n").await.starts_with("354 "));
    }

    async fn send_message(&mut self) {
        self.send_envelope().await;
        let heard = self.ask(MESSAGE).await;
        assert!(
            heard.starts_with("250 2.0.0 Ok: queued as 01010101-"),
            "{heard}"
        );
    }
}
