//! When nobody can say whether a provider took a message, the stream's policy decides.

use std::time::{Duration, Instant};

use anyhow::Result;
use malote_sandbox::{Fault, FaultKind};
use malote_tests::{LOADTEST_KEY, SmtpClient, World, answered, eventually, text_message};
use serde_json::json;

use crate::{SENT_MAX, attempts, campaigns_by, ensure_once, send_order};

const NEWS: &str =
    "{ provider = \"mailgun\", pool = \"news\" }, { provider = \"relay\", pool = \"bulk\" }";
/// How long a held message is watched.
const WATCH: Duration = Duration::from_secs(5);

async fn campaign(world: &World, recipient: &str) -> Result<()> {
    let mut client = SmtpClient::connect(world.gateway.doors().plain).await?;
    let text = text_message("news@shop.example", recipient, "campaign");
    let reply = client.send("b@shop.example", &[recipient], &text).await?;
    assert_eq!(reply.code, 250, "{reply:?}");
    Ok(())
}

#[tokio::test]
async fn prefer_no_loss_sends_again_by_the_same_provider_with_the_same_message_id() -> Result<()> {
    let world = World::start().await?;
    for kind in [FaultKind::Cut, FaultKind::Bare(502)] {
        world.ses.sandbox.forget();
        world.ses.sandbox.arm(Fault::once(kind).after_take());
        let recipient = format!("{kind}.test@one.example");
        let timeline = send_order(&world, &recipient).await?;
        let seen = attempts(&timeline);
        assert_eq!(seen.len(), 2, "{seen:?}");
        assert_eq!(seen[0], ("ses".into(), "unknown".into()));
        assert_eq!(seen[1], ("ses".into(), "sent".into()));
        let taken = world.ses.sandbox.messages_to(&recipient);
        assert_eq!(taken.len(), 2, "taken before the cut and after it");
        assert_eq!(taken[0].header("Message-ID"), taken[1].header("Message-ID"));
    }
    Ok(())
}

#[tokio::test]
async fn prefer_no_duplicate_waits_for_the_providers_word() -> Result<()> {
    let world = World::start_with(|config| campaigns_by(config, NEWS)).await?;
    world
        .mailgun
        .sandbox
        .arm(Fault::once(FaultKind::Cut).after_take());
    campaign(&world, "ana@one.example").await?;
    let gateway = &world.gateway;
    gateway
        .reached("ana@one.example", LOADTEST_KEY, &["unknown"], SENT_MAX)
        .await?;
    let until = Instant::now() + WATCH;
    eventually("the watch ends", WATCH * 2, async || {
        ensure_once(&world.mailgun.sandbox.messages())?;
        assert_eq!(world.relay.sandbox.stats().messages, 0);
        Ok((Instant::now() > until).then_some(()))
    })
    .await?;
    let hook = format!("http://{}/v1/webhooks/mailgun", gateway.doors().http);
    let emit = format!("http://{}/_sandbox/event", world.mailgun.address);
    let request = reqwest::Client::new().post(emit);
    let request = request.json(&json!({ "url": hook, "event": "delivered" }));
    let answer = answered(request.send().await?, 200).await?;
    assert_eq!(answer["status"], 200);
    gateway
        .reached("ana@one.example", LOADTEST_KEY, &["delivered"], SENT_MAX)
        .await?;
    ensure_once(&world.mailgun.sandbox.messages())?;
    Ok(())
}

#[tokio::test]
async fn a_success_that_names_no_id_is_not_believed() -> Result<()> {
    let world = World::start_with(|config| campaigns_by(config, NEWS)).await?;
    world.mailgun.sandbox.arm(Fault::once(FaultKind::Nonsense));
    campaign(&world, "ana@one.example").await?;
    world
        .gateway
        .reached("ana@one.example", LOADTEST_KEY, &["unknown"], SENT_MAX)
        .await?;
    Ok(())
}
