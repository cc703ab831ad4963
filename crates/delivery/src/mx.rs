//! Who runs a recipient's mailbox, with the MX of unknown domains looked up and kept.
//!
//! An answer is a nicety, mail is not: whatever the name server does, mail waits for it at most
//! [`LOOKUP_WAIT_MAX`], and not at all while it is silent.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, Record};
use malote_core::name::MailboxProvider;
use malote_router::Router;
use tokio::sync::{OnceCell, Semaphore};
use tokio::time::{Instant, timeout};

/// Longest wait for one domain's MX.
const LOOKUP_WAIT_MAX: Duration = Duration::from_secs(2);

/// Domains kept. An answer takes about 300 octets.
const DOMAINS_MAX: usize = 50_000;

/// Bounds of how long an answer is kept, whatever its TTL says.
const KEEP_MIN: Duration = Duration::from_secs(5 * 60);
const KEEP_MAX: Duration = Duration::from_secs(24 * 3600);

/// How long it is remembered that a domain has no MX, or that the question failed.
const KEEP_NOTHING: Duration = Duration::from_secs(5 * 60);

/// MX hosts kept of one domain, the preferred ones.
const HOSTS_MAX: usize = 4;

/// Questions under way at once; more wait their turn within [`LOOKUP_WAIT_MAX`].
const LOOKUPS_MAX: usize = 64;

/// Questions in a row without an answer after which the name server counts as silent, and how
/// long it is not asked then. Without this, a message to 1,000 domains would wait for each.
const SILENCES_MAX: u32 = 3;
const SILENCE_REST: Duration = Duration::from_secs(30);

/// MX look-ups: each domain asked once at a time, answers kept, bounded.
#[derive(Debug)]
pub struct MxCache {
    state: Mutex<State>,
    lookups: Semaphore,
}

#[derive(Default)]
struct State {
    domains: HashMap<String, Arc<Entry>>,
    resolver: Option<(Option<SocketAddr>, TokioResolver)>,
    silences: u32,
    resting_until: Option<Instant>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} domains", self.domains.len())
    }
}

/// One domain; empty while its first question is under way.
#[derive(Debug, Default)]
struct Entry {
    answer: OnceCell<Answer>,
}

impl Entry {
    fn is_stale(&self, now: Instant) -> bool {
        self.answer.get().is_some_and(|answer| answer.until <= now)
    }
}

#[derive(Debug)]
struct Answer {
    /// Preferred first; empty if there is none.
    hosts: Box<[String]>,
    until: Instant,
}

/// Why a question has no answer that is worth keeping for its TTL.
enum Silence {
    /// The server said nothing in time.
    Timeout,
    /// It said something of no use, or could not be reached.
    Failure,
}

impl Default for MxCache {
    fn default() -> Self {
        Self::new()
    }
}

impl MxCache {
    /// An empty cache. The name server is the router's at each question, so a reload needs no new
    /// cache.
    #[must_use]
    pub fn new() -> Self {
        Self {
            state: Mutex::default(),
            lookups: Semaphore::new(LOOKUPS_MAX),
        }
    }

    /// Who runs the mailboxes of `domain` (lower-case A-labels): by the router's table, else, if
    /// the configuration wants look-ups, by the domain's MX. `other` if the DNS does not say
    /// within two seconds.
    pub async fn mailbox_provider(&self, router: &Router, domain: &str) -> MailboxProvider {
        if !router.needs_mx_of(domain) {
            return router.mailbox_provider(domain, None);
        }
        let Some(entry) = self.entry(domain) else {
            return router.mailbox_provider(domain, None);
        };
        let server = router.dns_server();
        let answer = entry.answer.get_or_init(|| self.ask(domain, server)).await;
        router.mailbox_provider(domain, Some(&answer.hosts))
    }

    /// The domain's entry, fresh or to be filled. While the name server is silent an old one is
    /// good enough, and a domain that is not known has none.
    fn entry(&self, domain: &str) -> Option<Arc<Entry>> {
        let now = Instant::now();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let is_resting = state.resting_until.is_some_and(|until| now < until);
        if let Some(known) = state.domains.get(domain)
            && (is_resting || !known.is_stale(now))
        {
            return Some(Arc::clone(known));
        }
        if is_resting {
            return None;
        }
        if state.domains.len() >= DOMAINS_MAX {
            make_room(&mut state.domains, now);
        }
        let entry = Arc::new(Entry::default());
        state.domains.insert(domain.to_owned(), Arc::clone(&entry));
        Some(entry)
    }

    /// Asks, and turns every failure into an answer that is kept for a short time.
    async fn ask(&self, domain: &str, server: Option<SocketAddr>) -> Answer {
        let outcome = match self.resolver(server) {
            Some(resolver) => timeout(LOOKUP_WAIT_MAX, self.look_up(&resolver, domain))
                .await
                .unwrap_or(Err(Silence::Timeout)),
            None => Err(Silence::Failure),
        };
        self.note(&outcome);
        let (hosts, keep) = match outcome {
            Ok(answer) => answer,
            Err(Silence::Timeout | Silence::Failure) => (Box::default(), KEEP_NOTHING),
        };
        Answer {
            hosts,
            until: Instant::now() + keep,
        }
    }

    async fn look_up(
        &self,
        resolver: &TokioResolver,
        domain: &str,
    ) -> Result<(Box<[String]>, Duration), Silence> {
        let Ok(_turn) = self.lookups.acquire().await else {
            return Err(Silence::Failure);
        };
        // The final dot keeps the system's search domains out.
        match resolver.mx_lookup(format!("{domain}.")).await {
            Ok(found) => Ok(read(found.answers())),
            Err(fault) if fault.is_no_records_found() => Ok((Box::default(), KEEP_NOTHING)),
            Err(NetError::Timeout) => Err(Silence::Timeout),
            Err(_) => Err(Silence::Failure),
        }
    }

    /// Counts silences in a row; any answer at all ends them.
    fn note<T>(&self, outcome: &Result<T, Silence>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Err(Silence::Timeout) => state.silences += 1,
            Ok(_) | Err(Silence::Failure) => state.silences = 0,
        }
        if state.silences >= SILENCES_MAX {
            state.silences = 0;
            state.resting_until = Some(Instant::now() + SILENCE_REST);
            tracing::warn!(
                rest_s = SILENCE_REST.as_secs(),
                "name server was silent, mailbox providers are told by the table alone"
            );
        }
    }

    /// The resolver for this name server, built anew when a reload changed the server.
    fn resolver(&self, server: Option<SocketAddr>) -> Option<TokioResolver> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((own, resolver)) = &state.resolver
            && *own == server
        {
            return Some(resolver.clone());
        }
        match build(server) {
            Ok(resolver) => {
                state.resolver = Some((server, resolver.clone()));
                Some(resolver)
            }
            Err(fault) => {
                // Counted as silence at once, so that this is said every half minute at most.
                state.resting_until = Some(Instant::now() + SILENCE_REST);
                tracing::warn!(error = %fault, "name server could not be set up");
                None
            }
        }
    }
}

fn build(server: Option<SocketAddr>) -> Result<TokioResolver, NetError> {
    let mut builder = match server {
        Some(server) => {
            let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut c| {
                c.port = server.port();
                c
            });
            let server = NameServerConfig::new(server.ip(), true, connections.into());
            let config = ResolverConfig::from_name_servers(vec![server]);
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        }
        None => TokioResolver::builder_tokio()?,
    };
    let options: &mut ResolverOpts = builder.options_mut();
    options.timeout = LOOKUP_WAIT_MAX / 2;
    options.attempts = 1;
    options.use_hosts_file = ResolveHosts::Never;
    options.max_active_requests = LOOKUPS_MAX;
    // Answers are kept here, with our own bounds.
    options.cache_size = 0;
    builder.build()
}

/// The preferred hosts in order, and how long to keep them.
fn read(records: &[Record]) -> (Box<[String]>, Duration) {
    let mx_of = |record: &Record| {
        let RData::MX(mx) = &record.data else {
            return None;
        };
        Some((mx.preference, mx.exchange.to_ascii(), record.ttl))
    };
    let mut found: Vec<(u16, String, u32)> = records.iter().filter_map(mx_of).collect();
    found.sort();
    let ttl = found.iter().map(|(_, _, ttl)| *ttl).min();
    let keep = ttl.map_or(KEEP_NOTHING, |ttl| {
        Duration::from_secs(ttl.into()).clamp(KEEP_MIN, KEEP_MAX)
    });
    let hosts = found.into_iter().take(HOSTS_MAX).map(|(_, host, _)| host);
    (hosts.collect(), keep)
}

/// Drops what is stale; if that frees less than a tenth, drops any tenth.
fn make_room(domains: &mut HashMap<String, Arc<Entry>>, now: Instant) {
    domains.retain(|_, entry| !entry.is_stale(now));
    let mut surplus = domains.len().saturating_sub(DOMAINS_MAX - DOMAINS_MAX / 10);
    domains.retain(|_, _| {
        let goes = surplus > 0;
        surplus = surplus.saturating_sub(1);
        !goes
    });
}

#[cfg(test)]
mod tests;
