//! The suite on this engine, and what only this engine promises.

mod conformance;
mod crash;
mod damage;
mod erased;
mod feed;
mod full;
mod history;
mod keys;
mod open;
mod suppressed;

use std::sync::Arc;

use malote_core::clock::FixedClock;
use prometheus::Registry;
use tempfile::TempDir;

use crate::conformance::mail::at;
use crate::{SqliteConfig, SqliteStore, StoreError};

fn config(dir: &TempDir) -> SqliteConfig {
    SqliteConfig::at(dir.path().join("var/malote.db"))
}

fn try_open(config: &SqliteConfig) -> Result<SqliteStore, StoreError> {
    let fatal: crate::OnFatal = Arc::new(|text| panic!("{text}"));
    let clock = Arc::new(FixedClock(at(0)));
    SqliteStore::open_with(config.clone(), clock, &Registry::new(), fatal)
}

fn open(config: &SqliteConfig) -> SqliteStore {
    try_open(config).unwrap()
}

/// A new store in a directory that lives as long as the second value.
async fn fresh() -> (SqliteStore, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (open(&config(&dir)), dir)
}

fn refusal(config: &SqliteConfig) -> String {
    match try_open(config) {
        Ok(_) => panic!("the store opened"),
        Err(error) => error.to_string(),
    }
}
