//! `[store.postgres]` behind a PgBouncer in transaction mode.

use anyhow::{Result, ensure};
use malote_sandbox::Behaviour;
use malote_tests::{Postgres, SHOP_KEY, World};

use crate::migrate::read_on;
use crate::{SENT_MAX, order, send_order};

const MESSAGES: usize = 20;
/// How long SES thinks about each: calls are under way when the gateway dies.
const LATENCY_MS: u64 = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_behind_a_pooler_dies_under_way_and_goes_on() -> Result<()> {
    let mut postgres = Postgres::start()?;
    let pooler = postgres.pooler()?;
    let mut world = World::start_with(|config| postgres.keep_by(config, &pooler, 4)).await?;
    send_order(&world, "first@one.example").await?;
    world.ses.sandbox.behave(&Behaviour {
        latency_ms: Some(LATENCY_MS),
        ..Behaviour::default()
    })?;
    let recipients: Vec<_> = (0..MESSAGES).map(|n| format!("r{n}@one.example")).collect();
    for recipient in &recipients {
        world.gateway.submit(&order(recipient)).await?;
    }
    world.gateway.kill()?;
    world.gateway.boot().await?;
    for recipient in &recipients {
        let gateway = &world.gateway;
        gateway
            .reached(recipient, SHOP_KEY, &["sent"], SENT_MAX)
            .await?;
        let count = world.ses.count_to(recipient) + world.relay.count_to(recipient);
        ensure!(count > 0, "{recipient} got nothing");
    }
    let (events, _) = read_on(&world.gateway, None).await?;
    ensure!(events.len() > 2 * MESSAGES, "{} events", events.len());
    let sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'malote'";
    let sessions: usize = postgres.ask(sessions).await?.parse()?;
    ensure!(
        (1..=3).contains(&sessions),
        "{sessions} sessions: who came by the pooler?"
    );
    Ok(())
}
