//! `transport = "smtp"` of the native kinds: this adapter with the service's dialect.

use std::sync::Arc;

use malote_core::clock::Clock;
use malote_core::fault::ConfigFault;
use malote_core::name::ProviderName;
use malote_core::secret::Secret;
use reqwest::Url;

use super::config::Protection;
use super::connect::is_private;
use super::login::{Login, Proof};
use super::pools::Pools;
use super::{Preset, SmtpConfig, SmtpProvider};
use crate::{Adapter, ProviderConfig};

/// What a native kind's table says of its SMTP.
#[derive(Debug, Clone)]
pub(crate) struct Native<'a> {
    /// The service.
    pub preset: Preset,
    /// The region, by the preset's names; `None` is its first.
    pub region: Option<&'a str>,
    /// Another server in its place: `smtps://host[:465]`, or `smtp://host[:587]` with STARTTLS
    /// required, which only a near host goes without (loopback, private, a name without a dot).
    pub endpoint: Option<&'a str>,
    /// Who logs in; `None` where the preset knows (SendGrid's `apikey`, Postmark's token).
    pub user: Option<&'a str>,
    /// The key that the service takes as the password.
    pub password: Secret,
}

/// Builds the adapter of a native kind that sends by SMTP; `at` is its table's path, such as
/// `providers.NAME.sendgrid`. Faults are of `at`'s keys `region`, `endpoint` and `user`, and of the
/// pools.
#[expect(
    clippy::too_many_arguments,
    reason = "as every kind's build, with what its table says of SMTP"
)]
pub(crate) fn build_native(
    name: &ProviderName,
    at: &str,
    native: Native<'_>,
    config: &ProviderConfig,
    _clock: &Arc<dyn Clock>,
    faults: &mut Vec<ConfigFault>,
) -> Option<Adapter> {
    let errors_before = faults.len();
    let mut table = SmtpConfig {
        preset: Some(native.preset),
        region: native.region.map(str::to_owned),
        user: native.user.map(str::to_owned),
        ..SmtpConfig::default()
    };
    if let Some(text) = native.endpoint {
        match Server::parse(text) {
            Ok(server) => server.put_into(&mut table),
            Err(message) => faults.push(ConfigFault::error(format!("{at}.endpoint"), message)),
        }
    }
    if config.http2.is_some() {
        let message = "is for transport = \"api\"; remove it";
        faults.push(ConfigFault::error(
            format!("providers.{name}.http2"),
            message,
        ));
    }
    let user = table.user_for(&native.password);
    if user.is_none() {
        let message = "is missing: who logs in to the service's SMTP";
        faults.push(ConfigFault::error(format!("{at}.user"), message));
    }
    let login = user.map(|user| Login {
        user,
        proof: Proof::Password(native.password),
    });
    let settings = table.settings(at, login, faults);
    let host = table.host.parse().ok();
    let pools = Pools::check(name, table.dialect(), host, config, faults);
    if faults.len() > errors_before {
        return None;
    }
    Some(Adapter {
        provider: Arc::new(SmtpProvider::new(table.dialect().name, settings?, pools?)),
        webhook: None,
        list: None,
    })
}

/// An endpoint's parts.
#[derive(Debug, PartialEq, Eq)]
struct Server {
    host: String,
    port: Option<u16>,
    tls: Protection,
}

impl Server {
    fn parse(text: &str) -> Result<Self, &'static str> {
        const FORM: &str =
            "is no SMTP endpoint, as in \"smtps://host:465\" or \"smtp://127.0.0.1:2525\"";
        let url: Url = text.parse().map_err(|_| FORM)?;
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or(FORM)?;
        let is_bare = matches!(url.path(), "" | "/")
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none();
        if !is_bare {
            return Err("must be scheme, host and port only");
        }
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let tls = match url.scheme() {
            "smtps" => Protection::Implicit,
            // A name without a dot is a container's; a public address behind it is refused when
            // it is dialled.
            "smtp" if host.parse().map_or(!host.contains('.'), is_private) => Protection::None,
            "smtp" => Protection::StartTls,
            _ => return Err(FORM),
        };
        Ok(Self {
            host: host.to_owned(),
            port: url.port(),
            tls,
        })
    }

    fn put_into(self, table: &mut SmtpConfig) {
        table.host = self.host;
        table.port = self.port;
        table.tls = Some(self.tls);
        // Whoever names another server in the service's place knows where it stands.
        table.private_addresses = Some(true);
    }
}

#[cfg(test)]
mod tests {
    use malote_core::clock::SystemClock;

    use super::*;

    #[test]
    fn an_endpoint_goes_without_tls_only_to_a_near_host() {
        for (text, host, port, tls) in [
            (
                "smtp://127.0.0.1:2525",
                "127.0.0.1",
                Some(2525),
                Protection::None,
            ),
            ("smtp://[::1]:2525", "::1", Some(2525), Protection::None),
            ("smtp://10.0.0.5", "10.0.0.5", None, Protection::None),
            ("smtp://sandbox/", "sandbox", None, Protection::None),
            (
                "smtp://mx.example.com",
                "mx.example.com",
                None,
                Protection::StartTls,
            ),
            ("smtp://192.0.2.1", "192.0.2.1", None, Protection::StartTls),
            (
                "smtps://127.0.0.1:465",
                "127.0.0.1",
                Some(465),
                Protection::Implicit,
            ),
        ] {
            let server = Server {
                host: host.to_owned(),
                port,
                tls,
            };
            assert_eq!(Server::parse(text), Ok(server), "{text}");
        }
        for text in [
            "",
            "mx.example.com",
            "smtp://",
            "https://mx.example.com",
            "smtp://u:p@mx.example.com",
            "smtp://mx.example.com/x",
            "smtp://mx.example.com?x",
        ] {
            assert!(Server::parse(text).is_err(), "{text}");
        }
    }

    fn build(native: Native<'_>) -> (Option<Adapter>, Vec<String>) {
        let name = ProviderName::try_from("a").unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
        let config = ProviderConfig::default();
        let mut faults = Vec::new();
        let at = "providers.a.x";
        let adapter = build_native(&name, at, native, &config, &clock, &mut faults);
        (adapter, faults.into_iter().map(|f| f.path).collect())
    }

    #[test]
    fn a_native_kind_needs_no_more_than_its_key() {
        let native = Native {
            preset: Preset::Sendgrid,
            region: None,
            endpoint: None,
            user: None,
            password: Secret::new("k"),
        };
        let (adapter, faults) = build(native.clone());
        assert_eq!(faults, Vec::<String>::new());
        assert_eq!(adapter.unwrap().provider.kind(), "sendgrid");
        let rows = [
            (
                Native {
                    region: Some("mars"),
                    ..native.clone()
                },
                "providers.a.x.region",
            ),
            (
                Native {
                    endpoint: Some("x"),
                    ..native.clone()
                },
                "providers.a.x.endpoint",
            ),
            (
                Native {
                    preset: Preset::Smtp2go,
                    ..native
                },
                "providers.a.x.user",
            ),
        ];
        for (native, path) in rows {
            let (adapter, faults) = build(native);
            assert!(adapter.is_none());
            assert_eq!(faults, [path]);
        }
    }
}
