//! The `[http]` table: where the HTTP door listens and what it bounds.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use malote_core::fault::ConfigFault;
use malote_core::units::{ByteSize, Span};
use serde::{Deserialize, Serialize};

/// The `[http]` table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    /// Address and port; default `127.0.0.1:8080`.
    pub listen: SocketAddr,
    /// Certificate and key; without them the door speaks plain HTTP, which is right only on
    /// loopback or behind a proxy.
    pub tls: Option<TlsFiles>,
    /// Addresses whose `X-Forwarded-For` is believed, as `10.0.0.0/8` or `10.0.0.1`; default none.
    pub trusted_proxies: Vec<ProxyNet>,
    /// The URL at which clients reach this gateway, for the API's description; default none.
    pub public_url: Option<String>,
    /// Largest body of a JSON request after decompression, 1 KiB to 256 MiB; default 10 MiB.
    pub body_max: ByteSize,
    /// Largest body of `POST /v1/messages/raw`, 1 KiB to 256 MiB; default 25 MiB.
    pub raw_body_max: ByteSize,
    /// Largest message composed from JSON, 1 KiB to 256 MiB; default 25 MiB.
    pub message_max: ByteSize,
    /// Body octets held at once by all requests with a key; at least the largest body; default
    /// 128 MiB. Webhooks and unsubscribe forms, which anybody can send, have 32 MiB of their own.
    pub inflight_max: ByteSize,
    /// Time to read one request's header section, 1 s to 5 min; default 10 s.
    pub header_timeout: Span,
    /// Time to read one request's body, 1 s to 1 h; default 30 s.
    pub body_timeout: Span,
    /// Connections at once, 1 to 65,536; default 1,024. More wait in the kernel's backlog.
    pub connections_max: u32,
    /// Age at which a connection is closed after its current request, 1 s to 1 d; default 1 h.
    pub connection_age_max: Span,
    /// Time that requests under way have to end when the gateway stops, at most 10 min; default
    /// 20 s.
    pub drain: Span,
}

/// Certificate chain and private key, both PEM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// The chain, the server's own certificate first.
    pub cert_file: PathBuf,
    /// The key.
    pub key_file: PathBuf,
}

/// A network of proxies, or a single one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProxyNet(pub IpNet);

/// A text that is neither an address nor a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither an IP address nor a network such as \"10.0.0.0/8\"")]
pub struct ProxyNetFault(String);

impl FromStr for ProxyNet {
    type Err = ProxyNetFault;

    fn from_str(text: &str) -> Result<Self, ProxyNetFault> {
        let single = || text.parse::<IpAddr>().map(IpNet::from);
        let net = text.parse::<IpNet>().or_else(|_| single());
        net.map(Self).map_err(|_| ProxyNetFault(text.to_owned()))
    }
}

impl TryFrom<String> for ProxyNet {
    type Error = ProxyNetFault;

    fn try_from(text: String) -> Result<Self, ProxyNetFault> {
        text.parse()
    }
}

impl From<ProxyNet> for String {
    fn from(net: ProxyNet) -> Self {
        net.to_string()
    }
}

impl fmt::Display for ProxyNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            tls: None,
            trusted_proxies: Vec::new(),
            public_url: None,
            body_max: ByteSize(10 << 20),
            raw_body_max: ByteSize(25 << 20),
            message_max: ByteSize(25 << 20),
            inflight_max: ByteSize(128 << 20),
            header_timeout: Span(Duration::from_secs(10)),
            body_timeout: Span(Duration::from_secs(30)),
            connections_max: 1024,
            connection_age_max: Span(Duration::from_secs(3600)),
            drain: Span(Duration::from_secs(20)),
        }
    }
}

const SIZE_MIN: u64 = 1 << 10;
const SIZE_MAX: u64 = 256 << 20;
const SECOND: Duration = Duration::from_secs(1);

impl HttpConfig {
    /// Every fault of the table, whose path in the configuration is `path`.
    #[must_use]
    pub fn check(&self, path: &str) -> Vec<ConfigFault> {
        let mut faults = Vec::new();
        for (key, size) in [
            ("body_max", self.body_max),
            ("raw_body_max", self.raw_body_max),
            ("message_max", self.message_max),
        ] {
            if !(SIZE_MIN..=SIZE_MAX).contains(&size.0) {
                let text = format!("{size} is outside 1KiB to 256MiB");
                faults.push(ConfigFault::error(format!("{path}.{key}"), text));
            }
        }
        let largest = self.body_max.max(self.raw_body_max);
        if self.inflight_max < largest {
            let text = format!("{} cannot hold one body of {largest}", self.inflight_max);
            faults.push(ConfigFault::error(format!("{path}.inflight_max"), text));
        }
        for (key, span, max_s) in [
            ("header_timeout", self.header_timeout, 300),
            ("body_timeout", self.body_timeout, 3600),
            ("connection_age_max", self.connection_age_max, 86_400),
            ("drain", self.drain, 600),
        ] {
            let min = if key == "drain" {
                Duration::ZERO
            } else {
                SECOND
            };
            if span.0 < min || span.0 > Duration::from_secs(max_s) {
                let max = Span(Duration::from_secs(max_s));
                let text = format!("{span} is outside {} to {max}", Span(min));
                faults.push(ConfigFault::error(format!("{path}.{key}"), text));
            }
        }
        if !(1..=65_536).contains(&self.connections_max) {
            let text = format!("{} is outside 1 to 65536", self.connections_max);
            faults.push(ConfigFault::error(format!("{path}.connections_max"), text));
        }
        faults.extend(self.check_url(path));
        faults.extend(self.check_exposure(path));
        faults
    }

    fn check_url(&self, path: &str) -> Option<ConfigFault> {
        let url = self.public_url.as_deref()?;
        let has_host = url.parse::<http::Uri>().is_ok_and(|uri| {
            let scheme = uri.scheme_str();
            matches!(scheme, Some("http" | "https")) && uri.host().is_some()
        });
        let text = format!("{url:?} is not an http or https URL");
        (!has_host).then(|| ConfigFault::error(format!("{path}.public_url"), text))
    }

    fn check_exposure(&self, path: &str) -> Option<ConfigFault> {
        let is_exposed = self.tls.is_none()
            && !self.listen.ip().is_loopback()
            && self.trusted_proxies.is_empty();
        let text = "API keys travel in clear: set tls, or trusted_proxies if a proxy speaks TLS";
        is_exposed.then(|| ConfigFault::warning(format!("{path}.listen"), text))
    }
}

#[cfg(test)]
mod tests {
    use malote_core::fault::Severity;

    use super::*;

    fn parsed(json: &str) -> Result<HttpConfig, String> {
        serde_json::from_str(json).map_err(|e| e.to_string())
    }

    #[test]
    fn defaults_are_sound() {
        assert_eq!(HttpConfig::default().check("http"), []);
    }

    #[test]
    fn every_bound_is_checked_and_all_faults_are_told_at_once() {
        let config = parsed(
            r#"{"body_max":"1B","inflight_max":"1MiB","header_timeout":"0s","connections_max":0,
                "public_url":"gateway","drain":"1d","listen":"0.0.0.0:80"}"#,
        )
        .unwrap();
        let faults = config.check("http");
        let mut keys: Vec<_> = faults.iter().map(|fault| fault.path.as_str()).collect();
        keys.sort_unstable();
        assert_eq!(
            keys,
            [
                "http.body_max",
                "http.connections_max",
                "http.drain",
                "http.header_timeout",
                "http.inflight_max",
                "http.listen",
                "http.public_url",
            ]
        );
        let warnings = faults.iter().filter(|f| f.severity == Severity::Warning);
        assert_eq!(warnings.count(), 1);
    }

    #[test]
    fn unknown_keys_and_bad_networks_are_refused() {
        assert!(
            parsed(r#"{"lisen":"127.0.0.1:1"}"#)
                .unwrap_err()
                .contains("lisen")
        );
        assert!(parsed(r#"{"trusted_proxies":["10.0.0.0/99"]}"#).is_err());
        let config = parsed(r#"{"trusted_proxies":["10.0.0.1","fd00::/8"]}"#).unwrap();
        assert_eq!(config.trusted_proxies[0].to_string(), "10.0.0.1/32");
    }
}
