//! Reloads under a steady load: nothing is dropped, and each message is wholly of one version.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use malote_sandbox::Taken;
use malote_tests::{Config, SHOP_KEY, SmtpClient, World, answered, eventually, text_message};
use reqwest::Method;
use tokio::task::JoinSet;

use crate::order;

/// Sessions that send one message after the other.
const SMTP_CLIENTS: usize = 12;
const HTTP_CLIENTS: usize = 4;
/// Changes of the configuration, there and back.
const CHANGES: usize = 4;
/// Messages accepted between two changes.
const BETWEEN: usize = 300;
/// How long a change may take to be in force, and how long so many messages may take.
const CHANGE_MAX: Duration = Duration::from_secs(30);
const DRAIN_MAX: Duration = Duration::from_secs(60);

/// A version says which stream mail is in, and which address a foreign From becomes: `first` leaves
/// by the relay, `second` by Mailgun.
const VERSIONS: [&str; 2] = ["first", "second"];

/// The two streams and their ways, in force all the time, and the rule of a version.
const TABLES: &str = "
[streams.first]
class = \"transactional\"
route = \"first\"
[streams.second]
class = \"transactional\"
route = \"second\"
[routes.first]
strategy = \"failover\"
targets = [{ provider = \"relay\" }]
[routes.second]
strategy = \"failover\"
targets = [{ provider = \"mailgun\" }]
[[rules]]
name = \"the version\"
when = { credential = [\"loadtest\", \"shop\"] }
then = { stream = \"first\" }
";

fn first_version(config: &mut Config) -> Result<()> {
    config.add(TABLES);
    let own = "streams = [\"transactional\", \"first\", \"second\"]";
    config.replace("streams = [\"transactional\"]", own)?;
    let lent = "[credentials.loadtest]\nstreams = [\"campaign\"";
    let rewriting = "on_foreign_from = \"rewrite\"\nfrom_domains = [\"marks.example\"]\n\
                     rewrite_from = \"first@marks.example\"\n";
    let with_streams = format!(
        "[credentials.loadtest]\n{rewriting}streams = [\"campaign\", \"first\", \"second\""
    );
    config.replace(lent, &with_streams)
}

fn change(config: &mut Config, from: &str, to: &str) -> Result<()> {
    let then = |version: &str| format!("then = {{ stream = \"{version}\" }}");
    config.replace(&then(from), &then(to))?;
    let address = |version: &str| format!("{version}@marks.example");
    config.replace(&address(from), &address(to))
}

/// What the clients share.
#[derive(Default)]
struct Load {
    is_over: AtomicBool,
    accepted: AtomicUsize,
}

impl Load {
    fn goes_on(&self) -> bool {
        !self.is_over.load(Ordering::Relaxed)
    }
}

/// Sends on one session until the load is over; answers whom to.
async fn smtp_client(world: Arc<World>, load: Arc<Load>, client: usize) -> Result<Vec<String>> {
    let mut session = SmtpClient::connect(world.gateway.doors().plain).await?;
    let mut sent = Vec::new();
    while load.goes_on() {
        let name = format!("s{client}n{}", sent.len());
        let recipient = format!("{name}@one.example");
        let text = text_message("load@foreign.example", &recipient, &name);
        let reply = session.send("b@shop.example", &[&recipient], &text).await;
        let reply = reply.with_context(|| format!("the session of {recipient}"))?;
        ensure!(reply.code == 250, "{recipient}: {reply:?}");
        load.accepted.fetch_add(1, Ordering::Relaxed);
        sent.push(recipient);
    }
    Ok(sent)
}

/// Posts one message after the other until the load is over; answers whom to.
async fn http_client(world: Arc<World>, load: Arc<Load>, client: usize) -> Result<Vec<String>> {
    let mut sent = Vec::new();
    while load.goes_on() {
        let recipient = format!("h{client}n{}@one.example", sent.len());
        post(&world, &recipient).await?;
        load.accepted.fetch_add(1, Ordering::Relaxed);
        sent.push(recipient);
    }
    Ok(sent)
}

/// Posts one message; answers its stream.
async fn post(world: &World, recipient: &str) -> Result<String> {
    let request = world
        .gateway
        .request(Method::POST, "/v1/messages", SHOP_KEY);
    let answer = answered(request.json(&order(recipient)).send().await?, 202).await?;
    let stream = answer["stream"].as_str().context("no stream")?;
    Ok(stream.to_owned())
}

/// Changes the configuration back and forth, each time amid the load; answers the probes' recipients.
async fn change_often(world: &World, load: &Load, texts: &[String; 2]) -> Result<Vec<String>> {
    let mut probes = Vec::new();
    for number in 1..=CHANGES {
        let before = load.accepted.load(Ordering::Relaxed);
        eventually("more mail is accepted", CHANGE_MAX, async || {
            let more = load.accepted.load(Ordering::Relaxed) - before;
            Ok((more >= BETWEEN).then_some(()))
        })
        .await?;
        let version = VERSIONS[number % 2];
        std::fs::write(
            world.gateway.folder().join("malote.toml"),
            &texts[number % 2],
        )?;
        world.gateway.signal("HUP")?;
        eventually("the new version is in force", CHANGE_MAX, async || {
            let probe = format!("p{number}n{}@one.example", probes.len());
            let stream = post(world, &probe).await?;
            probes.push(probe);
            Ok((stream == version).then_some(()))
        })
        .await?;
    }
    Ok(probes)
}

/// Messages by recipient.
fn by_recipient(messages: Vec<Taken>, all: &mut BTreeMap<String, Vec<(usize, Taken)>>, by: usize) {
    for taken in messages {
        for recipient in taken.recipients.clone() {
            let arrived = all.entry(recipient).or_default();
            arrived.push((by, taken.clone()));
        }
    }
}

/// What is against it that a message arrived once, and is of one version in all that was done to it.
fn deviation(recipient: &str, arrived: Option<&Vec<(usize, Taken)>>) -> Option<String> {
    let Some([(version, taken)]) = arrived.map(Vec::as_slice) else {
        let count = arrived.map_or(0, Vec::len);
        return Some(format!("{recipient} arrived {count} times"));
    };
    let from = taken.header("From").unwrap_or_default();
    let is_rewritten = recipient.starts_with('s');
    let wanted = format!("{}@marks.example", VERSIONS[*version]);
    (is_rewritten && !from.contains(&wanted)).then(|| {
        let stream = VERSIONS[*version];
        format!("{recipient} left by the {stream} stream, from {from}")
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_message_is_wholly_old_or_new_and_none_is_dropped() -> Result<()> {
    let mut texts = [String::new(), String::new()];
    let world = World::start_with(|config| {
        first_version(config)?;
        texts[0].clone_from(&config.text);
        let mut second = config.clone();
        change(&mut second, VERSIONS[0], VERSIONS[1])?;
        texts[1] = second.text;
        Ok(())
    })
    .await?;
    let (world, load) = (Arc::new(world), Arc::new(Load::default()));
    let mut clients = JoinSet::new();
    for client in 0..SMTP_CLIENTS {
        clients.spawn(smtp_client(Arc::clone(&world), Arc::clone(&load), client));
    }
    for client in 0..HTTP_CLIENTS {
        clients.spawn(http_client(Arc::clone(&world), Arc::clone(&load), client));
    }
    let changed = change_often(&world, &load, &texts).await;
    load.is_over.store(true, Ordering::Relaxed);
    let mut recipients = Vec::new();
    for ended in clients.join_all().await {
        recipients.extend(ended?);
    }
    recipients.extend(changed?);

    let count = || {
        let mailgun = world.mailgun.sandbox.stats().messages;
        world.relay.sandbox.stats().messages + mailgun
    };
    eventually("everything has arrived", DRAIN_MAX, async || {
        Ok((count() >= recipients.len().try_into()?).then_some(()))
    })
    .await?;
    let mut arrived = BTreeMap::new();
    by_recipient(world.relay.sandbox.messages(), &mut arrived, 0);
    by_recipient(world.mailgun.sandbox.messages(), &mut arrived, 1);
    let deviations: Vec<String> = recipients
        .iter()
        .filter_map(|recipient| deviation(recipient, arrived.get(recipient)))
        .collect();
    ensure!(
        deviations.is_empty(),
        "{} of {} deviate:\n{}",
        deviations.len(),
        recipients.len(),
        deviations.join("\n")
    );
    Ok(())
}
