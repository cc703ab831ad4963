//! The gateway seen from outside: its API as apps use it, its admin listener as operators do.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use reqwest::{RequestBuilder, Url};
use serde_json::{Value, json};

/// How long one answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Pages of a search that are read at most.
const PAGES_MAX: usize = 20;

/// Who has an API key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    /// An app.
    Shop,
    /// Mautic's credential; it only speaks SMTP, the demo reads its timelines.
    Mautic,
}

impl Who {
    const fn key(self) -> &'static str {
        match self {
            Self::Shop => "demo-shop-api-key",
            Self::Mautic => "demo-mautic-api-key",
        }
    }
}

/// Where the gateway listens.
pub(super) struct Desk {
    /// `http://ADDRESS` of the API.
    pub(super) http: String,
    /// `http://ADDRESS` of the admin listener.
    pub(super) admin: String,
    client: reqwest::Client,
}

/// One delivery, as a search lists it.
#[derive(Debug, Clone)]
pub(super) struct Row {
    /// The message's id.
    pub(super) id: String,
    pub(super) recipient: String,
    pub(super) state: String,
}

/// What happened to one message.
#[derive(Debug, Clone)]
pub(super) struct Life {
    pub(super) id: String,
    pub(super) stream: String,
    pub(super) recipient: String,
    pub(super) state: String,
    /// The provider of the last attempt, or `-`.
    pub(super) provider: String,
    /// Each event as `KIND`, or `KIND/CLASS` where somebody is blamed, oldest first.
    pub(super) events: Vec<String>,
}

fn word(value: &Value) -> String {
    value.as_str().unwrap_or("-").to_owned()
}

impl Desk {
    /// For a gateway with these listeners.
    pub(super) fn new(http: SocketAddr, admin: SocketAddr) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder().no_proxy().timeout(ANSWER_MAX);
        Ok(Self {
            http: format!("http://{http}"),
            admin: format!("http://{admin}"),
            client: client.build()?,
        })
    }

    async fn answered(request: RequestBuilder) -> anyhow::Result<Value> {
        let answer = request.send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        ensure!(status.is_success(), "the gateway answered {status}: {text}");
        Ok(serde_json::from_str(&text)?)
    }

    async fn operators(&self, path: &str) -> anyhow::Result<Value> {
        let url = format!("{}/admin/v1/{path}", self.admin);
        Self::answered(self.client.get(url)).await
    }

    /// The shop asks for a password reset to be sent; answers what it is told of the recipient.
    pub(super) async fn reset_password(&self, recipient: &str) -> anyhow::Result<String> {
        let message = json!({
            "from": "accounts@shop.example",
            "to": [recipient],
            "subject": "Reset your password",
            "text": "Follow the link within an hour.",
        });
        let request = self.client.post(format!("{}/v1/messages", self.http));
        let request = request.bearer_auth(Who::Shop.key()).json(&message);
        let answer = Self::answered(request).await?;
        Ok(word(&answer["recipients"][0]["status"]))
    }

    /// Every delivery of this credential, oldest first.
    pub(super) async fn rows(&self, who: Who) -> anyhow::Result<Vec<Row>> {
        let mut rows = Vec::new();
        let mut cursor: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let mut url = Url::parse(&format!("{}/v1/messages", self.http))?;
            if let Some(cursor) = &cursor {
                url.query_pairs_mut().append_pair("cursor", cursor);
            }
            let page = Self::answered(self.client.get(url).bearer_auth(who.key())).await?;
            let found = page["rows"].as_array().context("no rows")?;
            rows.extend(found.iter().map(|row| Row {
                id: word(&row["id"]),
                recipient: word(&row["recipient"]),
                state: word(&row["state"]),
            }));
            cursor = page["next_cursor"].as_str().map(ToOwned::to_owned);
            if cursor.is_none() {
                break;
            }
        }
        rows.reverse();
        Ok(rows)
    }

    /// The timeline of every message of this credential, oldest first.
    pub(super) async fn lives(&self, who: Who) -> anyhow::Result<Vec<Life>> {
        self.told(who, self.rows(who).await?).await
    }

    /// What happened to each mail of this credential to this address, oldest first.
    pub(super) async fn lives_of(&self, who: Who, recipient: &str) -> anyhow::Result<Vec<Life>> {
        let mut rows = self.rows(who).await?;
        rows.retain(|row| row.recipient == recipient);
        self.told(who, rows).await
    }

    async fn told(&self, who: Who, rows: Vec<Row>) -> anyhow::Result<Vec<Life>> {
        let mut lives = Vec::with_capacity(rows.len());
        for row in rows {
            let url = format!("{}/v1/messages/{}", self.http, row.id);
            let told = Self::answered(self.client.get(url).bearer_auth(who.key())).await?;
            let delivery = &told["deliveries"][0];
            let events = delivery["events"].as_array().context("no events")?;
            let event = |event: &Value| match event["class"].as_str() {
                Some(class) => format!("{}/{class}", word(&event["kind"])),
                None => word(&event["kind"]),
            };
            lives.push(Life {
                id: row.id,
                stream: word(&told["stream"]),
                recipient: word(&delivery["recipient"]),
                state: word(&delivery["state"]),
                provider: word(&delivery["provider"]),
                events: events.iter().map(event).collect(),
            });
        }
        Ok(lives)
    }

    /// Stops a stream, or lets it go on: `pause` and `resume`.
    pub(super) async fn switch(&self, stream: &str, action: &str) -> anyhow::Result<()> {
        let url = format!("{}/admin/v1/switches", self.admin);
        let body = json!({ "stream": stream, "action": action });
        Self::answered(self.client.post(url).json(&body)).await?;
        Ok(())
    }

    /// Each suppression as `ADDRESS STREAM REASON`, the stream `everywhere` where it is every one.
    pub(super) async fn suppressions(&self) -> anyhow::Result<Vec<String>> {
        let page = self.operators("suppressions?limit=1000").await?;
        let entries = page["suppressions"].as_array().context("no suppressions")?;
        let mut listed: Vec<String> = entries
            .iter()
            .map(|entry| {
                let stream = entry["stream"].as_str().unwrap_or("everywhere");
                format!(
                    "{} {stream} {}",
                    word(&entry["address"]),
                    word(&entry["reason"])
                )
            })
            .collect();
        listed.sort();
        Ok(listed)
    }

    /// How many events wait for outlets, all together.
    pub(super) async fn waiting(&self) -> anyhow::Result<u64> {
        let body = self.operators("outlets").await?;
        let outlets = body["outlets"].as_array().context("no outlets")?;
        let waiting = outlets
            .iter()
            .map(|outlet| outlet["waiting"].as_u64().unwrap_or(u64::MAX));
        Ok(waiting.fold(0, u64::saturating_add))
    }

    /// What Prometheus would read.
    pub(super) async fn metrics(&self) -> anyhow::Result<String> {
        let answer = self.client.get(format!("{}/metrics", self.admin));
        Ok(answer.send().await?.error_for_status()?.text().await?)
    }
}
