//! Who plays in the demo: the gateway as a program of its own, and three simulated services.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use malote_core::clock::{Clock, SystemClock};
use malote_sandbox::{Kind, Sandbox, SandboxConfig};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::{CancellationToken, DropGuard};

/// How long the gateway may take to be ready.
const READY_MAX: Duration = Duration::from_secs(20);
/// How long it may take to stop.
const STOP_MAX: Duration = Duration::from_secs(20);
/// Messages looked at for the one whose life is told.
const STORIES_MAX: usize = 400;
/// The configuration of the demo's gateway; `{names}` are filled in.
const CONFIG: &str = include_str!("demo.toml");

/// A simulated service on a port of its own; it ends when dropped.
pub(super) struct Actor {
    pub(super) sandbox: Sandbox,
    address: SocketAddr,
    _stop: DropGuard,
    _served: JoinHandle<std::io::Result<()>>,
}

/// Everybody.
pub(super) struct Cast {
    pub(super) ses: Actor,
    pub(super) mailgun: Actor,
    pub(super) relay: Actor,
    gateway: Gateway,
    folder: PathBuf,
    http: SocketAddr,
    client: reqwest::Client,
    smtp: AsyncSmtpTransport<Tokio1Executor>,
    /// Ids of the password resets.
    resets: Vec<String>,
    newsletters: u64,
}

impl Actor {
    async fn enter(kind: Kind) -> anyhow::Result<Self> {
        let clock = SystemClock::start();
        let config = SandboxConfig::new(Arc::new(move || clock.now()));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let sandbox = Sandbox::new(kind, config);
        let shutdown = CancellationToken::new();
        let (serving, token) = (sandbox.clone(), shutdown.clone());
        let served = tokio::spawn(async move { serving.serve(listener, None, token).await });
        Ok(Self {
            sandbox,
            address,
            _stop: shutdown.drop_guard(),
            _served: served,
        })
    }
}

impl Cast {
    /// Starts everybody and waits until the gateway is ready.
    pub(super) async fn gather() -> anyhow::Result<Self> {
        let ses = Actor::enter(Kind::Ses).await?;
        let mailgun = Actor::enter(Kind::Mailgun).await?;
        let relay = Actor::enter(Kind::Smtp).await?;
        let (http, smtp, admin) = (
            free_address().await?,
            free_address().await?,
            free_address().await?,
        );
        let folder = std::env::temp_dir().join(format!("malote-demo-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let config = CONFIG
            .replace("{http}", &http.to_string())
            .replace("{smtp}", &smtp.to_string())
            .replace("{admin}", &admin.to_string())
            .replace("{store}", &folder.join("demo.db").display().to_string())
            .replace("{ses}", &ses.address.to_string())
            .replace("{mailgun}", &mailgun.address.to_string())
            .replace("{relay_port}", &relay.address.port().to_string());
        let file = folder.join("demo.toml");
        std::fs::write(&file, config)?;
        let log = std::fs::File::create(folder.join("log"))?;
        let gateway = Command::new(std::env::current_exe()?)
            .args(["serve", "--config"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("the gateway")?;
        let transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous("127.0.0.1");
        let cast = Self {
            ses,
            mailgun,
            relay,
            gateway: Gateway(gateway),
            folder,
            http,
            client: reqwest::Client::builder().no_proxy().build()?,
            smtp: transport.port(smtp.port()).build(),
            resets: Vec::new(),
            newsletters: 0,
        };
        cast.wait_until_ready(admin).await?;
        Ok(cast)
    }

    async fn wait_until_ready(&self, admin: SocketAddr) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY_MAX;
        let url = format!("http://{admin}/readyz");
        while Instant::now() < deadline {
            let answer = self.client.get(&url).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            sleep(Duration::from_millis(50)).await;
        }
        let log = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        bail!("the gateway did not get ready:\n{log}")
    }

    /// Submits one password reset by HTTP and one newsletter by SMTP, as an app and Mautic do.
    pub(super) async fn submit(&mut self) -> anyhow::Result<()> {
        let number = self.resets.len();
        let body = json!({
            "from": "accounts@shop.example",
            "to": [format!("customer{number}@dest.example")],
            "subject": "Reset your password",
            "text": "Follow the link within an hour.",
        });
        let answer = self
            .client
            .post(format!("http://{}/v1/messages", self.http))
            .bearer_auth("demo-shop-api-key")
            .json(&body)
            .send()
            .await?
            .error_for_status()?;
        let answer: Value = answer.json().await?;
        self.resets
            .push(answer["id"].as_str().unwrap_or_default().to_owned());
        let list_unsubscribe = HeaderName::new_from_ascii_str("List-Unsubscribe");
        let mut newsletter = Message::builder()
            .from("News <news@news.example>".parse()?)
            .to(format!("reader{}@dest.example", self.newsletters).parse()?)
            .subject("What is new")
            .body("Much.\r\n".to_owned())?;
        newsletter.headers_mut().insert_raw(HeaderValue::new(
            list_unsubscribe,
            "<https://news.example/u/1>".into(),
        ));
        self.smtp
            .send(newsletter)
            .await
            .context("newsletter by SMTP")?;
        self.newsletters += 1;
        Ok(())
    }

    /// Messages that the gateway has taken.
    pub(super) fn accepted(&self) -> u64 {
        self.resets.len() as u64 + self.newsletters
    }

    /// The life of one password reset that failed over, line by line.
    pub(super) async fn story(&self) -> anyhow::Result<Vec<String>> {
        for id in self.resets.iter().rev().take(STORIES_MAX) {
            let url = format!("http://{}/v1/messages/{id}", self.http);
            let view = self
                .client
                .get(url)
                .bearer_auth("demo-shop-api-key")
                .send()
                .await?;
            let view: Value = view.json().await?;
            let attempts = view["deliveries"][0]["attempts"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            if attempts.len() < 2 {
                continue;
            }
            let mut lines = vec![format!("the timeline of one password reset, {id}:")];
            for attempt in &attempts {
                let word = |key: &str| attempt[key].as_str().unwrap_or("-").to_owned();
                let reply = attempt["reply"]["text"].as_str().unwrap_or_default();
                lines.push(format!(
                    "  attempt {} by {}/{}: {} ({} {reply})",
                    attempt["number"],
                    word("provider"),
                    word("pool"),
                    word("outcome"),
                    attempt["reply"]["code"],
                ));
            }
            return Ok(lines);
        }
        Ok(vec!["no password reset needed a second attempt".into()])
    }

    /// Ends the gateway in order and removes what it left.
    pub(super) async fn leave(mut self) {
        self.gateway.stop().await;
        if let Err(error) = std::fs::remove_dir_all(&self.folder) {
            eprintln!("left {} behind: {error}", self.folder.display());
        }
    }
}

/// The gateway's process. Killed when dropped, so that a demo that fails leaves none behind.
struct Gateway(Child);

impl Gateway {
    /// Sends SIGTERM, by the system's own `kill`, and waits for the end.
    async fn stop(&mut self) {
        let told = Command::new("kill").arg(self.0.id().to_string()).status();
        if told.is_err() {
            return;
        }
        let deadline = Instant::now() + STOP_MAX;
        while Instant::now() < deadline && matches!(self.0.try_wait(), Ok(None)) {
            sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) && self.0.kill().is_ok() && self.0.wait().is_err()
        {
            eprintln!("could not wait for the gateway");
        }
    }
}

/// An address that nothing listens on, found by listening on it for a moment.
async fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0").await?.local_addr()?)
}
