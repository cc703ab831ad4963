//! Nodes drained, stopped and started with another configuration, one after another.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use malote_sandbox::Behaviour;
use malote_tests::{
    Gateway, HaProxy, LOADTEST_KEY, Postgres, answered, eventually, repository, run, tool,
};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use tempfile::NamedTempFile;

use super::load::{Load, arrivals, post, waiting};
use super::{Cluster, DRAIN_MAX, NODES};

/// Longer than the balancer takes to notice, by its file.
const NOTICE: &str = "3s";
/// How long a node may take to drain, beyond its notice.
const DRAINED_MAX: Duration = Duration::from_secs(15);
/// A node that is drained ends at once; a debug build on a busy machine needs a while.
const STOP_MAX: Duration = Duration::from_secs(5);
/// What every node has in the end and none in the beginning.
const SPARE: &str =
    "[routes.spare]\nstrategy = \"failover\"\ntargets = [{ provider = \"relay\" }]\n";

/// Clients of SMTP whose sessions rest between two messages: two of them at each node at any time.
const STEADY: usize = 2 * NODES;

/// Clients of SMTP that send mail after mail.
struct Steady {
    child: Child,
    said: NamedTempFile,
}

impl Steady {
    fn start(door: std::net::SocketAddr, domain: &str) -> Result<Self> {
        let said = NamedTempFile::new()?;
        let child = Command::new(tool("python3")?)
            .arg(repository().join("tests/clients/smtplib_steady.py"))
            .args([&door.ip().to_string(), &door.port().to_string(), domain])
            .arg(STEADY.to_string())
            .stdin(Stdio::piped())
            .stdout(said.reopen()?)
            .spawn()?;
        Ok(Self { child, said })
    }

    /// What they said so far behind this word.
    fn said(&self, word: &str) -> Result<Vec<String>> {
        let said = std::fs::read_to_string(self.said.path())?;
        let lines = said.lines().filter_map(|line| line.strip_prefix(word));
        Ok(lines.map(str::to_owned).collect())
    }

    /// Ends them: the recipients of what was taken, and what was said of refusals.
    fn stop(mut self) -> Result<(Vec<String>, Vec<String>)> {
        drop(self.child.stdin.take());
        ensure!(self.child.wait()?.success(), "the clients failed");
        Ok((self.said("ok ")?, self.said("refused ")?))
    }
}

/// Messages that a node has taken since its start.
async fn taken(node: &Gateway) -> Result<f64> {
    let metrics = node.admin(Method::GET, "/metrics").send().await?;
    let metrics = metrics.text().await?;
    let lines = metrics.lines();
    let counts = lines.filter(|line| line.starts_with("malote_messages_accepted_total{"));
    let counts = counts.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    Ok(counts.sum())
}

async fn nodes(of: &Gateway) -> Result<Value> {
    let request = of.admin(Method::GET, "/admin/v1/nodes");
    answered(request.send().await?, 200).await
}

/// Drains a node by the command, as asked at itself or at another.
pub(super) async fn drain(asked: &Gateway, arguments: &[&str]) -> Result<()> {
    let all = [
        &["nodes", "drain"],
        arguments,
        &["--wait", "--wait-max", "30s"],
    ]
    .concat();
    let all = [&all[..], &["--config", "malote.toml"]].concat();
    let drained = run(&mut asked.command(&all)?, DRAIN_MAX).await?.success()?;
    ensure!(drained.ends_with("drained\n"), "{drained}");
    Ok(())
}

/// Without a drain some client is cut off: otherwise nobody would need one.
async fn stopped_at_once_a_node_cuts_clients_off(
    node: &mut Gateway,
    balancer: &HaProxy,
) -> Result<()> {
    let steady = Steady::start(balancer.smtp, "cut.example")?;
    eventually("the clients are at work", DRAIN_MAX, async || {
        Ok((steady.said("ok ")?.len() > 3 * STEADY).then_some(()))
    })
    .await?;
    node.stop().await?;
    let (_, refused) = steady.stop()?;
    ensure!(!refused.is_empty(), "nobody noticed");
    Ok(())
}

async fn replace(node: &mut Gateway) -> Result<()> {
    drain(node, &[]).await?;
    let begun = Instant::now();
    node.stop().await?;
    ensure!(begun.elapsed() < STOP_MAX, "it took {:?}", begun.elapsed());
    node.set_config(|config| {
        config.add(SPARE);
        Ok(())
    })?;
    node.boot().await?;
    eventually("it takes mail again", DRAIN_MAX, async || {
        Ok((taken(node).await? > 0.0).then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_replaced_behind_a_balancer_refuse_lose_and_duplicate_nothing() -> Result<()> {
    let mut cluster = Cluster::start_with(Postgres::start()?, |_, config| {
        config.add(&format!("[delivery]\ndrain_notice = \"{NOTICE}\"\n"));
        Ok(())
    })
    .await?;
    let doors: Vec<_> = cluster.nodes.iter().map(Gateway::doors).collect();
    let doors = doors.try_into().ok().context("there are three nodes")?;
    let balancer = HaProxy::start(doors)?;
    let load = Load::start(&[balancer.http], 4);
    let steady = Steady::start(balancer.smtp, "campaign.example")?;
    let before = nodes(cluster.node(0)?).await?;
    let before = &before["nodes"][0]["configuration"];
    let begun = Instant::now();
    for number in 0..3 {
        replace(cluster.node_mut(number)?).await?;
    }
    println!("three nodes replaced in {:?}", begun.elapsed());
    let mut account = load.stop().await;
    let (by_smtp, refused_by_smtp) = steady.stop()?;
    ensure!(refused_by_smtp.is_empty(), "{refused_by_smtp:?}");
    ensure!(account.refused == 0, "{} were refused", account.refused);
    ensure!(by_smtp.len() > 50, "there was no load by SMTP");
    ensure!(
        account.acknowledged.len() > 100,
        "there was no load by HTTP"
    );
    account.acknowledged.extend(by_smtp);
    let sink = (&cluster.relay.sandbox, DRAIN_MAX);
    let balance = account.balance("rolling", cluster.node(0)?, sink).await?;
    ensure!(balance.unknown == 0, "{balance:?}");
    let twice = arrivals(&cluster.relay.sandbox)
        .into_values()
        .filter(|count| *count > 1);
    assert_eq!(twice.count(), 0, "{balance:?}");
    let has_new = async || {
        let all = nodes(cluster.node(1)?).await?;
        let rows = all["nodes"].as_array().context("no nodes")?;
        let serving = rows.iter().filter(|node| node["state"] == "serving");
        let digests: Vec<_> = serving.map(|node| &node["configuration"]).collect();
        let is_new = |digest: &&Value| *digest != before && Some(digest) == digests.first();
        let are_new = digests.len() == 3 && digests.iter().all(is_new);
        Ok(are_new.then_some(()))
    };
    eventually("all have the new configuration", DRAIN_MAX, has_new).await?;
    stopped_at_once_a_node_cuts_clients_off(cluster.node_mut(0)?, &balancer).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_drained_by_its_name_leaves_its_mail_to_the_others() -> Result<()> {
    const COUNT: usize = 60;
    let mut cluster = Cluster::start_with(Postgres::start()?, |number, config| {
        config.add("[delivery]\ndrain_notice = \"0s\"\n");
        let named = format!("[store.postgres]\nnode = \"n{number}\"\n");
        config.replace("[store.postgres]\n", &named)
    })
    .await?;
    cluster.relay.sandbox.behave(&Behaviour {
        latency_ms: Some(300),
        ..Behaviour::default()
    })?;
    let recipient = |number: usize| format!("d{number}@campaign.example");
    for number in 0..COUNT {
        let status = post(cluster.node(0)?, LOADTEST_KEY, &recipient(number)).await?;
        ensure!(status == StatusCode::ACCEPTED, "{status}");
    }
    let begun = Instant::now();
    drain(cluster.node(1)?, &["n0"]).await?;
    ensure!(
        begun.elapsed() < DRAINED_MAX,
        "it took {:?}",
        begun.elapsed()
    );
    let drained = cluster.node(0)?;
    let status = post(drained, LOADTEST_KEY, "late@campaign.example").await?;
    ensure!(status == StatusCode::SERVICE_UNAVAILABLE, "{status}");
    let before = taken(drained).await?;
    cluster.node_mut(0)?.stop().await?;
    let heir = cluster.node(1)?;
    eventually("the others send the rest", DRAIN_MAX, async || {
        let left = waiting(heir, &["queued", "sending", "deferred"]).await?;
        Ok((left == 0).then_some(()))
    })
    .await?;
    let arrived = arrivals(&cluster.relay.sandbox);
    assert_eq!(arrived.len(), COUNT);
    ensure!(arrived.values().all(|count| *count == 1), "{arrived:?}");
    ensure!(before >= 1.0, "it took no mail");
    cluster.node_mut(0)?.boot().await
}
