//! Waiting for an outcome with a deadline, in place of sleeping.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Looks until there is something to see, at most `within`.
///
/// # Errors
/// When a look fails, or nothing was seen in time; then `what` says what was waited for.
pub async fn eventually<T>(
    what: &str,
    within: Duration,
    mut look: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let started = Instant::now();
    loop {
        if let Some(seen) = look().await? {
            return Ok(seen);
        }
        if started.elapsed() > within {
            bail!("not within {within:?}: {what}");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
