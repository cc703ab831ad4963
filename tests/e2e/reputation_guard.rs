//! A campaign whose addresses are bad is slowed, then paused until a person resumes it, while other
//! campaigns and password resets go their way.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use malote_sandbox::Behaviour;
use malote_tests::{Gateway, MAUTIC_KEY, SHOP_KEY, SmtpClient, World, eventually, run};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{SENT_MAX, campaigns_by, order};

const COMMAND_MAX: Duration = Duration::from_secs(30);
/// How soon the guard has acted on what it counted.
const ACTED_MAX: Duration = Duration::from_secs(30);
/// `\0mautic\0mautic-secret`.
const PLAIN: &str = "AG1hdXRpYwBtYXV0aWMtc2VjcmV0";
const GUARD: &str = "[streams.campaign.guard]\nmin_sends = 100\n";

/// One mail of a campaign to these recipients, as Mautic marks it.
async fn mail(gateway: &Gateway, campaign: &str, recipients: &[String]) -> Result<()> {
    let mut client = SmtpClient::connect(gateway.doors().plain).await?;
    let login = client.say(&format!("AUTH PLAIN {PLAIN}\r\n")).await?;
    ensure!(login.code == 235, "{login:?}");
    let first = recipients.first().context("no recipient")?;
    let text = format!(
        "From: News <news@shop.example>\r\nTo: {first}\r\nSubject: News\r\n\
         Message-ID: <{first}.{campaign}>\r\nDate: Fri, 02 Jan 2026 03:04:05 +0000\r\n\
         MIME-Version: 1.0\r\nX-EMAIL-ID: {campaign}\r\nPrecedence: Bulk\r\n\r\nHello.\r\n"
    );
    let recipients: Vec<&str> = recipients.iter().map(String::as_str).collect();
    let reply = client
        .send("bounces@shop.example", &recipients, &text)
        .await?;
    ensure!(reply.code == 250, "{reply:?}");
    Ok(())
}

fn names(what: &str, count: usize) -> Vec<String> {
    let name = |number| format!("{what}{number}@yahoo.com");
    (0..count).map(name).collect()
}

/// From now on Mailgun reports a hard bounce of this share of what it takes, each one twice.
fn bounce(world: &World, share: f64) -> Result<()> {
    let hook = format!("http://{}/v1/webhooks/mailgun", world.gateway.doors().http);
    let reply = "550 5.1.1 user unknown";
    let behaviour: Behaviour = serde_json::from_value(json!({ "webhooks": {
        "url": hook,
        "events": [{ "event": "bounced", "share": share, "reply": reply }],
        "duplicated": 1.0,
    }}))?;
    Ok(world.mailgun.sandbox.behave(&behaviour)?)
}

async fn malote(gateway: &Gateway, arguments: &[&str]) -> Result<String> {
    let with_config = ["--config", "malote.toml"];
    let arguments: Vec<&str> = arguments.iter().chain(&with_config).copied().collect();
    run(&mut gateway.command(&arguments)?, COMMAND_MAX)
        .await?
        .success()
}

/// What the guard knows of a campaign.
async fn row(gateway: &Gateway, campaign: &str) -> Result<Value> {
    let said = malote(gateway, &["guard", "--json"]).await?;
    let guard: Value = serde_json::from_str(&said)?;
    let mut rows = guard["rows"].as_array().into_iter().flatten();
    let own = rows.find(|row| row["campaign"] == campaign);
    Ok(own.cloned().unwrap_or_default())
}

async fn acted(gateway: &Gateway, campaign: &str, state: &str) -> Result<Value> {
    let mut last = Value::Null;
    let seen = eventually("the guard has acted", ACTED_MAX, async || {
        last = row(gateway, campaign).await?;
        Ok((last["state"] == state).then(|| last.clone()))
    });
    seen.await.with_context(|| format!("{last}"))
}

/// The delivery to this recipient once it is in this state.
async fn delivery(gateway: &Gateway, recipient: &str, state: &str) -> Result<Value> {
    let mut last = Value::Null;
    let what = format!("{recipient} is {state}");
    let seen = eventually(&what, ACTED_MAX, async || {
        let timeline = gateway
            .find(recipient, MAUTIC_KEY)
            .await?
            .unwrap_or_default();
        let mut all = timeline["deliveries"].as_array().into_iter().flatten();
        let own = all.find(|one| one["recipient"] == recipient);
        last = own.cloned().unwrap_or_default();
        Ok((last["state"] == state).then(|| last.clone()))
    });
    seen.await
        .with_context(|| format!("{last:#}\n{}", gateway.log()))
}

/// The details of a delivery's events of this kind.
fn details(delivery: &Value, kind: &str) -> Vec<String> {
    let events = delivery["events"].as_array().into_iter().flatten();
    let own = events.filter(|event| event["kind"] == kind);
    own.filter_map(|event| event["detail"].as_str().map(str::to_owned))
        .collect()
}

/// A campaign of 100 with six hard bounces, until it is slowed.
async fn six_percent(world: &World, campaign: &str) -> Result<Value> {
    let gateway = &world.gateway;
    bounce(world, 0.0)?;
    mail(gateway, campaign, &names("good", 94)).await?;
    delivery(gateway, "good93@yahoo.com", "sent").await?;
    bounce(world, 1.0)?;
    mail(gateway, campaign, &names("bad", 6)).await?;
    delivery(gateway, "bad5@yahoo.com", "bounced").await?;
    bounce(world, 0.0)?;
    acted(gateway, campaign, "slowed").await
}

#[tokio::test]
async fn a_bad_campaign_is_slowed_then_paused_and_others_flow_until_a_person_resumes_it()
-> Result<()> {
    let mut world = World::start_with(|config| {
        config.add(GUARD);
        campaigns_by(config, "{ provider = \"mailgun\", pool = \"news\" }")
    })
    .await?;
    let slowed = six_percent(&world, "42").await?;
    // Each bounce was told twice and counts once; nobody complained, and somebody could have.
    let counts = ["sends", "bounces", "complaints", "reporting_sends"].map(|key| &slowed[key]);
    ensure!(
        counts.map(Value::as_u64) == [Some(100), Some(6), Some(0), Some(100)],
        "{slowed}"
    );
    ensure!(
        slowed["per_second"].as_f64().is_some_and(|pace| pace > 0.0),
        "{slowed}"
    );
    let why = "guard: campaign 42: 6 hard bounces of 100 sends (6 %) in 24 h; slow above 3 %";
    ensure!(slowed["reason"] == why, "{slowed}");

    mail(&world.gateway, "42", &names("late", 30)).await?;
    let paused = acted(&world.gateway, "42", "paused").await?;
    let reason = paused["reason"].as_str().context("no reason")?.to_owned();
    ensure!(
        reason.starts_with("guard: campaign 42: 6 hard bounces of 10"),
        "{reason}"
    );
    ensure!(reason.ends_with(" in 24 h; pause above 5 %"), "{reason}");
    let held = delivery(&world.gateway, "late29@yahoo.com", "held").await?;
    ensure!(details(&held, "deferred") == [why], "{held}");
    ensure!(details(&held, "held") == [reason.as_str()], "{held}");
    ensure!(held["attempts"] == json!([]), "{held}");
    ensure!(world.mailgun.count_to("late29@yahoo.com") == 0);

    others_flow(&world, "before").await?;
    let metrics = world.gateway.admin(Method::GET, "/metrics").send().await?;
    let metrics = metrics.text().await?;
    let gauge = "malote_guard_campaigns{state=\"paused\",stream=\"campaign\"} 1";
    ensure!(metrics.contains(gauge), "{metrics}");
    ensure!(world.gateway.log().contains("the guard acted"));

    world.gateway.kill()?;
    world.gateway.boot().await?;
    let kept = row(&world.gateway, "42").await?;
    ensure!(
        (&kept["state"], &kept["reason"]) == (&paused["state"], &paused["reason"]),
        "{kept}"
    );
    mail(&world.gateway, "42", &names("restarted", 1)).await?;
    delivery(&world.gateway, "restarted0@yahoo.com", "held").await?;
    others_flow(&world, "after").await?;

    let said = malote(&world.gateway, &["guard"]).await?;
    ensure!(said.contains("paused") && said.contains(&reason), "{said}");
    malote(&world.gateway, &["guard", "resume", "campaign", "42"]).await?;
    for recipient in ["late29@yahoo.com", "restarted0@yahoo.com"] {
        delivery(&world.gateway, recipient, "sent").await?;
        ensure!(world.mailgun.count_to(recipient) == 1, "{recipient}");
    }
    let resumed = row(&world.gateway, "42").await?;
    ensure!(resumed["state"] == "resumed", "{resumed}");
    ensure!(
        resumed["sends"].as_u64().is_some_and(|sends| sends < 32),
        "{resumed}"
    );
    ensure!(resumed["bounces"] == 0, "{resumed}");
    Ok(())
}

/// A password reset and another campaign leave at once.
async fn others_flow(world: &World, when: &str) -> Result<()> {
    let reset = format!("reset-{when}@one.example");
    world.gateway.submit(&order(&reset)).await?;
    world
        .gateway
        .reached(&reset, SHOP_KEY, &["sent"], SENT_MAX)
        .await?;
    mail(&world.gateway, "43", &names(when, 20)).await?;
    delivery(&world.gateway, &format!("{when}19@yahoo.com"), "sent").await?;
    let other = row(&world.gateway, "43").await?;
    ensure!(other["state"].is_null(), "{other}");
    Ok(())
}

#[tokio::test]
async fn bounces_of_mail_from_before_a_resume_do_not_count_after_it() -> Result<()> {
    let world = World::start_with(|config| {
        config.add(GUARD);
        campaigns_by(config, "{ provider = \"mailgun\", pool = \"news\" }")
    })
    .await?;
    let gateway = &world.gateway;
    six_percent(&world, "42").await?;
    mail(gateway, "42", &names("old", 1)).await?;
    delivery(gateway, "old0@yahoo.com", "sent").await?;
    malote(gateway, &["guard", "resume", "campaign", "42"]).await?;
    // Mailgun reports on the last message that it took.
    let hook = format!("http://{}/v1/webhooks/mailgun", gateway.doors().http);
    let emit = format!("http://{}/_sandbox/event", world.mailgun.address);
    let body = json!({ "url": hook, "event": "bounced", "reply": "550 5.1.1 user unknown" });
    reqwest::Client::new().post(emit).json(&body).send().await?;
    delivery(gateway, "old0@yahoo.com", "bounced").await?;
    bounce(&world, 1.0)?;
    mail(gateway, "42", &names("new", 1)).await?;
    delivery(gateway, "new0@yahoo.com", "bounced").await?;
    let row = row(gateway, "42").await?;
    ensure!(
        (&row["sends"], &row["bounces"]) == (&json!(1), &json!(1)),
        "{row}"
    );
    let again = [
        "guard",
        "resume",
        "campaign",
        "42",
        "--config",
        "malote.toml",
    ];
    let again = run(&mut gateway.command(&again)?, COMMAND_MAX).await?;
    ensure!(again.status == Some(3), "{again:?}");
    Ok(())
}
