//! A campaign provider that hangs, with a long queue before it, does not delay a password reset.

use std::time::{Duration, Instant};

use anyhow::Result;
use malote_sandbox::{Fault, FaultKind};
use malote_tests::{SmtpClient, World, eventually, text_message};

use crate::{SENT_MAX, campaigns_by, order};

const QUEUED: usize = 500;
const MEASURED: usize = 20;
/// Allowed beyond the idle gateway's slowest, for a machine that does other things too.
const SLACK: Duration = Duration::from_millis(500);

/// The slowest of some messages from the post to the provider.
async fn slowest(world: &World, name: &str) -> Result<Duration> {
    let mut slowest = Duration::ZERO;
    for number in 0..MEASURED {
        let recipient = format!("{name}{number}@one.example");
        let started = Instant::now();
        world.gateway.submit(&order(&recipient)).await?;
        eventually("the message arrives", SENT_MAX, async || {
            Ok((world.ses.count_to(&recipient) > 0).then_some(()))
        })
        .await?;
        slowest = slowest.max(started.elapsed());
    }
    Ok(slowest)
}

#[tokio::test]
async fn a_hung_campaign_does_not_delay_transactional_mail() -> Result<()> {
    let world = World::start_with(|config| {
        config.replace("per_second = 14", "per_second = 1000")?;
        campaigns_by(config, "{ provider = \"mailgun\", pool = \"news\" }")
    })
    .await?;
    let idle = slowest(&world, "idle").await?;
    world.mailgun.sandbox.arm(Fault::always(FaultKind::Hang));
    let mut client = SmtpClient::connect(world.gateway.doors().plain).await?;
    for number in 0..QUEUED {
        let recipient = format!("c{number}@one.example");
        let text = text_message("news@shop.example", &recipient, &format!("c{number}"));
        let reply = client.send("b@shop.example", &[&recipient], &text).await?;
        assert_eq!(reply.code, 250, "{reply:?}");
    }
    let loaded = slowest(&world, "loaded").await?;
    assert!(
        loaded < idle * 2 + SLACK,
        "idle {idle:?}, loaded {loaded:?}"
    );
    Ok(())
}
