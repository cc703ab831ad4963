//! The SMTP server: accepts connections, gives each its bounds, and stops without losing mail.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use malote_core::clock::Clock;
use malote_core::credential::CredentialsInForce;
use malote_core::intake::{Intake, Openness};
use malote_core::returned::{ReturnReader, Returns};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::config::SmtpSettings;
use super::connection::{Arrival, Connection, handshake};
use super::door::Door;
use super::limits::{BodyBudget, Slot, Source, Sources};
use super::listener::{Listener, ListenerTls, Role};
use super::metrics::SmtpMetrics;
use super::proxy::{self, Origin};
use super::reply::{self, Reply};
use super::session::{CloseReason, Peer, Recogniser, Session, SessionRules};
use super::stream::Stream;
use crate::net::OpenConnection;

/// How long a proxy may take for its header.
const PROXY_HEADER_WAIT_MAX: Duration = Duration::from_secs(10);
/// How long to wait when the process has no file descriptor left for a connection.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// Octets of a message that comes back: servers return the header, or the first few KiB.
const RETURNED_BYTES_MAX: u64 = 1 << 20;
/// Octets of all that come back at once: anybody can send them, and they keep no submission out.
const RETURNED_INFLIGHT_BYTES_MAX: u64 = 32 << 20;
/// Recipients of one: each of our addresses is of one delivery, so there is one.
const RETURNED_RECIPIENTS_MAX: usize = 10;

/// What listeners for mail that comes back need.
#[derive(Clone)]
pub struct ReturnPorts {
    /// Knows our addresses, and takes in what came to them.
    pub returns: Arc<dyn Returns>,
    /// Reads it.
    pub reader: Arc<dyn ReturnReader>,
}

/// What all listeners share.
pub struct SmtpService {
    pub(crate) settings: SmtpSettings,
    pub(crate) intake: Arc<dyn Intake>,
    pub(crate) returned: Option<ReturnPorts>,
    /// What a drain closes.
    door: Door,
    pub(crate) credentials: CredentialsInForce,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: SmtpMetrics,
    pub(crate) sources: Arc<Sources>,
    budget: Arc<BodyBudget>,
    returned_budget: Arc<BodyBudget>,
    connections: Arc<Semaphore>,
    /// Session ids: the start in milliseconds, then a count.
    started_ms: i64,
    sessions: AtomicU64,
}

/// How far a stop has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stop {
    /// No stop.
    Running,
    /// Sessions end where nothing is lost by it.
    Draining,
    /// Sessions end wherever they wait for the client.
    Cutting,
}

impl SmtpService {
    /// The part that all listeners share: bounds count for all of them together.
    #[must_use]
    pub fn new(
        settings: SmtpSettings,
        intake: Arc<dyn Intake>,
        credentials: CredentialsInForce,
        clock: Arc<dyn Clock>,
        metrics: SmtpMetrics,
    ) -> Self {
        let sources = Sources::new(
            settings.connections_max.div_ceil(2),
            settings.connections_per_source_max,
            settings.sessions_per_source_max,
        );
        Self {
            sources: Arc::new(sources),
            budget: Arc::new(BodyBudget::new(settings.inflight_bytes_max)),
            returned_budget: Arc::new(BodyBudget::new(RETURNED_INFLIGHT_BYTES_MAX)),
            connections: Arc::new(Semaphore::new(settings.connections_max)),
            started_ms: clock.now().as_millisecond(),
            sessions: AtomicU64::new(0),
            settings,
            intake,
            returned: None,
            door: Door::default(),
            credentials,
            clock,
            metrics,
        }
    }

    /// The same, with what listeners for mail that comes back need.
    #[must_use]
    pub fn with_returns(mut self, ports: ReturnPorts) -> Self {
        self.returned = Some(ports);
        self
    }

    /// The same, with what says whether new mail is taken.
    #[must_use]
    pub fn with_openness(mut self, openness: watch::Receiver<Openness>) -> Self {
        self.door = Door::of(openness);
        self
    }

    pub(crate) fn count_inflight(&self) {
        let held = self.budget.bytes_held() + self.returned_budget.bytes_held();
        let held = i64::try_from(held).unwrap_or(i64::MAX);
        self.metrics.inflight_bytes.set(held);
    }

    /// Memory for what a listener of this role receives.
    pub(crate) fn budget_for(&self, role: Role) -> Arc<BodyBudget> {
        match role {
            Role::Submission => Arc::clone(&self.budget),
            Role::Bounce => Arc::clone(&self.returned_budget),
        }
    }

    fn next_session(&self) -> String {
        let count = self.sessions.fetch_add(1, Ordering::Relaxed);
        format!("{:x}-{count:x}", self.started_ms)
    }

    fn rules(&self, listener: &Listener) -> SessionRules {
        let settings = &self.settings;
        let ports = self.returned.as_ref();
        let returns = match listener.role {
            Role::Submission => None,
            Role::Bounce => ports.map(|ports| Recogniser(Arc::clone(&ports.returns))),
        };
        let (message_bytes_max, recipients_max) = match listener.role {
            Role::Submission => (settings.message_bytes_max, settings.recipients_max),
            Role::Bounce => (RETURNED_BYTES_MAX, RETURNED_RECIPIENTS_MAX),
        };
        SessionRules {
            hostname: Arc::clone(&settings.hostname),
            message_bytes_max,
            recipients_max,
            returns,
            offers_starttls: matches!(listener.tls, ListenerTls::Starttls(_)),
            is_trusted_plaintext: listener.is_trusted_plaintext,
        }
    }
}

/// Serves one listener until `shutdown`, then stops accepting at once, lets messages that are
/// being received be finished for at most `drain_max`, and returns when every session has ended.
/// A session whose message is with the engine always gets its answer.
pub async fn serve(
    socket: TcpListener,
    listener: Listener,
    service: Arc<SmtpService>,
    shutdown: CancellationToken,
) {
    let (stopping, stop) = watch::channel(Stop::Running);
    let mut sessions = JoinSet::new();
    let server = Server {
        rules: Arc::new(service.rules(&listener)),
        listener: Arc::new(listener),
        service,
        stop,
    };
    info!(listen = %server.listener.listen, "serving SMTP");
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(ended) = sessions.join_next(), if !sessions.is_empty() => report(ended),
            accepted = socket.accept() => match accepted {
                Ok((tcp, peer)) => server.admit(tcp, peer, &mut sessions),
                Err(fault) if fault.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(fault) => {
                    // Most often EMFILE: existing sessions will end and free a descriptor.
                    warn!(error = %fault, "could not accept a connection");
                    timeout(ACCEPT_BACKOFF, shutdown.cancelled()).await.ok();
                }
            },
        }
    }
    drop(socket);
    stopping.send_replace(Stop::Draining);
    let drain_max = server.service.settings.drain_max;
    let drained = timeout(drain_max, join(&mut sessions)).await;
    if drained.is_err() {
        stopping.send_replace(Stop::Cutting);
        join(&mut sessions).await;
    }
    info!(listen = %server.listener.listen, "stopped serving SMTP");
}

async fn join(sessions: &mut JoinSet<()>) {
    while let Some(ended) = sessions.join_next().await {
        report(ended);
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(fault) = ended {
        error!(error = %fault, "an SMTP session failed");
    }
}

#[derive(Clone)]
struct Server {
    service: Arc<SmtpService>,
    listener: Arc<Listener>,
    rules: Arc<SessionRules>,
    stop: watch::Receiver<Stop>,
}

impl Server {
    fn admit(&self, tcp: TcpStream, peer: SocketAddr, sessions: &mut JoinSet<()>) {
        if self.door().is_closed() {
            let stopping = (&reply::STOPPING, CloseReason::Stopping);
            self.turn_away(&Stream::Plain(tcp), stopping);
            return;
        }
        let Ok(permit) = Arc::clone(&self.service.connections).try_acquire_owned() else {
            let crowded = (&reply::TOO_MANY_CONNECTIONS, CloseReason::Crowded);
            self.turn_away(&Stream::Plain(tcp), crowded);
            return;
        };
        let server = self.clone();
        sessions.spawn(server.serve_connection(tcp, peer.ip().to_canonical(), permit));
    }

    fn door(&self) -> Door {
        match self.listener.role {
            Role::Submission => self.service.door.clone(),
            Role::Bounce => Door::default(),
        }
    }

    async fn serve_connection(self, tcp: TcpStream, ip: IpAddr, _permit: OwnedSemaphorePermit) {
        // A reply that waits for the client's acknowledgement costs 40 ms; without the option the
        // session is slow, no more.
        tcp.set_nodelay(true).ok();
        let metrics = &self.service.metrics;
        let open = OpenConnection::count(&metrics.connections);
        let mut stop = self.stop.clone();
        let arriving = self.arrive(Stream::Plain(tcp), ip);
        let arrival = tokio::select! {
            biased;
            arrival = arriving => arrival,
            _ = stop.wait_for(|stop| *stop >= Stop::Draining) => Err(CloseReason::Stopping),
        };
        let reason = match arrival {
            Ok((arrival, peer)) => {
                let session = Session::new(Arc::clone(&self.rules), peer);
                let service = Arc::clone(&self.service);
                let listener = Arc::clone(&self.listener);
                let ends = (self.stop.clone(), self.door());
                Connection::new(service, listener, session, arrival, ends)
                    .run()
                    .await
            }
            Err(reason) => reason,
        };
        drop(open);
        metrics.count_close(reason);
        debug!(reason = reason.as_str(), "closed a connection");
    }

    /// What comes before a session: the proxy's header, a place, TLS.
    async fn arrive(
        &self,
        mut stream: Stream,
        peer: IpAddr,
    ) -> Result<(Arrival, Peer), CloseReason> {
        let origin = self.read_origin(&mut stream, peer).await?;
        let ip = match origin {
            Origin::Client(ip) => ip,
            Origin::Unknown => peer,
        };
        // A proxy that does not know its client lends it no trust of its own.
        let anonymous = match origin {
            Origin::Client(ip) => self
                .listener
                .anonymous_for(ip)
                .and_then(|name| self.service.credentials.load().get(name).cloned()),
            Origin::Unknown => None,
        };
        let slot = match anonymous {
            Some(_) => None,
            None => Some(self.find_place(ip, &stream)?),
        };
        if let ListenerTls::Implicit(certificate) = &self.listener.tls {
            stream = handshake(certificate, &mut stream)
                .await
                .ok_or(CloseReason::TlsFailed)?;
        }
        let is_tls = matches!(stream, Stream::Tls(_));
        let arrival = Arrival {
            stream,
            ip,
            slot,
            is_trusted: anonymous.is_some() || self.listener.is_trusted_plaintext,
        };
        let peer = Peer {
            ip,
            session: self.service.next_session(),
            anonymous,
            is_tls,
        };
        Ok((arrival, peer))
    }

    async fn read_origin(&self, stream: &mut Stream, peer: IpAddr) -> Result<Origin, CloseReason> {
        if !self.listener.is_proxy(peer) {
            return Ok(Origin::Client(peer));
        }
        match timeout(PROXY_HEADER_WAIT_MAX, proxy::read(stream)).await {
            Ok(Ok(origin)) => Ok(origin),
            Ok(Err(fault)) if fault.kind() == io::ErrorKind::UnexpectedEof => {
                Err(CloseReason::PeerGone)
            }
            Ok(Err(_)) | Err(_) => {
                warn!(peer.ip = %peer, "refused a connection without a PROXY protocol header");
                Err(CloseReason::BadProxyHeader)
            }
        }
    }

    fn find_place(&self, ip: IpAddr, stream: &Stream) -> Result<Slot, CloseReason> {
        let place = self.service.sources.admit(Source::from(ip), Instant::now());
        place.ok_or_else(|| {
            self.say(stream, &reply::TOO_MANY_CONNECTIONS);
            CloseReason::Crowded
        })
    }

    fn turn_away(&self, stream: &Stream, (last, reason): (&Reply, CloseReason)) {
        self.say(stream, last);
        self.service.metrics.count_close(reason);
    }

    /// Says this in place of a greeting, if that can be said in clear and without waiting.
    fn say(&self, stream: &Stream, last: &Reply) {
        if let (Stream::Plain(tcp), ListenerTls::None | ListenerTls::Starttls(_)) =
            (stream, &self.listener.tls)
        {
            let mut line = Vec::new();
            last.write(&mut line);
            // A line fits the empty send buffer of a new socket; if not, closing says it too.
            tcp.try_write(&line).ok();
        }
    }
}

#[cfg(test)]
mod tests;
