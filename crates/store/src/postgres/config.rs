//! `[store.postgres]` and `[shared.postgres]`: which database, how it is reached, and its bounds.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use malote_core::fault::ConfigFault;
use malote_core::secret::{Secret, SecretSource, fetch, fetch_open, is_given};
use serde::Deserialize;
use tokio_postgres::config::{Host, SslMode};

use crate::address_key::{AddressKey, of_text};

/// The table of a PostgreSQL database.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostgresConfig {
    /// Where: `postgresql://user:password@host/database`. Several hosts may be given, separated by
    /// commas: the first that takes writes is used.
    pub url: Option<Secret>,
    /// The environment variable that holds the URL.
    pub url_env: Option<String>,
    /// The file that holds the URL.
    pub url_file: Option<PathBuf>,
    /// Connections; default 8, 2 to 64.
    #[serde(default = "pool")]
    pub pool: u16,
    /// How the connection is kept from others; default `verify`.
    #[serde(default)]
    pub tls: PostgresTls,
    /// Certificates (PEM) of the authorities that the server's certificate must come from; default
    /// those of the machine.
    pub ca_file: Option<PathBuf>,
    /// The key under which addresses are hashed: 32 octets in hex or base64, the same on every
    /// node.
    pub address_key: Option<Secret>,
    /// The environment variable that holds the key.
    pub address_key_env: Option<String>,
    /// The file that holds the key.
    pub address_key_file: Option<PathBuf>,
    /// What this node is called by the others; default the machine's name.
    pub node: Option<String>,
    /// What the installation is called that the node belongs to; default `malote`. The database keeps
    /// the name that it was first opened under, and refuses another.
    #[serde(default = "cluster")]
    pub cluster: String,
}

/// How the connection to the database is kept from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PostgresTls {
    /// TLS, and the server's certificate is verified for its host name.
    #[default]
    Verify,
    /// In clear: to this machine and private addresses only.
    None,
}

/// A database that can be connected to.
#[derive(Clone)]
pub struct PostgresSettings {
    pub(super) target: tokio_postgres::Config,
    pub(super) pool: usize,
    pub(super) tls: PostgresTls,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) key: AddressKey,
    pub(super) cluster: String,
    node: Option<String>,
    /// The table that it comes from, for texts to the operator.
    pub(super) at: String,
}

/// Longest name of a node, and of a cluster.
const NAME_BYTES_MAX: usize = 64;

const fn pool() -> u16 {
    8
}

fn cluster() -> String {
    "malote".to_owned()
}

impl PostgresConfig {
    /// Reads secrets and checks every value of the table at `at`, as in `shared.postgres`.
    /// Connects to nothing. `None` if a fault keeps it from being used.
    pub fn build(&self, at: &str, faults: &mut Vec<ConfigFault>) -> Option<PostgresSettings> {
        let mut found = Vec::new();
        let target = self.target(at, &mut found);
        let key = self.key(at, &mut found);
        if !(2..=64).contains(&self.pool) {
            found.push(ConfigFault::error(format!("{at}.pool"), "must be 2 to 64"));
        }
        if self.tls == PostgresTls::None && self.ca_file.is_some() {
            let message = "has no use with tls = \"none\"";
            found.push(ConfigFault::error(format!("{at}.ca_file"), message));
        }
        for (field, name) in [
            ("node", self.node.as_ref()),
            ("cluster", Some(&self.cluster)),
        ] {
            if name.is_some_and(|name| !is_name(name)) {
                let message = "must be 1 to 64 printable characters without spaces";
                found.push(ConfigFault::error(format!("{at}.{field}"), message));
            }
        }
        let is_unusable = found
            .iter()
            .any(|fault| fault.severity == malote_core::fault::Severity::Error);
        faults.append(&mut found);
        let (Some(target), Some(key), false) = (target, key, is_unusable) else {
            return None;
        };
        Some(PostgresSettings {
            target,
            pool: usize::from(self.pool),
            tls: self.tls,
            ca_file: self.ca_file.clone(),
            key,
            cluster: self.cluster.clone(),
            node: self.node.clone(),
            at: at.to_owned(),
        })
    }

    fn target(&self, at: &str, faults: &mut Vec<ConfigFault>) -> Option<tokio_postgres::Config> {
        let source = SecretSource {
            field: "url",
            literal: self.url.as_ref().map(Secret::expose),
            env: self.url_env.as_deref(),
            file: self.url_file.as_deref(),
        };
        if !is_given(at, &source, faults) {
            return None;
        }
        let url = fetch_open(at, &source, faults)?;
        let path = format!("{at}.url");
        // What the parser says may hold parts of the text, and the text holds a password.
        let Ok(target) = url.expose().parse::<tokio_postgres::Config>() else {
            let message = "is no connection URL, as in \"postgresql://malote@db.internal/malote\"";
            faults.push(ConfigFault::error(path, message));
            return None;
        };
        if target.get_password().is_some() && source.literal.is_some() {
            let message = "a password in the file: better url_env or url_file";
            faults.push(ConfigFault::warning(path.as_str(), message));
        }
        for (is_missing, what) in [
            (target.get_hosts().is_empty(), "host"),
            (target.get_user().is_none(), "user"),
            (target.get_dbname().is_none(), "database"),
        ] {
            if is_missing {
                let message =
                    format!("names no {what}; it reads \"postgresql://malote@db.internal/malote\"");
                faults.push(ConfigFault::error(path.as_str(), message));
            }
        }
        match self.tls {
            PostgresTls::Verify if target.get_ssl_mode() == SslMode::Disable => {
                let message = "says sslmode=disable: leave that out, or say tls = \"none\"";
                faults.push(ConfigFault::error(path, message));
            }
            PostgresTls::None if !target.get_hosts().iter().all(is_near) => {
                let message = "\"none\" is for this machine, private addresses and names without \
                               a dot: suppressed addresses and the password travel in clear; \
                               use \"verify\"";
                faults.push(ConfigFault::error(format!("{at}.tls"), message));
            }
            PostgresTls::Verify | PostgresTls::None => {}
        }
        Some(target)
    }

    fn key(&self, at: &str, faults: &mut Vec<ConfigFault>) -> Option<AddressKey> {
        let source = SecretSource {
            field: "address_key",
            literal: self.address_key.as_ref().map(Secret::expose),
            env: self.address_key_env.as_deref(),
            file: self.address_key_file.as_deref(),
        };
        if !is_given(at, &source, faults) {
            return None;
        }
        let text = fetch(at, &source, faults)?;
        let key = of_text(text.expose().trim()).and_then(|key| AddressKey::new(&key).ok());
        if key.is_none() {
            let message = "must be 32 octets, in 64 hex digits or in base64; make one with \
                           `openssl rand -hex 32` and give every node the same";
            faults.push(ConfigFault::error(format!("{at}.address_key"), message));
        }
        key
    }
}

fn is_name(text: &str) -> bool {
    let is_printable = text.chars().all(|c| c.is_ascii_graphic());
    !text.is_empty() && text.len() <= NAME_BYTES_MAX && is_printable
}

fn is_near(host: &Host) -> bool {
    let Host::Tcp(name) = host else {
        return true;
    };
    match name.parse::<IpAddr>() {
        Ok(IpAddr::V4(v4)) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
        Ok(IpAddr::V6(v6)) => v6.is_loopback() || v6.is_unique_local(),
        Err(_) => !name.contains('.'),
    }
}

impl PostgresSettings {
    /// Which database, without user and password: for the log and the operator.
    #[must_use]
    pub fn place(&self) -> String {
        let host = |host: &Host| match host {
            Host::Tcp(name) => name.clone(),
            Host::Unix(path) => path.display().to_string(),
        };
        let hosts: Vec<_> = self.target.get_hosts().iter().map(host).collect();
        let database = self.target.get_dbname().unwrap_or_default();
        format!("{}/{database}", hosts.join(","))
    }

    /// What the operator calls this node.
    #[must_use]
    pub fn node(&self) -> Option<&str> {
        self.node.as_deref()
    }
}

/// The commands of PostgreSQL's own tools, as an operator would type them.
impl PostgresSettings {
    /// Copies the tables into a file, while gateways work.
    #[must_use]
    pub fn dump_command(&self, into: &Path) -> String {
        format!(
            "pg_dump --format=custom --schema=malote --file='{}' --dbname='{}'",
            into.display(),
            self.open_url()
        )
    }

    /// Makes the tables of such a file, in a database that has none.
    #[must_use]
    pub fn restore_command(&self, from: &Path) -> String {
        format!(
            "pg_restore --exit-on-error --single-transaction --dbname='{}' '{}'",
            self.open_url(),
            from.display()
        )
    }

    /// Looks for damage.
    #[must_use]
    pub fn verify_command(&self) -> String {
        let url = self.open_url();
        format!("pg_amcheck --install-missing --schema=malote '{url}'")
    }

    /// The URL without the password: that is asked for, or comes from `PGPASSFILE`.
    fn open_url(&self) -> String {
        let ports = self.target.get_ports();
        let hosts = self
            .target
            .get_hosts()
            .iter()
            .enumerate()
            .map(|(index, host)| {
                let port = ports.get(index).or_else(|| ports.first());
                let port = port.map_or(String::new(), |port| format!(":{port}"));
                let host = match host {
                    Host::Tcp(name) if name.contains(':') => format!("[{name}]"),
                    Host::Tcp(name) => name.clone(),
                    Host::Unix(path) => path.display().to_string().replace('/', "%2F"),
                };
                format!("{host}{port}")
            });
        let hosts = hosts.collect::<Vec<_>>().join(",");
        let user = self.target.get_user().unwrap_or_default();
        let database = self.target.get_dbname().unwrap_or_default();
        format!("postgresql://{user}@{hosts}/{database}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

    fn faults_of(table: &str) -> Vec<String> {
        let config: PostgresConfig = serde_json::from_str(table).unwrap();
        let mut faults = Vec::new();
        let built = config.build("shared.postgres", &mut faults);
        let texts: Vec<_> = faults.iter().map(ToString::to_string).collect();
        let is_refused = faults
            .iter()
            .any(|fault| fault.severity == malote_core::fault::Severity::Error);
        assert_eq!(built.is_none(), is_refused, "{texts:?}");
        texts
    }

    #[test]
    fn url_and_key_are_all_that_is_needed() {
        let table = format!(r#"{{"url":"postgresql://m@db.x.test/m","address_key":"{KEY}"}}"#);
        let config: PostgresConfig = serde_json::from_str(&table).unwrap();
        let built = config.build("shared.postgres", &mut Vec::new()).unwrap();
        assert_eq!((built.pool, built.tls), (8, PostgresTls::Verify));
        assert_eq!(built.place(), "db.x.test/m");
        let command = built.dump_command(Path::new("/var/backups/m"));
        let said = "pg_dump --format=custom --schema=malote --file='/var/backups/m' \
                    --dbname='postgresql://m@db.x.test:5432/m'";
        assert_eq!(command, said);
        assert!(serde_json::from_str::<PostgresConfig>(r#"{"host":"x"}"#).is_err());
    }

    #[test]
    fn every_fault_is_named_with_its_key_and_none_shows_a_secret() {
        let url = |url: &str| format!(r#"{{"url":"{url}","address_key":"{KEY}"}}"#);
        for (table, said) in [
            ("{}".to_owned(), "shared.postgres.url: is missing"),
            ("{}".to_owned(), "shared.postgres.address_key: is missing"),
            (
                url("postgresql://m:s3cret@h:port/m"),
                "is no connection URL",
            ),
            (url("postgresql://m@/m"), "names no host"),
            (url("postgresql://db.x.test/m"), "names no user"),
            (url("postgresql://m@db.x.test"), "names no database"),
            (url("postgresql://m@h/m?sslmode=disable"), "sslmode=disable"),
            (url("postgresql://m:s3cret@h/m"), "a password in the file"),
            (
                r#"{"url":"postgresql://m@h/m","address_key":"s3cret"}"#.to_owned(),
                "shared.postgres.address_key: must be 32 octets",
            ),
            (
                format!(r#"{{"url":"postgresql://m@h/m","address_key":"{KEY}","pool":1}}"#),
                "shared.postgres.pool: must be 2 to 64",
            ),
            (
                format!(r#"{{"url":"postgresql://m@h/m","address_key":"{KEY}","cluster":"a b"}}"#),
                "shared.postgres.cluster: must be 1 to 64 printable",
            ),
            (
                format!(
                    r#"{{"url":"postgresql://m@10.0.0.1,db.x.test/m","address_key":"{KEY}","tls":"none"}}"#
                ),
                "shared.postgres.tls: \"none\" is for this machine",
            ),
        ] {
            let faults = faults_of(&table);
            let is_said = faults.iter().any(|fault| fault.contains(said));
            assert!(is_said, "{said}: {faults:?}");
            assert!(!faults.iter().any(|f| f.contains("s3cret")), "{faults:?}");
        }
        for near in [
            "127.0.0.1",
            "10.1.2.3",
            "[fd00::1]",
            "db",
            "%2Frun%2Fpostgresql",
        ] {
            let table = format!(
                r#"{{"url":"postgresql://m@{near}/m","address_key":"{KEY}","tls":"none"}}"#
            );
            let faults = faults_of(&table);
            assert!(!faults.iter().any(|f| f.contains(".tls")), "{faults:?}");
        }
    }
}
