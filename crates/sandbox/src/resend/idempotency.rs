//! `Idempotency-Key`: the same request again is answered as before and sends nothing.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::Problem;

/// How long a key is remembered ("Idempotency keys").
const KEPT: SignedDuration = SignedDuration::from_hours(24);
/// Keys beyond this many forget the oldest.
const KEYS_MAX: usize = 10_000;

/// The keys of one simulator.
#[derive(Default)]
pub(super) struct Keys {
    shelf: Arc<Mutex<Shelf>>,
}

#[derive(Default)]
struct Shelf {
    entries: BTreeMap<String, Entry>,
    /// Oldest first; may name keys that are gone.
    order: VecDeque<String>,
}

struct Entry {
    at: Timestamp,
    digest: [u8; 32],
    /// `None` while the first request is under way.
    answer: Option<Value>,
}

/// What a request's key says of it.
pub(super) enum Claim {
    /// It has none.
    None,
    /// It is the first with this key.
    First(Held),
    /// It was answered before.
    Repeat(Value),
}

/// A key of a request under way; let go when the request ends without being taken.
pub(super) struct Held {
    shelf: Arc<Mutex<Shelf>>,
    key: String,
    is_settled: bool,
}

impl Keys {
    /// Claims a key for this request.
    pub(super) fn claim(&self, key: &str, body: &[u8], at: Timestamp) -> Result<Claim, Problem> {
        let digest: [u8; 32] = Sha256::digest(body).into();
        let mut shelf = lock(&self.shelf);
        if let Some(entry) = shelf.entries.get(key)
            && at.duration_since(entry.at) < KEPT
        {
            if entry.digest != digest {
                let message = "Same idempotency key used with a different request payload.";
                return Err(Problem::new(409, "invalid_idempotent_request", message));
            }
            let answer = entry.answer.clone();
            return answer.map(Claim::Repeat).ok_or_else(in_progress);
        }
        let entry = Entry {
            at,
            digest,
            answer: None,
        };
        shelf.entries.insert(key.to_owned(), entry);
        shelf.order.push_back(key.to_owned());
        while shelf.order.len() > KEYS_MAX {
            if let Some(oldest) = shelf.order.pop_front() {
                shelf.entries.remove(&oldest);
            }
        }
        drop(shelf);
        Ok(Claim::First(Held {
            shelf: Arc::clone(&self.shelf),
            key: key.to_owned(),
            is_settled: false,
        }))
    }
}

impl Held {
    /// Remembers the answer for requests to come.
    pub(super) fn settle(mut self, answer: Value) {
        self.is_settled = true;
        if let Some(entry) = lock(&self.shelf).entries.get_mut(&self.key) {
            entry.answer = Some(answer);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.is_settled {
            lock(&self.shelf).entries.remove(&self.key);
        }
    }
}

/// What a second request is told while the first is under way.
pub(super) fn in_progress() -> Problem {
    let message = "Same idempotency key used while original request is still in progress.";
    Problem::new(409, "concurrent_idempotent_requests", message)
}

fn lock(shelf: &Mutex<Shelf>) -> MutexGuard<'_, Shelf> {
    shelf.lock().unwrap_or_else(PoisonError::into_inner)
}
