//! A day of idempotency keys, and what becomes of them: 20,000 keys a day for three days in the
//! suite's own time, a fiftieth of the million an hour that a busy gateway may see.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::Timestamp;
use malote_core::clock::Clock;
use malote_core::event::State;
use malote_core::units::ByteSize;
use prometheus::Registry;
use rusqlite::Connection;
use tempfile::TempDir;

use super::config;
use crate::conformance::mail::{self, at};
use crate::{AcceptOutcome, IdempotencyRecord, LaneId, NewMessage, Spool, SqliteStore};

const DAY_S: i64 = 24 * 3_600;
const KEYS_PER_DAY: i64 = 20_000;
const DAYS: i64 = 3;
/// Messages of one commit, and how many there are between two rounds of housekeeping.
const BATCH: i64 = 500;

/// Keys after which caches and buffers are about as large as they get, and keys in all.
const WARM_KEYS: i64 = 10_000;
const MANY_KEYS: i64 = 40_000;
/// A key kept in memory takes half as much again: its text, the message's id, a fingerprint, and
/// what a map adds. What the allocator does of its own is up to 20 octets a key here.
const BYTES_PER_KEY_MAX: i64 = 100;

/// Stands at a second of the suite's time until it is put on.
#[derive(Default)]
struct Watch(AtomicI64);

impl Watch {
    fn set(&self, second: i64) {
        self.0.store(second, Ordering::Relaxed);
    }
}

impl Clock for Watch {
    fn now(&self) -> Timestamp {
        at(self.0.load(Ordering::Relaxed))
    }
}

struct Rig {
    store: SqliteStore,
    lane: LaneId,
    watch: Arc<Watch>,
    counted: Connection,
    _dir: TempDir,
}

impl Rig {
    async fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(&dir);
        config.cache = ByteSize(1 << 20);
        config.readers = 1;
        let watch = Arc::new(Watch::default());
        let clock = Arc::clone(&watch) as Arc<dyn Clock>;
        let fatal: crate::OnFatal = Arc::new(|text| panic!("{text}"));
        let store = SqliteStore::open_with(config.clone(), clock, &Registry::new(), fatal).unwrap();
        Self {
            lane: mail::tx_lane(&store).await,
            store,
            watch,
            counted: Connection::open(&config.path).unwrap(),
            _dir: dir,
        }
    }

    /// The message under this key, handed in when its second has come.
    fn message(&self, number: i64) -> NewMessage {
        let now = at(second_of(number));
        let mut message = mail::message(self.lane, now, &["a@x.test"]);
        message.deliveries[0].state = State::Suppressed;
        message.idempotency = Some(IdempotencyRecord {
            credential: message.record.credential.clone(),
            key: key(number),
            fingerprint: Some([7; 32]),
            message: message.record.id,
            created_at: now,
        });
        message
    }

    /// Hands in `BATCH` messages with new keys, the last one now.
    async fn accept(&self, first: i64) {
        self.watch.set(second_of(first + BATCH - 1));
        let batch: Vec<_> = (first..first + BATCH).map(|n| self.message(n)).collect();
        let outcomes = self.store.accept(batch).await.unwrap();
        assert!(outcomes.iter().all(|one| *one == AcceptOutcome::Kept));
    }

    /// What the engine does every ten seconds; messages go as fast as bodies, so that keys are all
    /// that is left of them.
    async fn keep_house(&self) {
        let now = self.watch.now();
        self.store.retain(now, now).await.unwrap();
    }

    fn count(&self) -> i64 {
        let sql = "SELECT count(*) FROM idempotency";
        self.counted.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    async fn holds(&self, number: i64) -> bool {
        let shop = "shop".parse().unwrap();
        let found = self.store.idempotent(&shop, &key(number)).await.unwrap();
        found.is_some()
    }
}

fn second_of(number: i64) -> i64 {
    number * DAY_S / KEYS_PER_DAY
}

fn key(number: i64) -> String {
    format!("a-key-as-clients-make-them-{number:020}")
}

/// Resident memory of this process, in octets.
fn resident_bytes() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib: i64 = line
        .unwrap()
        .split_whitespace()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    kib * 1_024
}

#[tokio::test]
async fn keys_live_a_day_and_no_more_than_a_days_keys_are_kept() {
    let rig = Rig::open().await;
    let mut last = -1;
    for first in (0..DAYS * KEYS_PER_DAY).step_by(usize::try_from(BATCH).unwrap()) {
        rig.accept(first).await;
        last = first + BATCH - 1;
        rig.keep_house().await;
        let count = rig.count();
        assert!(count <= KEYS_PER_DAY + 1, "{count} keys after {last}");
    }
    let oldest = last - KEYS_PER_DAY + 1;
    assert!(rig.holds(last).await && rig.holds(oldest).await);
    assert!(!rig.holds(oldest - 1).await && !rig.holds(0).await);
}

/// Runs one test of this file again in a process of its own: memory is the process's, and other
/// tests would be measured with it.
fn in_own_process(test: &str) -> bool {
    const MARK: &str = "MALOTE_TEST_OWN_PROCESS";
    if std::env::var_os(MARK).is_some() {
        return true;
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            &format!("sqlite::tests::keys::{test}"),
            "--nocapture",
        ])
        .env(MARK, "1")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && told.contains("1 passed"),
        "{told}"
    );
    println!("{told}");
    false
}

#[tokio::test]
async fn keys_are_not_held_in_memory() {
    if !in_own_process("keys_are_not_held_in_memory") {
        return;
    }
    let rig = Rig::open().await;
    let (mut before, mut after) = (0, 0);
    for first in (0..MANY_KEYS).step_by(usize::try_from(BATCH).unwrap()) {
        rig.accept(first).await;
        after = resident_bytes();
        if first + BATCH == WARM_KEYS {
            before = after;
        }
    }
    assert_eq!(rig.count(), MANY_KEYS);
    let grown = after - before;
    let per_key = grown / (MANY_KEYS - WARM_KEYS);
    println!("{grown} octets, {per_key} a key");
    assert!(per_key < BYTES_PER_KEY_MAX, "{grown} octets");
}

#[tokio::test]
async fn keys_that_are_over_at_once_go_in_steps_and_mail_gets_in_between() {
    let rig = Rig::open().await;
    for first in (0..KEYS_PER_DAY).step_by(usize::try_from(BATCH).unwrap()) {
        rig.accept(first).await;
    }
    // The gateway was stopped for two days.
    rig.watch.set(3 * DAY_S);
    let house = rig.keep_house();
    let mail = async {
        // Behind the first step, so that it waits for one in work at most.
        tokio::task::yield_now().await;
        let fresh = mail::message(rig.lane, rig.watch.now(), &["b@x.test"]);
        mail::accept(&rig.store, fresh).await;
        rig.count()
    };
    let ((), left) = tokio::join!(house, mail);
    let expected = KEYS_PER_DAY / 2..KEYS_PER_DAY;
    assert!(expected.contains(&left), "{left} keys were left");
    assert_eq!(rig.count(), 0);
}
