//! Where a command finds its gateway, and its store when no gateway runs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use malote_core::clock::{Clock, SystemClock};
use malote_core::secret::Secret;

use super::client::Client;
use super::exit::{Failure, Outcome};
use super::out;
use crate::config::{self, Config};

/// The environment variable with the operators' token.
const TOKEN_VARIABLE: &str = "MALOTE_ADMIN_TOKEN";
/// Where a gateway's operators' door is if nobody says otherwise.
const ADMIN_DEFAULT: &str = "http://127.0.0.1:8081";

/// Which gateway is meant.
#[derive(Debug, clap::Args)]
pub(super) struct PlaceArgs {
    /// The gateway's configuration, for its admin address, token and store; may be repeated.
    #[arg(long, short, value_name = "FILE")]
    config: Vec<PathBuf>,
    /// The gateway's admin address [default: from --config, else http://127.0.0.1:8081].
    /// The token is taken from MALOTE_ADMIN_TOKEN.
    #[arg(long, value_name = "URL")]
    admin: Option<String>,
}

/// Which gateway is meant, with what its configuration says.
pub(super) struct Place {
    /// How to ask it.
    pub(super) client: Client,
    /// Its configuration, if it was given.
    pub(super) config: Option<Config>,
    /// The time.
    pub(super) clock: Arc<dyn Clock>,
}

impl PlaceArgs {
    /// Reads the configuration, if one is given. Connects to nothing.
    ///
    /// # Errors
    /// Exit code 2 with the report, if it is not good.
    pub(super) fn place(&self) -> Outcome<Place> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
        let config = match self.config.is_empty() {
            true => None,
            false => Some(read(&self.config, &clock)?),
        };
        let own = config.as_ref().map(|config| reachable(config.admin.listen));
        let url = match (&self.admin, own) {
            (Some(url), _) => url.trim_end_matches('/').to_owned(),
            (None, Some(address)) => format!("http://{address}"),
            (None, None) => ADMIN_DEFAULT.to_owned(),
        };
        let token = match std::env::var(TOKEN_VARIABLE) {
            Ok(token) if !token.is_empty() => Some(Secret::new(token)),
            // A token of the configuration is for its own gateway, not for any URL.
            Ok(_) | Err(_) if self.admin.is_none() => config
                .as_ref()
                .and_then(|config| config.admin.token.clone()),
            Ok(_) | Err(_) => None,
        };
        let client = Client::new(url, token)?;
        Ok(Place {
            client,
            config,
            clock,
        })
    }
}

impl Place {
    /// The configuration, which this command cannot do without.
    ///
    /// # Errors
    /// Exit code 2.
    pub(super) fn config(self) -> Outcome<Config> {
        let text = "give --config FILE";
        self.config.ok_or_else(|| Failure::Usage(text.to_owned()))
    }
}

/// Reads configuration files and keeps quiet about warnings: `check` and `serve` tell those.
///
/// # Errors
/// Exit code 2 with the report.
pub(super) fn read(files: &[PathBuf], clock: &Arc<dyn Clock>) -> Outcome<Config> {
    let outcome = config::read(files, std::env::vars_os(), clock);
    outcome.config.ok_or_else(|| {
        let report = outcome.report.render(out::is_error_coloured());
        Failure::Usage(format!(
            "the configuration is not good\n{}",
            report.trim_end()
        ))
    })
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
