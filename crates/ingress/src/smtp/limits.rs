//! What one source, and all of them together, may hold: connections, log-in attempts, memory.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Sources remembered besides those that are connected.
const SOURCES_MAX: usize = 65_536;
/// How long a source counts as known after a login.
const KNOWN_FOR: Duration = Duration::from_secs(3_600);
/// How long wrong passwords are held against a source.
const FAILURES_FOR: Duration = Duration::from_secs(900);
/// Wrong passwords that cost no wait.
const FREE_FAILURES: u32 = 5;
/// Longest gap between two log-in attempts of a source.
const LOGIN_GAP_MAX: Duration = Duration::from_secs(4);
/// Longest time that an attempt is kept waiting; beyond it the connection is refused.
const LOGIN_WAIT_MAX: Duration = Duration::from_secs(10);
/// Time between two sweeps of a full table, so that a flood does not make every connection sweep.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// Who counts as one client: an IPv4 address, or the /64 that one IPv6 client has to itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Source(IpAddr);

impl From<IpAddr> for Source {
    fn from(ip: IpAddr) -> Self {
        Self(match ip.to_canonical() {
            IpAddr::V4(v4) => IpAddr::V4(v4),
            IpAddr::V6(v6) => {
                let network = u128::from(v6) & !u128::from(u64::MAX);
                IpAddr::V6(Ipv6Addr::from(network))
            }
        })
    }
}

#[derive(Debug, Default)]
struct Entry {
    strangers: usize,
    known: usize,
    known_until: Option<Instant>,
    failures: u32,
    failed_at: Option<Instant>,
    next_login_at: Option<Instant>,
}

impl Entry {
    fn is_worth_keeping(&self, now: Instant) -> bool {
        let has_failed = self.failed_at.is_some_and(|at| now < at + FAILURES_FOR);
        self.strangers + self.known > 0
            || self.known_until.is_some_and(|end| now < end)
            || has_failed
    }
}

#[derive(Debug, Default)]
struct Table {
    entries: HashMap<Source, Entry>,
    strangers: usize,
    swept_at: Option<Instant>,
}

impl Table {
    /// The source's entry, if there is one or room for one.
    fn entry_if_room(&mut self, source: Source, now: Instant) -> Option<&mut Entry> {
        self.sweep(now);
        if self.entries.len() >= SOURCES_MAX && !self.entries.contains_key(&source) {
            return None;
        }
        Some(self.entries.entry(source).or_default())
    }

    /// The source's entry, made if need be: for connections, whose number is bounded elsewhere.
    fn entry(&mut self, source: Source, now: Instant) -> &mut Entry {
        self.sweep(now);
        self.entries.entry(source).or_default()
    }

    fn sweep(&mut self, now: Instant) {
        let is_due = self.swept_at.is_none_or(|at| now >= at + SWEEP_EVERY);
        if self.entries.len() >= SOURCES_MAX && is_due {
            self.swept_at = Some(now);
            self.entries.retain(|_, entry| entry.is_worth_keeping(now));
        }
    }
}

/// The connections of all sources. Those from which somebody logged in have a pool of their own,
/// so that a crowd of strangers does not keep them out.
#[derive(Debug)]
pub(crate) struct Sources {
    strangers_max: usize,
    strangers_per_source_max: usize,
    known_per_source_max: usize,
    table: Mutex<Table>,
}

/// When an attempt to log in may be checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LoginTurn {
    Now,
    After(Duration),
    Refused,
}

impl Sources {
    pub(crate) fn new(strangers_max: usize, per_source: usize, known_per_source: usize) -> Self {
        Self {
            strangers_max,
            strangers_per_source_max: per_source,
            known_per_source_max: known_per_source,
            table: Mutex::default(),
        }
    }

    /// A place for one more connection, if there is one.
    pub(crate) fn admit(self: &Arc<Self>, source: Source, now: Instant) -> Option<Slot> {
        let mut table = self.lock();
        let has_room = table.strangers < self.strangers_max;
        let entry = table.entry(source, now);
        let is_known = if has_room && entry.strangers < self.strangers_per_source_max {
            entry.strangers += 1;
            false
        } else if entry.known_until.is_some_and(|end| now < end)
            && entry.known < self.known_per_source_max
        {
            entry.known += 1;
            true
        } else {
            return None;
        };
        table.strangers += usize::from(!is_known);
        drop(table);
        Some(Slot {
            sources: Arc::clone(self),
            source,
            is_known,
        })
    }

    /// When this source's next attempt to log in may be checked. Whoever is logged in from there
    /// shows that the source is no mere attacker, and is not made to wait.
    pub(crate) fn login_turn(&self, source: Source, now: Instant) -> LoginTurn {
        let mut table = self.lock();
        let Some(entry) = table.entry_if_room(source, now) else {
            return LoginTurn::Now;
        };
        if entry.failed_at.is_none_or(|at| now >= at + FAILURES_FOR) {
            entry.failures = 0;
        }
        if entry.failures < FREE_FAILURES || entry.known > 0 {
            return LoginTurn::Now;
        }
        let doublings = (entry.failures - FREE_FAILURES).min(8);
        let gap = Duration::from_secs(1 << doublings).min(LOGIN_GAP_MAX);
        let at = entry.next_login_at.unwrap_or(now).max(now) + gap;
        let wait = at - now;
        if wait > LOGIN_WAIT_MAX {
            return LoginTurn::Refused;
        }
        entry.next_login_at = Some(at);
        LoginTurn::After(wait)
    }

    /// Holds a wrong password against the source.
    pub(crate) fn login_failed(&self, source: Source, now: Instant) {
        let mut table = self.lock();
        if let Some(entry) = table.entry_if_room(source, now) {
            entry.failures = entry.failures.saturating_add(1);
            entry.failed_at = Some(now);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Table> {
        // The table is counters: a panic elsewhere cannot leave it half changed.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection's place; given back when dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    sources: Arc<Sources>,
    source: Source,
    is_known: bool,
}

impl Slot {
    /// The connection logged in: it leaves the strangers' pool, and its source is known.
    pub(crate) fn promote(&mut self, now: Instant) {
        let mut table = self.sources.lock();
        let entry = table.entry(self.source, now);
        entry.known_until = Some(now + KNOWN_FOR);
        entry.failures = 0;
        entry.next_login_at = None;
        if !self.is_known {
            self.is_known = true;
            entry.known += 1;
            entry.strangers = entry.strangers.saturating_sub(1);
            table.strangers = table.strangers.saturating_sub(1);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut table = self.sources.lock();
        if !self.is_known {
            table.strangers = table.strangers.saturating_sub(1);
        }
        // A full table forgets what it can rather than grow.
        let is_full = table.entries.len() > SOURCES_MAX;
        if let Some(entry) = table.entries.get_mut(&self.source) {
            if self.is_known {
                entry.known = entry.known.saturating_sub(1);
            } else {
                entry.strangers = entry.strangers.saturating_sub(1);
            }
            let is_blank = entry.known_until.is_none() && entry.failed_at.is_none();
            if entry.strangers + entry.known == 0 && (is_blank || is_full) {
                table.entries.remove(&self.source);
            }
        }
    }
}

/// Memory for the messages that are being received, of all connections together.
#[derive(Debug)]
pub(crate) struct BodyBudget {
    bytes_max: u64,
    held: AtomicU64,
}

/// Octets by which a lease grows, so that a message touches the shared counter a few times only.
const LEASE_STEP_BYTES: u64 = 64 * 1024;

impl BodyBudget {
    pub(crate) const fn new(bytes_max: u64) -> Self {
        Self {
            bytes_max,
            held: AtomicU64::new(0),
        }
    }

    /// Octets held now.
    pub(crate) fn bytes_held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }
}

/// One connection's share; given back when dropped.
#[derive(Debug)]
pub(crate) struct BodyLease {
    budget: Arc<BodyBudget>,
    bytes: u64,
}

impl BodyLease {
    pub(crate) const fn new(budget: Arc<BodyBudget>) -> Self {
        Self { budget, bytes: 0 }
    }

    /// Holds at least `bytes` from now on; false, and nothing changes, if there is no room.
    pub(crate) fn cover(&mut self, bytes: u64) -> bool {
        if bytes <= self.bytes {
            return true;
        }
        let more = bytes.next_multiple_of(LEASE_STEP_BYTES) - self.bytes;
        let taken = self
            .budget
            .held
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
                held.checked_add(more)
                    .filter(|held| *held <= self.budget.bytes_max)
            })
            .is_ok();
        if taken {
            self.bytes += more;
        }
        taken
    }

    /// Gives everything back.
    pub(crate) fn release(&mut self) {
        if self.bytes > 0 {
            self.budget.held.fetch_sub(self.bytes, Ordering::Relaxed);
            self.bytes = 0;
        }
    }
}

impl Drop for BodyLease {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(ip: &str) -> Source {
        Source::from(ip.parse::<IpAddr>().unwrap())
    }

    #[test]
    fn one_ipv6_network_and_one_mapped_address_are_one_source() {
        assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:1"));
        assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
        assert_eq!(source("::ffff:192.0.2.1"), source("192.0.2.1"));
    }

    #[tokio::test]
    async fn strangers_cannot_keep_out_a_source_that_logged_in() {
        let sources = Arc::new(Sources::new(3, 2, 5));
        let now = Instant::now();
        let mut known = sources.admit(source("192.0.2.1"), now).unwrap();
        known.promote(now);
        let crowd: Vec<_> = ["192.0.2.2", "192.0.2.2", "192.0.2.3"]
            .iter()
            .map(|ip| sources.admit(source(ip), now).unwrap())
            .collect();
        assert!(sources.admit(source("192.0.2.2"), now).is_none());
        assert!(sources.admit(source("192.0.2.9"), now).is_none());
        assert!(sources.admit(source("192.0.2.1"), now).is_some());
        let later = now + KNOWN_FOR;
        assert!(sources.admit(source("192.0.2.1"), later).is_none());
        drop(crowd);
        assert!(sources.admit(source("192.0.2.9"), later).is_some());
        drop(known);
        assert_eq!(sources.lock().strangers, 0);
    }

    #[tokio::test]
    async fn wrong_passwords_make_a_source_wait_and_a_login_forgives_them() {
        let sources = Arc::new(Sources::new(9, 9, 9));
        let (one, other) = (source("192.0.2.1"), source("192.0.2.2"));
        let now = Instant::now();
        let mut slot = sources.admit(one, now).unwrap();
        for _ in 0..FREE_FAILURES {
            assert_eq!(sources.login_turn(one, now), LoginTurn::Now);
            sources.login_failed(one, now);
        }
        let second = Duration::from_secs(1);
        assert_eq!(sources.login_turn(one, now), LoginTurn::After(second));
        assert_eq!(sources.login_turn(one, now), LoginTurn::After(2 * second));
        assert_eq!(sources.login_turn(other, now), LoginTurn::Now);
        (0..9).for_each(|_| sources.login_failed(one, now));
        assert_eq!(sources.login_turn(one, now), LoginTurn::After(6 * second));
        assert_eq!(sources.login_turn(one, now), LoginTurn::After(10 * second));
        assert_eq!(sources.login_turn(one, now), LoginTurn::Refused);
        slot.promote(now);
        assert_eq!(sources.login_turn(one, now), LoginTurn::Now);
    }

    #[tokio::test]
    async fn the_table_of_sources_is_bounded() {
        let sources = Arc::new(Sources::new(usize::MAX, 1, 1));
        let now = Instant::now();
        for n in 0..70_000_u32 {
            let source = Source::from(IpAddr::from(n.to_be_bytes()));
            let slot = sources.admit(source, now);
            assert!(slot.is_some());
            assert_eq!(sources.login_turn(source, now), LoginTurn::Now);
            sources.login_failed(source, now);
        }
        assert_eq!(sources.lock().entries.len(), SOURCES_MAX);
        let later = now + FAILURES_FOR;
        assert!(sources.admit(source("2001:db8::1"), later).is_some());
        assert!(sources.lock().entries.len() <= 1);
    }

    #[test]
    fn memory_is_shared_and_given_back() {
        let budget = Arc::new(BodyBudget::new(3 * LEASE_STEP_BYTES));
        let mut one = BodyLease::new(Arc::clone(&budget));
        let mut two = BodyLease::new(Arc::clone(&budget));
        assert!(one.cover(1) && two.cover(LEASE_STEP_BYTES + 1));
        assert!(!one.cover(LEASE_STEP_BYTES + 1));
        two.release();
        assert!(one.cover(LEASE_STEP_BYTES + 1));
        drop((one, two));
        assert_eq!(budget.bytes_held(), 0);
    }
}
