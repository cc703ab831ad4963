//! Mail from many clients to whichever node answers, and the account of it at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use malote_sandbox::Sandbox;
use malote_tests::{Gateway, LOADTEST_KEY, SHOP_KEY, answered, eventually};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use tokio::task::JoinSet;

use super::DRAIN_MAX;
use crate::order;

/// How long one answer may take; beyond that a client goes to another node.
const ANSWER_MAX: Duration = Duration::from_secs(20);
/// Messages after which a cluster counts as working again.
const GOES_ON: usize = 30;
/// Octets of a body for which no table has room by chance.
const LARGE_BYTES: usize = 1 << 20;
/// How long a client that was refused waits.
const PAUSE: Duration = Duration::from_millis(20);

/// What clients were told.
#[derive(Default)]
struct Told {
    acknowledged: Mutex<BTreeSet<String>>,
    /// Answers that are neither 202 nor "come back".
    strange: Mutex<Vec<String>>,
    refused: AtomicUsize,
    /// Requests without an answer in time.
    timed_out: AtomicUsize,
    longest_ms: AtomicUsize,
}

/// Clients at work.
pub(super) struct Load {
    told: Arc<Told>,
    stop: Arc<AtomicBool>,
    clients: JoinSet<()>,
}

impl Load {
    /// Starts clients, half of them with campaigns, each going round the doors.
    pub(super) fn start(doors: &[SocketAddr], clients: usize) -> Self {
        let (told, stop) = (Arc::<Told>::default(), Arc::<AtomicBool>::default());
        let mut running = JoinSet::new();
        for number in 0..clients {
            let client = Client {
                number,
                doors: doors.to_vec(),
                told: Arc::clone(&told),
                stop: Arc::clone(&stop),
            };
            running.spawn(client.run());
        }
        Self {
            told,
            stop,
            clients: running,
        }
    }

    /// How many messages were acknowledged so far.
    pub(super) fn count(&self) -> usize {
        lock(&self.told.acknowledged).len()
    }

    /// Waits until more mail is taken in than before.
    pub(super) async fn goes_on(&self) -> Result<()> {
        let (before, begun) = (self.count(), Instant::now());
        eventually("mail is taken in again", DRAIN_MAX, async || {
            Ok((self.count() > before + GOES_ON).then_some(()))
        })
        .await?;
        println!("mail was taken in again after {:?}", begun.elapsed());
        Ok(())
    }

    /// Ends the clients; what they were told.
    pub(super) async fn stop(mut self) -> Account {
        self.stop.store(true, Ordering::Relaxed);
        while self.clients.join_next().await.is_some() {}
        Account {
            acknowledged: lock(&self.told.acknowledged).clone(),
            strange: lock(&self.told.strange).clone(),
            refused: self.told.refused.load(Ordering::Relaxed),
            timed_out: self.told.timed_out.load(Ordering::Relaxed),
            longest: Duration::from_millis(self.told.longest_ms.load(Ordering::Relaxed) as u64),
        }
    }
}

struct Client {
    number: usize,
    doors: Vec<SocketAddr>,
    told: Arc<Told>,
    stop: Arc<AtomicBool>,
}

impl Client {
    async fn run(self) {
        let Ok(http) = reqwest::Client::builder().timeout(ANSWER_MAX).build() else {
            return;
        };
        let mut turn = self.number;
        for mail in 0.. {
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            turn += 1;
            let door = self.doors[turn % self.doors.len()];
            let (key, recipient) = if self.number.is_multiple_of(2) {
                (SHOP_KEY, format!("c{}n{mail}@order.example", self.number))
            } else {
                (
                    LOADTEST_KEY,
                    format!("c{}n{mail}@campaign.example", self.number),
                )
            };
            let request = http.post(format!("http://{door}/v1/messages"));
            let begun = Instant::now();
            let answer = request.bearer_auth(key).json(&order(&recipient)).send();
            self.note(recipient, answer.await, begun.elapsed()).await;
        }
    }

    async fn note(
        &self,
        recipient: String,
        answer: reqwest::Result<reqwest::Response>,
        took: Duration,
    ) {
        let took = usize::try_from(took.as_millis()).unwrap_or(usize::MAX);
        match answer {
            Ok(answer) if answer.status() == StatusCode::ACCEPTED => {
                lock(&self.told.acknowledged).insert(recipient);
                return;
            }
            Ok(answer) if answer.status() == StatusCode::SERVICE_UNAVAILABLE => {
                self.told.longest_ms.fetch_max(took, Ordering::Relaxed);
            }
            Ok(answer) => {
                let status = answer.status();
                let body = answer.text().await.unwrap_or_default();
                lock(&self.told.strange).push(format!("{status} {body}"));
            }
            Err(error) if error.is_timeout() => {
                self.told.timed_out.fetch_add(1, Ordering::Relaxed);
            }
            // A node that is killed, or starts.
            Err(_) => {}
        }
        self.told.refused.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(PAUSE).await;
    }
}

/// What clients were told, to be compared with what became of it.
pub(super) struct Account {
    pub(super) acknowledged: BTreeSet<String>,
    pub(super) strange: Vec<String>,
    pub(super) refused: usize,
    /// Requests without an answer within [`ANSWER_MAX`]; a node that is frozen gives none.
    pub(super) timed_out: usize,
    /// The longest wait for a 503.
    pub(super) longest: Duration,
}

/// What became of it.
#[derive(Debug)]
pub(super) struct Balance {
    /// Messages whose outcome is unknown.
    pub(super) unknown: usize,
    /// Campaign mail that arrived more than once.
    pub(super) campaigns_twice: usize,
    /// Transactional mail that arrived more than once.
    pub(super) orders_twice: usize,
}

impl Account {
    /// Waits until nothing is under way any more, and refuses a loss: every acknowledged message
    /// is at the sink, or its outcome is unknown and says so.
    pub(super) async fn balance(
        &self,
        name: &str,
        node: &Gateway,
        (sink, within): (&Sandbox, Duration),
    ) -> Result<Balance> {
        drained(node, within).await?;
        let unknown = in_state(node, "unknown").await?;
        let arrived = arrivals(sink);
        let is_lost = |one: &&String| !arrived.contains_key(*one) && !unknown.contains(*one);
        let lost: Vec<_> = self.acknowledged.iter().filter(is_lost).collect();
        let twice = |domain: &str| {
            let more = arrived.iter().filter(|(_, count)| **count > 1);
            more.filter(|(one, _)| one.ends_with(domain)).count()
        };
        let balance = Balance {
            unknown: unknown.len(),
            campaigns_twice: twice("@campaign.example"),
            orders_twice: twice("@order.example"),
        };
        println!(
            "{name}: {} acknowledged, {} refused, {} without an answer, {} at the sink, none queued, \
             {} lost, {balance:?}",
            self.acknowledged.len(),
            self.refused,
            self.timed_out,
            arrived.len(),
            lost.len(),
        );
        ensure!(lost.is_empty(), "{} lost: {:?}", lost.len(), lost.first());
        ensure!(
            self.strange.is_empty(),
            "{} strange answers: {:?}",
            self.strange.len(),
            self.strange.first()
        );
        Ok(balance)
    }
}

/// How often each recipient's mail arrived.
pub(super) fn arrivals(sink: &Sandbox) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for recipient in sink.messages().into_iter().flat_map(|one| one.recipients) {
        *counts.entry(recipient).or_insert(0) += 1;
    }
    counts
}

/// Counts by stream and state, as a node's operators see them.
pub(super) async fn waiting(node: &Gateway, states: &[&str]) -> Result<u64> {
    let request = node.admin(Method::GET, "/admin/v1/queue/stats");
    let stats = answered(request.send().await?, 200).await?;
    let rows = stats["streams"].as_array();
    let rows = rows.with_context(|| format!("no streams: {stats}"))?;
    let of_row = |row: &Value| -> u64 {
        let of = |state: &&str| row["deliveries"][*state].as_u64();
        states.iter().filter_map(of).sum()
    };
    Ok(rows.iter().map(of_row).sum())
}

async fn drained(node: &Gateway, within: Duration) -> Result<()> {
    let mut left = None;
    let drained = eventually("the queue is empty", within, async || {
        // A node that has no connection to the database for now cannot tell.
        let counted = waiting(node, &["queued", "sending", "deferred", "scheduled"]).await;
        left = counted.ok();
        Ok((left == Some(0)).then_some(()))
    })
    .await;
    let log = || {
        let log = node.log();
        let lines = log.lines().filter(|line| !line.contains("INFO"));
        let last: Vec<_> = lines.rev().take(20).collect();
        format!(
            "{left:?} are left after {within:?}; its log, backwards:\n{}",
            last.join("\n")
        )
    };
    drained.with_context(log)
}

/// The recipients of everybody's mail in this state.
pub(super) async fn in_state(node: &Gateway, state: &str) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    let mut cursor: Option<String> = None;
    loop {
        let mut query = vec![("state", state.to_owned()), ("limit", "200".to_owned())];
        query.extend(cursor.map(|cursor| ("cursor", cursor)));
        let request = node.admin(Method::GET, "/admin/v1/queue").query(&query);
        let page = answered(request.send().await?, 200).await?;
        let rows = page["rows"].as_array().cloned().unwrap_or_default();
        let recipient = |row: &Value| row["recipient"].as_str().map(str::to_owned);
        found.extend(rows.iter().filter_map(recipient));
        cursor = page["next_cursor"].as_str().map(str::to_owned);
        if cursor.is_none() {
            return Ok(found);
        }
    }
}

/// A message of a campaign or of the shop, to this recipient, at this node; whether it was taken.
pub(super) async fn post(node: &Gateway, key: &str, recipient: &str) -> Result<StatusCode> {
    let request = node.request(Method::POST, "/v1/messages", key);
    Ok(request.json(&order(recipient)).send().await?.status())
}

/// As [`post`], a large one of the shop.
pub(super) async fn post_large(node: &Gateway, recipient: &str) -> Result<StatusCode> {
    let mut message = order(recipient);
    message["text"] = "Thank you.\n".repeat(LARGE_BYTES / 11).into();
    let request = node.request(Method::POST, "/v1/messages", SHOP_KEY);
    Ok(request.json(&message).send().await?.status())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
