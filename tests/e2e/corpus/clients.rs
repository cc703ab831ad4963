//! The corpus by SMTP, from other people's clients: Symfony Mailer sends every message to every
//! service by each of its ways, swaks every message to some of them, in long runs to all. What the
//! pages in `docs/providers` say of our own client must hold for theirs.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use malote_tests::{Gateway, Outcome, run as run_program, tool};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::compare::{Fate, Form};
use super::messages::{Message, messages};
use super::page;
use super::run::{self, TRACE, Way};
use super::services::{SERVICES, Service};
use crate::long;

/// How long a client may take on a busy machine.
const CLIENT_MAX: Duration = Duration::from_secs(60);
/// Ways that swaks sends each message by, with one call a message, unless the long runs are asked
/// for: then all. The next message goes by the next ways, so that every way is taken.
const SWAKS_WAYS: usize = 3;
/// What swaks cannot send: it ends every text with a line end, even one without a line.
const HAS_NO_LINE: &str = "empty";
/// Calls of swaks at once.
const SWAKS_AT_ONCE: usize = 4;
/// What neither client can send: they know no SMTPUTF8 (RFC 6531), and without it the gateway takes
/// no such address and no such field.
const NEED_SMTPUTF8: [(&str, &str); 2] = [
    ("utf8-recipient", "553 5.6.7"),
    ("utf8-header", "550 5.6.7"),
];

/// A gateway with all services, each by its API and by SMTP.
struct World {
    gateway: Gateway,
    ways: Vec<(&'static Service, Way)>,
}

/// Way by way, in the world's order.
type Fates = Vec<Vec<(Message, Fate)>>;

impl World {
    async fn start() -> Result<Self> {
        let mut ways = Vec::new();
        for service in SERVICES {
            let prefix = format!("{}_", service.kind.as_str());
            let of_service = run::ways(service, &prefix).await?;
            ways.extend(of_service.into_iter().map(|way| (service, way)));
        }
        let mut config = run::config(ways.iter().map(|(service, way)| (*service, way)))?;
        let names: Vec<&str> = ways.iter().map(|(_, way)| way.target.as_str()).collect();
        let own = "streams = [\"transactional\"]";
        config.replace(own, &format!("streams = {names:?}"))?;
        for name in names {
            config.add(&stream(name));
        }
        let gateway = Gateway::start(config).await?;
        Ok(Self { gateway, ways })
    }

    /// What became of a message, of which the gateway said `reply`.
    async fn fate(&self, way: usize, message: &Message, reply: &str) -> Result<Fate> {
        let (_, way) = self.ways.get(way).context("no such way")?;
        let about = || format!("{} by {}: {reply}", message.name, way.target);
        let (_, id) = reply.split_once("queued as ").with_context(about)?;
        let id = id.split_whitespace().next().unwrap_or_default();
        let fate = run::fate(&self.gateway, way, message, id).await;
        without_trace(fate.with_context(about)?).with_context(about)
    }

    /// Every message that is not in `fates` is left out of the comparison.
    fn compare(&self, fates: &Fates) -> Result<()> {
        for ((service, way), fates) in self.ways.iter().zip(fates) {
            page::compare_arrivals(service, way.name, fates)?;
        }
        Ok(())
    }
}

/// A stream whose route is the way of this name.
fn stream(name: &str) -> String {
    format!(
        "[streams.{name}]\nclass = \"transactional\"\nroute = \"{name}\"\n\
         retry = {{ first = \"10s\", factor = 2.0, max = \"15m\", give_up_after = \"24h\" }}\n\
         on_unknown = \"prefer_no_loss\"\nreply_wait_max = \"5s\"\n\
         failover = {{ transient_after = \"0s\", on_throttle = \"next\" }}\n"
    )
}

/// The trace field is the one thing that SMTP adds; services that take fields do not get it.
fn without_trace(mut fate: Fate) -> Result<Fate> {
    let is_mime = matches!(fate.form, Form::AsItIs | Form::Rewritten);
    let has_trace = fate.added.remove(TRACE);
    ensure!(is_mime == has_trace, "its trace field: {fate:?}");
    Ok(fate)
}

/// Whether the gateway does not take a message from a client that knows no SMTPUTF8.
fn is_refused(message: &Message, reply: &str) -> Result<bool> {
    let mut refused = NEED_SMTPUTF8.iter();
    let Some((name, code)) = refused.find(|(name, _)| *name == message.name) else {
        return Ok(false);
    };
    ensure!(reply.contains(code), "{name}: {reply}");
    Ok(true)
}

/// What a client is given: a field for the stream, which the gateway takes off, and the message without
/// its last line end, as both clients write one of their own before the final dot.
fn addressed(way: &Way, message: &Message) -> Vec<u8> {
    let mut raw = format!("X-Malote-Stream: {}\r\n", way.target).into_bytes();
    raw.extend_from_slice(message.raw.strip_suffix(b"\r\n").unwrap_or(&message.raw));
    raw
}

/// All messages by all ways in one connection of Symfony Mailer.
async fn symfony(world: &World, messages: &[Message]) -> Result<Fates> {
    let mut mails = Vec::new();
    for (_, way) in &world.ways {
        for message in messages {
            mails.push(json!({
                "mail_from": run::mail_from(message),
                "to": message.envelope(),
                "raw": STANDARD.encode(addressed(way, message)),
            }));
        }
    }
    let file = world.gateway.folder().join("mails.json");
    std::fs::write(&file, serde_json::to_string(&mails)?)?;
    let mut command = Command::new(tool("php")?);
    command.arg(malote_tests::repository().join("tests/clients/symfony_raw.php"));
    command.arg(format!("smtp://{}", world.gateway.doors().plain));
    let said = run_program(command.arg(file), CLIENT_MAX)
        .await?
        .success()?;
    let answers: Vec<Value> = said
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    ensure!(answers.len() == mails.len(), "{} answers", answers.len());
    let mut answers = answers.iter();
    let mut fates = Vec::new();
    for way in 0..world.ways.len() {
        let mut of_way = Vec::new();
        for message in messages {
            let reply = answers.next().and_then(|answer| answer["reply"].as_str());
            let reply = reply.context("no reply")?;
            if is_refused(message, reply)? {
                continue;
            }
            let fate = world.fate(way, message, reply).await?;
            of_way.push((message.clone(), fate));
        }
        fates.push(of_way);
    }
    Ok(fates)
}

/// One call of swaks.
async fn swaks(gateway_folder: std::path::PathBuf, arguments: Vec<String>) -> Result<Outcome> {
    let mut command = Command::new(tool("swaks")?);
    command.current_dir(gateway_folder).args(arguments);
    run_program(&mut command, CLIENT_MAX).await
}

/// Each message by some ways, a call each; answers the way's place, the message's and the reply.
async fn by_swaks(world: &World, messages: &[Message]) -> Result<Vec<(usize, usize, String)>> {
    let folder = world.gateway.folder();
    let door = world.gateway.doors().plain.to_string();
    let mut calls = Vec::new();
    let turns = long(world.ways.len(), SWAKS_WAYS);
    let with_lines = |(_, message): &(usize, &Message)| message.name != HAS_NO_LINE;
    for (place, message) in messages.iter().enumerate().filter(with_lines) {
        for turn in 0..turns {
            let at = (place * turns + turn) % world.ways.len();
            let (_, way) = world.ways.get(at).context("no such way")?;
            let file = format!("{}-{}.eml", message.name, way.target);
            std::fs::write(folder.join(&file), addressed(way, message))?;
            let (from, to) = (run::mail_from(message), message.envelope().join(","));
            let data = format!("@{file}");
            let arguments = [
                "--server", &door, "--from", from, "--to", &to, "--data", &data,
            ];
            calls.push((at, place, arguments.map(str::to_owned).to_vec()));
        }
    }
    let mut replies = Vec::new();
    let mut under_way = JoinSet::new();
    for (at, place, arguments) in calls {
        if under_way.len() >= SWAKS_AT_ONCE {
            let done = under_way.join_next().await.context("none is under way")?;
            replies.push(done??);
        }
        let folder = folder.to_owned();
        under_way.spawn(async move {
            let said = swaks(folder, arguments).await?;
            anyhow::Ok((at, place, said.stdout))
        });
    }
    while let Some(done) = under_way.join_next().await {
        replies.push(done??);
    }
    Ok(replies)
}

/// Symfony has no empty MAIL FROM: with it a report leaves as any other message.
fn as_no_reports(messages: &[Message]) -> Vec<Message> {
    let mut messages = messages.to_vec();
    for message in &mut messages {
        message.is_report = false;
    }
    messages
}

#[tokio::test]
async fn what_symfony_and_swaks_send_arrives_as_the_pages_say() -> Result<()> {
    let messages = messages()?;
    let world = World::start().await?;
    let mut fates = symfony(&world, &as_no_reports(&messages)).await?;
    world.compare(&fates)?;
    // Its own gateway and simulators: the recipients are the same.
    let world = World::start().await?;
    let mut are_taken = vec![false; world.ways.len()];
    for (at, place, said) in by_swaks(&world, &messages).await? {
        let message = messages.get(place).context("no such message")?;
        if is_refused(message, &said)? {
            continue;
        }
        let fate = world.fate(at, message, &said).await?;
        let of_way = fates.get_mut(at).context("no such way")?;
        let known = of_way.iter_mut().find(|(of, _)| of.name == message.name);
        *known.context("Symfony did not send it")? = (message.clone(), fate);
        *are_taken.get_mut(at).context("no such way")? = true;
    }
    ensure!(are_taken.iter().all(|is_taken| *is_taken), "{are_taken:?}");
    world.compare(&fates)
}
