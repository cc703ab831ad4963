//! A provider at fault is passed over as its verdict says, and the timeline shows it.

use anyhow::{Result, ensure};
use malote_sandbox::{Behaviour, Fault, FaultKind, Kind};
use malote_tests::{SHOP_KEY, Service, World, eventually};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::{SENT_MAX, attempts, ensure_once, order, send_order};

fn calls(list: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(provider, outcome): &(&str, &str)| ((*provider).into(), (*outcome).into());
    list.iter().map(owned).collect()
}

/// SES answers with this fault; the mail leaves by the relay at once, the verdict on record.
async fn is_passed_over(kind: FaultKind, verdict: &str) -> Result<()> {
    let world = World::start().await?;
    // The check at the start must not meet the fault: then nothing would be tried there.
    eventually("the account was looked up", SENT_MAX, async || {
        Ok((world.ses.sandbox.stats().checks > 0).then_some(()))
    })
    .await?;
    world.ses.sandbox.arm(Fault::always(kind));
    let timeline = send_order(&world, "ana@one.example").await?;
    let seen = attempts(&timeline);
    assert_eq!(
        seen,
        calls(&[("ses", verdict), ("relay", "sent")]),
        "{kind}"
    );
    ensure_once(&world.relay.sandbox.messages_to("ana@one.example"))?;
    assert_eq!(world.ses.sandbox.stats().messages, 0);
    let events = timeline["deliveries"][0]["events"].to_string();
    assert!(events.contains("failed_over"), "{events}");
    Ok(())
}

#[tokio::test]
async fn refused_credentials_put_the_provider_out() -> Result<()> {
    is_passed_over(FaultKind::Status(401), "provider_unusable").await
}

#[tokio::test]
async fn a_paused_account_puts_the_provider_out() -> Result<()> {
    is_passed_over(FaultKind::Suspended, "provider_unusable").await
}

#[tokio::test]
async fn a_throttle_takes_the_next_target() -> Result<()> {
    is_passed_over(FaultKind::Status(429), "throttled").await
}

#[tokio::test]
async fn a_throttle_slows_the_provider_and_not_only_the_message() -> Result<()> {
    let world = World::start().await?;
    world.ses.sandbox.arm(Fault::once(FaultKind::Status(429)));
    let first = send_order(&world, "ana@one.example").await?;
    assert_eq!(
        attempts(&first),
        calls(&[("ses", "throttled"), ("relay", "sent")])
    );
    let second = send_order(&world, "bob@one.example").await?;
    assert_eq!(attempts(&second), calls(&[("relay", "sent")]));
    let mut number = 0;
    eventually("SES is asked again by itself", SENT_MAX, async || {
        number += 1;
        let timeline = send_order(&world, &format!("c{number}@one.example")).await?;
        Ok((attempts(&timeline) == calls(&[("ses", "sent")])).then_some(()))
    })
    .await
}

#[tokio::test]
async fn a_spent_quota_parks_the_target() -> Result<()> {
    is_passed_over(FaultKind::Quota, "quota_spent").await
}

#[tokio::test]
async fn an_error_of_the_service_itself_takes_the_next_target() -> Result<()> {
    is_passed_over(FaultKind::Status(500), "transient").await
}

#[tokio::test]
async fn an_unavailable_service_takes_the_next_target() -> Result<()> {
    is_passed_over(FaultKind::Status(503), "transient").await
}

#[tokio::test]
async fn a_sender_that_is_not_verified_there_takes_the_next_target() -> Result<()> {
    is_passed_over(FaultKind::Sender, "sender_unusable").await
}

#[tokio::test]
async fn a_hanging_provider_is_asked_once_more_and_then_passed_over() -> Result<()> {
    let world = World::start_with(|config| {
        let policy = "on_unknown = \"prefer_no_loss\"";
        config.replace(policy, &format!("{policy}\nreply_wait_max = \"5s\""))
    })
    .await?;
    world.ses.sandbox.arm(Fault::always(FaultKind::Hang));
    let timeline = send_order(&world, "ana@one.example").await?;
    let seen = attempts(&timeline);
    assert_eq!(seen.first(), Some(&("ses".into(), "unknown".into())));
    assert_eq!(seen.last(), Some(&("relay".into(), "sent".into())));
    Ok(())
}

/// Large enough that it cannot all stand in the sockets' buffers.
const LARGE: usize = 6 * 1024 * 1024;

#[tokio::test]
async fn a_provider_that_dies_in_the_middle_of_a_body_is_passed_over() -> Result<()> {
    let world = World::start().await?;
    world.ses.sandbox.arm(Fault::always(FaultKind::CutEarly));
    let mut message = order("ana@one.example");
    message["text"] = "0123456789 ".repeat(LARGE / 11).into();
    world.gateway.submit(&message).await?;
    let timeline = world
        .gateway
        .reached("ana@one.example", SHOP_KEY, &["sent"], SENT_MAX)
        .await?;
    let seen = attempts(&timeline);
    assert_eq!(seen, calls(&[("ses", "transient"), ("relay", "sent")]));
    ensure_once(&world.relay.sandbox.messages_to("ana@one.example"))?;
    Ok(())
}

#[tokio::test]
async fn a_dead_provider_takes_the_next_target() -> Result<()> {
    let mut world = World::start().await?;
    let other = Service::start(Kind::Ses).await?;
    std::mem::replace(&mut world.ses, other).stop().await?;
    let timeline = send_order(&world, "ana@one.example").await?;
    let seen = attempts(&timeline);
    assert_eq!(seen, calls(&[("ses", "transient"), ("relay", "sent")]));
    Ok(())
}

/// One call of twenty fails, in an order by chance that is the same each time.
fn failing_at_random(calls: u32) -> Vec<Fault> {
    let mut chance = StdRng::seed_from_u64(22);
    let right = |count| Fault {
        delay_ms: 0,
        count: Some(count),
        ..Fault::once(FaultKind::Slow)
    };
    let (mut faults, mut rights) = (Vec::new(), 0);
    for _ in 0..calls {
        if chance.random_ratio(1, 20) {
            faults.extend((rights > 0).then(|| right(rights)));
            faults.push(Fault::once(FaultKind::Status(500)));
            rights = 0;
        } else {
            rights += 1;
        }
    }
    faults
}

#[tokio::test]
async fn a_provider_that_fails_now_and_then_costs_a_tenth_more_attempts_at_most() -> Result<()> {
    let count: u32 = 400;
    let world =
        World::start_with(|config| config.replace("per_second = 14", "per_second = 1000")).await?;
    let faults = failing_at_random(count);
    let failing = faults.iter().filter(|fault| fault.kind != FaultKind::Slow);
    let failing = u64::try_from(failing.count())?;
    ensure!(failing >= 10, "{failing} calls fail");
    world.ses.sandbox.behave(&Behaviour {
        faults: Some(faults),
        ..Behaviour::default()
    })?;
    for number in 0..count {
        let recipient = format!("r{number}@one.example");
        world.gateway.submit(&order(&recipient)).await?;
    }
    let taken = || {
        (
            world.ses.sandbox.stats().messages,
            world.relay.sandbox.stats().messages,
        )
    };
    eventually("all of it is taken", SENT_MAX, async || {
        let (ses, relay) = taken();
        Ok((ses + relay >= u64::from(count)).then_some(()))
    })
    .await?;
    for number in 0..count {
        let to = format!("r{number}@one.example");
        ensure!(
            world.ses.count_to(&to) + world.relay.count_to(&to) == 1,
            "{to}"
        );
    }
    // Each failure led to one more attempt at once, and none of them to an outage.
    let (ses, relay) = taken();
    ensure!(
        relay == failing,
        "{relay} left the other way, {failing} failed"
    );
    let attempts = ses + relay + failing;
    ensure!(
        attempts * 10 <= u64::from(count) * 11,
        "{attempts} attempts for {count}"
    );
    let opened = "malote_alerts_total{kind=\"breaker_opened\",provider=\"ses\"}";
    ensure!(
        world.gateway.sample(opened).await? == 0,
        "its breaker opened"
    );
    Ok(())
}
