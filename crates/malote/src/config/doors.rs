//! Where the gateway listens: no two doors on one address, nothing open that should be closed.

use std::net::SocketAddr;
use std::path::Path;

use malote_core::fault::ConfigFault;
use malote_core::secret::{Secret, SecretSource};
use malote_ingress::{ReloadingCertificate, TlsFault};

use super::raw::AdminConfig;

/// `[admin]`, checked.
#[derive(Debug, Clone)]
pub struct Admin {
    /// Address and port.
    pub listen: SocketAddr,
    /// What operators must present; `None` only on loopback.
    pub token: Option<Secret>,
}

/// Fetches the token, which everything but loopback needs.
pub(super) fn admin(config: &AdminConfig, faults: &mut Vec<ConfigFault>) -> Admin {
    let source = SecretSource {
        field: "token",
        literal: config.token.as_ref().map(Secret::expose),
        env: config.token_env.as_deref(),
        file: config.token_file.as_deref(),
    };
    let listen = config.listen;
    let token = match source.resolve() {
        Ok(token) => token,
        Err(fault) => {
            faults.push(ConfigFault::caused("admin.token", &fault));
            return Admin {
                listen,
                token: None,
            };
        }
    };
    match &token {
        None if !is_loopback(listen) => faults.push(ConfigFault::error(
            "admin.listen",
            format!(
                "{listen} is not on loopback: give token_env or token_file, or listen on 127.0.0.1"
            ),
        )),
        Some(token) if token.expose().trim().is_empty() => {
            faults.push(ConfigFault::error("admin.token", "must not be empty"));
        }
        Some(_) | None => {}
    }
    Admin { listen, token }
}

/// Whether only this machine reaches a door there.
pub(crate) fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// That a certificate and its key can be used together, before any door opens.
pub(super) fn check_certificate(
    at: &str,
    cert_file: &Path,
    key_file: &Path,
) -> Option<ConfigFault> {
    let fault = ReloadingCertificate::load(cert_file, key_file, &[]).err()?;
    let key = match &fault {
        TlsFault::Certificate { .. } => "cert_file",
        TlsFault::Key { .. } | TlsFault::Mismatch { .. } => "key_file",
    };
    Some(ConfigFault::caused(format!("{at}.{key}"), &fault))
}

/// Doors that would fight for one address, and doors whose address nobody would know.
pub(super) fn check_addresses(doors: &[(String, SocketAddr)], faults: &mut Vec<ConfigFault>) {
    for (index, (path, address)) in doors.iter().enumerate() {
        if address.port() == 0 {
            let message = "port 0 is another port at each start: give a fixed one";
            faults.push(ConfigFault::error(path.clone(), message));
        }
        // Two SMTP listeners are the SMTP door's own check.
        let earlier = doors[..index].iter().find(|(other, own)| {
            clash(*own, *address) && !(path.starts_with("smtp") && other.starts_with("smtp"))
        });
        if let Some((other, own)) = earlier {
            let message = format!("{address} is taken by {other} ({own})");
            faults.push(ConfigFault::error(path.clone(), message));
        }
    }
}

/// Whether both cannot be bound: the same port, and one address or a wildcard.
fn clash(one: SocketAddr, other: SocketAddr) -> bool {
    let (a, b) = (one.ip().to_canonical(), other.ip().to_canonical());
    one.port() != 0
        && one.port() == other.port()
        && (a == b || a.is_unspecified() || b.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults_of(doors: &[(&str, &str)]) -> Vec<String> {
        let doors: Vec<_> = doors
            .iter()
            .map(|(path, address)| ((*path).to_owned(), address.parse().unwrap()))
            .collect();
        let mut faults = Vec::new();
        check_addresses(&doors, &mut faults);
        faults.into_iter().map(|fault| fault.path).collect()
    }

    #[test]
    fn two_doors_on_one_address_are_refused() {
        let http = ("http.listen", "127.0.0.1:80");
        for other in [
            "127.0.0.1:80",
            "0.0.0.0:80",
            "[::]:80",
            "[::ffff:127.0.0.1]:80",
        ] {
            assert_eq!(
                faults_of(&[http, ("admin.listen", other)]),
                ["admin.listen"],
                "{other}"
            );
        }
        for other in ["127.0.0.1:81", "127.0.0.2:80", "[::1]:80"] {
            assert_eq!(
                faults_of(&[http, ("admin.listen", other)]).len(),
                0,
                "{other}"
            );
        }
        assert_eq!(
            faults_of(&[("http.listen", "127.0.0.1:0")]),
            ["http.listen"]
        );
    }

    #[test]
    fn the_operators_endpoints_are_open_to_nobody_without_a_token() {
        for (text, count) in [
            ("listen = '127.0.0.1:81'", 0),
            ("listen = '[::1]:81'", 0),
            ("listen = '0.0.0.0:81'", 1),
            ("listen = '192.168.1.1:81'", 1),
            ("listen = '0.0.0.0:81'\ntoken = 'secret-of-operators'", 0),
            ("token = ''", 1),
            ("token_env = 'MALOTE_TEST_NOT_SET'", 1),
        ] {
            let mut faults = Vec::new();
            admin(&toml::from_str(text).unwrap(), &mut faults);
            assert_eq!(faults.len(), count, "{text}: {faults:?}");
        }
    }
}
