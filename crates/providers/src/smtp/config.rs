//! `[providers.NAME.smtp]`: what can be set, and what must hold.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use malote_core::address::parse_domain;
use malote_core::clock::Clock;
use malote_core::fault::ConfigFault;
use malote_core::secret::Secret;
use malote_core::units::{ByteSize, Span};
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use rustls_platform_verifier::Verifier;
use serde::Deserialize;

use super::connect::{Endpoint, Reach, SystemLookup, Timing, is_private};
use super::dialect::{Dialect, Host, PLAIN};
use super::login::Login;
use super::oauth::OAuth2Config;
use super::pool::Bounds;
use super::preset::Preset;
use super::transaction::Pace;
use crate::ses::{dns_suffix, is_region};

/// `[providers.NAME.smtp]`: any SMTP server that takes mail for relay.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SmtpConfig {
    /// The service, if it is one of those whose SMTP is known: `"mailcow"`, `"exim"`, `"postfix"`,
    /// `"ses"`, `"mailgun"`, `"sendgrid"`, `"postmark"`, `"sparkpost"`, `"elasticemail"`,
    /// `"smtp2go"`, `"postal"`, `"brevo"`, `"resend"`, `"mailjet"`, `"mailtrap"`,
    /// `"microsoft365"` or `"google"`. It fills host, port, protection, user and bounds where they
    /// are not given, and brings the service's header fields and answers. Default none.
    pub preset: Option<Preset>,
    /// Where the service keeps the account, with a preset that has several places, such as `"eu"`.
    /// Default the service's first. For `ses` the AWS region, required unless `host` is given.
    pub region: Option<String>,
    /// The server: a domain name or an IP address. Required without a preset that knows it.
    pub host: String,
    /// Its port. Default 465 for `implicit`, 587 for `starttls`, 25 for `none`.
    pub port: Option<u16>,
    /// How the connection is protected. Default the preset's, else `implicit`.
    pub tls: Option<Protection>,
    /// Who logs in (AUTH PLAIN, else LOGIN). Default the preset's, else nobody.
    pub user: Option<String>,
    /// The login's password.
    pub password: Option<Secret>,
    /// The environment variable that holds the password.
    pub password_env: Option<String>,
    /// The file that holds the password.
    pub password_file: Option<PathBuf>,
    /// With preset `ses`, in place of user and password: the access key id of an IAM user. The
    /// password of the region's SMTP is derived from its secret key; temporary keys cannot be used.
    pub access_key_id: Option<String>,
    /// The secret access key.
    pub secret_access_key: Option<Secret>,
    /// The environment variable that holds the secret access key.
    pub secret_access_key_env: Option<String>,
    /// The file that holds the secret access key.
    pub secret_access_key_file: Option<PathBuf>,
    /// In place of a password: how access tokens are got.
    pub oauth2: Option<OAuth2Config>,
    /// Whether the host's name may lead to loopback and private addresses. Default false with TLS,
    /// so that a name server cannot lead a connection inside; true with `tls = "none"`, which goes
    /// nowhere else. A host given by its address is connected to anyway.
    pub private_addresses: Option<bool>,
    /// The name given in EHLO. Default: the connection's own address, as `[192.0.2.1]`.
    pub helo: Option<String>,
    /// PEM certificates of authorities to believe besides the system's, for a private one.
    pub ca_file: Option<PathBuf>,
    /// Most connections of each class, idle ones included, 1 to 1000. Default the preset's, else
    /// 20, so that both classes stay below the 50 that Postfix allows one client.
    pub connections_max: Option<u16>,
    /// Messages after which a connection is closed, 1 to 1000000. Default the preset's, else 1000.
    pub messages_per_connection_max: Option<u32>,
    /// How long an unused connection is kept, `"1s"` to `"1h"`. Default `"30s"`.
    pub idle_max: Option<Span>,
    /// How long any connection is kept, `"1s"` to `"1d"`. Default `"10m"`, so that a change of the
    /// name's address is followed.
    pub age_max: Option<Span>,
    /// Whether commands are pipelined where the server offers it. Default true.
    pub pipelining: Option<bool>,
    /// Most recipients of one message in one transaction, 1 to 1000. Default the preset's, else 100,
    /// which every server must take (RFC 5321 4.5.3.1.8).
    pub recipients_max: Option<u16>,
    /// Largest message, to be set where the server's own bound is known; what the server says in
    /// EHLO is obeyed anyway. Default the preset's, else `"100MiB"`.
    pub message_max: Option<ByteSize>,
    /// Whether mail is signed by `[dkim]` before it goes there. Default true without a preset and with
    /// `postfix` and `exim`; false with the others, which sign themselves.
    pub dkim: Option<bool>,
}

/// How a connection is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protection {
    /// TLS from the first octet (RFC 8314 3).
    #[default]
    Implicit,
    /// STARTTLS, required (RFC 3207).
    StartTls,
    /// None: loopback and private addresses only.
    None,
}

impl Protection {
    const fn default_port(self) -> u16 {
        match self {
            Self::Implicit => 465,
            Self::StartTls => 587,
            Self::None => 25,
        }
    }
}

/// A checked table.
pub(crate) struct Settings {
    pub(crate) endpoint: Endpoint,
    pub(crate) bounds: Bounds,
    pub(crate) pace: Pace,
    pub(crate) recipients_max: u16,
    pub(crate) message_bytes_max: u64,
}

impl SmtpConfig {
    /// Whether mail is signed before it goes there.
    pub(crate) fn is_signed_here(&self) -> bool {
        let by_default = self.preset.is_none_or(Preset::leaves_signing_to_us);
        self.dkim.unwrap_or(by_default)
    }

    /// Checks the table at the path `at`; `None` if it has an error.
    pub(crate) fn checked(
        &self,
        at: &str,
        clock: &Arc<dyn Clock>,
        faults: &mut Vec<ConfigFault>,
    ) -> Option<Settings> {
        let mut errors = Vec::new();
        let login = self.login(at, clock, &mut errors, faults);
        let settings = self.settings(at, login, &mut errors);
        let is_good = errors.is_empty();
        faults.append(&mut errors);
        settings.filter(|_| is_good)
    }

    #[cfg(test)]
    pub(crate) fn check(&self, at: &str, faults: &mut Vec<ConfigFault>) -> Option<Settings> {
        self.checked(at, &super::tests::clock(), faults)
    }

    /// What the preset knows; plain SMTP without one.
    pub(crate) fn dialect(&self) -> &'static Dialect {
        self.preset.map_or(&PLAIN, Preset::dialect)
    }

    /// Checks everything but the login.
    pub(crate) fn settings(
        &self,
        at: &str,
        login: Option<Login>,
        errors: &mut Vec<ConfigFault>,
    ) -> Option<Settings> {
        let dialect = self.dialect();
        let tls = self.tls.unwrap_or(dialect.tls);
        let host = self.host(at, errors)?;
        self.check_names(at, &host, tls, errors);
        let reach = self.reach(at, &host, tls, errors);
        let bounds = self.check_bounds(at, errors);
        let defaults = dialect.bounds;
        let recipients_max = self.recipients_max.unwrap_or(defaults.recipients_max);
        if !(1..=1000).contains(&recipients_max) {
            let path = format!("{at}.recipients_max");
            errors.push(ConfigFault::error(path, "must be from 1 to 1000"));
        }
        let tls_config = match tls {
            Protection::None => None,
            Protection::Implicit | Protection::StartTls => Some(self.tls_config(at, errors)?),
        };
        let message_max = self.message_max.map(|size| size.0);
        Some(Settings {
            endpoint: Endpoint {
                dialect,
                host,
                port: self.port.unwrap_or(tls.default_port()),
                tls,
                tls_config,
                helo: self.helo.clone(),
                login,
                lookup: Arc::new(SystemLookup),
                reach,
                timing: Timing::default(),
            },
            bounds,
            pace: if self.pipelining.unwrap_or(true) {
                Pace::Pipelined
            } else {
                Pace::Stepwise
            },
            recipients_max,
            message_bytes_max: message_max.unwrap_or(defaults.message_bytes_max),
        })
    }

    /// The host: the table's, else the preset's in the table's region.
    fn host(&self, at: &str, errors: &mut Vec<ConfigFault>) -> Option<String> {
        let mut error = |key: &str, message: &str| {
            errors.push(ConfigFault::error(format!("{at}.{key}"), message));
            None
        };
        let known = match self.dialect().host {
            Host::Given if self.region.is_some() => {
                return error("region", "needs a preset of a service that has regions");
            }
            Host::Given => None,
            Host::ByRegion(hosts) => match host_by_region(hosts, self.region.as_deref()) {
                Ok(host) => Some(host.to_owned()),
                Err(message) => return error("region", &message),
            },
            Host::Aws => match self.region.as_deref() {
                Some(region) if is_region(region) => Some(aws_host(region)),
                Some(_) => return error("region", "is not a region, as in \"us-east-1\""),
                None if self.host.is_empty() => {
                    return error("region", "is missing, as in region = \"us-east-1\"");
                }
                None => None,
            },
        };
        match known {
            _ if !self.host.is_empty() => Some(self.host.clone()),
            Some(host) => Some(host),
            None => error("host", "is required"),
        }
    }

    fn check_names(&self, at: &str, host: &str, tls: Protection, errors: &mut Vec<ConfigFault>) {
        let mut error = |key: &str, message: &str| {
            errors.push(ConfigFault::error(format!("{at}.{key}"), message));
        };
        match host.parse::<IpAddr>() {
            Ok(ip) if tls == Protection::None && !is_private(ip) => {
                let message = "\"none\" is for loopback and private addresses only; use \"implicit\" or \"starttls\"";
                error("tls", message);
            }
            Ok(_) => {}
            Err(_) if parse_domain(host).is_err() => {
                error("host", "is neither a domain name nor an IP address");
            }
            Err(_) => {}
        }
        if self.port == Some(0) {
            error("port", "must be from 1 to 65535");
        }
        if let Some(helo) = &self.helo {
            let is_literal = helo.starts_with('[') && helo.ends_with(']');
            let is_visible = helo.len() <= 255 && helo.bytes().all(|b| b.is_ascii_graphic());
            if !is_visible || (!is_literal && parse_domain(helo).is_err()) {
                error(
                    "helo",
                    "must be a domain name or an address literal, as \"[192.0.2.1]\"",
                );
            }
        }
    }

    fn reach(&self, at: &str, host: &str, tls: Protection, errors: &mut Vec<ConfigFault>) -> Reach {
        let is_literal = host.parse::<IpAddr>().is_ok();
        match self.private_addresses {
            Some(false) if tls == Protection::None => {
                let message = "must not be false with tls = \"none\", which is for loopback and private addresses only";
                let path = format!("{at}.private_addresses");
                errors.push(ConfigFault::error(path, message));
                Reach::Any
            }
            Some(true) => Reach::Any,
            Some(false) | None if is_literal || tls == Protection::None => Reach::Any,
            Some(false) | None => Reach::Public,
        }
    }

    fn check_bounds(&self, at: &str, errors: &mut Vec<ConfigFault>) -> Bounds {
        let mut error = |key: &str, message: &str| {
            errors.push(ConfigFault::error(format!("{at}.{key}"), message));
        };
        let defaults = self.dialect().bounds;
        let connections_max = self.connections_max.unwrap_or(defaults.connections_max);
        let messages_max = self.messages_per_connection_max;
        let bounds = Bounds {
            connections_max: usize::from(connections_max),
            messages_per_connection_max: messages_max
                .unwrap_or(defaults.messages_per_connection_max),
            idle_max: self
                .idle_max
                .map_or(std::time::Duration::from_secs(30), |s| s.0),
            age_max: self
                .age_max
                .map_or(std::time::Duration::from_secs(600), |s| s.0),
        };
        if !(1..=1000).contains(&bounds.connections_max) {
            error("connections_max", "must be from 1 to 1000");
        }
        if !(1..=1_000_000).contains(&bounds.messages_per_connection_max) {
            error("messages_per_connection_max", "must be from 1 to 1000000");
        }
        if !(1..=3600).contains(&bounds.idle_max.as_secs()) {
            error("idle_max", "must be from \"1s\" to \"1h\"");
        }
        if !(1..=86_400).contains(&bounds.age_max.as_secs()) {
            error("age_max", "must be from \"1s\" to \"1d\"");
        }
        bounds
    }

    fn tls_config(&self, at: &str, errors: &mut Vec<ConfigFault>) -> Option<Arc<ClientConfig>> {
        let roots = match self.ca_file.as_deref().map(read_roots) {
            None => Vec::new(),
            Some(Ok(roots)) => roots,
            Some(Err(message)) => {
                errors.push(ConfigFault::error(format!("{at}.ca_file"), message));
                return None;
            }
        };
        match client_config(roots) {
            Ok(config) => Some(config),
            Err(error) => {
                let message = format!("no certificate authority to believe: {error}");
                errors.push(ConfigFault::error(format!("{at}.ca_file"), message));
                None
            }
        }
    }
}

/// The service's host in `region`.
///
/// # Errors
/// If it has no such region: which it has.
fn host_by_region(
    hosts: &'static [(&'static str, &'static str)],
    region: Option<&str>,
) -> Result<&'static str, String> {
    let wanted = |(name, _): &&(&str, &str)| region.is_none_or(|region| region == *name);
    hosts
        .iter()
        .find(wanted)
        .map(|(_, host)| *host)
        .ok_or_else(|| {
            let names: Vec<_> = hosts
                .iter()
                .map(|(name, _)| format!("\"{name}\""))
                .collect();
            format!("must be {}", names.join(" or "))
        })
}

fn aws_host(region: &str) -> String {
    format!("email-smtp.{region}.{}", dns_suffix(region))
}

fn read_roots(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let unreadable = |error| format!("{} cannot be read: {error}", path.display());
    let certificates = CertificateDer::pem_file_iter(path).map_err(unreadable)?;
    let roots: Vec<_> = certificates.collect::<Result<_, _>>().map_err(unreadable)?;
    if roots.is_empty() {
        return Err(format!("{} holds no certificate (PEM)", path.display()));
    }
    Ok(roots)
}

/// TLS 1.2 and 1.3, the system's authorities and `roots`. There is no way to accept less.
fn client_config(roots: Vec<CertificateDer<'static>>) -> Result<Arc<ClientConfig>, rustls::Error> {
    let provider = Arc::new(default_provider());
    let verifier = Verifier::new_with_extra_roots(roots, Arc::clone(&provider))?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<String> {
        let config: SmtpConfig = toml::from_str(text).unwrap();
        let mut faults = Vec::new();
        let settings = config.check("t", &mut faults);
        let is_error = |f: &ConfigFault| f.severity == malote_core::fault::Severity::Error;
        assert_eq!(settings.is_none(), faults.iter().any(is_error), "{text}");
        faults.into_iter().map(|f| f.path).collect()
    }

    #[test]
    fn a_host_is_enough() {
        for text in [
            "host = 'mx.example.com'",
            "host = '192.0.2.1'",
            "host = '127.0.0.1'\ntls = 'none'",
            "host = 'relay'\ntls = 'none'",
            "host = 'relay'\ntls = 'none'\nprivate_addresses = true",
            "host = 'relay'\nprivate_addresses = true",
            "host = 'mx.example.com'\ntls = 'starttls'\nuser = 'u'\npassword_file = '/etc/hostname'",
        ] {
            assert_eq!(faults(text), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn each_fault_is_told_with_its_key() {
        for (text, path) in [
            ("", "t.host"),
            ("host = 'a b'", "t.host"),
            ("host = '192.0.2.1'\ntls = 'none'", "t.tls"),
            (
                "host = 'relay'\ntls = 'none'\nprivate_addresses = false",
                "t.private_addresses",
            ),
            ("host = 'x.test'\nport = 0", "t.port"),
            ("host = 'x.test'\nhelo = \"a\\r\\nMAIL\"", "t.helo"),
            ("host = 'x.test'\nuser = 'u'", "t.password"),
            (
                "host = 'x.test'\nuser = 'u'\npassword_env = 'MALOTE_NOT_SET'",
                "t.password_env",
            ),
            ("host = 'x.test'\npassword_file = '/etc/hostname'", "t.user"),
            ("host = 'x.test'\nuser = 'u'\npassword = 'p'", "t.password"),
            ("host = 'x.test'\nca_file = '/nowhere'", "t.ca_file"),
            ("host = 'x.test'\nca_file = '/etc/hostname'", "t.ca_file"),
            ("host = 'x.test'\nconnections_max = 0", "t.connections_max"),
            (
                "host = 'x.test'\nmessages_per_connection_max = 0",
                "t.messages_per_connection_max",
            ),
            ("host = 'x.test'\nidle_max = '0s'", "t.idle_max"),
            ("host = 'x.test'\nage_max = '2d'", "t.age_max"),
            ("host = 'x.test'\nrecipients_max = 1001", "t.recipients_max"),
        ] {
            assert_eq!(faults(text), [path], "{text}");
        }
    }

    #[test]
    fn there_is_no_key_to_accept_bad_certificates() {
        for key in ["accept_invalid_certs", "insecure", "tls_verify"] {
            let text = format!("host = 'x.test'\n{key} = true");
            assert!(toml::from_str::<SmtpConfig>(&text).is_err(), "{key}");
        }
        assert!(toml::from_str::<SmtpConfig>("tls = 'opportunistic'").is_err());
    }

    #[test]
    fn the_port_follows_tls() {
        let ports = [Protection::Implicit, Protection::StartTls, Protection::None]
            .map(Protection::default_port);
        assert_eq!(ports, [465, 587, 25]);
    }
}
