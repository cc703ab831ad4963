//! A provider that does what a test tells it to, and remembers what it was asked.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use malote_core::provider::{
    Account, Capabilities, Outgoing, Provider, Receipt, Reply, SendError, SendReport, Verdict,
    report_for_all,
};
use malote_core::tracking::TrackingSwitches;

/// What a call comes to.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    Take,
    TakeAfter(Duration),
    Fail(Verdict),
    FailAfter(Duration, Verdict),
    /// One result per recipient.
    Each(Vec<Result<(), Verdict>>),
    Hang,
}

/// A call as the provider saw it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) recipients: Vec<String>,
    pub(crate) body: String,
}

/// The provider. Acts are used up in turn, then `always` is done. A recipient whose address begins
/// with `poison` makes it panic.
pub(crate) struct Scripted {
    name: String,
    capabilities: Capabilities,
    acts: Mutex<VecDeque<Act>>,
    always: Mutex<Act>,
    seen: Mutex<Vec<Seen>>,
    under_way: AtomicUsize,
    most_under_way: AtomicUsize,
    checks: AtomicUsize,
    is_polled: AtomicBool,
}

impl Scripted {
    pub(crate) fn new(name: &str) -> Arc<Self> {
        Self::for_groups(name, 1)
    }

    pub(crate) fn for_groups(name: &str, recipients_max: u16) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            capabilities: Capabilities {
                message_bytes_max: 1 << 20,
                recipients_max,
                envelope_sender: true,
                smtputf8: true,
                eight_bit: true,
                tracking: TrackingSwitches::BOTH,
            },
            acts: Mutex::default(),
            always: Mutex::new(Act::Take),
            seen: Mutex::default(),
            under_way: AtomicUsize::new(0),
            most_under_way: AtomicUsize::new(0),
            checks: AtomicUsize::new(0),
            is_polled: AtomicBool::new(false),
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What the next calls come to.
    pub(crate) fn then(&self, acts: impl IntoIterator<Item = Act>) {
        self.acts.lock().unwrap().extend(acts);
    }

    /// What every call comes to that no act is left for.
    pub(crate) fn always(&self, act: Act) {
        *self.always.lock().unwrap() = act;
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn calls(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    /// The most calls that were under way at once.
    pub(crate) fn most_under_way(&self) -> usize {
        self.most_under_way.load(Ordering::SeqCst)
    }

    /// How often its account was checked.
    pub(crate) fn checks(&self) -> usize {
        self.checks.load(Ordering::SeqCst)
    }

    /// Has its account checked whenever the engine looks which checks are due.
    pub(crate) fn be_polled(&self) {
        self.is_polled.store(true, Ordering::SeqCst);
    }

    fn note(&self, outgoing: &Outgoing) -> usize {
        let mut seen = self.seen.lock().unwrap();
        let recipients = outgoing.recipients.iter();
        seen.push(Seen {
            recipients: recipients.map(|r| r.address.to_string()).collect(),
            body: String::from_utf8_lossy(&outgoing.body).into_owned(),
        });
        seen.len()
    }

    fn receipt(&self, number: usize) -> Receipt {
        Receipt {
            provider_message_id: format!("{}-{number}", self.name),
            reply: Reply::new(Some(250), None, "taken"),
        }
    }
}

/// Counts a call as under way until it ends or is dropped.
struct UnderWay<'a>(&'a AtomicUsize);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl Provider for Scripted {
    fn kind(&self) -> &'static str {
        "scripted"
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn send(&self, outgoing: &Outgoing) -> SendReport {
        let under_way = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_under_way.fetch_max(under_way, Ordering::SeqCst);
        let _under_way = UnderWay(&self.under_way);
        let number = self.note(outgoing);
        let mut recipients = outgoing.recipients.iter();
        assert!(
            !recipients.any(|r| r.address.as_str().starts_with("poison")),
            "the script says so"
        );
        let next = self.acts.lock().unwrap().pop_front();
        let act = next.unwrap_or_else(|| self.always.lock().unwrap().clone());
        let failed = |verdict| SendError::new(verdict, Reply::none("the script says so"));
        match act {
            Act::Take => report_for_all(outgoing, &Ok(self.receipt(number))),
            Act::TakeAfter(wait) => {
                tokio::time::sleep(wait).await;
                report_for_all(outgoing, &Ok(self.receipt(number)))
            }
            Act::Fail(verdict) => report_for_all(outgoing, &Err(failed(verdict))),
            Act::FailAfter(wait, verdict) => {
                tokio::time::sleep(wait).await;
                report_for_all(outgoing, &Err(failed(verdict)))
            }
            Act::Each(results) => {
                let result = |r: Result<(), Verdict>| match r {
                    Ok(()) => Ok(self.receipt(number)),
                    Err(verdict) => Err(failed(verdict)),
                };
                results.into_iter().map(result).collect()
            }
            Act::Hang => std::future::pending().await,
        }
    }

    async fn check(&self) -> Result<Account, SendError> {
        self.checks.fetch_add(1, Ordering::SeqCst);
        Ok(Account::default())
    }

    fn account_poll_every(&self) -> Option<Duration> {
        let is_polled = self.is_polled.load(Ordering::SeqCst);
        is_polled.then_some(Duration::ZERO)
    }
}
