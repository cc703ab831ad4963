//! Rates: so many recipients a second, of this process alone or of all nodes, each at its time.
//!
//! Times of a rate are a period apart: 1 s and [`LATE_MAX`], divided by the rate. A unit is used from
//! its time on, and less than [`LATE_MAX`] after it. So what is used in any second has its times
//! within a second and [`LATE_MAX`], and of times a period apart no more than the rate are in it,
//! rounded up to a whole one.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use malote_core::limits::Limits;
use malote_core::stream::Class;
use malote_store::{Nodes, Rate, RateRequest, Shared, StoreError};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

use super::ledger::Ledger;
use super::skew::Skew;

/// What a unit may be used after its time: what a task wakes late on a busy machine. It costs as much
/// of a rate as it is of a second.
pub(super) const LATE_MAX: Duration = Duration::from_millis(15);
/// How long before its time a unit is taken: the start of an attempt becomes durable meanwhile. What
/// a crash loses of a rate is as much.
pub(super) const AHEAD: Duration = Duration::from_millis(150);
/// Pause between questions to the database where a rate is used up: what comes next is one period
/// away, and asked for each they would be many questions.
const PAUSE: Duration = Duration::from_millis(25);
/// Units asked for at once, at most, are what comes in this while.
const SLICE: Duration = Duration::from_millis(50);

/// The right to send to one recipient at its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unit {
    /// Its time.
    pub(super) from: Instant,
    /// When it is over.
    pub(super) until: Instant,
}

impl Unit {
    /// Waits for its time; false if that is over.
    pub(super) async fn is_used(self) -> bool {
        sleep_until(self.from).await;
        Instant::now() < self.until
    }
}

/// By class, the rates that calls to an account or pool must keep; none where there are none.
pub(super) type RatesByClass = HashMap<Class, Arc<Rates>>;

/// The rates that calls of one class to one account or pool must keep all at once. Who waits is
/// served in turn.
pub(super) struct Rates {
    source: Source,
    rates: Vec<Rate>,
    hand: Mutex<Hand>,
    /// Units of calls of one recipient, by their times. Who is ready first goes with the first, so that
    /// none is lost to a call that is held up.
    due: std::sync::Mutex<VecDeque<Unit>>,
    due_turn: Mutex<()>,
    /// Recipients of the calls that wait.
    waiting: AtomicU32,
}

/// Who counts.
#[derive(Clone)]
pub(super) enum Source {
    /// This process, for itself.
    Own(Arc<Ledger>),
    /// The database, for all nodes.
    Common(Arc<dyn Shared>),
}

impl Source {
    /// Goes on where the source of an earlier configuration is.
    pub(super) fn new(shared: &Arc<dyn Shared>, previous: Option<&Self>) -> Self {
        match previous {
            Some(Self::Own(ledger)) => Self::Own(Arc::clone(ledger)),
            _ if shared.nodes().is_some() => Self::Common(Arc::clone(shared)),
            _ => Self::Own(Arc::new(Ledger::new(Instant::now()))),
        }
    }
}

/// Units taken, and not yet by a call.
struct Hand {
    next: Unit,
    units: u32,
    /// Those that calls of several recipients waited for and did not go with: the next such call
    /// begins with them, or one too large for its patience would never go.
    gathered: u32,
    /// When to ask the database again, if there were too few.
    ask_at: Instant,
    skew: Skew,
}

impl Hand {
    /// Takes the next one that is not over.
    fn take(&mut self, step: Duration, now: Instant) -> Option<Unit> {
        while self.units > 0 {
            let unit = self.next;
            self.units -= 1;
            self.next.from += step;
            self.next.until += step;
            if now < unit.until {
                return Some(unit);
            }
        }
        None
    }
}

impl Rates {
    fn new(source: Source, rates: Vec<Rate>) -> Self {
        let now = Instant::now();
        let hand = Hand {
            next: Unit {
                from: now,
                until: now,
            },
            units: 0,
            gathered: 0,
            ask_at: now,
            skew: Skew::new(now),
        };
        Self {
            source,
            rates,
            hand: Mutex::new(hand),
            due: std::sync::Mutex::default(),
            due_turn: Mutex::default(),
            waiting: AtomicU32::new(0),
        }
    }

    /// Waits until the last of so many units is at most [`AHEAD`] of its time. That one is returned:
    /// the call goes with it.
    ///
    /// # Errors
    /// If the rates are of all nodes and the database cannot be asked.
    pub(super) async fn take(&self, recipients: u32) -> Result<Unit, StoreError> {
        let _waiting = Waiting::new(&self.waiting, recipients);
        // A FIFO queue: the first one waits with the hand open, the others behind it.
        let hand = &mut *self.hand.lock().await;
        let others = recipients.saturating_sub(1);
        loop {
            let left = others.saturating_sub(hand.gathered);
            match hand.take(self.step(), Instant::now()) {
                Some(unit) if left == 0 => {
                    hand.gathered = hand.gathered.saturating_sub(others);
                    return Ok(unit);
                }
                Some(_) => hand.gathered += 1,
                None => self.refill(hand, left + 1).await?,
            }
        }
    }

    /// Puts a unit taken among those that calls of one recipient go with.
    pub(super) fn put_due(&self, unit: Unit) {
        let now = Instant::now();
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        // Left by calls that were not made.
        while due.front().is_some_and(|first| first.until <= now) {
            due.pop_front();
        }
        due.push_back(unit);
    }

    /// Goes with the first unit that is due; false if all are over.
    pub(super) async fn go(&self) -> bool {
        let _turn = self.due_turn.lock().await;
        let first = || {
            let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
            due.pop_front()
        };
        while let Some(unit) = first() {
            if unit.is_used().await {
                return true;
            }
        }
        false
    }

    /// Takes units, or waits until it is worth asking again.
    async fn refill(&self, hand: &mut Hand, need: u32) -> Result<(), StoreError> {
        match &self.source {
            Source::Own(ledger) => {
                let grant = ledger.take(&self.rates, need, Instant::now());
                hand.units = grant.units;
                hand.next = Unit {
                    from: grant.first,
                    until: grant.first + LATE_MAX,
                };
                if grant.units == 0 {
                    sleep_until(grant.first - AHEAD).await;
                }
            }
            Source::Common(shared) => {
                if let Some(nodes) = shared.nodes() {
                    sleep_until(hand.ask_at).await;
                    self.ask(nodes, hand, need).await?;
                }
            }
        }
        Ok(())
    }

    async fn ask(&self, nodes: &dyn Nodes, hand: &mut Hand, need: u32) -> Result<(), StoreError> {
        let slice = SLICE.as_nanos() / self.step().as_nanos().max(1);
        let slice = u32::try_from(slice).unwrap_or(u32::MAX);
        let request = RateRequest {
            rates: self.rates.clone(),
            want: self.waiting.load(Ordering::Relaxed).min(slice).max(need),
            ahead: AHEAD,
        };
        let asked_at = Instant::now();
        let grant = nodes.take_rates(request).await?;
        let answered_at = Instant::now();
        hand.skew.narrow(asked_at, answered_at, grant.clock_ns);
        hand.units = grant.units;
        hand.next = hand.skew.unit(grant.first_ns);
        hand.ask_at = match grant.wait {
            Duration::ZERO => answered_at,
            wait => answered_at + wait.max(PAUSE),
        };
        Ok(())
    }

    /// From one unit to the next.
    fn step(&self) -> Duration {
        let periods = self.rates.iter().map(|rate| rate.period);
        periods.max().unwrap_or_default()
    }
}

/// Counts a call among those that wait, until it is dropped.
struct Waiting<'a> {
    all: &'a AtomicU32,
    recipients: u32,
}

impl<'a> Waiting<'a> {
    fn new(all: &'a AtomicU32, recipients: u32) -> Self {
        all.fetch_add(recipients, Ordering::Relaxed);
        Self { all, recipients }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.all.fetch_sub(self.recipients, Ordering::Relaxed);
    }
}

/// The rates of an account, or of a pool and its account. Those that were there before go on.
pub(super) fn rates_by_class(
    source: &Source,
    levels: &[(&str, &Limits)],
    before: Option<&RatesByClass>,
) -> RatesByClass {
    let mut all = RatesByClass::new();
    for class in [Class::Transactional, Class::Campaign] {
        let levels = levels.iter();
        let rates: Vec<Rate> = levels
            .flat_map(|(account, limits)| rates_of(account, limits, class))
            .collect();
        if rates.is_empty() {
            continue;
        }
        let kept = before.and_then(|before| before.get(&class));
        let kept = kept.filter(|kept| kept.rates == rates).cloned();
        let made = || Arc::new(Rates::new(source.clone(), rates));
        all.insert(class, kept.unwrap_or_else(made));
    }
    all
}

/// Campaign streams have a rate of their own within that of all, if a share is reserved.
fn rates_of(account: &str, limits: &Limits, class: Class) -> Vec<Rate> {
    let Some(per_second) = limits.per_second else {
        return Vec::new();
    };
    let of_all = Rate {
        account: account.to_owned(),
        period: period(per_second),
    };
    let reserve = limits.transactional_reserve.unwrap_or(0.0);
    if class == Class::Transactional || reserve <= 0.0 {
        return vec![of_all];
    }
    let of_campaigns = Rate {
        account: format!("{account} campaigns"),
        period: period(per_second * (1.0 - reserve)),
    };
    vec![of_all, of_campaigns]
}

/// From one unit of a rate to the next.
pub(super) fn period(per_second: f64) -> Duration {
    let exact = (1.0 + LATE_MAX.as_secs_f64()) / per_second.max(0.001);
    // Never below it: a second would hold one more.
    Duration::from_secs_f64(exact) + Duration::from_nanos(1)
}
