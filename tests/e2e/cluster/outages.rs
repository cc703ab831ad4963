//! A database that crashes, is away, hangs, or has no connection left.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use malote_tests::{Mood, Postgres, SHOP_KEY, SmtpClient, eventually, text_message};
use reqwest::{Method, StatusCode};

use super::load::{Load, post};
use super::{Cluster, DRAIN_MAX, long};

const CLIENTS: usize = 6;
/// A client must not wait longer for "come back".
const REFUSAL_MAX: Duration = Duration::from_secs(12);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_and_an_outage_of_the_database_are_told_and_lose_nothing() -> Result<()> {
    let mut cluster = Cluster::start().await?;
    let load = Load::start(&cluster.doors(), CLIENTS);
    // A crash under load, and at once again.
    for _ in 0..2 {
        let before = load.count();
        cluster.postgres.kill()?;
        cluster.postgres.start_again()?;
        eventually("mail is taken in again", DRAIN_MAX, async || {
            Ok((load.count() > before + 50).then_some(()))
        })
        .await?;
    }
    cluster.postgres.kill()?;
    let away = Instant::now() + long(Duration::from_secs(30), Duration::from_secs(5));
    let node = cluster.node(0)?;
    eventually("it says so", DRAIN_MAX, async || {
        let ready = node.admin(Method::GET, "/readyz").send().await?;
        Ok((ready.status() == StatusCode::SERVICE_UNAVAILABLE).then_some(()))
    })
    .await?;
    let health = node.admin(Method::GET, "/healthz").send().await?;
    ensure!(health.status() == StatusCode::OK, "{health:?}");
    while Instant::now() < away {
        let status = post(node, SHOP_KEY, "away@order.example").await?;
        ensure!(status == StatusCode::SERVICE_UNAVAILABLE, "{status}");
        let mut smtp = SmtpClient::connect(node.doors().plain).await?;
        let text = text_message("news@shop.example", "away@campaign.example", "away");
        let to = ["away@campaign.example"];
        let reply = smtp.send("b@shop.example", &to, &text).await?;
        ensure!((400..500).contains(&reply.code), "{reply:?}");
    }
    let before = load.count();
    cluster.postgres.start_again()?;
    let again = Instant::now();
    eventually("mail is taken in again", DRAIN_MAX, async || {
        Ok((load.count() > before + 50).then_some(()))
    })
    .await?;
    println!("taken in again {:?} after the database", again.elapsed());
    let account = load.stop().await;
    cluster.restart_ended().await?;
    let sink = (&cluster.relay.sandbox, DRAIN_MAX);
    let balance = account.balance("outage", cluster.node(0)?, sink).await?;
    ensure!(balance.campaigns_twice == 0, "{balance:?}");
    ensure!(account.longest <= REFUSAL_MAX, "{:?}", account.longest);
    for gone in ["away@order.example", "away@campaign.example"] {
        let count = cluster.relay.count_to(gone);
        ensure!(count == 0, "{gone} was refused and arrived");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wire_that_is_cut_slow_or_half_closed_loses_nothing() -> Result<()> {
    let mut cluster = Cluster::start().await?;
    let lasts = long(Duration::from_secs(5), Duration::from_millis(1_500));
    let load = Load::start(&cluster.doors(), CLIENTS);
    let slow = Mood::Delayed(Duration::from_millis(100));
    for (turn, mood) in [Mood::Cut, slow, Mood::HalfClosed, Mood::Silent, Mood::Cut]
        .into_iter()
        .enumerate()
    {
        for wire in cluster.wires.iter().cycle().skip(turn).take(2) {
            wire.set(mood);
        }
        tokio::time::sleep(lasts).await;
        let before = load.count();
        for wire in &cluster.wires {
            wire.set(Mood::Through);
        }
        eventually("mail is taken in", DRAIN_MAX, async || {
            Ok((load.count() > before + 30).then_some(()))
        })
        .await?;
    }
    let account = load.stop().await;
    ensure!(account.refused > 0, "no wire was broken");
    cluster.restart_ended().await?;
    let sink = (&cluster.relay.sandbox, DRAIN_MAX);
    let balance = account.balance("wires", cluster.node(0)?, sink).await?;
    ensure!(balance.campaigns_twice == 0, "{balance:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_connections_left_refuses_for_a_while_and_loses_nothing() -> Result<()> {
    // Three of them are kept for the server's owner, and the nodes would use twelve.
    let postgres =
        Postgres::start_with(&["max_connections=10", "superuser_reserved_connections=2"])?;
    let cluster = Cluster::start_with(postgres, |_, _| Ok(())).await?;
    let load = Load::start(&cluster.doors(), 60);
    let lasts = Instant::now() + long(Duration::from_secs(10), Duration::from_secs(4));
    while Instant::now() < lasts {
        for number in 0..3 {
            let live = cluster.node(number)?.admin(Method::GET, "/healthz");
            let live = live.send().await?.status();
            ensure!(live == StatusCode::OK, "{live}");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let account = load.stop().await;
    let sink = (&cluster.relay.sandbox, DRAIN_MAX);
    let balance = account.balance("storm", cluster.node(0)?, sink).await?;
    ensure!(account.acknowledged.len() > 20, "nothing was taken in");
    ensure!(balance.campaigns_twice == 0, "{balance:?}");
    ensure!(account.longest <= REFUSAL_MAX, "{:?}", account.longest);
    Ok(())
}
