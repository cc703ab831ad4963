//! Who plays in the demo: the gateway as a program of its own, and three simulated services.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use malote_core::clock::{Clock, SystemClock};
use malote_sandbox::{Kind, Sandbox, SandboxConfig};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::process::{Gateway, free_address, new_folder};

/// Messages looked at for the one whose life is told.
const STORIES_MAX: usize = 400;
/// The configuration of the demo's gateway; `{names}` are filled in.
const CONFIG: &str = include_str!("demo.toml");

/// A simulated service on a port of its own; it ends when dropped.
pub(super) struct Actor {
    pub(super) sandbox: Sandbox,
    /// Where it listens.
    pub(super) address: SocketAddr,
    _stop: DropGuard,
    _served: JoinHandle<std::io::Result<()>>,
}

/// Everybody.
pub(super) struct Cast {
    pub(super) ses: Actor,
    pub(super) mailgun: Actor,
    pub(super) relay: Actor,
    gateway: Gateway,
    http: SocketAddr,
    client: reqwest::Client,
    smtp: AsyncSmtpTransport<Tokio1Executor>,
    /// Ids of the password resets.
    resets: Vec<String>,
    newsletters: u64,
}

impl Actor {
    /// Starts one of this kind.
    pub(super) async fn enter(kind: Kind) -> anyhow::Result<Self> {
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
        let folder = new_folder()?;
        let config = CONFIG
            .replace("{http}", &http.to_string())
            .replace("{smtp}", &smtp.to_string())
            .replace("{admin}", &admin.to_string())
            .replace("{store}", &folder.join("demo.db").display().to_string())
            .replace("{ses}", &ses.address.to_string())
            .replace("{mailgun}", &mailgun.address.to_string())
            .replace("{relay_port}", &relay.address.port().to_string());
        let gateway = Gateway::start(folder, &config, admin).await?;
        let transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous("127.0.0.1");
        Ok(Self {
            ses,
            mailgun,
            relay,
            gateway,
            http,
            client: reqwest::Client::builder().no_proxy().build()?,
            smtp: transport.port(smtp.port()).build(),
            resets: Vec::new(),
            newsletters: 0,
        })
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
    pub(super) async fn leave(self) {
        self.gateway.leave().await;
    }
}
