//! Where a command finds its gateway, and its store when no gateway runs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use malote_core::clock::{Clock, SystemClock};
use malote_core::secret::Secret;

use super::client::{Client, Token};
use super::exit::{Failure, Outcome};
use super::out;
use crate::config::{self, AdminPart, Config, Report, StorePart};

/// The environment variable with the operators' token.
const TOKEN_VARIABLE: &str = "MALOTE_ADMIN_TOKEN";
/// Where a gateway's operators' door is if nobody says otherwise.
const ADMIN_DEFAULT: &str = "http://127.0.0.1:8081";
/// The way out if `[admin]` cannot be read.
const STILL_ASKED: &str =
    "\na running gateway can still be asked: give --admin URL, and its token in MALOTE_ADMIN_TOKEN";
/// What is said where a configuration is needed, and nothing more can be said of it.
pub(super) const GIVE_CONFIG: &str = "give --config FILE";

/// Which gateway is meant.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct PlaceArgs {
    /// The gateway's configuration, for its admin address, token and store; may be repeated.
    #[arg(long, short, value_name = "FILE")]
    config: Vec<PathBuf>,
    /// The gateway's admin address [default: from --config, else http://127.0.0.1:8081].
    /// The token is taken from MALOTE_ADMIN_TOKEN.
    #[arg(long, value_name = "URL")]
    admin: Option<String>,
}

impl PlaceArgs {
    /// How to ask the gateway. Of a configuration only `[admin]` is read. Connects to nothing.
    ///
    /// # Errors
    /// Exit code 2 if the address is none, or cannot be read.
    pub(super) fn client(&self) -> Outcome<Client> {
        let given = std::env::var(TOKEN_VARIABLE).ok();
        let given = given.filter(|token| !token.is_empty()).map(Secret::new);
        // A token of the configuration is for its own gateway, not for any URL.
        let (url, own) = match (&self.admin, self.config.is_empty()) {
            (Some(url), _) => (url.trim_end_matches('/').to_owned(), None),
            (None, true) => (ADMIN_DEFAULT.to_owned(), None),
            (None, false) => {
                let part = config::read_admin(&self.config, std::env::vars_os());
                let part = part.map_err(|report| not_good(&report, STILL_ASKED))?;
                let url = format!("http://{}", reachable(part.admin.listen));
                (url, Some(part))
            }
        };
        Client::new(url, token(given, own))
    }

    /// Whether a configuration is named.
    pub(super) fn has_config(&self) -> bool {
        !self.config.is_empty()
    }

    /// The configuration, all of it.
    ///
    /// # Errors
    /// Exit code 2 with the report if it is not good, or with `unless_given` if none is named.
    pub(super) fn config(&self, unless_given: &str) -> Outcome<Config> {
        self.expect_config(unless_given)?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
        // `check` and `serve` tell warnings.
        let outcome = config::read(&self.config, std::env::vars_os(), &clock);
        let report = outcome.report;
        outcome.config.ok_or_else(|| not_good(&report, ""))
    }

    /// Where mail is kept. Of the configuration only `[store]` and `[shared]` are read.
    ///
    /// # Errors
    /// As [`PlaceArgs::config`].
    pub(super) fn store(&self, unless_given: &str) -> Outcome<StorePart> {
        self.expect_config(unless_given)?;
        let part = config::read_store(&self.config, std::env::vars_os());
        part.map_err(|report| not_good(&report, ""))
    }

    fn expect_config(&self, unless_given: &str) -> Outcome {
        match self.has_config() {
            true => Ok(()),
            false => Err(Failure::Usage(unless_given.to_owned())),
        }
    }
}

/// The operators' token: the variable's, else the configuration's.
fn token(given: Option<Secret>, own: Option<AdminPart>) -> Token {
    let (own, fault) = own.map_or((None, None), |part| (part.admin.token, part.token_fault));
    match (given, own) {
        (Some(token), own) => Token::Variable {
            token,
            hides_own: own.is_some(),
        },
        (None, Some(token)) => Token::Configured(token),
        (None, None) => Token::Missing(fault),
    }
}

fn not_good(report: &Report, way_out: &str) -> Failure {
    let report = report.render(out::is_error_coloured());
    let report = report.trim_end();
    Failure::Usage(format!("the configuration is not good\n{report}{way_out}"))
}

/// The address at which a listener can be reached from its own machine.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, listen.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_on_every_address_is_reached_on_loopback() {
        for (listen, reached) in [
            ("0.0.0.0:81", "127.0.0.1:81"),
            ("[::]:81", "[::1]:81"),
            ("192.0.2.1:81", "192.0.2.1:81"),
        ] {
            let found = reachable(listen.parse().unwrap());
            assert_eq!(found.to_string(), reached);
        }
    }
}
