//! Logs and metrics name no address, subject, body, password or key; domains may stand there.

use anyhow::{Result, ensure};
use malote_sandbox::{Fault, FaultKind};
use malote_tests::{SHOP_KEY, SmtpClient, World, text_message};
use reqwest::Method;
use serde_json::Value;

use crate::{order, send_order};

/// What must stand nowhere; each was somewhere in the traffic.
const CANARIES: [&str; 10] = [
    "canary-local",
    "canary-subject",
    "canary-body",
    "canary-name",
    "mk_canary_key",
    "canary-password",
    "mk_test_shop",
    "key-sandbox",
    "wJalrXUtnFEMI",
    "mautic-secret",
];

#[tokio::test]
async fn what_is_private_stays_out_of_logs_and_metrics() -> Result<()> {
    let mut world = World::start_with(|config| {
        config.add("[log]\nlevel = \"debug\"\n");
        Ok(())
    })
    .await?;
    let mut message = order("canary-local@one.example");
    message["from"] = serde_json::json!({ "email": "orders@shop.example", "name": "canary-name" });
    message["subject"] = "canary-subject".into();
    message["text"] = "canary-body".into();
    for kind in [FaultKind::Status(500), FaultKind::Recipient, FaultKind::Cut] {
        world.ses.sandbox.arm(Fault::once(kind));
        world.gateway.submit(&message).await?;
    }
    let refused: Vec<Value> = vec![
        order("canary-local"),
        order("canary-local@one.example, x@one.example"),
    ];
    for body in refused {
        let path = "/v1/messages";
        let request = world.gateway.request(Method::POST, path, SHOP_KEY);
        ensure!(request.json(&body).send().await?.status() == 422, "{body}");
        let request = world.gateway.request(Method::POST, path, "mk_canary_key");
        ensure!(request.json(&body).send().await?.status() == 401, "{body}");
    }
    let mut client = SmtpClient::connect(world.gateway.doors().submission).await?;
    // In clear: refused, and never repeated anywhere. The token is user, canary-password.
    client
        .say("AUTH PLAIN AHVzZXIAY2FuYXJ5LXBhc3N3b3Jk\r\n")
        .await?;
    let mut client = SmtpClient::connect(world.gateway.doors().plain).await?;
    client.say("VRFY canary-local\r\n").await?;
    client.say("MAIL FROM:<canary-local@ bad>\r\n").await?;
    let text = text_message(
        "canary-local@shop.example",
        "x@one.example",
        "canary-subject",
    );
    client
        .send(
            "canary-local@shop.example",
            &["canary-local@one.example"],
            &text,
        )
        .await?;
    send_order(&world, "canary-local2@one.example").await?;
    let metrics = world.gateway.admin(Method::GET, "/metrics").send().await?;
    let metrics = metrics.text().await?;
    world.gateway.stop().await?;
    let log = world.gateway.log();
    for canary in CANARIES {
        let line = log.lines().find(|line| line.contains(canary));
        ensure!(line.is_none(), "{canary} stands in the log: {line:?}");
        ensure!(!metrics.contains(canary), "{canary} stands in the metrics");
    }
    Ok(())
}
