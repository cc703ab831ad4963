//! Mail to an address that a service has on its own list: the service refuses it, or takes it and
//! tells later. Either way the timeline says so, and our own list gets no entry of it.

use anyhow::{Context, Result, ensure};
use malote_sandbox::{Behaviour, Kind, Suppressed, Why};
use malote_tests::{Service, eventually};
use serde_json::{Value, json};

use super::{Fleet, SENT_MAX, person};

impl Fleet {
    /// From now on the service tells of each mail what became of it; who is gone is on its list.
    fn begin(&self, kind: Kind, service: &Service) -> Result<()> {
        let behaviour: Behaviour = serde_json::from_value(json!({ "webhooks": {
            "url": self.hook(kind), "events": [{ "event": "delivered" }],
        }}))?;
        service.sandbox.behave(&behaviour)?;
        let gone = Suppressed::new(person("gone", kind), Why::Bounced);
        ensure!(service.sandbox.suppress(gone), "the list is full");
        Ok(())
    }

    /// State and events of mail to this recipient, once nothing more is to come.
    async fn settled(&self, recipient: &str) -> Result<(Value, Vec<Value>)> {
        let what = format!("mail to {recipient} is settled");
        let mut delivery = eventually(&what, SENT_MAX, async || {
            let delivery = self.delivery(recipient).await?;
            let open = ["queued", "sending", "sent"];
            let is_open = open.iter().any(|open| delivery["state"] == *open);
            Ok((!is_open).then_some(delivery))
        })
        .await?;
        let events = delivery["events"].as_array().cloned().unwrap_or_default();
        Ok((delivery["state"].take(), events))
    }

    async fn told(&self, kind: Kind, service: &Service) -> Result<()> {
        let (state, events) = self.settled(&person("fine", kind)).await?;
        ensure!(state == "delivered", "{state} {events:?}");
        let gone = person("gone", kind);
        let (state, events) = self.settled(&gone).await?;
        ensure!(state == "suppressed", "{state} {events:?}");
        let is_told = events.iter().any(|event| event["kind"] == "suppressed");
        ensure!(is_told, "{events:?}");
        // Postmark refuses such mail, the others take it.
        let is_taken = service.count_to(&gone) == 1;
        ensure!(is_taken == (kind != Kind::Postmark), "taken: {is_taken}");
        // What a service keeps for itself is not our list.
        let status = self.post(kind, &gone).await?;
        ensure!(status == "queued", "{status}");
        Ok(())
    }
}

#[tokio::test]
async fn who_is_on_a_service_s_own_list_is_told_as_suppressed_and_nobody_else() -> Result<()> {
    let fleet = Fleet::start("transactional", |config| {
        config.account.stops_suppressed = true;
    })
    .await?;
    for (kind, service) in &fleet.services {
        fleet.begin(*kind, service)?;
        for name in ["gone", "fine"] {
            fleet.post(*kind, &person(name, *kind)).await?;
        }
    }
    for (kind, service) in &fleet.services {
        let told = fleet.told(*kind, service).await;
        told.with_context(|| format!("{}\n{}", kind.as_str(), fleet.gateway.log()))?;
    }
    Ok(())
}
