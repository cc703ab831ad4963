//! An app's webhook, told by one node after another.

use anyhow::{Result, ensure};
use malote_tests::{Answer, Peer, Postgres, SHOP_KEY, eventually, run};
use reqwest::StatusCode;

use super::load::post;
use super::rolling::drain;
use super::{Cluster, DRAIN_MAX, NODES};

/// Who tells the webhook: the number of a session that lives.
const TELLER: &str = "SELECT s.id FROM malote.outlets o JOIN malote.sessions s ON s.id = o.session
    WHERE s.ended_at IS NULL";

/// Waits until somebody tells it, and not that one.
async fn teller(cluster: &Cluster, other_than: &str) -> Result<String> {
    eventually("a node tells the webhook", DRAIN_MAX, async || {
        let teller = cluster.postgres.ask(TELLER).await?;
        let is_another = !teller.is_empty() && teller != other_than;
        Ok(is_another.then_some(teller))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_node_leaves_webhooks_to_the_others() -> Result<()> {
    let app = Peer::start(|_| Answer::empty(204)).await?;
    let table = format!(
        "[[credentials.shop.webhooks]]\nurl = \"{}/events\"\n\
         secret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"\nallow_private = true\n\
         [delivery]\ndrain_notice = \"0s\"\n",
        app.url()
    );
    let mut cluster = Cluster::start_with(Postgres::start()?, |_, config| {
        config.add(&table);
        Ok(())
    })
    .await?;
    // The one that is left tells it.
    for number in 1..NODES {
        cluster.node_mut(number)?.stop().await?;
    }
    let first = teller(&cluster, "").await?;
    for number in 1..NODES {
        cluster.node_mut(number)?.boot().await?;
    }
    drain(cluster.node(0)?, &[]).await?;
    let second = teller(&cluster, &first).await?;
    let of_first = format!("SELECT ended_at IS NULL FROM malote.sessions WHERE id = {first}");
    ensure!(
        cluster.postgres.ask(&of_first).await? == "t",
        "it has ended"
    );
    let before = app.requests().len();
    let status = post(cluster.node(1)?, SHOP_KEY, "late@order.example").await?;
    ensure!(status == StatusCode::ACCEPTED, "{status}");
    eventually("the app is told", DRAIN_MAX, async || {
        Ok((app.requests().len() > before).then_some(()))
    })
    .await?;
    let still = cluster.postgres.ask(TELLER).await?;
    ensure!(still == second, "told by {still} and not by {second}");
    // It serves again, and is one of those that may tell.
    let undrain = ["nodes", "undrain", "--config", "malote.toml"];
    run(&mut cluster.node(0)?.command(&undrain)?, DRAIN_MAX)
        .await?
        .success()?;
    for number in 1..NODES {
        cluster.node_mut(number)?.stop().await?;
    }
    let third = teller(&cluster, &second).await?;
    ensure!(third == first, "{third} tells it and not {first}");
    Ok(())
}
