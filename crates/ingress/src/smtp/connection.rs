//! One connection: moves octets between the socket and its session, and does the session's steps.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use malote_core::credential::Credential;
use malote_core::intake::{Accepted, Refusal};
use malote_core::message::Submission;
use malote_core::webhook::SinkUnavailable;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{debug, warn};

use super::auth::Login;
use super::door::Door;
use super::limits::{BodyLease, LoginTurn, Slot, Source};
use super::listener::{Listener, ListenerTls};
use super::pace::{Pace, Standing};
use super::server::{SmtpService, Stop};
use super::session::{CameBack, CloseReason, Phase, Session, Step};
use super::stream::Stream;
use crate::tls::ReloadingCertificate;

/// RFC 3207 names no bound; a client on a slow line needs two or three round trips.
const HANDSHAKE_WAIT_MAX: Duration = Duration::from_secs(10);
/// A client that does not read our replies for so long is given up.
const WRITE_WAIT_MAX: Duration = Duration::from_secs(30);
/// How long a client that broke a rule is read on, so that our last reply reaches it before the
/// kernel resets the connection.
const LINGER_MAX: Duration = Duration::from_secs(5);
/// How long we listen for clients that talk before the banner.
const EARLY_TALK_WAIT: Duration = Duration::from_millis(20);
/// The same for clients on this machine, where octets do not travel.
const EARLY_TALK_WAIT_LOOPBACK: Duration = Duration::from_millis(2);
/// How long a repeated submission waits for the first one to be settled.
const IN_PROGRESS_WAIT_MAX: Duration = Duration::from_secs(20);
const IN_PROGRESS_POLL_MIN: Duration = Duration::from_millis(100);
const IN_PROGRESS_POLL_MAX: Duration = Duration::from_secs(1);
/// Room for commands.
const COMMAND_READ_BYTES: usize = 4 * 1024;
/// Room for content; a read that fills it doubles the next, up to `CONTENT_READ_BYTES_MAX`.
const CONTENT_READ_BYTES: usize = 16 * 1024;
const CONTENT_READ_BYTES_MAX: usize = 128 * 1024;

/// What a connection begins with.
pub(crate) struct Arrival {
    /// The socket, or the TLS stream over it.
    pub(crate) stream: Stream,
    /// The client's address, after PROXY protocol.
    pub(crate) ip: IpAddr,
    /// Its place among all connections.
    pub(crate) slot: Option<Slot>,
    /// Whether the listener or its anonymous networks vouch for it.
    pub(crate) is_trusted: bool,
}

/// One connection and all that it holds.
pub(crate) struct Connection {
    service: Arc<SmtpService>,
    listener: Arc<Listener>,
    stream: Stream,
    session: Session,
    ip: IpAddr,
    slot: Option<Slot>,
    lease: BodyLease,
    pace: Pace,
    is_trusted: bool,
    read_bytes: usize,
    stop: watch::Receiver<Stop>,
    door: Door,
}

/// The socket can no longer be used.
struct Broken(CloseReason);

impl Connection {
    pub(crate) fn new(
        service: Arc<SmtpService>,
        listener: Arc<Listener>,
        session: Session,
        arrival: Arrival,
        (stop, door): (watch::Receiver<Stop>, Door),
    ) -> Self {
        let settings = &service.settings;
        let pace = Pace::new(Instant::now(), settings.idle_max, settings.login_within);
        Self {
            lease: BodyLease::new(service.budget_for(listener.role)),
            service,
            listener,
            stream: arrival.stream,
            session,
            ip: arrival.ip,
            slot: arrival.slot,
            pace,
            is_trusted: arrival.is_trusted,
            read_bytes: COMMAND_READ_BYTES,
            stop,
            door,
        }
    }

    /// Serves the client until one side ends it.
    pub(crate) async fn run(mut self) -> CloseReason {
        if self.talked_first().await {
            self.session.close(CloseReason::TalkedFirst);
        }
        loop {
            let step = self.session.advance(self.service.clock.now());
            let done = match step {
                Step::Read => self.exchange().await,
                Step::Write => self.write().await,
                Step::StartTls => self.start_tls().await,
                Step::Authenticate(login) => {
                    self.authenticate(&login).await;
                    Ok(())
                }
                Step::CheckCustody => {
                    self.check_custody();
                    Ok(())
                }
                Step::Deliver(submission) => {
                    self.deliver(*submission).await;
                    Ok(())
                }
                Step::TakeBack(returned) => {
                    self.take_back(&returned).await;
                    Ok(())
                }
                Step::Close(reason) => return self.end(reason).await,
            };
            if let Err(Broken(reason)) = done {
                return reason;
            }
        }
    }

    /// Whether the client sent something before our banner. Listeners that trust their network
    /// only look, so that they lose no time.
    async fn talked_first(&mut self) -> bool {
        if matches!(self.stream, Stream::Tls(_)) {
            return false;
        }
        if !self.is_trusted {
            let wait = if self.ip.is_loopback() {
                EARLY_TALK_WAIT_LOOPBACK
            } else {
                EARLY_TALK_WAIT
            };
            timeout(wait, self.stream.readable()).await.ok();
        }
        self.stream.has_input()
    }

    async fn write(&mut self) -> Result<(), Broken> {
        let output = self.session.output();
        if output.is_empty() {
            return Ok(());
        }
        let stream = &mut self.stream;
        let writing = async {
            stream.write_all(output).await?;
            stream.flush().await
        };
        match timeout(WRITE_WAIT_MAX, writing).await {
            Ok(Ok(())) => {
                output.clear();
                Ok(())
            }
            Ok(Err(_)) => Err(Broken(CloseReason::PeerGone)),
            Err(_) => Err(Broken(CloseReason::WriteStalled)),
        }
    }

    /// Writes the replies and waits for more input, the end of our patience, or a stop.
    async fn exchange(&mut self) -> Result<(), Broken> {
        self.write().await?;
        if !self.session.is_receiving() {
            self.lease.release();
        }
        let phase = self.session.phase();
        let now = Instant::now();
        self.pace.wait_for(phase, self.session.replies(), now);
        let deadline = self.pace.deadline(self.standing());
        let is_at_rest = self.session.is_at_rest();
        let least = if is_at_rest {
            Stop::Draining
        } else {
            Stop::Cutting
        };
        let room = self.read_room(phase);
        self.session.input().reserve(room);
        match phase {
            Phase::Data | Phase::Line => self.stream.rearm_quickack(),
            // The reply acknowledges a whole command.
            Phase::Idle => {}
        }
        let read = tokio::select! {
            biased;
            _ = self.stop.wait_for(|stop| *stop >= least) => {
                self.session.close(CloseReason::Stopping);
                return Ok(());
            }
            () = self.door.closed(), if is_at_rest => {
                self.session.close(CloseReason::Stopping);
                return Ok(());
            }
            read = self.stream.read_buf(self.session.input()) => read,
            () = sleep_until(deadline) => {
                self.session.close(CloseReason::Timeout);
                return Ok(());
            }
        };
        self.take(read, room)
    }

    fn take(&mut self, read: io::Result<usize>, room: usize) -> Result<(), Broken> {
        let bytes = match read {
            Ok(0) | Err(_) => return Err(Broken(CloseReason::PeerGone)),
            Ok(bytes) => bytes,
        };
        if bytes >= room {
            self.read_bytes = (room * 2).min(CONTENT_READ_BYTES_MAX);
        }
        self.pace.have_read(bytes, Instant::now());
        if self.session.is_receiving() {
            let held = self.session.body_bytes_held() + bytes as u64;
            if !self.lease.cover(held) {
                self.session.refuse_for_memory();
                self.lease.release();
            }
            self.service.count_inflight();
        }
        Ok(())
    }

    /// Octets to read at most next. A session that waits for a command lets a large buffer go.
    fn read_room(&mut self, phase: Phase) -> usize {
        match phase {
            Phase::Data => self.read_bytes.max(CONTENT_READ_BYTES),
            Phase::Idle | Phase::Line => {
                let input = self.session.input();
                if input.is_empty() && input.capacity() > 2 * CONTENT_READ_BYTES {
                    *input = bytes::BytesMut::new();
                }
                self.read_bytes = CONTENT_READ_BYTES;
                COMMAND_READ_BYTES
            }
        }
    }

    fn standing(&self) -> Standing {
        if self.is_trusted {
            Standing::Trusted
        } else if self.session.is_logged_in() {
            Standing::LoggedIn
        } else {
            Standing::Stranger
        }
    }

    async fn start_tls(&mut self) -> Result<(), Broken> {
        // Input that the session has not seen yet is as bad as input that it has.
        if self.stream.has_input() {
            self.session.output().clear();
            self.session.close(CloseReason::StartTlsInjection);
            return Ok(());
        }
        self.write().await?;
        let (ListenerTls::Starttls(certificate) | ListenerTls::Implicit(certificate)) =
            &self.listener.tls
        else {
            return Err(Broken(CloseReason::TlsFailed));
        };
        self.stream = handshake(certificate, &mut self.stream)
            .await
            .ok_or(Broken(CloseReason::TlsFailed))?;
        self.session.tls_started();
        Ok(())
    }

    async fn authenticate(&mut self, login: &Login) {
        let source = Source::from(self.ip);
        match self.service.sources.login_turn(source, Instant::now()) {
            LoginTurn::Now => {}
            LoginTurn::After(wait) => sleep(wait).await,
            LoginTurn::Refused => {
                self.service.metrics.logins_failed.inc();
                self.session.close(CloseReason::LoginFailures);
                return;
            }
        }
        let credentials = self.service.credentials.load();
        let found = credentials.by_smtp_login(&login.user, login.password.expose().as_bytes());
        if let Some(credential) = &found {
            self.service.metrics.logins_ok.inc();
            debug!(credential = %credential.name, "logged in");
            if let Some(slot) = &mut self.slot {
                slot.promote(Instant::now());
            }
        } else {
            self.service.metrics.logins_failed.inc();
            self.service.sources.login_failed(source, Instant::now());
            let (peer, listener) = (self.ip, self.listener.address());
            // What nobody is called may be a password typed in the wrong place.
            match credentials.of_smtp_user(&login.user) {
                Some(credential) => {
                    warn!(peer.ip = %peer, %listener, %credential, "refused a login: wrong password");
                }
                None => warn!(peer.ip = %peer, %listener, "refused a login: no such user"),
            }
        }
        self.session.authenticated(found);
    }

    /// A session may outlive the configuration it began with: each transaction begins with the
    /// credential as it is in force now.
    fn check_custody(&mut self) {
        if let Some(held) = self.session.credential() {
            let credentials = self.service.credentials.load();
            let now = credentials.get(&held.name);
            if !now.is_some_and(|now| Arc::ptr_eq(now, held)) {
                let is_login = self.session.is_logged_in();
                let now = now
                    .filter(|now| !is_login || is_same_login(held, now))
                    .cloned();
                self.session.renew(now);
            }
        }
        self.session.custody(self.service.intake.can_accept());
    }

    async fn deliver(&mut self, submission: Submission) {
        let started = Instant::now();
        let bytes = submission.body.len();
        let outcome = self.accept(submission, started).await;
        self.lease.release();
        let metrics = &self.service.metrics;
        metrics
            .accept_seconds
            .observe(started.elapsed().as_secs_f64());
        match &outcome {
            Ok(accepted) => {
                let transaction = self.session.transaction_id();
                debug!(message.id = %accepted.id, stream = %accepted.stream, transaction, bytes, "accepted");
                if accepted.is_replay {
                    metrics.messages_replayed.inc();
                } else {
                    metrics.messages_accepted.inc();
                }
            }
            Err(refusal) => {
                if is_for_now(refusal) {
                    metrics.messages_deferred.inc();
                } else {
                    metrics.messages_refused.inc();
                }
                debug!(
                    transaction = self.session.transaction_id(),
                    bytes, "refused a message"
                );
            }
        }
        self.service.count_inflight();
        self.session.delivered(&outcome);
    }

    async fn take_back(&mut self, returned: &CameBack) {
        let outcome = match &self.service.returned {
            Some(ports) => {
                let mail = ports.reader.read(&returned.message);
                let taking = ports.returns.take_back(&returned.to, mail, returned.sender);
                taking.await
            }
            None => Err(SinkUnavailable),
        };
        self.lease.release();
        self.service.count_inflight();
        let metrics = &self.service.metrics;
        match outcome {
            Ok(()) => metrics.messages_returned.inc(),
            Err(SinkUnavailable) => metrics.messages_deferred.inc(),
        }
        self.session.taken_back(outcome);
    }

    /// Not bounded in time: once the engine has the message, no failure may be answered until it
    /// says so itself.
    async fn accept(&self, submission: Submission, started: Instant) -> Result<Accepted, Refusal> {
        let mut poll = IN_PROGRESS_POLL_MIN;
        loop {
            let outcome = self.service.intake.accept(submission.clone()).await;
            let is_waiting = matches!(outcome, Err(Refusal::InProgress));
            if !is_waiting || started.elapsed() >= IN_PROGRESS_WAIT_MAX {
                return outcome;
            }
            sleep(poll).await;
            poll = (poll * 2).min(IN_PROGRESS_POLL_MAX);
        }
    }

    async fn end(mut self, reason: CloseReason) -> CloseReason {
        self.lease.release();
        self.service.count_inflight();
        if self.write().await.is_err() {
            return reason;
        }
        let closing = timeout(LINGER_MAX, self.stream.shutdown());
        if closing.await.is_ok() && is_worth_lingering(reason) {
            let mut stop = self.stop.clone();
            tokio::select! {
                _ = timeout(LINGER_MAX, self.drain()) => {}
                _ = stop.wait_for(|stop| *stop >= Stop::Draining) => {}
            }
        }
        reason
    }

    /// Reads what the client still sends, and drops it.
    async fn drain(&mut self) {
        let mut left = self.service.settings.message_bytes_max.saturating_mul(2);
        let mut dropped = vec![0; CONTENT_READ_BYTES];
        while left > 0 {
            match self.stream.read(&mut dropped).await {
                Ok(0) | Err(_) => return,
                Ok(bytes) => left = left.saturating_sub(bytes as u64),
            }
        }
    }
}

/// Makes the handshake over the socket that `stream` holds.
pub(crate) async fn handshake(
    certificate: &ReloadingCertificate,
    stream: &mut Stream,
) -> Option<Stream> {
    let tcp = stream.take_plain()?;
    let accepting = certificate.acceptor().accept(tcp);
    match timeout(HANDSHAKE_WAIT_MAX, accepting).await {
        Ok(Ok(tls)) => Some(Stream::Tls(Box::new(tls))),
        Ok(Err(_)) | Err(_) => None,
    }
}

fn is_same_login(one: &Credential, other: &Credential) -> bool {
    match (&one.smtp_login, &other.smtp_login) {
        (Some(one), Some(other)) => {
            let password = one.password.expose().as_bytes();
            one.user == other.user && other.password.matches(password)
        }
        (Some(_) | None, _) => false,
    }
}

const fn is_for_now(refusal: &Refusal) -> bool {
    match refusal {
        Refusal::InProgress
        | Refusal::KeyHeld
        | Refusal::KeyUnchecked
        | Refusal::Draining
        | Refusal::QueueFull { .. }
        | Refusal::StorageFull
        | Refusal::Unavailable => true,
        Refusal::StreamNotAllowed(_)
        | Refusal::StreamMissing
        | Refusal::FromNotAllowed { .. }
        | Refusal::Malformed { .. }
        | Refusal::TooLarge { .. }
        | Refusal::Loop
        | Refusal::KeyReused => false,
    }
}

/// Whether the client is likely in the middle of sending.
const fn is_worth_lingering(reason: CloseReason) -> bool {
    match reason {
        CloseReason::Errors
        | CloseReason::IdleCommands
        | CloseReason::LoginFailures
        | CloseReason::NotSmtp
        | CloseReason::TalkedFirst
        | CloseReason::Pipelining
        | CloseReason::BareLineEnd
        | CloseReason::LineTooLong
        | CloseReason::TooLarge
        | CloseReason::StartTlsInjection
        | CloseReason::BadProxyHeader => true,
        CloseReason::Quit
        | CloseReason::PeerGone
        | CloseReason::Timeout
        | CloseReason::Stopping
        | CloseReason::LoginRevoked
        | CloseReason::TlsFailed
        | CloseReason::WriteStalled
        | CloseReason::Crowded => false,
    }
}
