//! Whether the disk of the store has room for mail.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// What is tried to be written: more than what a small message takes with its indexes.
const PROBE_BYTES: usize = 1 << 20;

/// What the last writes found out. It is told in the log when it changes.
pub(crate) struct Room {
    database: PathBuf,
    is_missing: AtomicBool,
}

impl Room {
    /// Of the disk that this database is on; there is room until a write finds none.
    pub(crate) fn of(database: &Path) -> Self {
        Self {
            database: database.to_owned(),
            is_missing: AtomicBool::new(false),
        }
    }

    /// A write found none.
    pub(crate) fn was_missing(&self) {
        if !self.is_missing.swap(true, Ordering::Relaxed) {
            let path = self.database.display();
            tracing::error!(%path, "the store's disk is full or not writable: mail is refused and what waits may stay");
        }
    }

    /// Mail was written.
    pub(crate) fn was_found(&self) {
        if self.is_missing.swap(false, Ordering::Relaxed) {
            let path = self.database.display();
            tracing::info!(%path, "the store's disk has room again");
        }
    }

    /// Whether there is none. Who hears so sends no mail, and without mail no write would find out
    /// that there is room again: so it is tried with a file beside the database.
    pub(crate) fn is_missing(&self) -> bool {
        if self.is_missing.load(Ordering::Relaxed) && self.probe().is_ok() {
            self.was_found();
        }
        self.is_missing.load(Ordering::Relaxed)
    }

    fn probe(&self) -> io::Result<()> {
        let mut path = self.database.clone().into_os_string();
        path.push(".probe");
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(true).mode(0o600);
        let written = options.open(&path).and_then(|file| {
            file.write_all_at(&vec![0; PROBE_BYTES], 0)?;
            file.sync_all()
        });
        let removed = fs::remove_file(&path);
        written.and(removed)
    }
}
