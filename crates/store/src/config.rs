//! `[store.sqlite]`: where the embedded engine keeps its files, and its bounds.

use std::path::{Path, PathBuf};

use malote_core::fault::ConfigFault;
use malote_core::units::ByteSize;
use serde::{Deserialize, Serialize};

/// The `[store.sqlite]` table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SqliteConfig {
    /// The database file. Its directory is made if it is missing. Beside it stand `<path>-wal`,
    /// `<path>-shm`, `<path>.lock`, `<path>.key` and the directory `<path>.bodies`.
    pub path: PathBuf,
    /// Octets that may wait for the writer before an accept is refused as busy; default 64 MiB,
    /// 1 MiB to 4 GiB. Settlements and leases may use as much again.
    #[serde(default = "queue_bytes_max")]
    pub queue_bytes_max: ByteSize,
    /// Bodies up to this size stand in the database, larger ones in files of their own; default
    /// 64 KiB, at most 1 MiB, since a large body in the writer's transaction delays every accept.
    #[serde(default = "inline_body_max")]
    pub inline_body_max: ByteSize,
    /// Connections that read; default 4, 1 to 64.
    #[serde(default = "readers")]
    pub readers: u16,
    /// Page cache of the writer; default 32 MiB, 1 MiB to 4 GiB. Readers have 4 MiB each.
    #[serde(default = "cache")]
    pub cache: ByteSize,
}

const fn queue_bytes_max() -> ByteSize {
    ByteSize(64 << 20)
}

const fn inline_body_max() -> ByteSize {
    ByteSize(64 << 10)
}

const fn readers() -> u16 {
    4
}

const fn cache() -> ByteSize {
    ByteSize(32 << 20)
}

impl SqliteConfig {
    /// The defaults with the database at `path`.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            queue_bytes_max: queue_bytes_max(),
            inline_body_max: inline_body_max(),
            readers: readers(),
            cache: cache(),
        }
    }

    /// Every value that is out of its bounds.
    #[must_use]
    pub fn check(&self) -> Vec<ConfigFault> {
        let mut faults = Vec::new();
        if self.path.file_name().is_none() {
            faults.push(ConfigFault::error(
                "store.sqlite.path",
                "give the path of a file, as in \"var/malote.db\"",
            ));
        }
        let sizes = [
            ("queue_bytes_max", self.queue_bytes_max, 1 << 20, 4 << 30),
            ("inline_body_max", self.inline_body_max, 0, 1 << 20),
            ("cache", self.cache, 1 << 20, 4_u64 << 30),
        ];
        for (key, size, min, max) in sizes {
            if !(min..=max).contains(&size.0) {
                faults.push(ConfigFault::error(
                    format!("store.sqlite.{key}"),
                    format!("must be {} to {}", ByteSize(min), ByteSize(max)),
                ));
            }
        }
        if !(1..=64).contains(&self.readers) {
            faults.push(ConfigFault::error(
                "store.sqlite.readers",
                "must be 1 to 64",
            ));
        }
        faults
    }

    /// The directory of large bodies.
    #[must_use]
    pub fn bodies_dir(&self) -> PathBuf {
        beside(&self.path, ".bodies")
    }

    /// The file with the key under which addresses are hashed.
    #[must_use]
    pub fn key_path(&self) -> PathBuf {
        beside(&self.path, ".key")
    }

    /// The file whose lock says that a gateway runs on this store.
    #[must_use]
    pub fn lock_path(&self) -> PathBuf {
        beside(&self.path, ".lock")
    }

    /// The directory that all of it stands in.
    #[must_use]
    pub fn directory(&self) -> &Path {
        match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            Some(_) | None => Path::new("."),
        }
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_path_is_needed_and_unknown_keys_are_refused() {
        let config: SqliteConfig = serde_json::from_str(r#"{"path":"var/malote.db"}"#).unwrap();
        assert_eq!(config, SqliteConfig::at("var/malote.db"));
        assert_eq!(config.check(), []);
        assert_eq!(config.key_path(), Path::new("var/malote.db.key"));
        assert!(serde_json::from_str::<SqliteConfig>(r#"{"path":"x","wal":true}"#).is_err());
    }

    #[test]
    fn all_values_out_of_bounds_are_named_at_once() {
        let mut config = SqliteConfig::at("..");
        config.readers = 0;
        config.queue_bytes_max = ByteSize(1);
        config.inline_body_max = ByteSize(2 << 20);
        let faults = config.check();
        let paths: Vec<_> = faults.iter().map(|fault| fault.path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "store.sqlite.path",
                "store.sqlite.queue_bytes_max",
                "store.sqlite.inline_body_max",
                "store.sqlite.readers",
            ]
        );
    }
}
