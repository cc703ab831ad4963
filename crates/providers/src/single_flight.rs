//! A small cache whose values are fetched by one caller while the others wait for the result.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Most values kept; the one that expires first goes.
const VALUES_MAX: usize = 16;
/// Longest wait for another caller's fetch. Fetches bound themselves below this.
const TURN_WAIT_MAX: Duration = Duration::from_secs(12);

/// Values by key, each good until its own time.
#[derive(Debug)]
pub(crate) struct SingleFlight<T> {
    values: Mutex<BTreeMap<String, Kept<T>>>,
    turn: Semaphore,
}

/// A fetched value.
#[derive(Debug)]
pub(crate) struct Kept<T> {
    /// The value.
    pub value: Arc<T>,
    /// From then on a new one is fetched; if that fails, this one serves until `until`.
    pub renew_at: Timestamp,
    /// From then on it is not used any more.
    pub until: Timestamp,
}

impl<T> Clone for Kept<T> {
    fn clone(&self) -> Self {
        Self {
            value: Arc::clone(&self.value),
            renew_at: self.renew_at,
            until: self.until,
        }
    }
}

/// Why there is no value.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoValue<E> {
    /// The fetch failed, and nothing older serves.
    Failed(E),
    /// Another caller's fetch takes too long.
    Busy,
}

impl<T> SingleFlight<T> {
    /// An empty cache.
    pub(crate) fn new() -> Self {
        Self {
            values: Mutex::new(BTreeMap::new()),
            turn: Semaphore::new(1),
        }
    }

    /// The value of `key`, fetched if there is none or it is due.
    ///
    /// # Errors
    /// [`NoValue`].
    pub(crate) async fn get<E>(
        &self,
        key: &str,
        now: Timestamp,
        fetch: impl Future<Output = Result<Kept<T>, E>> + Send,
    ) -> Result<Arc<T>, NoValue<E>> {
        if let Some(fresh) = self.kept(key).filter(|kept| now < kept.renew_at) {
            return Ok(fresh.value);
        }
        let Ok(Ok(_turn)) = timeout(TURN_WAIT_MAX, self.turn.acquire()).await else {
            return self.stale(key, now).ok_or(NoValue::Busy);
        };
        // Whoever had the turn before may have fetched it.
        if let Some(fresh) = self.kept(key).filter(|kept| now < kept.renew_at) {
            return Ok(fresh.value);
        }
        match fetch.await {
            Ok(kept) => {
                let value = Arc::clone(&kept.value);
                self.keep(key, kept);
                Ok(value)
            }
            Err(fault) => self.stale(key, now).ok_or(NoValue::Failed(fault)),
        }
    }

    /// Whether there is a value of `key`, however old.
    pub(crate) fn knows(&self, key: &str) -> bool {
        self.lock().contains_key(key)
    }

    /// Forgets everything: the values have turned out wrong.
    pub(crate) fn forget(&self) {
        self.lock().clear();
    }

    fn stale(&self, key: &str, now: Timestamp) -> Option<Arc<T>> {
        let kept = self.kept(key)?;
        (now < kept.until).then_some(kept.value)
    }

    fn kept(&self, key: &str) -> Option<Kept<T>> {
        self.lock().get(key).cloned()
    }

    fn keep(&self, key: &str, kept: Kept<T>) {
        let mut values = self.lock();
        if values.len() >= VALUES_MAX && !values.contains_key(key) {
            let first = values.iter().min_by_key(|(_, kept)| kept.until);
            if let Some(first) = first.map(|(key, _)| key.clone()) {
                values.remove(&first);
            }
        }
        values.insert(key.to_owned(), kept);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Kept<T>>> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + seconds).unwrap()
    }

    fn good(value: u32, renew_at: i64, until: i64) -> Result<Kept<u32>, &'static str> {
        Ok(Kept {
            value: Arc::new(value),
            renew_at: at(renew_at),
            until: at(until),
        })
    }

    #[tokio::test]
    async fn a_value_is_fetched_once_until_it_is_due_and_an_old_one_serves_when_fetching_fails() {
        let cache = SingleFlight::new();
        let get = |now, fetched| {
            let cache = &cache;
            async move { cache.get("k", at(now), async { fetched }).await.map(|v| *v) }
        };
        assert_eq!(get(0, good(1, 10, 20)).await, Ok(1));
        assert_eq!(get(9, good(2, 10, 20)).await, Ok(1), "not due");
        assert_eq!(
            get(10, Err("down")).await,
            Ok(1),
            "due, but the old one serves"
        );
        assert_eq!(get(20, Err("down")).await, Err(NoValue::Failed("down")));
        assert_eq!(get(21, good(3, 30, 40)).await, Ok(3));
        cache.forget();
        assert_eq!(get(22, Err("down")).await, Err(NoValue::Failed("down")));
    }

    #[tokio::test]
    async fn many_callers_make_one_fetch() {
        let cache = SingleFlight::new();
        let fetches = AtomicU32::new(0);
        let one = || {
            cache.get("k", at(0), async {
                fetches.fetch_add(1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                good(7, 10, 20)
            })
        };
        let values = futures_util::future::join_all((0..50).map(|_| one())).await;
        assert!(values.iter().all(|v| v.as_deref() == Ok(&7)));
        assert_eq!(fetches.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn the_cache_is_bounded() {
        let cache = SingleFlight::new();
        for n in 0..100 {
            let fetched = cache
                .get(&n.to_string(), at(0), async { good(n, 10, 20) })
                .await;
            assert!(fetched.is_ok());
        }
        assert_eq!(cache.lock().len(), VALUES_MAX);
    }
}
