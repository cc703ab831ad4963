//! Connections kept for the next message: apart by class and source address, bounded, aged.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use malote_core::provider::{Reply, SendError, Verdict};
use malote_core::stream::Class;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::connect::Endpoint;
use super::connection::Link;

/// Bounds of a pool; see the keys of the same name in [`super::SmtpConfig`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) connections_max: usize,
    pub(crate) messages_per_connection_max: u32,
    pub(crate) idle_max: Duration,
    pub(crate) age_max: Duration,
}

/// Which connection a message may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    /// An idle one, if there is one.
    IdleFirst,
    /// A new one, since an idle one has just turned out to be closed.
    New,
}

/// All connections to one server.
pub(crate) struct Pool {
    endpoint: Endpoint,
    bounds: Bounds,
    transactional: Lane,
    campaign: Lane,
    /// Closes what has been idle too long. Started with the first connection, since a pool may be
    /// built where nothing runs yet (`malote check`).
    reaper: OnceLock<Reaper>,
}

/// The connections of one class.
struct Lane {
    permits: Arc<Semaphore>,
    idle: Mutex<Idle>,
}

#[derive(Default)]
struct Idle {
    /// Oldest in front.
    by_source: HashMap<Option<IpAddr>, VecDeque<Link>>,
}

/// A connection in use. Dropping it closes the connection.
pub(crate) struct Leased {
    pub(crate) link: Link,
    /// Whether it had carried a message before.
    pub(crate) is_reused: bool,
    source: Option<IpAddr>,
    class: Class,
    /// One of `connections_max`.
    _permit: OwnedSemaphorePermit,
}

struct Reaper(JoinHandle<()>);

impl Drop for Reaper {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Pool {
    pub(crate) fn new(endpoint: Endpoint, bounds: Bounds) -> Arc<Self> {
        let lane = || Lane {
            permits: Arc::new(Semaphore::new(bounds.connections_max)),
            idle: Mutex::default(),
        };
        Arc::new(Self {
            endpoint,
            bounds,
            transactional: lane(),
            campaign: lane(),
            reaper: OnceLock::new(),
        })
    }

    pub(crate) const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    #[cfg(test)]
    pub(crate) const fn endpoint_mut(&mut self) -> &mut Endpoint {
        &mut self.endpoint
    }

    /// A connection from `source` for a message of `class`.
    ///
    /// # Errors
    /// If all are busy for too long, or none can be opened.
    pub(crate) async fn acquire(
        &self,
        class: Class,
        source: Option<IpAddr>,
        choice: Choice,
    ) -> Result<Leased, SendError> {
        let lane = self.lane(class);
        let wait = self.endpoint.timing.busy;
        let permit = timeout(wait, Arc::clone(&lane.permits).acquire_owned()).await;
        let Ok(Ok(permit)) = permit else {
            let reply = Reply::none("all connections to the server are busy");
            return Err(SendError::new(Verdict::Throttled { after: None }, reply));
        };
        let idle = match choice {
            Choice::IdleFirst => self.take_idle(lane, source),
            Choice::New => None,
        };
        let is_reused = idle.is_some();
        let link = match idle {
            Some(link) => link,
            None => {
                self.make_room(lane);
                self.endpoint.open(source).await?
            }
        };
        Ok(Leased {
            link,
            is_reused,
            source,
            class,
            _permit: permit,
        })
    }

    /// Takes a connection back for the next message.
    pub(crate) fn put_back(self: &Arc<Self>, leased: Leased) {
        let Leased {
            mut link,
            source,
            class,
            ..
        } = leased;
        let now = Instant::now();
        let is_worn = link.messages >= self.bounds.messages_per_connection_max
            || now.duration_since(link.opened_at) >= self.bounds.age_max
            || link.has_unread();
        if is_worn {
            link.close();
            return;
        }
        link.idle_since = now;
        let mut idle = self.lane(class).idle();
        idle.by_source.entry(source).or_default().push_back(link);
        drop(idle);
        self.reaper.get_or_init(|| {
            let rest = (self.bounds.idle_max / 2).max(Duration::from_millis(100));
            Reaper(tokio::spawn(reap(Arc::downgrade(self), rest)))
        });
    }

    const fn lane(&self, class: Class) -> &Lane {
        match class {
            Class::Transactional => &self.transactional,
            Class::Campaign => &self.campaign,
        }
    }

    /// The connection used last, so that those not needed grow old.
    fn take_idle(&self, lane: &Lane, source: Option<IpAddr>) -> Option<Link> {
        loop {
            let mut link = lane.idle().by_source.get_mut(&source)?.pop_back()?;
            if self.is_expired(&link) {
                link.close();
            } else if !link.is_stale() {
                return Some(link);
            }
        }
    }

    /// Idle connections count against the bound too: the oldest makes room for a new one.
    fn make_room(&self, lane: &Lane) {
        let mut idle = lane.idle();
        let in_use = self.bounds.connections_max - lane.permits.available_permits();
        let kept: usize = idle.by_source.values().map(VecDeque::len).sum();
        if in_use + kept > self.bounds.connections_max {
            let queues = idle.by_source.values_mut();
            let oldest =
                queues.min_by_key(|q| q.front().map_or_else(Instant::now, |l| l.idle_since));
            if let Some(link) = oldest.and_then(VecDeque::pop_front) {
                link.close();
            }
        }
    }

    fn is_expired(&self, link: &Link) -> bool {
        link.idle_since.elapsed() >= self.bounds.idle_max
            || link.opened_at.elapsed() >= self.bounds.age_max
    }

    fn close_expired(&self) {
        for lane in [&self.transactional, &self.campaign] {
            for queue in lane.idle().by_source.values_mut() {
                while queue.front().is_some_and(|link| self.is_expired(link)) {
                    if let Some(link) = queue.pop_front() {
                        link.close();
                    }
                }
            }
        }
    }
}

impl Lane {
    fn idle(&self) -> MutexGuard<'_, Idle> {
        // The map is whole between any two steps, so a panic elsewhere does not spoil it.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn reap(pool: Weak<Pool>, rest: Duration) {
    loop {
        sleep(rest).await;
        let Some(pool) = pool.upgrade() else {
            return;
        };
        pool.close_expired();
    }
}
