//! Reads a service's list page by page, and asks again after the wait that the service wants; all of
//! it bounded.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use malote_core::provider::{SendError, Verdict};
use malote_core::service_list::{ListEntry, ServiceList};

use crate::cli::exit::{Failure, Outcome};

/// Most pages of one list. The services' pages have up to 1,000 entries.
const PAGES_MAX: usize = 50_000;
/// Most entries of one list.
const ENTRIES_MAX: u64 = 5_000_000;
/// Longest wait that a service gets; who wants more is asked another time.
const WAIT_MAX: Duration = Duration::from_secs(300);
/// Waits for one answer before it is given up, if the service is too busy.
const BUSY_TRIES_MAX: u32 = 10;
/// The same, if it is out of order.
const FAILED_TRIES_MAX: u32 = 3;

/// A list on its way.
pub(super) struct Reader {
    list: Arc<dyn ServiceList>,
    next: Next,
    /// Cursors that were given out.
    seen: HashSet<String>,
    entries: u64,
}

#[derive(Debug)]
enum Next {
    First,
    Cursor(String),
    End,
}

impl Reader {
    pub(super) fn of(list: Arc<dyn ServiceList>) -> Self {
        Self {
            list,
            next: Next::First,
            seen: HashSet::new(),
            entries: 0,
        }
    }

    /// The next page; `None` behind the last.
    ///
    /// # Errors
    /// If the service does not tell it, or more than is reasonable.
    pub(super) async fn page(&mut self) -> Outcome<Option<Vec<ListEntry>>> {
        let cursor = match &self.next {
            Next::First => None,
            Next::Cursor(cursor) => Some(cursor.as_str()),
            Next::End => return Ok(None),
        };
        if cursor.is_some() {
            tokio::time::sleep(self.list.manners().pause).await;
        }
        let page = patiently(async || self.list.page(cursor).await).await;
        let page = page.map_err(|error| Failure::failed(said(&error)))?;
        self.entries += page.entries.len() as u64;
        if self.entries > ENTRIES_MAX || self.seen.len() >= PAGES_MAX {
            let text =
                format!("the service's list is over {ENTRIES_MAX} entries or {PAGES_MAX} pages");
            return Err(Failure::failed(text));
        }
        self.next = after(page.next, &mut self.seen).map_err(Failure::failed)?;
        Ok(Some(page.entries))
    }

    /// Entries read so far.
    pub(super) const fn entries(&self) -> u64 {
        self.entries
    }
}

/// Where a list goes on; a place that was named before is refused.
fn after(next: Option<String>, seen: &mut HashSet<String>) -> Result<Next, &'static str> {
    match next {
        None => Ok(Next::End),
        Some(cursor) if seen.insert(cursor.clone()) => Ok(Next::Cursor(cursor)),
        Some(_) => Err("the service's list goes round in circles: a page was named twice"),
    }
}

/// Calls again after each wait that is worth it.
///
/// # Errors
/// The last one.
pub(super) async fn patiently<T>(
    call: impl AsyncFn() -> Result<T, SendError>,
) -> Result<T, SendError> {
    let mut tries = 0;
    loop {
        let error = match call().await {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        tries += 1;
        let Some(wait) = wait_after(&error.verdict, tries) else {
            return Err(error);
        };
        if wait > Duration::from_secs(5) {
            eprintln!("the service asks to wait for {} s", wait.as_secs());
        }
        tokio::time::sleep(wait).await;
    }
}

/// How long to wait after this many failures; `None`: no more.
fn wait_after(verdict: &Verdict, tries: u32) -> Option<Duration> {
    let doubled = Duration::from_secs(1) * 2_u32.pow(tries.saturating_sub(1).min(6));
    match verdict {
        Verdict::Throttled { after } if tries <= BUSY_TRIES_MAX => {
            Some(after.unwrap_or(doubled)).filter(|wait| *wait <= WAIT_MAX)
        }
        Verdict::Transient if tries <= FAILED_TRIES_MAX => Some(doubled),
        Verdict::Throttled { .. }
        | Verdict::Transient
        | Verdict::Deferred
        | Verdict::QuotaSpent { .. }
        | Verdict::ProviderUnusable
        | Verdict::PoolUnusable
        | Verdict::SenderUnusable
        | Verdict::Ungroup
        | Verdict::Suppressed
        | Verdict::Rejected(_)
        | Verdict::Unknown => None,
    }
}

/// What the service said, for the operator.
pub(super) fn said(error: &SendError) -> String {
    let hint = match &error.verdict {
        Verdict::Throttled { after: Some(after) } => {
            format!(" (it asks to wait for {} s)", after.as_secs())
        }
        Verdict::ProviderUnusable => " (may the key read and write suppressions?)".to_owned(),
        Verdict::Throttled { after: None }
        | Verdict::Transient
        | Verdict::Deferred
        | Verdict::QuotaSpent { .. }
        | Verdict::PoolUnusable
        | Verdict::SenderUnusable
        | Verdict::Ungroup
        | Verdict::Suppressed
        | Verdict::Rejected(_)
        | Verdict::Unknown => String::new(),
    };
    let reply = error.reply.without_local_parts();
    format!("the service: {}: {reply}{hint}", error.verdict.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_kept_if_it_is_short_and_a_refusal_is_final() {
        let throttled = |s: Option<u64>| Verdict::Throttled {
            after: s.map(Duration::from_secs),
        };
        for (verdict, tries, wait_s) in [
            (throttled(Some(7)), 1, Some(7)),
            (throttled(Some(3_600)), 1, None),
            (throttled(None), 1, Some(1)),
            (throttled(None), 10, Some(64)),
            (throttled(None), 11, None),
            (Verdict::Transient, 1, Some(1)),
            (Verdict::Transient, 3, Some(4)),
            (Verdict::Transient, 4, None),
            (Verdict::ProviderUnusable, 1, None),
        ] {
            let wait = wait_after(&verdict, tries);
            assert_eq!(wait, wait_s.map(Duration::from_secs), "{verdict:?} {tries}");
        }
    }

    #[test]
    fn a_list_that_goes_round_in_circles_is_left() {
        let mut seen = HashSet::new();
        for (next, ends) in [(Some("a"), false), (Some("b"), false), (None, true)] {
            let next = after(next.map(str::to_owned), &mut seen).unwrap();
            assert_eq!(matches!(next, Next::End), ends);
        }
        assert!(after(Some("a".to_owned()), &mut seen).is_err());
    }
}
