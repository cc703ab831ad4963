//! One gateway with every service that reports by webhooks, each with a stream of either class of
//! its own.

mod killed;
mod stops;

use std::path::Path;

use anyhow::{Context, Result};
use malote_sandbox::{Kind, SandboxConfig};
use malote_tests::{
    Config, Gateway, SHOP_KEY, Service, answered, provider_tables, webhook_path, webhook_table,
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::SENT_MAX;

/// The services, and the gateway before them.
struct Fleet {
    services: Vec<(Kind, Service)>,
    gateway: Gateway,
    _folder: tempfile::TempDir,
}

/// A provider, a route, and a stream of this class, all of this name.
fn tables(kind: Kind, class: &str, service: &Service, folder: &Path) -> Result<String> {
    let name = kind.as_str();
    let provider = provider_tables(kind, name, service.address);
    let webhook = webhook_table(name, service, folder)?;
    Ok(format!(
        r#"
[streams.{name}]
class = "{class}"
route = "{name}"
retry = {{ first = "10s", factor = 2.0, max = "15m", give_up_after = "24h" }}
on_unknown = "prefer_no_loss"
failover = {{ transient_after = "0s", on_throttle = "next" }}
[routes.{name}]
strategy = "failover"
targets = [{{ provider = "{name}" }}]
{provider}{webhook}"#
    ))
}

impl Fleet {
    /// All services, their accounts changed by `adapt`, their streams of this class.
    async fn start(class: &str, adapt: fn(&mut SandboxConfig)) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut services = Vec::new();
        let mut all = String::from(
            "[providers.kept.capture]\n[routes.main]\nstrategy = \"failover\"\n\
             targets = [{ provider = \"kept\" }]\n",
        );
        for kind in Kind::all().filter(|kind| *kind != Kind::Smtp) {
            let service = Service::start_on(kind, ([127, 0, 0, 1], 0).into(), adapt).await?;
            all += &tables(kind, class, &service, folder.path())?;
            services.push((kind, service));
        }
        let mut config = Config::rehearsal(&all)?;
        let names = services
            .iter()
            .map(|(kind, _)| format!("{:?}", kind.as_str()));
        let names = names.collect::<Vec<_>>().join(", ");
        config.replace(
            "streams = [\"transactional\"]",
            &format!("streams = [\"transactional\", {names}]\ndefault_stream = \"transactional\""),
        )?;
        Ok(Self {
            services,
            gateway: Gateway::start(config).await?,
            _folder: folder,
        })
    }

    /// Where this service posts its events.
    fn hook(&self, kind: Kind) -> String {
        let (http, path) = (self.gateway.doors().http, webhook_path(kind));
        format!("http://{http}/v1/webhooks/{}{path}", kind.as_str())
    }

    /// Posts a mail that leaves by this service; answers what the gateway says of its recipient.
    async fn post(&self, kind: Kind, recipient: &str) -> Result<String> {
        let message = json!({
            "from": "news@shop.example", "to": [recipient], "subject": "News", "text": "News.\n",
            "stream": kind.as_str(),
        });
        let request = self.gateway.request(Method::POST, "/v1/messages", SHOP_KEY);
        let answer = answered(request.json(&message).send().await?, 202).await?;
        let status = answer["recipients"][0]["status"].as_str();
        Ok(status.unwrap_or_default().to_owned())
    }

    /// The only delivery of the newest message to this recipient.
    async fn delivery(&self, recipient: &str) -> Result<Value> {
        let timeline = self.gateway.find(recipient, SHOP_KEY).await?;
        Ok(timeline.context("no timeline")?["deliveries"][0].take())
    }
}

/// Somebody whose mail leaves by this service.
fn person(name: &str, kind: Kind) -> String {
    format!("{name}@{}.example", kind.as_str())
}
