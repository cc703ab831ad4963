//! `[store]` and `[shared]`: which engine keeps the queue, and which what nodes share.

use malote_core::fault::ConfigFault;
use malote_store::{PostgresSettings, SqliteConfig};

use super::raw::{SharedConfig, StoreConfig};

/// The engine that keeps the queue, with its settings; what nodes share is kept there too, unless
/// `[shared.postgres]` says otherwise.
#[derive(Clone)]
pub enum StoreSettings {
    /// `[store.sqlite]`: files of this node.
    Sqlite(SqliteConfig),
    /// `[store.postgres]`: a database that several nodes work on.
    Postgres(Box<PostgresSettings>),
}

impl StoreSettings {
    /// The embedded engine's settings, if it is the one.
    #[must_use]
    pub const fn sqlite(&self) -> Option<&SqliteConfig> {
        match self {
            Self::Sqlite(config) => Some(config),
            Self::Postgres(_) => None,
        }
    }

    /// Where it is, without user and password: for the log and the operator.
    #[must_use]
    pub fn place(&self) -> String {
        match self {
            Self::Sqlite(config) => config.path.display().to_string(),
            Self::Postgres(settings) => format!("[store.postgres] {}", settings.place()),
        }
    }
}

/// That a store is needed, and none is there.
pub(super) fn none() -> ConfigFault {
    let message = "there is none: give at least one, as in [store.sqlite]";
    ConfigFault::error("store", message)
}

/// Checks both tables. `None` for what is not there or cannot be used.
pub(super) fn build(
    store: &StoreConfig,
    shared: &SharedConfig,
    faults: &mut Vec<ConfigFault>,
) -> (Option<StoreSettings>, Option<PostgresSettings>) {
    if store.sqlite.is_some() && store.postgres.is_some() {
        let message = "there is store.sqlite too, and mail is kept in one place: keep one of them";
        faults.push(ConfigFault::error("store.postgres", message));
    }
    if store.postgres.is_some() && shared.postgres.is_some() {
        let message = "store.postgres keeps what nodes share as well: take one of the tables out; \
                       with this one each node keeps its own queue in store.sqlite";
        faults.push(ConfigFault::error("shared.postgres", message));
    }
    if let Some(sqlite) = &store.sqlite {
        faults.extend(sqlite.check());
    }
    let queue = store.postgres.as_ref();
    let queue = queue.and_then(|table| table.build("store.postgres", faults));
    let sqlite = store.sqlite.clone().map(StoreSettings::Sqlite);
    let shared = shared.postgres.as_ref();
    let shared = shared.and_then(|table| table.build("shared.postgres", faults));
    (
        sqlite.or(queue.map(|queue| StoreSettings::Postgres(Box::new(queue)))),
        shared,
    )
}

#[cfg(test)]
mod tests {
    use malote_core::fault::Severity;

    use super::*;

    const TABLE: &str = r#"{"url":"postgresql://m@db/m","tls":"none",
        "address_key":"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"}"#;

    fn faults_of(store: &str, shared: &str) -> (Vec<String>, String) {
        let store: StoreConfig = serde_json::from_str(store).unwrap();
        let shared: SharedConfig = serde_json::from_str(shared).unwrap();
        let mut faults = Vec::new();
        let (store, _) = build(&store, &shared, &mut faults);
        // That the key stands in the table is warned of, too.
        let errors = faults
            .iter()
            .filter(|fault| fault.severity == Severity::Error);
        let texts = errors.map(ToString::to_string).collect();
        (texts, store.map_or(String::new(), |store| store.place()))
    }

    #[test]
    fn mail_is_kept_in_one_place_and_so_is_what_nodes_share() {
        let postgres = format!(r#"{{"postgres":{TABLE}}}"#);
        let sqlite = r#"{"sqlite":{"path":"var/m.db"}}"#;
        let both = format!(r#"{{"sqlite":{{"path":"var/m.db"}},"postgres":{TABLE}}}"#);
        for (store, shared, place, said) in [
            (sqlite, "{}", "var/m.db", None),
            (sqlite, &postgres[..], "var/m.db", None),
            (&postgres, "{}", "[store.postgres] db/m", None),
            ("{}", "{}", "", None),
            (
                &both,
                "{}",
                "var/m.db",
                Some("store.postgres: there is store.sqlite too"),
            ),
            (
                &postgres,
                &postgres,
                "[store.postgres] db/m",
                Some("shared.postgres: store.postgres keeps what nodes share as well"),
            ),
        ] {
            let (faults, kept) = faults_of(store, shared);
            assert_eq!(kept, place);
            assert_eq!(faults.len(), usize::from(said.is_some()), "{faults:?}");
            if let Some(said) = said {
                assert!(faults[0].contains(said), "{faults:?}");
            }
        }
    }
}
