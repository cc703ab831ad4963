//! `malote store migrate`: everything that a store keeps, from one engine to the other.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use malote_core::clock::{Clock, SystemClock};
use malote_core::fault::Severity;
use malote_core::secret::Secret;
use malote_store::{
    Doing, Migration, Moved, PostgresConfig, PostgresTls, Progress, SqliteConfig, Stage,
    sqlite_address_key,
};
use serde::Serialize;

use super::exit::{Failure, Outcome};
use super::out;
use super::progress;

/// One reads, one writes, one asks.
const CONNECTIONS: u16 = 3;

/// From where to where.
#[derive(Debug, clap::Args)]
pub(super) struct MigrateArgs {
    /// The store that moves; no gateway may run on it.
    #[arg(long, value_name = "STORE")]
    from: Place,
    /// Where to: empty, or what this command left half-finished before.
    #[arg(long, value_name = "STORE")]
    to: Place,
    /// How the connection to a database is kept from others.
    #[arg(long, value_enum, default_value_t = Tls::Verify)]
    tls: Tls,
    /// Certificates (PEM) of the authorities that the database's must come from.
    #[arg(long, value_name = "PATH")]
    ca_file: Option<PathBuf>,
    /// The file with the database's `address_key`, if the store comes from one.
    #[arg(long, value_name = "PATH", conflicts_with = "address_key_env")]
    address_key_file: Option<PathBuf>,
    /// The environment variable with that key.
    #[arg(long, value_name = "NAME")]
    address_key_env: Option<String>,
    /// Write JSON.
    #[arg(long)]
    json: bool,
}

/// A store on the command line: `sqlite:PATH`, `postgres:URL`, `url_env:NAME` or `url_file:PATH`.
#[derive(Debug, Clone)]
enum Place {
    Sqlite(PathBuf),
    Url(Secret),
    UrlEnv(String),
    UrlFile(PathBuf),
}

impl FromStr for Place {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_url = text.starts_with("postgres://") || text.starts_with("postgresql://");
        let place = match text.split_once(':') {
            _ if is_url => Self::Url(Secret::new(text)),
            Some(("sqlite", path)) if !path.is_empty() => Self::Sqlite(path.into()),
            Some(("postgres", url)) if url.contains("://") => Self::Url(Secret::new(url)),
            Some(("url_env", name)) if !name.is_empty() => Self::UrlEnv(name.to_owned()),
            Some(("url_file", path)) if !path.is_empty() => Self::UrlFile(path.into()),
            // What was typed may hold a password.
            Some(_) | None => {
                return Err("give sqlite:PATH, postgres:URL, url_env:NAME or url_file:PATH");
            }
        };
        Ok(place)
    }
}

/// How the connection to a database is kept from others.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(super) enum Tls {
    /// TLS, and the server's certificate is verified.
    Verify,
    /// In clear: to this machine and private addresses only.
    None,
}

impl Tls {
    /// The configuration's word.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Verify => "verify",
            Self::None => "none",
        }
    }
}

/// What went over.
#[derive(Debug, Serialize)]
struct Report {
    /// Where it is now.
    place: String,
    /// Whether an earlier run had begun.
    continued: bool,
    /// Every table, the same in both stores.
    tables: Vec<TableReport>,
}

#[derive(Debug, Serialize)]
struct TableReport {
    table: &'static str,
    rows: u64,
    octets: u64,
    checksum: String,
}

/// Runs the command.
pub(super) async fn run(args: MigrateArgs) -> Outcome {
    let address_key = args.address_key()?;
    let migration = Migration {
        from: args.stage("--from", &args.from, &address_key)?,
        to: args.stage("--to", &args.to, &address_key)?,
        address_key,
    };
    let shown = Mutex::new(Shown::default());
    let tell = |progress: Progress| {
        let mut shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.at(progress);
    };
    let moved = migration.run(SystemClock::start().now(), &tell).await;
    shown
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner)
        .end();
    tell_outcome(&args, &moved?)
}

impl MigrateArgs {
    fn address_key(&self) -> Outcome<Secret> {
        match &self.from {
            Place::Sqlite(path) => Ok(sqlite_address_key(&SqliteConfig::at(path))?),
            Place::Url(_) | Place::UrlEnv(_) | Place::UrlFile(_) => {
                let read = match (&self.address_key_file, &self.address_key_env) {
                    (Some(path), _) => std::fs::read_to_string(path)
                        .map_err(|error| format!("{}: {error}", path.display())),
                    (None, Some(name)) => std::env::var(name)
                        .map_err(|_| format!("the environment variable {name} is not set")),
                    (None, None) => Err("give --address-key-file or --address-key-env: the key \
                                         under which the database hashes addresses goes along"
                        .to_owned()),
                };
                read.map(Secret::new).map_err(Failure::Usage)
            }
        }
    }

    fn stage(&self, at: &str, place: &Place, address_key: &Secret) -> Outcome<Stage> {
        let (url, url_env, url_file) = match place {
            Place::Sqlite(path) => {
                let path = std::path::absolute(path)?;
                return Ok(SqliteConfig::at(path).into());
            }
            Place::Url(url) => (Some(url.clone()), None, None),
            Place::UrlEnv(name) => (None, Some(name.clone()), None),
            Place::UrlFile(path) => (None, None, Some(path.clone())),
        };
        let config = PostgresConfig {
            url,
            url_env,
            url_file,
            tls: match self.tls {
                Tls::Verify => PostgresTls::Verify,
                Tls::None => PostgresTls::None,
            },
            ca_file: self.ca_file.clone(),
            pool: CONNECTIONS,
            address_key: Some(address_key.clone()),
            address_key_env: None,
            address_key_file: None,
            node: None,
            // A move neither asks for it nor notes it: the first gateway does.
            cluster: "malote".to_owned(),
        };
        let mut faults = Vec::new();
        let settings = config.build(at, &mut faults);
        let texts = faults
            .iter()
            .filter(|fault| fault.severity == Severity::Error)
            .map(ToString::to_string);
        let texts: Vec<String> = texts.collect();
        let settings = settings.ok_or_else(|| Failure::Usage(texts.join("\n")))?;
        Ok(settings.into())
    }
}

/// What is shown of a move under way: each table from its first page on.
#[derive(Default)]
struct Shown {
    now: Option<(Doing, &'static str, progress::Progress)>,
}

impl Shown {
    fn at(&mut self, progress: Progress) {
        let is_same = self
            .now
            .as_ref()
            .is_some_and(|(doing, table, _)| (*doing, *table) == (progress.doing, progress.table));
        if !is_same {
            let verb = match progress.doing {
                Doing::Copying => "rows copied",
                Doing::Verifying => "rows verified",
            };
            let next = progress::Progress::of(verb, progress.table);
            let before = self.now.replace((progress.doing, progress.table, next));
            if let Some((_, _, before)) = before {
                before.end();
            }
        }
        if let Some((_, _, bar)) = &mut self.now {
            bar.at(progress.tally.octets, progress.tally.rows);
        }
    }

    fn end(self) {
        if let Some((_, _, bar)) = self.now {
            bar.end();
        }
    }
}

fn tell_outcome(args: &MigrateArgs, moved: &Moved) -> Outcome {
    let tables = moved.tables.iter().map(|(table, tally)| TableReport {
        table,
        rows: tally.rows,
        octets: tally.octets,
        checksum: format!("{:032x}", tally.sum),
    });
    let report = Report {
        place: moved.place.clone(),
        continued: moved.is_continued,
        tables: tables.collect(),
    };
    if args.json {
        return Ok(out::json(&report)?);
    }
    let mut table = out::Table::new(&["TABLE", "ROWS", "OCTETS", "CHECKSUM"]);
    for row in &report.tables {
        let (rows, octets) = (row.rows.to_string(), row.octets.to_string());
        table.row([row.table, &rows, &octets, &row.checksum]);
    }
    table.print()?;
    let next = match args.to {
        Place::Sqlite(_) => {
            "name it as store.sqlite.path; its address key lies beside it".to_owned()
        }
        Place::Url(_) | Place::UrlEnv(_) | Place::UrlFile(_) => {
            "name it in [store.postgres], with the address key of the store that it came from"
                .to_owned()
        }
    };
    let text = format!(
        "{} holds the same rows as the store it came from, which no gateway starts on any more; {next}",
        report.place
    );
    Ok(out::text(&text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_named_by_its_engine_and_a_secret_is_not_repeated() {
        for (text, said) in [
            ("sqlite:/var/lib/malote/malote.db", "Sqlite"),
            ("postgres:postgresql://m:s3cret@db/m", "Url(***)"),
            ("postgresql://m:s3cret@db/m", "Url(***)"),
            ("url_env:DATABASE_URL", "UrlEnv"),
            ("url_file:/run/secrets/url", "UrlFile"),
        ] {
            let place: Place = text.parse().unwrap();
            assert!(format!("{place:?}").starts_with(said), "{text}: {place:?}");
        }
        for text in [
            "",
            "sqlite:",
            "mysql://x",
            "postgres:",
            "/var/lib/malote.db",
        ] {
            text.parse::<Place>().unwrap_err();
        }
    }
}
