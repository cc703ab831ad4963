//! The connections to one service: which HTTP they speak, how many are kept, who shares them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use malote_core::limits::Limits;
use malote_core::stream::Class;
use reqwest::{Client, ClientBuilder};

use super::{Answer, Call, Lost, Patience, exchange};

/// Longest wait for a connection, TLS included.
const CONNECT_WAIT_MAX: Duration = Duration::from_secs(10);
/// Idle connections are dropped before common servers and balancers drop them (20 s and more), so
/// that a request is rarely written into a connection that is being closed: that ends as unknown.
const IDLE_MAX: Duration = Duration::from_secs(15);
/// Calls of one class that share an HTTP/2 connection. RFC 9113 6.5.2 asks servers to allow no
/// fewer; those above what a server allows wait unsent.
const CALLS_PER_CONNECTION: u32 = 100;
/// An HTTP/2 connection under calls that has brought nothing for so long is asked whether it
/// lives (PING, RFC 9113 6.7); else every new call would join those that wait on a dead one.
const PING_EVERY: Duration = Duration::from_secs(15);
/// Longest wait for the answer to that; then the connection is given up.
const PING_WAIT_MAX: Duration = Duration::from_secs(10);

/// Which HTTP a service is spoken to with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speech {
    /// HTTP/1.1: one exchange a connection at a time, so that a broken one leaves one outcome in
    /// doubt.
    Http1,
    /// HTTP/2 where the service agrees to it in the TLS handshake (ALPN), else HTTP/1.1.
    Http2,
}

/// A client with what all our calls have in common: no redirect is followed (it would carry the
/// credentials elsewhere), no proxy is taken from the environment, nothing is sent twice on the
/// library's own account. HTTP/1.1 only.
pub(crate) fn client_builder() -> ClientBuilder {
    any_version().http1_only()
}

fn any_version() -> ClientBuilder {
    Client::builder()
        .user_agent(concat!("malote/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .connect_timeout(CONNECT_WAIT_MAX)
        .pool_idle_timeout(IDLE_MAX)
        .tcp_nodelay(true)
        .tcp_keepalive(Duration::from_secs(30))
}

/// The connections to one service: a set for each class, since classes never share a connection.
#[derive(Debug)]
pub(crate) struct HttpClients {
    transactional: Set,
    campaign: Set,
}

impl HttpClients {
    /// Two sets without connections yet, for as many calls at once as `limits` allow.
    ///
    /// # Errors
    /// If TLS cannot be set up on this machine.
    pub(crate) fn new(speech: Speech, limits: &Limits) -> Result<Self, reqwest::Error> {
        Self::with(speech, limits.calls_max(), any_version)
    }

    /// As [`HttpClients::new`], of clients as `builder` begins them.
    pub(super) fn with(
        speech: Speech,
        calls_max: u32,
        builder: impl Fn() -> ClientBuilder,
    ) -> Result<Self, reqwest::Error> {
        Ok(Self {
            transactional: Set::new(speech, calls_max, &builder)?,
            campaign: Set::new(speech, calls_max, &builder)?,
        })
    }

    /// Writes a request on a connection of this class and reads the answer, see
    /// [`exchange`](super::exchange). What the service says it has not begun with ([`Lost::Refused`])
    /// is said once more: a service that ends an HTTP/2 connection, as many do after a number of
    /// calls, is not out of order.
    ///
    /// # Errors
    /// [`Lost`], if there is no answer.
    pub(crate) async fn exchange(
        &self,
        class: Class,
        call: Call,
        patience: Patience,
    ) -> Result<Answer, Lost> {
        let set = match class {
            Class::Transactional => &self.transactional,
            Class::Campaign => &self.campaign,
        };
        let again = match set.speech {
            Speech::Http1 => None,
            Speech::Http2 => Some(call.clone()),
        };
        match (exchange(set.next(), call, patience).await, again) {
            (Err(Lost::Refused(_)), Some(call)) => exchange(set.next(), call, patience).await,
            (result, _) => result,
        }
    }
}

/// One class's connections: a client keeps any number of HTTP/1.1 connections and one of HTTP/2.
#[derive(Debug)]
struct Set {
    speech: Speech,
    first: Client,
    others: Vec<Client>,
    turn: AtomicUsize,
}

impl Set {
    fn new(
        speech: Speech,
        calls_max: u32,
        builder: &impl Fn() -> ClientBuilder,
    ) -> Result<Self, reqwest::Error> {
        // As many as there may be calls: each that is closed for want of room costs a handshake.
        let idle_max = calls_max as usize;
        let build = || {
            let builder = builder().pool_max_idle_per_host(idle_max);
            match speech {
                Speech::Http1 => builder.http1_only().build(),
                Speech::Http2 => builder
                    .http2_keep_alive_interval(PING_EVERY)
                    .http2_keep_alive_timeout(PING_WAIT_MAX)
                    .build(),
            }
        };
        let others = match speech {
            Speech::Http1 => 0,
            Speech::Http2 => calls_max.div_ceil(CALLS_PER_CONNECTION).saturating_sub(1),
        };
        Ok(Self {
            speech,
            first: build()?,
            others: (0..others).map(|_| build()).collect::<Result<_, _>>()?,
            turn: AtomicUsize::new(0),
        })
    }

    fn next(&self) -> &Client {
        if self.others.is_empty() {
            return &self.first;
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % (self.others.len() + 1);
        self.others.get(turn).unwrap_or(&self.first)
    }
}

#[cfg(test)]
mod peer;
#[cfg(test)]
mod tests;
