//! Route rules decide by what the client sent, at the door and at every attempt, though the gateway's
//! own fields do not leave with the message.

use anyhow::{Result, ensure};
use malote_tests::{LOADTEST_KEY, SmtpClient, World, eventually, text_message};

use crate::{SENT_MAX, campaigns_by};

const RULE: &str = "[[rules]]\nname = \"this way\"\n\
    when = { stream = \"campaign\", headers = [{ name = \"X-Malote-Way\", equals = \"relay\" }] }\n\
    then = { route = \"microsoft\" }\n";

async fn hand_over(world: &World, recipient: &str, field: &str) -> Result<()> {
    let mut client = SmtpClient::connect(world.gateway.doors().plain).await?;
    let text = text_message("news@shop.example", recipient, "campaign");
    let text = format!("{field}{text}");
    let reply = client.send("b@shop.example", &[recipient], &text).await?;
    ensure!(reply.code == 250, "{reply:?}");
    Ok(())
}

#[tokio::test]
async fn a_rule_on_a_field_that_does_not_leave_decides_at_every_attempt() -> Result<()> {
    let world = World::start_with(|config| {
        config.add(RULE);
        campaigns_by(config, "{ provider = \"mailgun\", pool = \"news\" }")
    })
    .await?;
    hand_over(&world, "ana@one.example", "X-Malote-Way: relay\r\n").await?;
    hand_over(&world, "bob@one.example", "").await?;
    eventually("both arrive", SENT_MAX, async || {
        let by_relay = world.relay.count_to("ana@one.example");
        let by_mailgun = world.mailgun.count_to("bob@one.example");
        Ok((by_relay > 0 && by_mailgun > 0).then_some(()))
    })
    .await?;
    ensure!(world.mailgun.count_to("ana@one.example") == 0);
    let taken = world.relay.sandbox.messages_to("ana@one.example");
    let raw = String::from_utf8_lossy(taken[0].raw.as_deref().unwrap_or_default());
    ensure!(!raw.contains("X-Malote-Way"), "{raw}");
    let found = world.gateway.find("ana@one.example", LOADTEST_KEY).await?;
    let delivery = &found.unwrap_or_default()["deliveries"][0];
    ensure!(delivery["route"] == "microsoft", "{delivery}");
    // The reason of an attempt names the route that was decided on for it.
    let reason = delivery["attempts"][0]["reason"].as_str();
    ensure!(
        reason.is_some_and(|reason| reason.starts_with("route microsoft:")),
        "{delivery}"
    );
    Ok(())
}
