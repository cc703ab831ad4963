//! Waiting for something to be seen, with a deadline.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How long anything in the demo is waited for.
pub(super) const SEEN_MAX: Duration = Duration::from_secs(20);
/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Looks until `is_there`, at most [`SEEN_MAX`]; answers the last thing seen either way, for the
/// findings to judge.
pub(super) async fn last_seen<T>(
    mut look: impl AsyncFnMut() -> anyhow::Result<T>,
    is_there: impl Fn(&T) -> bool,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + SEEN_MAX;
    loop {
        let seen = look().await?;
        if is_there(&seen) || Instant::now() >= deadline {
            return Ok(seen);
        }
        sleep(LOOK_EVERY).await;
    }
}
