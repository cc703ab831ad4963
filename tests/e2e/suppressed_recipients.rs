//! A suppressed address in any spelling, and among many: taken, told as suppressed, never sent.

use anyhow::{Context, Result, ensure};
use malote_tests::{LOADTEST_KEY, SHOP_KEY, SmtpClient, World, answered, eventually, text_message};
use reqwest::Method;
use serde_json::json;

use crate::{SENT_MAX, campaigns_by, order, send_order};

/// Recipients of one transaction, one of them suppressed.
const RECIPIENTS: usize = 450;

async fn suppress(world: &World, address: &str) -> Result<()> {
    let request = world.gateway.admin(Method::POST, "/admin/v1/suppressions");
    let request = request.json(&json!({ "address": address }));
    answered(request.send().await?, 201).await.map(drop)
}

async fn status_of(world: &World, address: &str) -> Result<String> {
    let request = world
        .gateway
        .request(Method::POST, "/v1/messages", SHOP_KEY);
    let answer = answered(request.json(&order(address)).send().await?, 202).await?;
    let status = answer["recipients"][0]["status"].as_str();
    Ok(status.context("no status")?.to_owned())
}

#[tokio::test]
async fn an_address_is_suppressed_in_every_spelling_of_its_domain() -> Result<()> {
    let world = World::start().await?;
    suppress(&world, "ana@b\u{fc}cher.example").await?;
    suppress(&world, "ana@xn--fa-hia.example").await?;
    for spelling in [
        "ana@b\u{fc}cher.example",
        "ana@xn--bcher-kva.example",
        "ana@XN--BCHER-KVA.Example",
        "ana@B\u{dc}CHER.EXAMPLE",
        "ANA@b\u{fc}cher.example",
        // Decomposed, full width, and with the ideographic full stop (UTS 46 maps all three).
        "ana@bu\u{308}cher.example",
        "ana@\u{ff42}\u{fc}cher.example",
        "ana@b\u{fc}cher\u{3002}example",
        "ana@fa\u{df}.example",
        "ana@FA\u{1e9e}.example",
    ] {
        let status = status_of(&world, spelling).await?;
        ensure!(status == "suppressed", "{spelling}: {status}");
    }
    // The same by SMTP, where the domain goes as UTF-8 (RFC 6531).
    let mut client = SmtpClient::connect(world.gateway.doors().plain).await?;
    for (line, code) in [
        ("MAIL FROM:<b@shop.example> SMTPUTF8\r\n", 250),
        ("RCPT TO:<ana@B\u{dc}CHER.example>\r\n", 250),
        ("RCPT TO:<ana@bu\u{308}cher.example>\r\n", 250),
        ("DATA\r\n", 354),
    ] {
        let reply = client.say(line).await?;
        ensure!(reply.code == code, "{line}: {reply:?}");
    }
    let text = text_message("news@shop.example", "ana@xn--bcher-kva.example", "idn");
    let reply = client.say(&format!("{text}\r\n.\r\n")).await?;
    ensure!(reply.code == 250, "{reply:?}");
    let reached = world.gateway.reached(
        "ana@xn--bcher-kva.example",
        LOADTEST_KEY,
        &["suppressed"],
        SENT_MAX,
    );
    reached.await?;

    // Other domains, however alike: without the umlaut, and as the old mapping had it.
    for other in ["ana@bucher.example", "ana@fass.example"] {
        send_order(&world, other).await?;
        ensure!(world.ses.count_to(other) == 1, "{other}");
    }
    let (ses, mailgun) = (&world.ses.sandbox, &world.mailgun.sandbox);
    let relay = &world.relay.sandbox;
    let sent = ses.stats().messages + mailgun.stats().messages + relay.stats().messages;
    ensure!(sent == 2, "{sent} were sent");
    Ok(())
}

#[tokio::test]
async fn one_suppressed_among_many_recipients_is_no_reason_to_refuse() -> Result<()> {
    let world = World::start_with(|config| {
        campaigns_by(config, "{ provider = \"mailgun\", pool = \"news\" }")
    })
    .await?;
    let everybody: Vec<String> = (0..RECIPIENTS)
        .map(|number| format!("rcpt{number}@many.example"))
        .collect();
    let quiet = everybody.get(RECIPIENTS / 2).context("nobody")?;
    suppress(&world, quiet).await?;

    let mut client = SmtpClient::connect(world.gateway.doors().plain).await?;
    let reply = client.say("MAIL FROM:<b@shop.example>\r\n").await?;
    ensure!(reply.code == 250, "{reply:?}");
    for recipient in &everybody {
        let reply = client.say(&format!("RCPT TO:<{recipient}>\r\n")).await?;
        ensure!(reply.code == 250, "{recipient}: {reply:?}");
    }
    ensure!(client.say("DATA\r\n").await?.code == 354);
    let text = text_message("news@shop.example", "everybody@many.example", "many");
    let reply = client.say(&format!("{text}\r\n.\r\n")).await?;
    ensure!(reply.code == 250, "{reply:?}");

    let sent = |recipient: &&String| world.mailgun.count_to(recipient) == 1;
    eventually("all others have it", SENT_MAX, async || {
        let count = everybody.iter().filter(sent).count();
        Ok((count == RECIPIENTS - 1).then_some(()))
    })
    .await?;
    ensure!(world.mailgun.count_to(quiet) == 0);
    let timeline = world.gateway.find(quiet, LOADTEST_KEY).await?;
    let timeline = timeline.context("no timeline")?;
    let deliveries = timeline["deliveries"].as_array().context("no deliveries")?;
    ensure!(deliveries.len() == RECIPIENTS, "{}", deliveries.len());
    let own = deliveries
        .iter()
        .find(|one| one["recipient"] == quiet.as_str());
    let own = own.context("no delivery")?;
    ensure!(own["state"] == "suppressed", "{own}");
    let events = own["events"].as_array().cloned().unwrap_or_default();
    let is_told = events.iter().any(|event| event["kind"] == "suppressed");
    ensure!(is_told, "{own}");
    ensure!(
        own["attempts"].as_array().is_none_or(Vec::is_empty),
        "{own}"
    );
    Ok(())
}
