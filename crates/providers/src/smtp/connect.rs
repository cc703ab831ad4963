//! Opens a connection: name, TCP, TLS, greeting, login; each step with its own deadline.

mod auth;
mod dial;
mod lookup;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use malote_core::provider::{Reply, SendError, Verdict};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::classify::{Context, Stage};
use super::config::Protection;
use super::connection::{Connection, Link, Stream, Trouble};
use super::dialect::Dialect;
use super::ehlo::Extensions;
use super::login::Login;
use super::reply::ServerReply;

pub(crate) use dial::is_private;
pub(crate) use lookup::{Lookup, Reach, SystemLookup};

/// How long each step may take (RFC 5321 4.5.3.2 allows minutes; a gateway that has another
/// target to go to does not wait that long).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    /// Looking the name up, and connecting.
    pub(crate) connect: Duration,
    /// The greeting.
    pub(crate) banner: Duration,
    /// EHLO.
    pub(crate) ehlo: Duration,
    /// The TLS handshake, with STARTTLS before it.
    pub(crate) tls: Duration,
    /// Each step of AUTH.
    pub(crate) auth: Duration,
    /// MAIL, RCPT, DATA and RSET.
    pub(crate) command: Duration,
    /// Waiting for a connection when all are busy.
    pub(crate) busy: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        let step = Duration::from_secs(10);
        Self {
            connect: step,
            banner: step,
            ehlo: step,
            tls: step,
            auth: step,
            command: Duration::from_secs(30),
            busy: step,
        }
    }
}

/// The server, and how to reach it.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) dialect: &'static Dialect,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) tls: Protection,
    /// Present unless `tls` is `none`.
    pub(crate) tls_config: Option<Arc<ClientConfig>>,
    pub(crate) helo: Option<String>,
    pub(crate) login: Option<Login>,
    pub(crate) lookup: Arc<dyn Lookup>,
    /// Where the host may be.
    pub(crate) reach: Reach,
    pub(crate) timing: Timing,
}

impl Endpoint {
    /// Opens a connection from `source`, up to the point where mail can be sent.
    ///
    /// # Errors
    /// What the server said or what happened instead; nothing of any message has been sent.
    pub(crate) async fn open(&self, source: Option<IpAddr>) -> Result<Link, SendError> {
        let tcp = self.dial(source).await?;
        let helo = match (&self.helo, tcp.local_addr()) {
            (Some(name), _) => name.clone(),
            (None, Ok(local)) => address_literal(local.ip()),
            (None, Err(_)) => "localhost".to_owned(),
        };
        let mut link = match self.tls {
            Protection::None => {
                let stream: Box<dyn Stream> = Box::new(tcp);
                let mut link = Connection::new(stream);
                self.greet(&mut link).await?;
                self.ehlo(&mut link, &helo).await?;
                link
            }
            Protection::Implicit => {
                let mut link = Connection::new(self.handshake(tcp).await?);
                self.greet(&mut link).await?;
                self.ehlo(&mut link, &helo).await?;
                link
            }
            Protection::StartTls => {
                let tcp = self.start_tls(tcp, &helo).await?;
                // A new connection: nothing that was said in clear is kept (RFC 3207 4.2).
                let mut link = Connection::new(self.handshake(tcp).await?);
                self.ehlo(&mut link, &helo).await?;
                link
            }
        };
        self.log_in(&mut link).await?;
        Ok(link)
    }

    async fn greet<S: Stream>(&self, link: &mut Connection<S>) -> Result<(), SendError> {
        let reply = link.read_reply(self.timing.banner).await;
        self.expect(Stage::Banner, 220, reply).map(drop)
    }

    async fn ehlo<S: Stream>(&self, link: &mut Connection<S>, helo: &str) -> Result<(), SendError> {
        let reply = link
            .ask(&format!("EHLO {helo}\r\n"), self.timing.ehlo)
            .await;
        link.extensions = Extensions::parse(&self.expect(Stage::Ehlo, 250, reply)?);
        Ok(())
    }

    /// The clear part of STARTTLS. Neither login nor mail is ever sent in it.
    async fn start_tls(&self, tcp: TcpStream, helo: &str) -> Result<TcpStream, SendError> {
        let mut clear = Connection::new(tcp);
        self.greet(&mut clear).await?;
        self.ehlo(&mut clear, helo).await?;
        if !clear.extensions.starttls {
            let what = "tls_downgrade: the server does not offer STARTTLS, so nothing was sent";
            return Err(unusable(what));
        }
        let reply = clear.ask("STARTTLS\r\n", self.timing.tls).await;
        self.expect(Stage::StartTls, 220, reply)?;
        if clear.has_unread() {
            // What came in clear behind 220 would be read as answers given under TLS.
            let what = "starttls_injection: the server said more in clear after it agreed to TLS";
            return Err(SendError::new(Verdict::Transient, Reply::none(what)));
        }
        Ok(clear.into_stream())
    }

    async fn handshake(&self, tcp: TcpStream) -> Result<Box<dyn Stream>, SendError> {
        let config = self.tls_config.clone();
        let config = config.ok_or_else(|| unusable("TLS is not set up"))?;
        let name = ServerName::try_from(self.host.clone());
        let name = name.map_err(|_| unusable("the host's name cannot stand in a certificate"))?;
        let connect = TlsConnector::from(config).connect(name, tcp);
        match timeout(self.timing.tls, connect).await {
            Ok(Ok(stream)) => Ok(Box::new(stream)),
            Ok(Err(error)) => Err(tls_error(&error)),
            Err(_) => Err(transient("the TLS handshake took too long")),
        }
    }

    /// The reply, if it has this code and no other.
    fn expect(
        &self,
        stage: Stage,
        code: u16,
        reply: Result<ServerReply, Trouble>,
    ) -> Result<ServerReply, SendError> {
        match reply {
            Ok(reply) if reply.code == code => Ok(reply),
            Ok(reply) => {
                let context = Context {
                    stage,
                    recipients: 1,
                };
                let verdict = self.dialect.verdict(context, &reply, None);
                Err(SendError::new(verdict, reply.to_reply()))
            }
            Err(trouble) => Err(transient(&format!("{stage}: {trouble}"))),
        }
    }
}

fn tls_error(error: &std::io::Error) -> SendError {
    let cause = error
        .get_ref()
        .and_then(|e| e.downcast_ref::<rustls::Error>());
    match cause {
        // Expired, of another name, of an unknown authority: a human must act.
        Some(rustls::Error::InvalidCertificate(_)) => {
            unusable(&format!("the server's certificate is not valid: {error}"))
        }
        _ => transient(&format!("the TLS handshake failed: {error}")),
    }
}

pub(super) fn transient(what: &str) -> SendError {
    SendError::new(Verdict::Transient, Reply::none(what))
}

pub(super) fn unusable(what: &str) -> SendError {
    SendError::new(Verdict::ProviderUnusable, Reply::none(what))
}

/// Who we are, where no name was given (RFC 5321 4.1.4 and 4.1.3).
fn address_literal(ip: IpAddr) -> String {
    match ip.to_canonical() {
        IpAddr::V4(v4) => format!("[{v4}]"),
        IpAddr::V6(v6) => format!("[IPv6:{v6}]"),
    }
}
