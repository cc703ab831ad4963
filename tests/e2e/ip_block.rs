//! The same IP block told by eight services, each in its own form: nobody's address is to blame.

use anyhow::{Context, Result, ensure};
use malote_sandbox::Kind;
use malote_tests::{
    Config, Gateway, Mautic, SHOP_KEY, Service, answered, eventually, provider_tables,
    webhook_path, webhook_table,
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::SENT_MAX;

const KINDS: [Kind; 8] = [
    Kind::Ses,
    Kind::Mailgun,
    Kind::Sendgrid,
    Kind::Postmark,
    Kind::Sparkpost,
    Kind::Elasticemail,
    Kind::Smtp2go,
    Kind::Postal,
];
/// As Microsoft's mailboxes answer, word for word but for the address.
const IP_BLOCK: &str = "550 5.7.1 Unfortunately, messages from [192.0.2.25] weren't sent. Please \
    contact your Internet service provider since part of their network is on our block list (S3150).";
const FIRST_ROUTE: &str =
    "[routes.main]\nstrategy = \"failover\"\ntargets = [{ provider = \"ses\" }]\n";

struct Rig {
    services: Vec<(Kind, Service)>,
    mautic: Mautic,
    gateway: Gateway,
    _folder: tempfile::TempDir,
}

fn person(kind: Kind) -> String {
    format!("ana@{}.example", kind.as_str())
}

impl Rig {
    async fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let people: Vec<String> = KINDS.into_iter().map(person).collect();
        let people: Vec<&str> = people.iter().map(String::as_str).collect();
        let mautic = Mautic::start(&people).await?;
        let mut tables = format!(
            "{FIRST_ROUTE}{}requests_per_second = 50.0\n",
            mautic.table("shop")
        );
        let mut services = Vec::new();
        for kind in KINDS {
            let (name, service) = (kind.as_str(), Service::start(kind).await?);
            tables.push_str(&provider_tables(kind, name, service.address));
            tables.push_str(&webhook_table(name, &service, folder.path())?);
            tables.push_str(&format!(
                "[routes.{name}]\nstrategy = \"failover\"\ntargets = [{{ provider = \"{name}\" }}]\n\
                 [[rules]]\nname = \"{name}\"\nwhen = {{ recipient_domain = \"{name}.example\" }}\n\
                 then = {{ route = \"{name}\" }}\n"
            ));
            services.push((kind, service));
        }
        Ok(Self {
            services,
            mautic,
            gateway: Gateway::start(Config::rehearsal(&tables)?).await?,
            _folder: folder,
        })
    }

    /// Sends to this service's person, and has it report a bounce in these words.
    async fn bounce(&self, (kind, service): &(Kind, Service), reply: &str) -> Result<Value> {
        let (name, recipient) = (kind.as_str(), person(*kind));
        let message = json!({ "from": "news@shop.example", "to": [recipient], "subject": "News",
            "text": "News.\n" });
        self.gateway.submit(&message).await?;
        let states = ["sent", "bounced"];
        let sent = self
            .gateway
            .reached(&recipient, SHOP_KEY, &states, SENT_MAX);
        sent.await?;
        let doors = self.gateway.doors();
        let hook = format!(
            "http://{}/v1/webhooks/{name}{}",
            doors.http,
            webhook_path(*kind)
        );
        let event = json!({ "url": hook, "event": "bounced", "reply": reply });
        let emit = format!("http://{}/_sandbox/event", service.address);
        let answer = reqwest::Client::new()
            .post(emit)
            .json(&event)
            .send()
            .await?;
        let answer = answered(answer, 200).await?;
        ensure!(answer["status"] == 200, "{name}: {answer}");
        let timeline = self.gateway.find(&recipient, SHOP_KEY).await?;
        let delivery = timeline.context("no timeline")?["deliveries"][0].take();
        ensure!(delivery["provider"] == name, "{delivery:#}");
        let events = delivery["events"].as_array().cloned().unwrap_or_default();
        let mut bounces = events
            .into_iter()
            .filter(|event| event["kind"] == "bounced");
        let bounce = bounces
            .next()
            .with_context(|| format!("{name} told of no bounce"))?;
        ensure!(bounces.next().is_none(), "{name}: noted twice");
        Ok(bounce)
    }

    async fn suppressions(&self) -> Result<usize> {
        let request = self.gateway.admin(Method::GET, "/admin/v1/suppressions");
        let page = answered(request.send().await?, 200).await?;
        let listed = page["suppressions"].as_array();
        Ok(listed.context("no suppressions")?.len())
    }
}

#[tokio::test]
async fn one_ip_block_at_eight_services_suppresses_nobody_and_mautic_hears_nothing() -> Result<()> {
    let rig = Rig::start().await?;
    for service in &rig.services {
        let bounce = rig.bounce(service, IP_BLOCK).await?;
        ensure!(bounce["class"] == "reputation", "{:?}: {bounce}", service.0);
    }
    ensure!(rig.suppressions().await? == 0);
    // What the outlet is told of next shows that it has passed over all that came before.
    let last = rig.services.last().context("no services")?;
    let bounce = rig.bounce(last, "550 5.1.1 user unknown").await?;
    ensure!(bounce["class"] == "recipient", "{bounce}");
    eventually("Mautic hears of the dead address", SENT_MAX, async || {
        Ok(rig.mautic.entry(&person(last.0)))
    })
    .await?;
    let requests = rig.mautic.peer.requests();
    ensure!(requests.len() == 2, "{requests:?}");
    ensure!(rig.mautic.changes().len() == 1, "{requests:?}");
    ensure!(rig.suppressions().await? == 1);
    Ok(())
}
