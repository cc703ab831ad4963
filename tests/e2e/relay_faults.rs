//! An SMTP relay at fault: each stage's refusal has its meaning, and the next target takes over.

use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use malote_core::clock::{Clock as _, SystemClock};
use malote_sandbox::{Fault, FaultKind, Stage};
use malote_tests::{Config, SHOP_KEY, World};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::{SENT_MAX, attempts, ensure_once, order, send_order};

/// Transactional mail leaves by the relay first, then by SES.
fn relay_first(config: &mut Config) -> Result<()> {
    config.replace(
        "targets = [{ provider = \"ses\", pool = \"tx\" }, { provider = \"relay\" }]",
        "targets = [{ provider = \"relay\" }, { provider = \"ses\", pool = \"tx\" }]",
    )
}

async fn start() -> Result<World> {
    World::start_with(relay_first).await
}

async fn is_passed_over(fault: Fault, verdict: &str) -> Result<()> {
    let world = start().await?;
    world.relay.sandbox.arm(Fault {
        count: None,
        ..fault.clone()
    });
    let timeline = send_order(&world, "ana@one.example").await?;
    let seen = attempts(&timeline);
    let expected = [("relay", verdict), ("ses", "sent")];
    let expected = expected.map(|(provider, outcome)| (provider.into(), outcome.into()));
    assert_eq!(seen, expected, "{fault:?}");
    ensure_once(&world.ses.sandbox.messages_to("ana@one.example"))?;
    assert_eq!(world.relay.sandbox.stats().messages, 0);
    Ok(())
}

#[tokio::test]
async fn a_busy_relay_is_throttled() -> Result<()> {
    is_passed_over(Fault::once(FaultKind::Status(421)), "throttled").await
}

#[tokio::test]
async fn a_relay_that_is_busy_at_its_greeting_is_throttled() -> Result<()> {
    let fault = Fault::once(FaultKind::Status(421)).at(Stage::Connect);
    is_passed_over(fault, "throttled").await
}

/// Octets of a text that the sockets' buffers do not take whole.
const LARGE: usize = 6 * 1024 * 1024;

/// A relay that has enough in the middle of each message: 421, and it closes.
async fn closing_relay() -> Result<(u16, JoinSet<()>)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let port = listener.local_addr()?.port();
    let mut accepting = JoinSet::new();
    accepting.spawn(async move {
        let mut sessions = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            // A session that breaks has nothing more to say.
            sessions.spawn(async move { closes_half_way(stream).await.unwrap_or_default() });
        }
    });
    Ok((port, accepting))
}

async fn closes_half_way(stream: TcpStream) -> Result<()> {
    let mut stream = BufReader::new(stream);
    stream.write_all(b"220 relay.example ESMTP\r\n").await?;
    let mut line = String::new();
    while stream.read_line(&mut line).await? > 0 {
        if line.starts_with("DATA") {
            stream.write_all(b"354 go\r\n").await?;
            stream.read_exact(&mut [0; 4096]).await?;
            stream.write_all(b"421 4.7.0 too much of you\r\n").await?;
            return Ok(());
        }
        stream.write_all(b"250 2.0.0 ok\r\n").await?;
        line.clear();
    }
    Ok(())
}

#[tokio::test]
async fn a_relay_that_closes_in_the_middle_of_a_message_has_not_taken_it() -> Result<()> {
    let (port, _sessions) = closing_relay().await?;
    let world = World::start_with(|config| {
        relay_first(config)?;
        config.set_relay_port(port)
    })
    .await?;
    let mut message = order("ana@one.example");
    message["text"] = "0123456789 ".repeat(LARGE / 11).into();
    world.gateway.submit(&message).await?;
    let timeline = world
        .gateway
        .reached("ana@one.example", SHOP_KEY, &["sent"], SENT_MAX)
        .await?;
    let expected = [("relay", "throttled"), ("ses", "sent")];
    let expected = expected.map(|(provider, outcome)| (provider.into(), outcome.into()));
    assert_eq!(attempts(&timeline), expected);
    ensure_once(&world.ses.sandbox.messages_to("ana@one.example"))?;
    Ok(())
}

/// The relay hangs at this stage; the mail leaves by the next target after the deadline of 10 s
/// that the stage has: within a second, where the machine is not busy.
async fn is_given_up_in_time(stage: Stage) -> Result<()> {
    let world = start().await?;
    let fault = Fault::always(FaultKind::Hang).at(stage);
    world.relay.sandbox.arm(fault);
    let timeline = send_order(&world, "ana@one.example").await?;
    let expected = [("relay", "transient"), ("ses", "sent")];
    let expected = expected.map(|(provider, outcome)| (provider.into(), outcome.into()));
    assert_eq!(attempts(&timeline), expected, "{stage:?}");
    let mut started_at = [SystemClock::start().now(); 2];
    for (number, at) in started_at.iter_mut().enumerate() {
        let attempt = &timeline["deliveries"][0]["attempts"][number];
        let text = attempt["started_at"].as_str();
        *at = text.context("an attempt without its time")?.parse()?;
    }
    let took = started_at[1].duration_since(started_at[0]);
    let took = took.as_secs_f64();
    assert!((10.0..15.0).contains(&took), "{stage:?} {took}");
    Ok(())
}

#[tokio::test]
async fn a_relay_that_hangs_at_its_greeting_costs_its_deadline() -> Result<()> {
    is_given_up_in_time(Stage::Connect).await
}

#[tokio::test]
async fn a_relay_that_hangs_at_ehlo_costs_its_deadline() -> Result<()> {
    is_given_up_in_time(Stage::Ehlo).await
}

#[tokio::test]
async fn a_local_error_at_mail_is_transient() -> Result<()> {
    let fault = Fault::once(FaultKind::Status(451)).at(Stage::Mail);
    is_passed_over(fault, "transient").await
}

#[tokio::test]
async fn a_local_error_after_the_dot_is_transient() -> Result<()> {
    is_passed_over(Fault::once(FaultKind::Status(451)), "transient").await
}

#[tokio::test]
async fn a_relay_that_asks_for_a_login_is_out() -> Result<()> {
    let fault = Fault::once(FaultKind::Status(530)).at(Stage::Mail);
    is_passed_over(fault, "provider_unusable").await
}

#[tokio::test]
async fn a_blocked_address_is_the_relays_trouble_and_not_the_recipients() -> Result<()> {
    is_passed_over(Fault::once(FaultKind::Reputation), "rejected_reputation").await
}

#[tokio::test]
async fn a_cut_before_the_message_was_written_is_transient() -> Result<()> {
    is_passed_over(Fault::once(FaultKind::CutEarly), "transient").await
}

#[tokio::test]
async fn a_mailbox_that_does_not_exist_bounces_once_and_for_all() -> Result<()> {
    let world = start().await?;
    world
        .gateway
        .submit(&order("recipient@one.example"))
        .await?;
    let timeline = world
        .gateway
        .reached("recipient@one.example", SHOP_KEY, &["bounced"], SENT_MAX)
        .await?;
    let seen = attempts(&timeline);
    assert_eq!(seen, [("relay".into(), "rejected_recipient".into())]);
    let reply: &Value = &timeline["deliveries"][0]["attempts"][0]["reply"];
    assert_eq!(
        (&reply["code"], &reply["enhanced"]),
        (&550.into(), &"5.1.1".into())
    );
    world
        .gateway
        .submit(&order("recipient@one.example"))
        .await?;
    world
        .gateway
        .reached("recipient@one.example", SHOP_KEY, &["suppressed"], SENT_MAX)
        .await?;
    assert_eq!(world.ses.sandbox.stats().messages, 0);
    Ok(())
}

#[tokio::test]
async fn one_bad_recipient_does_not_stop_the_others() -> Result<()> {
    let world = start().await?;
    let mut message = order("good@one.example");
    message["cc"] = serde_json::json!(["recipient@one.example", "fine@one.example"]);
    world.gateway.submit(&message).await?;
    for (recipient, state) in [
        ("good@one.example", "sent"),
        ("recipient@one.example", "bounced"),
        ("fine@one.example", "sent"),
    ] {
        malote_tests::eventually(state, SENT_MAX, async || {
            let found = world.gateway.find(recipient, SHOP_KEY).await?;
            let deliveries = found.map(|timeline| timeline["deliveries"].clone());
            let is_there = deliveries
                .iter()
                .flat_map(Value::as_array)
                .flatten()
                .any(|one| one["recipient"] == recipient && one["state"] == state);
            Ok(is_there.then_some(()))
        })
        .await?;
    }
    ensure_once(&world.relay.sandbox.messages_to("good@one.example"))?;
    ensure_once(&world.relay.sandbox.messages_to("fine@one.example"))?;
    Ok(())
}
