//! An orderly end (SIGTERM) under load: exit status 0, nothing lost, nothing sent twice.

use std::time::Duration;

use anyhow::{Result, ensure};
use malote_tests::{SHOP_KEY, SmtpClient, World, answered, eventually, text_message};
use reqwest::Method;
use serde_json::json;

use crate::{SENT_MAX, campaigns_by, order};

const BATCHES: usize = 5;
const BATCH: usize = 40;

fn arrived(world: &World) -> u64 {
    world.ses.sandbox.stats().messages + world.relay.sandbox.stats().messages
}

#[tokio::test]
async fn what_was_accepted_before_the_end_is_sent_once_after_it() -> Result<()> {
    let mut world = World::start_with(|config| {
        config.replace("per_second = 14", "per_second = 100")?;
        campaigns_by(config, "{ provider = \"relay\", pool = \"bulk\" }")
    })
    .await?;
    for batch in 0..BATCHES {
        let messages: Vec<_> = (0..BATCH)
            .map(|number| order(&format!("b{batch}n{number}@one.example")))
            .collect();
        let path = "/v1/messages/batch";
        let request = world.gateway.request(Method::POST, path, SHOP_KEY);
        let body = json!({ "messages": messages });
        answered(request.json(&body).send().await?, 200).await?;
    }
    world.gateway.stop().await?;
    let before = arrived(&world);
    ensure!(
        before < (BATCHES * BATCH) as u64,
        "it ended after all was sent"
    );
    world.gateway.boot().await?;
    eventually("all are sent", SENT_MAX, async || {
        let count = arrived(&world);
        Ok((count >= (BATCHES * BATCH) as u64).then_some(()))
    })
    .await?;
    let mut wrong = Vec::new();
    for batch in 0..BATCHES {
        for number in 0..BATCH {
            let recipient = format!("b{batch}n{number}@one.example");
            // What SES has no rate for goes by the next target.
            let count = world.ses.count_to(&recipient) + world.relay.count_to(&recipient);
            if count != 1 {
                let timeline = world.gateway.find(&recipient, SHOP_KEY).await?;
                wrong.push(format!("{count} times: {:#}", timeline.unwrap_or_default()));
            }
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[tokio::test]
async fn an_idle_smtp_session_is_told_goodbye() -> Result<()> {
    let mut world = World::start().await?;
    let mut client = SmtpClient::connect(world.gateway.doors().plain).await?;
    let text = text_message("news@shop.example", "a@one.example", "before");
    let reply = client
        .send("b@shop.example", &["a@one.example"], &text)
        .await?;
    assert_eq!(reply.code, 250, "{reply:?}");
    let stopped = tokio::time::timeout(Duration::from_secs(55), world.gateway.stop());
    stopped.await??;
    Ok(())
}
