//! A complaint that was answered 2xx counts, whatever becomes of the gateway a moment later.

use anyhow::{Context, Result, ensure};
use malote_sandbox::Kind;
use malote_tests::{SHOP_KEY, Service, answered};
use serde_json::json;

use super::{Fleet, SENT_MAX, person};

impl Fleet {
    /// Has the service report a complaint about the newest mail it took; the gateway's status.
    async fn complain(&self, kind: Kind, service: &Service) -> Result<serde_json::Value> {
        let emit = format!("http://{}/_sandbox/event", service.address);
        let event = json!({ "event": "complained", "url": self.hook(kind) });
        let client = reqwest::Client::builder().no_proxy().build()?;
        let answer = client.post(emit).json(&event).send().await?;
        Ok(answered(answer, 200).await?["status"].clone())
    }

    async fn is_kept(&mut self, kind: Kind, at: usize) -> Result<()> {
        let angry = person("angry", kind);
        let status = self.post(kind, &angry).await?;
        ensure!(status == "queued", "{status}");
        self.gateway
            .reached(&angry, SHOP_KEY, &["sent"], SENT_MAX)
            .await?;
        let status = self.complain(kind, &self.services[at].1).await?;
        self.gateway.kill()?;
        ensure!(status == 200, "{status}");
        self.gateway.boot().await?;
        let status = self.post(kind, &angry).await?;
        ensure!(status == "suppressed", "{status}");
        let taken = self.services[at].1.count_to(&angry);
        ensure!(taken == 1, "{taken} were taken");
        Ok(())
    }
}

#[tokio::test]
async fn a_complaint_answered_before_a_kill_suppresses_after_it() -> Result<()> {
    let mut fleet = Fleet::start("campaign", |_| {}).await?;
    let kinds: Vec<Kind> = fleet.services.iter().map(|(kind, _)| *kind).collect();
    for (at, kind) in kinds.into_iter().enumerate() {
        // Postal hears of no complaints.
        if kind == Kind::Postal {
            continue;
        }
        let kept = fleet.is_kept(kind, at).await;
        kept.with_context(|| kind.as_str())?;
    }
    Ok(())
}
