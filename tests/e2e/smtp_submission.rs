//! A message handed over by SMTP leaves as it came, with one `Received` field in front.

use anyhow::Result;
use malote_sandbox::Taken;
use malote_tests::{LOADTEST_KEY, SmtpClient, World, eventually, text_message};

use crate::{SENT_MAX, campaigns_by, ensure_once, raw_text};

const BULK: &str = "{ provider = \"relay\", pool = \"bulk\" }";

async fn arrival(world: &World, recipient: &str) -> Result<Taken> {
    eventually("the message arrives at the relay", SENT_MAX, async || {
        Ok((world.relay.count_to(recipient) > 0).then_some(()))
    })
    .await?;
    let messages = world.relay.sandbox.messages_to(recipient);
    ensure_once(&messages).cloned()
}

#[tokio::test]
async fn a_message_leaves_byte_for_byte_from_an_address_of_its_pool() -> Result<()> {
    let world = World::start_with(|config| campaigns_by(config, BULK)).await?;
    let mut client = SmtpClient::connect(world.gateway.doors().plain).await?;
    let text = text_message("news@shop.example", "a@one.example", "bytes");
    let text = text + "..dots\r\n" + &"long ".repeat(150) + "\r\nçé";
    let reply = client
        .send("bounce@shop.example", &["a@one.example"], &text)
        .await?;
    assert_eq!(reply.code, 250, "{reply:?}");
    let taken = arrival(&world, "a@one.example").await?;
    let raw = raw_text(&taken)?;
    assert!(raw.starts_with("Received: "), "{raw}");
    let after = raw.find("From: news@").map(|at| raw[at..].to_owned());
    assert_eq!(after, Some(text + "\r\n"));
    assert_eq!(raw.matches("Received: ").count(), 1);
    let from = taken.peer.ip().to_string();
    assert!(
        ["127.0.0.2", "127.0.0.3"].contains(&from.as_str()),
        "{from}"
    );
    let told = world
        .gateway
        .reached("a@one.example", LOADTEST_KEY, &["sent"], SENT_MAX)
        .await?;
    assert_eq!(told["stream"], "campaign");
    assert_eq!(
        told["deliveries"][0]["provider_message_id"],
        taken.id.as_str()
    );
    Ok(())
}

#[tokio::test]
async fn one_session_hands_over_many_messages() -> Result<()> {
    let world = World::start_with(|config| campaigns_by(config, BULK)).await?;
    let mut client = SmtpClient::connect(world.gateway.doors().plain).await?;
    for number in 0..50 {
        let recipient = format!("r{number}@one.example");
        let text = text_message("news@shop.example", &recipient, &format!("n{number}"));
        let reply = client.send("b@shop.example", &[&recipient], &text).await?;
        assert_eq!(reply.code, 250, "{reply:?}");
    }
    eventually("all fifty arrive", SENT_MAX, async || {
        Ok((world.relay.sandbox.stats().messages == 50).then_some(()))
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn a_bare_line_feed_is_refused_and_nothing_is_sent() -> Result<()> {
    let world = World::start_with(|config| campaigns_by(config, BULK)).await?;
    let door = world.gateway.doors().plain;
    let mut client = SmtpClient::connect(door).await?;
    let smuggled = "From: a@shop.example\r\n\r\nx\n.\nMAIL FROM:<e@x.example>\r\n";
    let reply = client
        .send("b@shop.example", &["evil@one.example"], smuggled)
        .await?;
    assert_eq!(reply.code, 550, "{reply:?}");
    assert!(reply.lines[0].starts_with("5.6.11"), "{reply:?}");
    let mut client = SmtpClient::connect(door).await?;
    let text = text_message("news@shop.example", "good@one.example", "good");
    client
        .send("b@shop.example", &["good@one.example"], &text)
        .await?;
    arrival(&world, "good@one.example").await?;
    assert_eq!(world.relay.sandbox.stats().messages, 1);
    Ok(())
}
