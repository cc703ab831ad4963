//! A gateway alone is drained: it takes no new mail, says so, and sends what it has.

use std::time::Duration;

use anyhow::{Result, ensure};
use malote_tests::{Gateway, Postgres, SHOP_KEY, SmtpClient, World, answered, eventually, run};
use reqwest::Method;

use crate::migrate::keep_in;
use crate::{SENT_MAX, order};

/// An orderly restart waits for no session to expire, which takes 13 s.
const RESTART_MAX: Duration = Duration::from_secs(8);

async fn malote(gateway: &Gateway, arguments: &[&str]) -> Result<String> {
    let all = [arguments, &["--config", "malote.toml"]].concat();
    run(&mut gateway.command(&all)?, SENT_MAX).await?.success()
}

async fn ready(gateway: &Gateway) -> Result<(u16, String)> {
    let answer = gateway.admin(Method::GET, "/readyz").send().await?;
    Ok((answer.status().as_u16(), answer.text().await?))
}

#[tokio::test]
async fn a_drained_gateway_refuses_new_mail_and_sends_what_it_has() -> Result<()> {
    let world = World::start_with(|config| {
        config.add("[delivery]\ndrain_notice = \"500ms\"\n");
        Ok(())
    })
    .await?;
    let gateway = &world.gateway;
    malote(gateway, &["queue", "pause", "--stream", "transactional"]).await?;
    gateway.submit(&order("ana@one.example")).await?;
    let said = malote(gateway, &["nodes", "drain"]).await?;
    ensure!(said.contains("is draining"), "{said}");
    assert_eq!(ready(gateway).await?, (503, "draining\n".to_owned()));
    let mut taken = 1;
    let refused = eventually("submissions are refused", SENT_MAX, async || {
        let request = gateway.request(Method::POST, "/v1/messages", SHOP_KEY);
        let answer = request.json(&order("eve@one.example")).send().await?;
        let is_taken = answer.status().as_u16() == 202;
        taken += u64::from(is_taken);
        Ok((!is_taken).then_some(answer))
    })
    .await?;
    ensure!(taken > 1, "nothing was taken after the drain began");
    ensure!(refused.headers().contains_key("retry-after"), "{refused:?}");
    let problem = answered(refused, 503).await?;
    assert_eq!(problem["type"], "urn:malote:problem:draining");
    let greeting = SmtpClient::connect(gateway.doors().plain).await.err();
    let greeting = greeting
        .map(|error| format!("{error:#}"))
        .unwrap_or_default();
    ensure!(greeting.contains("421"), "{greeting:?}");

    // What is there can be looked at, and leaves.
    ensure!(gateway.find("ana@one.example", SHOP_KEY).await?.is_some());
    let node = gateway.admin(Method::GET, "/admin/v1/node").send().await?;
    let node = answered(node, 200).await?;
    assert_eq!(
        (&node["state"], &node["waiting"]),
        (&"draining".into(), &taken.into())
    );
    malote(gateway, &["queue", "resume", "--stream", "transactional"]).await?;
    let said = malote(gateway, &["nodes", "drain", "--wait"]).await?;
    ensure!(said.ends_with("drained\n"), "{said}");
    assert_eq!(world.ses.count_to("ana@one.example"), 1);

    malote(gateway, &["nodes", "undrain"]).await?;
    assert_eq!(ready(gateway).await?.0, 200);
    gateway.submit(&order("bob@one.example")).await?;
    SmtpClient::connect(gateway.doors().plain).await.map(drop)
}

#[tokio::test]
async fn an_orderly_restart_on_a_database_waits_for_no_session_to_expire() -> Result<()> {
    const COUNT: usize = 60;
    let postgres = Postgres::start()?;
    let mut world =
        World::start_with(|config| config.replace("per_second = 14", "per_second = 20")).await?;
    world.gateway.stop().await?;
    keep_in(&mut world.gateway, &postgres.url())?;
    world.gateway.boot().await?;
    let arrived = || world.ses.sandbox.stats().messages + world.relay.sandbox.stats().messages;
    world.relay.sandbox.behave(&malote_sandbox::Behaviour {
        latency_ms: Some(200),
        ..malote_sandbox::Behaviour::default()
    })?;
    for number in 0..COUNT {
        world
            .gateway
            .submit(&order(&format!("r{number}@one.example")))
            .await?;
    }
    world.gateway.stop().await?;
    let before = arrived();
    ensure!(before < COUNT as u64, "it ended after all was sent");
    world.gateway.boot().await?;
    eventually("all are sent", RESTART_MAX, async || {
        Ok((arrived() >= COUNT as u64).then_some(()))
    })
    .await?;
    assert_eq!(arrived(), COUNT as u64);
    Ok(())
}
