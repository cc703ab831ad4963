//! Events of the services, each in its own form, through the real program: on the timeline, with
//! their consequences, whatever order they come in, and without effect when forged.

use anyhow::{Context, Result, ensure};
use malote_sandbox::{Behaviour, Kind};
use malote_tests::{
    Config, Gateway, SHOP_KEY, Service, WEBHOOK_SECRET, answered, eventually, provider_tables,
    webhook_table,
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::SENT_MAX;

/// How a service proves its events, and where it is told to post them.
struct Way {
    kind: Kind,
    /// The path behind the provider's name.
    path: &'static str,
    /// The path of a forgery; else the simulator spoils what it signs or carries.
    forged_path: Option<&'static str>,
}

struct Rig {
    way: Way,
    service: Service,
    gateway: Gateway,
    client: reqwest::Client,
}

const TWO_STREAMS: &str = r#"
[streams.campaign]
class = "campaign"
route = "news"
retry = { first = "10s", factor = 2.0, max = "15m", give_up_after = "24h" }
on_unknown = "prefer_no_loss"
reply_wait_max = "5s"
failover = { transient_after = "0s", on_throttle = "next" }
[routes.main]
strategy = "failover"
targets = [{ provider = "service", pool = "tx" }]
[routes.news]
strategy = "failover"
targets = [{ provider = "service", pool = "news" }]
[providers.service.pools.tx]
[providers.service.pools.news]
"#;

impl Rig {
    async fn start(way: Way) -> Result<Self> {
        let service = Service::start(way.kind).await?;
        let folder = tempfile::tempdir()?;
        let provider = provider_tables(way.kind, "service", service.address);
        let webhook = webhook_table("service", &service, folder.path())?;
        let mut config = Config::rehearsal(&format!("{TWO_STREAMS}{provider}{webhook}"))?;
        config.replace(
            "streams = [\"transactional\"]",
            "streams = [\"transactional\", \"campaign\"]\ndefault_stream = \"transactional\"",
        )?;
        Ok(Self {
            way,
            service,
            gateway: Gateway::start(config).await?,
            client: reqwest::Client::builder().no_proxy().build()?,
        })
    }

    fn url(&self, path: &str) -> String {
        let http = self.gateway.doors().http;
        format!("http://{http}/v1/webhooks/service{path}")
    }

    /// Sends to this recipient and waits until the service has it.
    async fn send(&self, recipient: &str, stream: &str) -> Result<()> {
        let status = self.post(recipient, stream).await?;
        ensure!(status == "queued", "{recipient}: {status}");
        let states = ["sent", "delivered"];
        let sent = self.gateway.reached(recipient, SHOP_KEY, &states, SENT_MAX);
        sent.await.map(drop)
    }

    /// Posts a message; answers what the gateway says of its recipient.
    async fn post(&self, recipient: &str, stream: &str) -> Result<String> {
        let message = json!({
            "from": "news@shop.example", "to": [recipient], "subject": "News", "text": "News.\n",
            "stream": stream,
        });
        let request = self.gateway.request(Method::POST, "/v1/messages", SHOP_KEY);
        let answer = answered(request.json(&message).send().await?, 202).await?;
        let status = answer["recipients"][0]["status"].as_str();
        Ok(status.unwrap_or_default().to_owned())
    }

    /// Has the service report on the newest message; answers the gateway's status.
    async fn report(&self, event: Value) -> Result<Value> {
        let emit = format!("http://{}/_sandbox/event", self.service.address);
        let mut event = event;
        let is_forged = event["forged"] == true;
        let path = self.way.forged_path.filter(|_| is_forged);
        event["url"] = self.url(path.unwrap_or(self.way.path)).into();
        let answer = self.client.post(emit).json(&event).send().await?;
        Ok(answered(answer, 200).await?["status"].clone())
    }

    async fn expect(&self, event: Value, status: u16) -> Result<()> {
        let shown = event.to_string();
        let seen = self.report(event).await?;
        ensure!(seen == status, "{shown}: {seen}\n{}", self.gateway.log());
        Ok(())
    }

    /// The state of the newest message to this recipient, and its events of a kind.
    async fn told(&self, recipient: &str, kind: &str) -> Result<(String, Vec<Value>)> {
        let timeline = self.gateway.find(recipient, SHOP_KEY).await?;
        let delivery = timeline.context("no timeline")?["deliveries"][0].take();
        let state = delivery["state"].as_str().unwrap_or_default().to_owned();
        let events = delivery["events"].as_array().cloned().unwrap_or_default();
        let events = events.into_iter().filter(|event| event["kind"] == kind);
        Ok((state, events.collect()))
    }
}

/// What a service never tells: an unsubscribe is no event of an email at Resend, and Postal hears
/// of neither.
const NOT_REPORTED: [(Kind, &str); 3] = [
    (Kind::Resend, "unsubscribed"),
    (Kind::Postal, "complained"),
    (Kind::Postal, "unsubscribed"),
];

/// Everything for one service, in one gateway.
async fn rehearse(way: Way) -> Result<Rig> {
    let rig = Rig::start(way).await?;
    delivered_and_forged(&rig).await.context("delivered")?;
    bounced_out_of_order(&rig).await.context("bounced")?;
    blocked(&rig).await.context("blocked")?;
    for event in ["complained", "unsubscribed"] {
        if NOT_REPORTED.contains(&(rig.way.kind, event)) {
            continue;
        }
        silenced(&rig, event).await.context(event)?;
    }
    doubled_and_late(&rig).await.context("doubled and late")?;
    let log = rig.gateway.log();
    ensure!(!log.contains(WEBHOOK_SECRET), "the secret is in the log");
    Ok(rig)
}

async fn delivered_and_forged(rig: &Rig) -> Result<()> {
    rig.send("ana@one.example", "transactional").await?;
    rig.expect(json!({ "event": "bounced", "forged": true }), 401)
        .await?;
    rig.expect(json!({ "event": "delivered" }), 200).await?;
    let (state, events) = rig.told("ana@one.example", "delivered").await?;
    ensure!(
        state == "delivered" && events.len() == 1,
        "{state} {events:?}"
    );
    let (_, bounced) = rig.told("ana@one.example", "bounced").await?;
    ensure!(bounced.is_empty(), "a forged bounce counts");
    Ok(())
}

/// A late word of delivery takes no bounce back, and the address is mailed no more.
async fn bounced_out_of_order(rig: &Rig) -> Result<()> {
    rig.send("gone@one.example", "transactional").await?;
    for event in ["bounced", "deferred", "delivered"] {
        rig.expect(json!({ "event": event }), 200).await?;
    }
    let (state, events) = rig.told("gone@one.example", "bounced").await?;
    ensure!(
        state == "bounced" && events.len() == 1,
        "{state} {events:?}"
    );
    ensure!(events[0]["class"] == "recipient", "{events:?}");
    for stream in ["transactional", "campaign"] {
        let status = rig.post("gone@one.example", stream).await?;
        ensure!(status == "suppressed", "{stream}: {status}");
    }
    Ok(())
}

/// A block is called a bounce too, and is not the address's fault.
async fn blocked(rig: &Rig) -> Result<()> {
    let recipient = "blocked@one.example";
    rig.send(recipient, "transactional").await?;
    let reply = "550 5.7.1 blocked by Spamhaus, see https://check.example";
    rig.expect(json!({ "event": "bounced", "reply": reply }), 200)
        .await?;
    let (state, events) = rig.told(recipient, "bounced").await?;
    ensure!(
        state == "bounced" && events.len() == 1,
        "{state} {events:?}"
    );
    ensure!(events[0]["class"] == "reputation", "{events:?}");
    rig.send(recipient, "transactional").await
}

/// Whoever wants no more campaigns gets none, and still gets what he asked for.
async fn silenced(rig: &Rig, event: &str) -> Result<()> {
    let recipient = format!("{event}@one.example");
    rig.send(&recipient, "campaign").await?;
    rig.expect(json!({ "event": event }), 200).await?;
    let (_, events) = rig.told(&recipient, event).await?;
    ensure!(events.len() == 1, "{events:?}");
    let status = rig.post(&recipient, "campaign").await?;
    ensure!(status == "suppressed", "{status}");
    rig.send(&recipient, "transactional").await
}

/// Of its own accord the service tells everything twice, in any order, and each counts once.
async fn doubled_and_late(rig: &Rig) -> Result<()> {
    let behaviour = json!({ "webhooks": {
        "url": rig.url(rig.way.path),
        "events": [{ "event": "deferred", "after_s": 0.1 }, { "event": "delivered", "after_s": 0.1 }],
        "duplicated": 1.0,
        "late_s": 0.5,
    }});
    let behaviour: Behaviour = serde_json::from_value(behaviour)?;
    rig.service.sandbox.behave(&behaviour)?;
    rig.send("twice@one.example", "transactional").await?;
    eventually("everything is told twice", SENT_MAX, async || {
        let stats = rig.service.sandbox.stats();
        ensure!(stats.webhooks_lost == 0, "{stats:?}");
        Ok((stats.webhooks == 4).then_some(()))
    })
    .await?;
    for kind in ["deferred", "delivered"] {
        let (state, events) = rig.told("twice@one.example", kind).await?;
        ensure!(
            state == "delivered" && events.len() == 1,
            "{state} {events:?}"
        );
    }
    Ok(())
}

/// The same as a query, where the secret may stand in the path and in the login only.
async fn asked_for(rig: &Rig) -> Result<()> {
    rig.send("query@one.example", "transactional").await?;
    let timeline = rig.gateway.find("query@one.example", SHOP_KEY).await?;
    let timeline = timeline.context("no timeline")?;
    let id = timeline["deliveries"][0]["provider_message_id"].as_str();
    let query = [
        ("status", "Opened"),
        ("to", "query@one.example"),
        ("transaction", id.context("no id")?),
        ("secret", WEBHOOK_SECRET),
    ];
    let bare = rig.client.get(rig.url("")).query(&query).send().await?;
    ensure!(bare.status() == 401, "{}", bare.status());
    let asks = bare.headers().get("www-authenticate");
    ensure!(asks.is_some_and(|asks| asks == "Basic realm=\"malote\""));
    let url = rig.url(rig.way.path);
    let good = rig.client.get(&url).query(&query).send().await?;
    ensure!(good.status() == 200, "{}", good.status());
    let login = rig.client.get(rig.url("")).query(&query);
    let again = login.basic_auth("any", Some(WEBHOOK_SECRET)).send().await?;
    ensure!(again.status() == 200, "{}", again.status());
    let (_, events) = rig.told("query@one.example", "opened").await?;
    ensure!(events.len() == 1, "{events:?}");
    let log = rig.gateway.log();
    ensure!(!log.contains(WEBHOOK_SECRET), "the secret is in the log");
    Ok(())
}

const fn signed_or_carried(kind: Kind) -> Way {
    Way {
        kind,
        path: "",
        forged_path: None,
    }
}

#[tokio::test]
async fn events_of_sendgrid_have_their_effect_once_and_forged_ones_none() -> Result<()> {
    rehearse(signed_or_carried(Kind::Sendgrid)).await.map(drop)
}

#[tokio::test]
async fn events_of_postmark_have_their_effect_once_and_forged_ones_none() -> Result<()> {
    rehearse(signed_or_carried(Kind::Postmark)).await.map(drop)
}

#[tokio::test]
async fn events_of_sparkpost_have_their_effect_once_and_forged_ones_none() -> Result<()> {
    rehearse(signed_or_carried(Kind::Sparkpost)).await.map(drop)
}

#[tokio::test]
async fn events_of_smtp2go_have_their_effect_once_and_forged_ones_none() -> Result<()> {
    rehearse(signed_or_carried(Kind::Smtp2go)).await.map(drop)
}

#[tokio::test]
async fn events_of_elasticemail_have_their_effect_once_and_forged_ones_none() -> Result<()> {
    let rig = rehearse(Way {
        kind: Kind::Elasticemail,
        path: "/webhook-secret-sandbox",
        forged_path: Some("/webhook-secret-sandboy"),
    })
    .await?;
    asked_for(&rig).await
}

#[tokio::test]
async fn events_of_postal_have_their_effect_once_and_forged_ones_none() -> Result<()> {
    rehearse(signed_or_carried(Kind::Postal)).await.map(drop)
}

#[tokio::test]
async fn events_of_brevo_have_their_effect_once_and_forged_ones_none() -> Result<()> {
    rehearse(signed_or_carried(Kind::Brevo)).await.map(drop)
}

#[tokio::test]
async fn events_of_resend_have_their_effect_once_and_forged_ones_none() -> Result<()> {
    rehearse(signed_or_carried(Kind::Resend)).await.map(drop)
}

#[tokio::test]
async fn events_of_mailjet_have_their_effect_once_and_forged_ones_none() -> Result<()> {
    rehearse(signed_or_carried(Kind::Mailjet)).await.map(drop)
}

#[tokio::test]
async fn events_of_mailtrap_have_their_effect_once_and_forged_ones_none() -> Result<()> {
    rehearse(signed_or_carried(Kind::Mailtrap)).await.map(drop)
}
