//! Every octet sequence that ever fooled a mail server, against the real program: the exact reply,
//! nothing stored of what was refused, and the next good message taken.
//!
//! The cases stand in `abuse_smtp/*.smtp`; each comes from a loopback address of its own.

mod play;
mod script;

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use malote_tests::{
    LOADTEST_KEY, MAUTIC_KEY, SmtpClient, World, answered, eventually, free_port, text_message,
};
use reqwest::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, LocalSet};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use self::play::{Doors, Player, Traces, connect, holds};
use self::script::Case;
use crate::{SENT_MAX, campaigns_by};

const PROBE_KEY: &str = "mk_test_probe";
/// Cases at once; those of `slow.smtp` beside them.
const CASES_AT_ONCE: usize = 12;
/// Connections from one address without a login, as the default has it.
const CONNECTIONS_PER_SOURCE: usize = 50;
/// A login beside a crowd of strangers, long before any of these is closed on.
const KNOWN_WITHIN: Duration = Duration::from_secs(10);
/// A client that does not read is given up after 30 s.
const GIVEN_UP_WITHIN: Duration = Duration::from_secs(45);
/// Tries of a client to talk before the banner.
const EARLY_TALKS: usize = 10;
/// What a gateway may buffer for a client that never reads, both kernels' buffers included.
const UNREAD_BYTES_MAX: usize = 32 << 20;

const SLOW: &str = include_str!("abuse_smtp/slow.smtp");
const QUICK: [&str; 5] = [
    include_str!("abuse_smtp/commands.smtp"),
    include_str!("abuse_smtp/tls.smtp"),
    include_str!("abuse_smtp/login.smtp"),
    include_str!("abuse_smtp/envelope.smtp"),
    include_str!("abuse_smtp/content.smtp"),
];

/// Two more listeners and a login that may send from one domain only.
fn tables(login: u16, implicit: u16) -> String {
    format!(
        "[[smtp.listeners]]
listen = \"127.0.0.1:{login}\"
tls = \"none\"
trusted_plaintext = true
[[smtp.listeners]]
listen = \"127.0.0.1:{implicit}\"
tls = \"implicit\"
cert_file = \"cert.pem\"
key_file = \"key.pem\"
[credentials.probe]
smtp_user = \"probe\"
smtp_password = \"probe-secret\"
api_key = \"{PROBE_KEY}\"
streams = [\"campaign\"]
from_domains = [\"shop.example\"]
on_foreign_from = \"reject\"
"
    )
}

async fn start() -> Result<(World, Doors)> {
    let (login, implicit) = (free_port()?, free_port()?);
    let world = World::start_with(|config| {
        campaigns_by(config, "{ provider = \"relay\", pool = \"bulk\" }")?;
        config.replace("[\"127.0.0.1/32\"]", "[\"127.0.0.0/8\"]")?;
        config.add(&tables(login, implicit));
        for (name, value) in [
            ("MALOTE_SMTP__HOSTNAME", "mx.gateway.example"),
            ("MALOTE_SMTP__MESSAGE_BYTES_MAX", "2MiB"),
        ] {
            config.environment.push((name.to_owned(), value.to_owned()));
        }
        Ok(())
    })
    .await?;
    let pem = std::fs::read(world.gateway.folder().join("cert.pem"))?;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(&pem)?)?;
    let tls = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let doors = Doors {
        plain: world.gateway.doors().plain,
        submission: world.gateway.doors().submission,
        login: local(login),
        implicit: local(implicit),
        tls: TlsConnector::from(Arc::new(tls)),
    };
    Ok((world, doors))
}

/// How many deliveries to this recipient the search finds, whoever sent them.
async fn stored(world: &World, recipient: &str) -> Result<usize> {
    let mut count = 0;
    for key in [LOADTEST_KEY, MAUTIC_KEY, PROBE_KEY] {
        let request = world.gateway.request(Method::GET, "/v1/messages", key);
        let answer = request.query(&[("rcpt", recipient)]).send().await?;
        let page = answered(answer, 200).await?;
        count += page["rows"].as_array().map_or(0, Vec::len);
    }
    Ok(count)
}

async fn check_traces(world: &World, case: &Case, traces: &Traces) -> Result<()> {
    let recipient = &case.recipient;
    let found = stored(world, recipient).await?;
    ensure!(found == traces.stored, "{found} deliveries are stored");
    if traces.arrives.is_empty() {
        return Ok(());
    }
    eventually("it arrives at the relay", SENT_MAX, async || {
        Ok((world.relay.count_to(recipient) > 0).then_some(()))
    })
    .await?;
    let taken = world.relay.sandbox.messages_to(recipient);
    let raw = taken.first().and_then(|taken| taken.raw.clone());
    let raw = raw.context("its raw form is gone")?;
    for (text, is_there) in &traces.arrives {
        let shown = String::from_utf8_lossy(text);
        let copy = String::from_utf8_lossy(&raw);
        ensure!(
            holds(&raw, text) == *is_there,
            "{shown:?} at the relay: {copy:?}"
        );
    }
    Ok(())
}

/// The next good message is taken.
async fn is_alive(doors: &Doors, number: usize) -> Result<()> {
    let recipient = format!("alive{number}@case.example");
    let mut client = SmtpClient::connect(doors.plain).await?;
    let text = text_message("news@shop.example", &recipient, "alive");
    let reply = client
        .send("news@shop.example", &[&recipient], &text)
        .await?;
    ensure!(reply.code == 250, "the next good message: {reply:?}");
    Ok(())
}

async fn probe(world: &World, doors: &Arc<Doors>, case: &Case, number: usize) -> Result<()> {
    let [_, _, high, low] = u32::try_from(number)?.to_be_bytes();
    let from = Ipv4Addr::new(127, 7, high, low);
    let traces = Player::play(case, Arc::clone(doors), from).await?;
    check_traces(world, case, &traces).await?;
    is_alive(doors, number).await
}

fn all_cases() -> Result<(Vec<Case>, usize)> {
    let mut cases = script::read(SLOW, 0)?;
    let slow_count = cases.len();
    for text in QUICK {
        let more = script::read(text, cases.len())?;
        cases.extend(more);
    }
    Ok((cases, slow_count))
}

#[tokio::test]
async fn every_abuse_has_its_exact_reply_and_the_next_good_message_is_taken() -> Result<()> {
    LocalSet::new().run_until(play_all()).await
}

async fn play_all() -> Result<()> {
    let (world, doors) = start().await?;
    let (world, doors) = (Rc::new(world), Arc::new(doors));
    let (cases, slow_count) = all_cases()?;
    let count = cases.len();
    let turns = Arc::new(Semaphore::new(CASES_AT_ONCE));
    let mut probes = JoinSet::new();
    for (number, case) in cases.into_iter().enumerate() {
        let (world, doors, turns) = (Rc::clone(&world), Arc::clone(&doors), Arc::clone(&turns));
        probes.spawn_local(async move {
            let turn = (number >= slow_count).then(|| turns.acquire_owned());
            let _turn = match turn {
                Some(turn) => Some(turn.await),
                None => None,
            };
            named(&case.sentence, probe(&world, &doors, &case, number)).await
        });
    }
    let (one, two) = (Arc::clone(&doors), Arc::clone(&doors));
    probes.spawn_local(async move { named("a crowd from one address", crowd(&one)).await });
    probes.spawn_local(async move { named("a client that never reads", never_reads(&two)).await });
    let door = doors.submission;
    probes.spawn_local(async move { named("a client that talks first", talks_first(door)).await });
    let results = probes.join_all().await;
    let faults: Vec<String> = results.into_iter().filter_map(Result::err).collect();
    ensure!(
        faults.is_empty(),
        "{} of {count} cases deviate:\n{}",
        faults.len(),
        faults.join("\n")
    );
    Ok(())
}

async fn named(name: &str, result: impl Future<Output = Result<()>>) -> Result<(), String> {
    result.await.map_err(|error| format!("{name}: {error:#}"))
}

/// Strangers from one address have a bound; who logged in from there has a pool of its own.
async fn crowd(doors: &Arc<Doors>) -> Result<()> {
    let from = Ipv4Addr::new(127, 8, 0, 1);
    let known = script::read("== x\ndoor login\nlogin probe probe-secret\n", 0)?;
    let known = known.first().context("one case")?;
    Player::play(known, Arc::clone(doors), from).await?;
    let mut held = Vec::new();
    let mut start = [0; 3];
    for number in 0..CONNECTIONS_PER_SOURCE {
        let mut stream = connect(doors.submission, from).await?;
        stream.read_exact(&mut start).await?;
        ensure!(&start == b"220", "number {number}: {start:?}");
        held.push(stream);
    }
    let began = Instant::now();
    Player::play(known, Arc::clone(doors), from).await?;
    ensure!(began.elapsed() < KNOWN_WITHIN, "{:?}", began.elapsed());
    let elsewhere = Ipv4Addr::new(127, 8, 0, 2);
    let mut held_there = Vec::new();
    for _ in 0..CONNECTIONS_PER_SOURCE {
        held_there.push(connect(doors.submission, elsewhere).await?);
    }
    for stream in &mut held_there {
        stream.read_exact(&mut start).await?;
        ensure!(&start == b"220", "{start:?}");
    }
    let mut refused = connect(doors.submission, elsewhere).await?;
    let mut said = String::new();
    refused.read_to_string(&mut said).await?;
    ensure!(said.starts_with("421 4.7.0 "), "{said:?}");
    Ok(())
}

/// Who talks before the banner is refused. Whether its octets come before it is a race that the
/// client may lose, so it tries a few times.
async fn talks_first(door: SocketAddr) -> Result<()> {
    let said = tokio::task::spawn_blocking(move || -> Result<Vec<String>> {
        let mut said = Vec::new();
        for _ in 0..EARLY_TALKS {
            let mut stream = std::net::TcpStream::connect(door)?;
            stream.write_all(b"EHLO x.example\r\n")?;
            stream.set_read_timeout(Some(Duration::from_secs(1)))?;
            let mut answer = Vec::new();
            // A client that came too late is not closed on; what it was told is read all the same.
            stream.read_to_end(&mut answer).ok();
            said.push(String::from_utf8_lossy(&answer).into_owned());
            if said.iter().any(|answer| answer.starts_with("554 5.5.0 ")) {
                break;
            }
        }
        Ok(said)
    });
    let said = said.await??;
    let last = said.last().context("nothing was tried")?;
    let is_refused = last.starts_with("554 5.5.0 ") && last.lines().count() == 1;
    ensure!(is_refused, "{said:?}");
    Ok(())
}

/// A client that only writes is not read for ever, and costs a small buffer.
async fn never_reads(doors: &Arc<Doors>) -> Result<()> {
    let mut stream = connect(doors.plain, Ipv4Addr::new(127, 8, 0, 3)).await?;
    let group = "EHLO x.example\r\n".repeat(1_000);
    let mut bytes = 0;
    let writing = async {
        while stream.write_all(group.as_bytes()).await.is_ok() {
            bytes += group.len();
            if bytes > UNREAD_BYTES_MAX {
                break;
            }
        }
    };
    let ended = tokio::time::timeout(GIVEN_UP_WITHIN, writing).await;
    ensure!(ended.is_ok(), "the connection is kept");
    ensure!(bytes <= UNREAD_BYTES_MAX, "{bytes} octets were taken");
    Ok(())
}
