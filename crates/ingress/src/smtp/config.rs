//! `[smtp]` and `[[smtp.listeners]]`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use malote_core::address::parse_domain;
use malote_core::credential::Credentials;
use malote_core::fault::ConfigFault;
use malote_core::name::CredentialName;
use malote_core::secret::Secret;
use malote_core::units::{ByteSize, Span};
use serde::Deserialize;

use super::listener::{Anonymous, Listener, ListenerFault, ListenerTls, Role};
use super::network;
use crate::tls::ReloadingCertificate;

mod bounce;

/// Recipients of one message at most, as `malote-core` bounds a submission.
const RECIPIENTS_MAX: usize = 1_000;
/// Clients such as Mautic's mailer keep a connection and look after it only when it was idle for
/// 100 s; what is closed before costs them a message.
const IDLE_MIN: Duration = Duration::from_secs(300);
/// The name that clients who offer a protocol by ALPN must offer.
const ALPN: &[&[u8]] = &[b"smtp"];

/// The `[smtp]` table.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SmtpConfig {
    /// `[[smtp.listeners]]`; none means no SMTP.
    pub listeners: Vec<ListenerConfig>,
    /// Our name in the banner, EHLO and `Received`; default: the machine's name.
    pub hostname: Option<String>,
    /// Largest message, announced as SIZE. Default 25MiB, 64KiB to 1GiB.
    pub message_bytes_max: ByteSize,
    /// Recipients of one message. Default 1000, 100 to 1000 (RFC 5321 4.5.3.1.8).
    pub recipients_max: usize,
    /// Connections in all. Those without a login may have half of them. Default 2000, 10 to
    /// 100000.
    pub connections_max: usize,
    /// Connections from one address (IPv6: one /64) that did not log in. Default 50.
    pub connections_per_source_max: usize,
    /// Connections from one address from which somebody logged in within the hour; these come on
    /// top. Default 500.
    pub sessions_per_source_max: usize,
    /// Memory for messages that are being received. Default 256MiB, at least twice
    /// `message_bytes_max`.
    pub inflight_bytes_max: ByteSize,
    /// How long a session with a login may be idle. Default 10m; under 5m clients that keep
    /// connections lose messages.
    pub idle_max: Span,
    /// Within what time a connection must log in. Default 2m, 10s to 1h.
    pub login_within: Span,
    /// How long a stop waits for messages that are being received. Default 20s, at most 10m.
    pub drain_max: Span,
}

impl Default for SmtpConfig {
    fn default() -> Self {
        Self {
            listeners: Vec::new(),
            hostname: None,
            message_bytes_max: ByteSize(25 << 20),
            recipients_max: RECIPIENTS_MAX,
            connections_max: 2_000,
            connections_per_source_max: 50,
            sessions_per_source_max: 500,
            inflight_bytes_max: ByteSize(256 << 20),
            idle_max: Span(Duration::from_secs(600)),
            login_within: Span(Duration::from_secs(120)),
            drain_max: Span(Duration::from_secs(20)),
        }
    }
}

/// One `[[smtp.listeners]]` table.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenerConfig {
    /// Address and port.
    pub listen: SocketAddr,
    /// What it is for. Default `submission`.
    #[serde(default)]
    pub role: Role,
    /// With `role = "bounce"`: the domain of the addresses that mail comes back to.
    pub verp_domain: Option<String>,
    /// With `role = "bounce"`: what those addresses are signed with, at least 16 octets.
    pub verp_secret: Option<Secret>,
    /// The environment variable that holds it.
    pub verp_secret_env: Option<String>,
    /// The file that holds it.
    pub verp_secret_file: Option<PathBuf>,
    /// What they were signed with before: still recognised.
    pub verp_secret_previous: Option<Secret>,
    /// The environment variable that holds it.
    pub verp_secret_previous_env: Option<String>,
    /// The file that holds it.
    pub verp_secret_previous_file: Option<PathBuf>,
    /// Whether and when TLS begins.
    pub tls: TlsMode,
    /// The certificate chain, PEM; with `tls = "starttls"` and `"implicit"`.
    pub cert_file: Option<PathBuf>,
    /// Its private key, PEM.
    pub key_file: Option<PathBuf>,
    /// Whether AUTH is allowed in clear, and clients are given the long time-outs of RFC 5321
    /// 4.5.3.2. For loopback and private networks. Default false.
    #[serde(default)]
    pub trusted_plaintext: bool,
    /// Who may send without a login, and as whom.
    pub anonymous: Option<AnonymousConfig>,
    /// Proxies that must begin each connection with a PROXY protocol header (version 1 or 2).
    #[serde(default)]
    pub proxy_protocol_from: Vec<String>,
}

/// `anonymous = { credential = "...", allow_from = [...] }`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnonymousConfig {
    /// The credential that such clients act as.
    pub credential: CredentialName,
    /// Networks they come from: loopback and private ranges only.
    pub allow_from: Vec<String>,
}

/// When TLS begins on a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TlsMode {
    /// When the client says STARTTLS; nothing is accepted before (port 587).
    Starttls,
    /// At once (port 465).
    Implicit,
    /// Never.
    None,
}

/// The checked general part of `[smtp]`.
#[derive(Debug, Clone)]
pub struct SmtpSettings {
    pub(crate) hostname: Arc<str>,
    pub(crate) message_bytes_max: u64,
    pub(crate) recipients_max: usize,
    pub(crate) connections_max: usize,
    pub(crate) connections_per_source_max: usize,
    pub(crate) sessions_per_source_max: usize,
    pub(crate) inflight_bytes_max: u64,
    pub(crate) idle_max: Duration,
    pub(crate) login_within: Duration,
    pub(crate) drain_max: Duration,
}

impl SmtpConfig {
    /// Adds everything that is wrong to `faults`. `path` is the table's own, `smtp`. Reads the
    /// certificates.
    pub fn check(&self, path: &str, credentials: &Credentials, faults: &mut Vec<ConfigFault>) {
        self.check_bounds(path, faults);
        for (index, listener) in self.listeners.iter().enumerate() {
            let at = format!("{path}.listeners[{index}]");
            listener.check(&at, credentials, faults);
            let earlier = &self.listeners[..index];
            if let Some(twin) = earlier.iter().position(|other| other.overlaps(listener)) {
                let message = format!("{path}.listeners[{twin}] listens there already");
                faults.push(ConfigFault::error(format!("{at}.listen"), message));
            }
        }
    }

    fn check_bounds(&self, path: &str, faults: &mut Vec<ConfigFault>) {
        let mut error = |key: &str, message: &str| {
            faults.push(ConfigFault::error(format!("{path}.{key}"), message));
        };
        if self
            .hostname
            .as_ref()
            .is_some_and(|name| parse_domain(name).is_err())
        {
            error("hostname", "is not a domain name");
        }
        if !((64 << 10)..=(1 << 30)).contains(&self.message_bytes_max.0) {
            error("message_bytes_max", "must be from 64KiB to 1GiB");
        }
        if self.inflight_bytes_max.0 < self.message_bytes_max.0.saturating_mul(2) {
            error(
                "inflight_bytes_max",
                "must be at least twice message_bytes_max",
            );
        }
        if !(100..=RECIPIENTS_MAX).contains(&self.recipients_max) {
            error("recipients_max", "must be from 100 to 1000");
        }
        if !(10..=100_000).contains(&self.connections_max) {
            error("connections_max", "must be from 10 to 100000");
        }
        for (key, connections) in [
            (
                "connections_per_source_max",
                self.connections_per_source_max,
            ),
            ("sessions_per_source_max", self.sessions_per_source_max),
        ] {
            if !(1..=100_000).contains(&connections) {
                error(key, "must be from 1 to 100000");
            }
        }
        let seconds =
            |least: u64, most: u64| Duration::from_secs(least)..=Duration::from_secs(most);
        for (key, span, bounds, message) in [
            (
                "idle_max",
                self.idle_max,
                seconds(1, 86_400),
                "must be from 1s to 1d",
            ),
            (
                "login_within",
                self.login_within,
                seconds(10, 3_600),
                "must be from 10s to 1h",
            ),
            (
                "drain_max",
                self.drain_max,
                seconds(0, 600),
                "must be at most 10m",
            ),
        ] {
            if !bounds.contains(&span.0) {
                error(key, message);
            }
        }
        if self.idle_max.0 < IDLE_MIN {
            let message = "under 5m: clients that keep connections (Mautic, PHP mailers) lose the \
                           first message after each pause";
            faults.push(ConfigFault::warning(format!("{path}.idle_max"), message));
        }
    }

    /// The general part, for a configuration without faults.
    #[must_use]
    pub fn settings(&self) -> SmtpSettings {
        let named = self
            .hostname
            .as_deref()
            .and_then(|name| parse_domain(name).ok());
        SmtpSettings {
            hostname: named.unwrap_or_else(machine_name).into(),
            message_bytes_max: self.message_bytes_max.0,
            recipients_max: self.recipients_max,
            connections_max: self.connections_max,
            connections_per_source_max: self.connections_per_source_max,
            sessions_per_source_max: self.sessions_per_source_max,
            inflight_bytes_max: self.inflight_bytes_max.0,
            idle_max: self.idle_max.0,
            login_within: self.login_within.0,
            drain_max: self.drain_max.0,
        }
    }
}

/// What the kernel calls this machine; `localhost` where it does not say, or not in a form that
/// may stand in a banner.
fn machine_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .and_then(|name| parse_domain(name.trim()).ok())
        .unwrap_or_else(|| "localhost".to_owned())
}

impl ListenerConfig {
    fn check(&self, at: &str, credentials: &Credentials, faults: &mut Vec<ConfigFault>) {
        self.check_tls(at, faults);
        for (index, text) in self.proxy_protocol_from.iter().enumerate() {
            if let Err(message) = network::parse(text) {
                let path = format!("{at}.proxy_protocol_from[{index}]");
                faults.push(ConfigFault::error(path, message));
            }
        }
        if let Some(anonymous) = &self.anonymous {
            anonymous.check(&format!("{at}.anonymous"), credentials, faults);
        }
        self.check_role(at, faults);
        let takes_mail_back = self.role == Role::Bounce;
        if self.tls == TlsMode::None
            && !self.trusted_plaintext
            && self.anonymous.is_none()
            && !takes_mail_back
        {
            let message = "nobody can send through this listener: AUTH is not offered in clear; \
                           use starttls, or trusted_plaintext on a private network";
            faults.push(ConfigFault::warning(at, message));
        }
        let is_public = network::parse(&self.listen.ip().to_string())
            .is_ok_and(|own| !network::is_private(&own));
        if self.trusted_plaintext && is_public {
            let message = "passwords cross the network in clear on an address that is not \
                           loopback or private";
            faults.push(ConfigFault::warning(
                format!("{at}.trusted_plaintext"),
                message,
            ));
        }
    }

    fn check_tls(&self, at: &str, faults: &mut Vec<ConfigFault>) {
        let files = [("cert_file", &self.cert_file), ("key_file", &self.key_file)];
        match (self.tls, &self.cert_file, &self.key_file) {
            (TlsMode::None, _, _) => {
                for (key, _) in files.iter().filter(|(_, file)| file.is_some()) {
                    let message = "has no meaning with tls = \"none\"";
                    faults.push(ConfigFault::error(format!("{at}.{key}"), message));
                }
            }
            (TlsMode::Starttls | TlsMode::Implicit, Some(cert), Some(key)) => {
                if let Err(fault) = ReloadingCertificate::load(cert, key, ALPN) {
                    let path = format!("{at}.cert_file");
                    faults.push(ConfigFault::error(path, with_cause(&fault)));
                }
            }
            (TlsMode::Starttls | TlsMode::Implicit, _, _) => {
                for (key, _) in files.iter().filter(|(_, file)| file.is_none()) {
                    let message = "is needed unless tls = \"none\"";
                    faults.push(ConfigFault::error(format!("{at}.{key}"), message));
                }
            }
        }
    }

    /// Whether both cannot be bound. Port 0 is a different port each time.
    fn overlaps(&self, other: &Self) -> bool {
        let (one, two) = (self.listen, other.listen);
        let is_same_ip =
            one.ip() == two.ip() || one.ip().is_unspecified() || two.ip().is_unspecified();
        one.port() != 0 && one.port() == two.port() && is_same_ip
    }

    /// The listener as the server uses it. Reads the certificate.
    ///
    /// # Errors
    /// What [`SmtpConfig::check`] would have reported.
    pub fn open(&self) -> Result<Listener, ListenerFault> {
        let certificate = |cert: &Option<PathBuf>, key: &Option<PathBuf>| {
            let empty = Path::new("");
            let (cert, key) = (cert.as_deref(), key.as_deref());
            ReloadingCertificate::load(cert.unwrap_or(empty), key.unwrap_or(empty), ALPN)
                .map(Arc::new)
        };
        let tls = match self.tls {
            TlsMode::None => ListenerTls::None,
            TlsMode::Starttls => {
                ListenerTls::Starttls(certificate(&self.cert_file, &self.key_file)?)
            }
            TlsMode::Implicit => {
                ListenerTls::Implicit(certificate(&self.cert_file, &self.key_file)?)
            }
        };
        let networks = |texts: &[String]| {
            let parsed: Result<Vec<_>, _> = texts.iter().map(|text| network::parse(text)).collect();
            parsed.map_err(ListenerFault::Network)
        };
        let anonymous = match &self.anonymous {
            Some(anonymous) => Some(Anonymous {
                credential: anonymous.credential.clone(),
                allow_from: networks(&anonymous.allow_from)?,
            }),
            None => None,
        };
        Ok(Listener {
            listen: self.listen,
            role: self.role,
            tls,
            is_trusted_plaintext: self.trusted_plaintext,
            anonymous,
            proxies: networks(&self.proxy_protocol_from)?,
        })
    }
}

impl AnonymousConfig {
    fn check(&self, at: &str, credentials: &Credentials, faults: &mut Vec<ConfigFault>) {
        if credentials.get(&self.credential).is_none() {
            let message = format!("there is no [credentials.{}]", self.credential);
            faults.push(ConfigFault::error(format!("{at}.credential"), message));
        }
        if self.allow_from.is_empty() {
            let message = "is empty: nobody could send; name a network such as \"127.0.0.1/32\"";
            faults.push(ConfigFault::error(format!("{at}.allow_from"), message));
        }
        for (index, text) in self.allow_from.iter().enumerate() {
            let message = match network::parse(text) {
                Err(message) => message,
                Ok(network) if network::is_private(&network) => continue,
                Ok(network) => format!(
                    "{network} reaches beyond loopback and private ranges: this would be an open relay"
                ),
            };
            faults.push(ConfigFault::error(
                format!("{at}.allow_from[{index}]"),
                message,
            ));
        }
    }
}

fn with_cause(fault: &dyn std::error::Error) -> String {
    match fault.source() {
        Some(cause) => format!("{fault}: {cause}"),
        None => fault.to_string(),
    }
}

#[cfg(test)]
mod tests;
