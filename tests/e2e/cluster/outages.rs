//! A database that restarts, crashes, is away, full, badly reached, or has no connection left.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use malote_tests::{Gateway, Mood, Postgres, SHOP_KEY, Shim, SmtpClient, eventually, text_message};
use reqwest::{Method, StatusCode};

use super::load::{Load, post, post_large};
use super::{Cluster, DRAIN_MAX, NODES, long};

const CLIENTS: usize = 6;
/// A client must not wait longer for "come back".
const REFUSAL_MAX: Duration = Duration::from_secs(12);
/// Recipients of what is refused.
const REFUSED: [&str; 2] = ["away@order.example", "away@campaign.example"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_fails_in_many_ways_is_told_and_loses_nothing() -> Result<()> {
    let disk = Shim::disk()?;
    // The write-ahead log has a disk of its own: a server whose log is full ends.
    let postgres = Postgres::start_in(&disk.disk_of("/data/base/"), &[])?;
    let mut cluster = Cluster::start_with(postgres, |_, _| Ok(())).await?;
    let load = Load::start(&cluster.doors(), CLIENTS);
    load.goes_on().await?;
    cluster.postgres.restart()?;
    load.goes_on().await?;
    // Two crashes, the second when all has just come back.
    for _ in 0..2 {
        cluster.postgres.kill()?;
        cluster.postgres.start_again()?;
        load.goes_on().await?;
    }
    is_away(&mut cluster).await?;
    load.goes_on().await?;
    has_no_connection_left(&cluster).await?;
    load.goes_on().await?;
    is_badly_reached(&cluster, &load).await?;
    has_no_room(&cluster, &disk).await?;
    load.goes_on().await?;

    let mut account = load.stop().await;
    cluster.restart_ended().await?;
    let of_full_disk = StatusCode::INSUFFICIENT_STORAGE.as_str();
    account.strange.retain(|one| !one.starts_with(of_full_disk));
    let sink = (&cluster.relay.sandbox, DRAIN_MAX);
    let balance = account.balance("outages", cluster.node(0)?, sink).await?;
    ensure!(balance.campaigns_twice == 0, "{balance:?}");
    ensure!(account.refused > 0, "nothing was in the way");
    ensure!(account.longest <= REFUSAL_MAX, "{:?}", account.longest);
    for gone in REFUSED {
        let count = cluster.relay.count_to(gone);
        ensure!(count == 0, "{gone} was refused and arrived");
    }
    Ok(())
}

/// Refuses a node that takes mail in, or refuses it for good, by either door, for so long.
async fn takes_nothing(node: &Gateway, lasts: Duration) -> Result<()> {
    let until = Instant::now() + lasts;
    while Instant::now() < until {
        let health = node.admin(Method::GET, "/healthz").send().await?;
        ensure!(health.status() == StatusCode::OK, "{health:?}");
        let status = post(node, SHOP_KEY, REFUSED[0]).await?;
        ensure!(status == StatusCode::SERVICE_UNAVAILABLE, "{status}");
        let mut smtp = SmtpClient::connect(node.doors().plain).await?;
        let text = text_message("news@shop.example", REFUSED[1], "away");
        let reply = smtp.send("b@shop.example", &[REFUSED[1]], &text).await?;
        ensure!((400..500).contains(&reply.code), "{reply:?}");
    }
    Ok(())
}

async fn is_away(cluster: &mut Cluster) -> Result<()> {
    cluster.postgres.kill()?;
    let node = cluster.node(0)?;
    eventually("it says so", DRAIN_MAX, async || {
        let ready = node.admin(Method::GET, "/readyz").send().await?;
        Ok((ready.status() == StatusCode::SERVICE_UNAVAILABLE).then_some(()))
    })
    .await?;
    takes_nothing(node, long(Duration::from_secs(30), Duration::from_secs(2))).await?;
    cluster.postgres.start_again()
}

/// All connections of the nodes end, and others take every one that the server allows.
async fn has_no_connection_left(cluster: &Cluster) -> Result<()> {
    cluster.set_wires(Mood::Cut);
    let taken = cluster.postgres.occupy()?;
    cluster.set_wires(Mood::Through);
    println!("{} connections are taken by others", taken.len());
    takes_nothing(
        cluster.node(1)?,
        long(Duration::from_secs(20), Duration::from_secs(2)),
    )
    .await
}

/// Wires that are cut, slow, half-closed or silent, two of three at a time.
async fn is_badly_reached(cluster: &Cluster, load: &Load) -> Result<()> {
    let lasts = long(Duration::from_secs(5), Duration::from_secs(1));
    let slow = Mood::Delayed(Duration::from_millis(100));
    let moods = [Mood::Cut, slow, Mood::HalfClosed, Mood::Silent, Mood::Cut];
    for (turn, mood) in moods.into_iter().enumerate() {
        for wire in cluster.wires.iter().cycle().skip(turn).take(2) {
            wire.set(mood);
        }
        tokio::time::sleep(lasts).await;
        cluster.set_wires(Mood::Through);
        load.goes_on().await?;
    }
    Ok(())
}

/// Tables do not grow. What finds room in them is taken in; the rest is refused for now.
async fn has_no_room(cluster: &Cluster, disk: &Shim) -> Result<()> {
    disk.fill()?;
    let until = Instant::now() + long(Duration::from_secs(10), Duration::from_secs(2));
    for node in (0..NODES).cycle().take_while(|_| Instant::now() < until) {
        let node = cluster.node(node)?;
        let status = post_large(node, REFUSED[0]).await?;
        ensure!(status == StatusCode::INSUFFICIENT_STORAGE, "{status}");
        let health = node.admin(Method::GET, "/healthz").send().await?;
        ensure!(health.status() == StatusCode::OK, "{health:?}");
    }
    disk.free()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_clients_on_a_server_with_few_connections_is_served_or_told_to_come_back()
-> Result<()> {
    // Three of them are kept for the server's owner, and the nodes would use fifteen.
    let postgres =
        Postgres::start_with(&["max_connections=10", "superuser_reserved_connections=2"])?;
    let cluster = Cluster::start_with(postgres, |_, _| Ok(())).await?;
    let load = Load::start(&cluster.doors(), 60);
    let lasts = Instant::now() + long(Duration::from_secs(10), Duration::from_secs(3));
    while Instant::now() < lasts {
        for number in 0..NODES {
            let live = cluster.node(number)?.admin(Method::GET, "/healthz");
            let live = live.send().await?.status();
            ensure!(live == StatusCode::OK, "{live}");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let account = load.stop().await;
    let sink = (&cluster.relay.sandbox, DRAIN_MAX);
    let balance = account.balance("storm", cluster.node(0)?, sink).await?;
    let (taken, refused) = (account.acknowledged.len(), account.refused);
    ensure!(taken > refused, "most were told to come back");
    ensure!(balance.campaigns_twice == 0, "{balance:?}");
    ensure!(account.longest <= REFUSAL_MAX, "{:?}", account.longest);
    ensure!(
        account.timed_out == 0,
        "{} without an answer",
        account.timed_out
    );
    Ok(())
}
