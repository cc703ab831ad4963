//! Forged, repeated, late and misleading webhooks, against the real program: refused or without
//! effect, and nothing is ever fetched from where they point.

mod mailgun;
mod sns;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Result, ensure};
use malote_core::clock::{Clock as _, SystemClock};
use malote_tests::{LOADTEST_KEY, World};
use reqwest::Method;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::{campaigns_by, send_order};

/// Over the bound of a webhook's body.
const LARGE_BYTES: usize = 10 << 20;

/// The contract with a topic whose certificate is ours, a second one whose certificate would have
/// to be fetched, and an ear on loopback that counts who is sent there.
struct Rig {
    world: World,
    signer: sns::Signer,
    ear: Ear,
    client: reqwest::Client,
    _folder: tempfile::TempDir,
}

/// Counts the connections that come to it.
struct Ear {
    address: SocketAddr,
    count: Arc<AtomicUsize>,
    heard: JoinHandle<()>,
}

impl Ear {
    async fn open() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        let heard = tokio::spawn(async move {
            while listener.accept().await.is_ok() {
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        Ok(Self {
            address,
            count,
            heard,
        })
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.heard.abort();
    }
}

/// A second account, without `certificate_file`.
const FETCHING: &str = "[providers.fetching.ses]
region = \"us-east-1\"
access_key_id = \"AKIAIOSFODNN7EXAMPLE\"
secret_access_key_env = \"SES_SECRET\"
endpoint = \"http://127.0.0.1:9\"
[providers.fetching.webhook]
topic_arns = [\"arn:aws:sns:us-east-1:123456789012:malote\"]
";

impl Rig {
    async fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("sns.pem");
        let signer = sns::Signer::generate()?;
        std::fs::write(&file, &signer.certificate_pem)?;
        let ear = Ear::open().await?;
        let proxy = format!("http://{}", ear.address);
        let world = World::start_with(|config| {
            campaigns_by(config, "{ provider = \"mailgun\", pool = \"news\" }")?;
            let table = "[providers.ses.webhook]";
            config.replace(table, &format!("{table}\ncertificate_file = {file:?}"))?;
            config.add(FETCHING);
            // Whatever goes out by a proxy of the environment is heard as well.
            for name in ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"] {
                config.environment.push((name.to_owned(), proxy.clone()));
            }
            Ok(())
        })
        .await?;
        Ok(Self {
            world,
            signer,
            ear,
            client: reqwest::Client::builder().no_proxy().build()?,
            _folder: folder,
        })
    }

    /// Posts this to a provider's door; answers the status.
    async fn post(&self, provider: &str, body: impl Into<reqwest::Body>) -> Result<u16> {
        let http = self.world.gateway.doors().http;
        let url = format!("http://{http}/v1/webhooks/{provider}");
        let answer = self.client.post(url).body(body).send().await?;
        Ok(answer.status().as_u16())
    }

    async fn expect(&self, provider: &str, body: &Value, status: u16) -> Result<()> {
        let seen = self.post(provider, body.to_string()).await?;
        ensure!(seen == status, "status {seen}: {body}");
        Ok(())
    }

    /// How many known keys of Mailgun's came with another event.
    async fn replays(&self) -> Result<usize> {
        let labels = "{provider=\"mailgun\",reason=\"replay\"}";
        let series = format!("malote_provider_events_repeated_total{labels}");
        self.world.gateway.sample(&series).await
    }

    /// The state of the newest message to this recipient, and how many events it has of a kind.
    async fn told(&self, recipient: &str, key: &str, kind: &str) -> Result<(String, usize)> {
        let timeline = self.world.gateway.find(recipient, key).await?;
        let delivery = timeline.unwrap_or_default()["deliveries"][0].take();
        let events = delivery["events"].as_array().cloned().unwrap_or_default();
        let count = events.iter().filter(|event| event["kind"] == kind).count();
        let state = delivery["state"].as_str().unwrap_or_default().to_owned();
        Ok((state, count))
    }
}

fn now_s() -> i64 {
    SystemClock::start().now().as_second()
}

#[tokio::test]
async fn no_forged_repeated_or_misleading_webhook_has_an_effect() -> Result<()> {
    let mut rig = Rig::start().await?;
    let mut faults = Vec::new();
    for (sentence, result) in [
        ("doors", doors(&rig).await),
        ("SNS: forged", sns::forged(&rig).await),
        ("SNS: urls", sns::urls(&rig).await),
        ("SNS: repeated and late", sns::repeated(&rig).await),
        ("Mailgun: forged", mailgun::forged(&rig).await),
        ("Mailgun: repeated and late", mailgun::repeated(&rig).await),
        ("Mailgun: replayed", mailgun::replayed(&rig).await),
        ("Mailgun: altered", mailgun::altered(&rig).await),
        ("Mailgun: unreadable", mailgun::unreadable(&rig).await),
        (
            "Mailgun: a complaint while mail waits",
            mailgun::waiting(&rig).await,
        ),
        (
            "Mailgun: kill -9 behind the answer",
            mailgun::killed(&mut rig).await,
        ),
        (
            "the next good message",
            send_order(&rig.world, "alive@case.example").await.map(drop),
        ),
    ] {
        if let Err(error) = result {
            faults.push(format!("{sentence}: {error:#}"));
        }
    }
    let calls = rig.ear.count.load(Ordering::Relaxed);
    ensure!(calls == 0, "{calls} calls went out");
    ensure!(faults.is_empty(), "{}", faults.join("\n"));
    Ok(())
}

/// Providers that are not there or take no webhooks, and bodies over the bound.
async fn doors(rig: &Rig) -> Result<()> {
    for provider in ["nobody", "relay", "..%2fses", "SES", ""] {
        let status = rig.post(provider, "{}").await?;
        ensure!(status == 404, "{provider:?}: {status}");
    }
    for provider in ["ses", "mailgun"] {
        for body in ["", "{}", "[]", "null", "{", "\u{0}"] {
            let status = rig.post(provider, body).await?;
            ensure!(status == 401, "{provider}: {body:?}: {status}");
        }
        let status = rig.post(provider, vec![b'['; 1 << 20]).await?;
        ensure!(status == 401, "{provider}: a million deep: {status}");
        let status = rig.post(provider, vec![b' '; LARGE_BYTES]).await?;
        ensure!(status == 413, "{provider}: 10 MiB: {status}");
    }
    let http = rig.world.gateway.doors().http;
    let url = format!("http://{http}/v1/webhooks/mailgun");
    let answer = rig.client.request(Method::PUT, url).send().await?;
    ensure!(answer.status() == 405);
    Ok(())
}

/// Sends a campaign to this recipient; answers the id that the service gave it.
async fn campaign(rig: &Rig, recipient: &str) -> Result<String> {
    let message = serde_json::json!({
        "from": "news@shop.example", "to": [recipient], "subject": "News", "text": "News.\n",
        "stream": "campaign",
    });
    let gateway = &rig.world.gateway;
    let request = gateway.request(Method::POST, "/v1/messages", LOADTEST_KEY);
    malote_tests::answered(request.json(&message).send().await?, 202).await?;
    let timeline = gateway
        .reached(recipient, LOADTEST_KEY, &["sent"], crate::SENT_MAX)
        .await?;
    let id = timeline["deliveries"][0]["provider_message_id"].as_str();
    Ok(id.unwrap_or_default().trim_matches(['<', '>']).to_owned())
}
