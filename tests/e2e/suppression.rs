//! What comes back from providers stops the next send, within its scope.

use anyhow::Result;
use malote_tests::{SHOP_KEY, SmtpClient, World, answered, eventually, text_message};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{SENT_MAX, campaigns_by, order, send_order};

const NEWS: &str = "{ provider = \"mailgun\", pool = \"news\" }";

async fn campaign(world: &World, recipient: &str) -> Result<()> {
    let mut client = SmtpClient::connect(world.gateway.doors().plain).await?;
    let text = text_message("news@shop.example", recipient, "campaign");
    let reply = client.send("b@shop.example", &[recipient], &text).await?;
    assert_eq!(
        reply.code, 250,
        "a suppressed address is no reason to refuse: {reply:?}"
    );
    Ok(())
}

async fn campaign_arrives(world: &World, recipient: &str) -> Result<()> {
    campaign(world, recipient).await?;
    eventually("the campaign arrives", SENT_MAX, async || {
        Ok((world.mailgun.count_to(recipient) > 0).then_some(()))
    })
    .await
}

/// Mailgun reports on the last message it took.
async fn report(world: &World, event: &str) -> Result<()> {
    let hook = format!("http://{}/v1/webhooks/mailgun", world.gateway.doors().http);
    let emit = format!("http://{}/_sandbox/event", world.mailgun.address);
    let request = reqwest::Client::new().post(emit);
    let request = request.json(&json!({ "url": hook, "event": event }));
    let answer = answered(request.send().await?, 200).await?;
    assert_eq!(answer["status"], 200);
    Ok(())
}

async fn post(world: &World, recipient: &str) -> Result<Value> {
    let request = world
        .gateway
        .request(Method::POST, "/v1/messages", SHOP_KEY);
    answered(request.json(&order(recipient)).send().await?, 202).await
}

#[tokio::test]
async fn a_hard_bounce_stops_every_stream() -> Result<()> {
    let world = World::start_with(|config| campaigns_by(config, NEWS)).await?;
    campaign_arrives(&world, "gone@one.example").await?;
    report(&world, "bounced").await?;
    let answer = post(&world, "gone@one.example").await?;
    assert_eq!(answer["recipients"][0]["status"], "suppressed");
    campaign(&world, "gone@one.example").await?;
    campaign_arrives(&world, "other@one.example").await?;
    assert_eq!(world.mailgun.count_to("gone@one.example"), 1);
    assert_eq!(world.ses.sandbox.stats().messages, 0);
    Ok(())
}

#[tokio::test]
async fn an_unsubscribe_stops_campaigns_and_no_password_reset() -> Result<()> {
    for event in ["unsubscribed", "complained"] {
        let world = World::start_with(|config| campaigns_by(config, NEWS)).await?;
        campaign_arrives(&world, "ana@one.example").await?;
        report(&world, event).await?;
        campaign(&world, "ana@one.example").await?;
        campaign_arrives(&world, "other@one.example").await?;
        assert_eq!(world.mailgun.count_to("ana@one.example"), 1, "{event}");
        send_order(&world, "ana@one.example").await?;
        assert_eq!(world.ses.count_to("ana@one.example"), 1, "{event}");
    }
    Ok(())
}

#[tokio::test]
async fn a_delivery_that_is_only_late_stops_nothing() -> Result<()> {
    let world = World::start_with(|config| campaigns_by(config, NEWS)).await?;
    campaign_arrives(&world, "ana@one.example").await?;
    report(&world, "deferred").await?;
    let answer = post(&world, "ana@one.example").await?;
    assert_eq!(answer["recipients"][0]["status"], "queued");
    Ok(())
}
