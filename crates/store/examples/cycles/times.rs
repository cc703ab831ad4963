//! How long something took, many times.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Times of one kind of call.
#[derive(Default)]
pub(crate) struct Times(Mutex<Vec<Duration>>);

impl Times {
    /// Notes how long this took.
    pub(crate) async fn of<T>(&self, work: impl Future<Output = T>) -> T {
        let begun = Instant::now();
        let output = work.await;
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(begun.elapsed());
        output
    }

    /// Median and 99th percentile in milliseconds.
    pub(crate) fn told(&self) -> Value {
        let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        times.sort_unstable();
        let of = |per_cent: usize| {
            let index = (times.len() * per_cent / 100).min(times.len().saturating_sub(1));
            times.get(index).map(|time| time.as_secs_f64() * 1_000.0)
        };
        json!({ "count": times.len(), "p50_ms": of(50), "p99_ms": of(99) })
    }
}
