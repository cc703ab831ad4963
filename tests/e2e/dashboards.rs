//! A real Prometheus reads a running gateway: every query of every dashboard returns data, and the
//! alert rules are rules, and read what is there.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use malote_sandbox::{Fault, FaultKind};
use malote_tests::{
    Answer, Peer, Postgres, Prometheus, SHOP_KEY, SmtpClient, World, answered, dashboards,
    eventually, queries, read_by_rules, repository, run, text_message, tool,
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{campaigns_by, order};

/// How long Prometheus may take to have seen everything.
const DATA_MAX: Duration = Duration::from_secs(90);
const COMMAND_MAX: Duration = Duration::from_secs(120);
/// What stands for `$__rate_interval`, with a scrape each second.
const RATE_INTERVAL: &str = "20s";

/// An app that is told of the shop's events.
const WEBHOOK: &str = "[[credentials.shop.webhooks]]\nurl = \"{url}\"\n\
    secret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"\nallow_private = true\n";

/// One of everything that can happen: sent, failed over, sent perhaps twice, delivered, bounced at
/// once and later, complained of, suppressed, refused, unknown, alerted of.
async fn live(world: &World, day: usize) -> Result<()> {
    let trouble = match day {
        1 | 2 => Fault::once(FaultKind::Cut).after_take(),
        _ => Fault::once(FaultKind::Status(500)),
    };
    world.ses.sandbox.arm(trouble);
    world.mailgun.sandbox.arm(Fault::once(FaultKind::Recipient));
    campaign(world, &format!("nobody{day}@gmail.com")).await?;
    for number in 0..3 {
        let recipient = format!("d{day}n{number}@gmail.com");
        world.gateway.submit(&order(&recipient)).await?;
    }
    for event in ["delivered", "bounced", "complained", "unsubscribed"] {
        let recipient = format!("{event}{day}@gmail.com");
        campaign(world, &recipient).await?;
        eventually("the campaign arrives", COMMAND_MAX, async || {
            Ok((world.mailgun.count_to(&recipient) > 0).then_some(()))
        })
        .await?;
        report(world, event, json!(false)).await?;
    }
    report(world, "bounced", json!(true)).await?;
    world.mailgun.sandbox.arm(Fault::once(FaultKind::Cut));
    campaign(world, &format!("unknown{day}@gmail.com")).await?;
    world
        .gateway
        .submit(&order(&format!("bounced{day}@gmail.com")))
        .await?;
    if day == 5 {
        world.ses.sandbox.arm(Fault::once(FaultKind::Sender));
        world.gateway.submit(&order("alert@gmail.com")).await?;
    }
    let mut foreign = order("a@gmail.com");
    foreign["from"] = "x@elsewhere.example".into();
    let request = world
        .gateway
        .request(Method::POST, "/v1/messages", SHOP_KEY);
    answered(request.json(&foreign).send().await?, 422).await?;
    Ok(())
}

async fn campaign(world: &World, recipient: &str) -> Result<()> {
    let mut client = SmtpClient::connect(world.gateway.doors().plain).await?;
    let text = text_message("news@shop.example", recipient, "campaign");
    let reply = client.send("b@shop.example", &[recipient], &text).await?;
    ensure!(reply.code == 250, "{reply:?}");
    Ok(())
}

async fn report(world: &World, event: &str, forged: Value) -> Result<()> {
    let hook = format!("http://{}/v1/webhooks/mailgun", world.gateway.doors().http);
    let emit = format!("http://{}/_sandbox/event", world.mailgun.address);
    let request = reqwest::Client::new().post(emit);
    let request = request.json(&json!({ "url": hook, "event": event, "forged": forged }));
    answered(request.send().await?, 200).await?;
    Ok(())
}

#[tokio::test]
async fn every_query_of_every_dashboard_returns_data_and_every_rule_reads_what_is_there()
-> Result<()> {
    let app = Peer::start(|_| Answer::empty(204)).await?;
    let postgres = Postgres::start()?;
    let world = World::start_with(|config| {
        postgres.share(config);
        config.add(&WEBHOOK.replace("{url}", &app.url()));
        campaigns_by(config, "{ provider = \"mailgun\", pool = \"news\" }")
    })
    .await?;
    let prometheus = Prometheus::start(&world.gateway.doors().admin.to_string())?;
    let mut waiting = Vec::new();
    for path in dashboards()? {
        waiting.extend(queries(&path, RATE_INTERVAL)?);
    }
    waiting.extend(read_by_rules()?);
    let mut day = 0;
    let all_seen = eventually("every query returns data", DATA_MAX, async || {
        day += 1;
        live(&world, day).await?;
        waiting = prometheus.silent(std::mem::take(&mut waiting)).await?;
        Ok(waiting.is_empty().then_some(()))
    })
    .await;
    all_seen.with_context(|| format!("silent: {waiting:#?}"))
}

#[tokio::test]
async fn the_metrics_and_the_alert_rules_please_promtool() -> Result<()> {
    let mut rules = Command::new(tool("promtool")?);
    rules.args(["check", "rules"]);
    rules.arg(repository().join("dashboards/alerts.yml"));
    run(&mut rules, COMMAND_MAX).await?.success()?;
    let mut cases = Command::new(tool("promtool")?);
    cases.args(["test", "rules"]);
    cases.arg(repository().join("tests/e2e/alerts_test.yml"));
    run(&mut cases, COMMAND_MAX).await?.success()?;
    let world = World::start().await?;
    world.gateway.submit(&order("ana@one.example")).await?;
    let metrics = world.gateway.admin(Method::GET, "/metrics").send().await?;
    let file = world.gateway.folder().join("metrics.txt");
    std::fs::write(&file, metrics.bytes().await?)?;
    let mut check = Command::new("sh");
    check.args(["-c", "\"$1\" check metrics < \"$2\"", "sh"]);
    check.arg(tool("promtool")?).arg(&file);
    run(&mut check, COMMAND_MAX).await?.success()?;
    Ok(())
}
