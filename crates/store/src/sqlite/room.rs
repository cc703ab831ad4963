//! Whether the disk of the store has room for mail.

use std::fs::{self, OpenOptions};
use std::io;
use std::mem;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What is tried to be written: more than what a small message takes with its indexes.
const PROBE_BYTES: usize = 1 << 20;

/// How long after the log said that there is no room it does not say so again: where small
/// messages have room and a large one has none, each try of the large one would.
const SAID_AGAIN_AFTER: Duration = Duration::from_secs(300);

/// Whether the last writes had room, and what the log was told of it.
pub(crate) struct Room {
    database: PathBuf,
    found: Mutex<Found>,
}

/// What the last writes found out.
#[derive(Debug, Default)]
struct Found {
    is_missing: bool,
    /// Whether the log's last word is that there is none.
    is_said: bool,
    /// When the log said so last.
    said_at: Option<Instant>,
}

impl Found {
    /// There is none. Whether the log is to say so.
    fn missing(&mut self, now: Instant) -> bool {
        self.is_missing = true;
        let rests = |at| now.saturating_duration_since(at) < SAID_AGAIN_AFTER;
        if self.is_said || self.said_at.is_some_and(rests) {
            return false;
        }
        self.is_said = true;
        self.said_at = Some(now);
        true
    }

    /// There is some. Whether the log is to say so.
    fn present(&mut self) -> bool {
        self.is_missing = false;
        mem::take(&mut self.is_said)
    }
}

impl Room {
    /// Of the disk that this database is on; there is room until a write finds none.
    pub(crate) fn of(database: &Path) -> Self {
        Self {
            database: database.to_owned(),
            found: Mutex::default(),
        }
    }

    /// A write found none at `now`.
    pub(crate) fn was_missing(&self, now: Instant) {
        let is_news = self.found().missing(now);
        if is_news {
            let path = self.database.display();
            tracing::error!(%path, "the store's disk has no room for a write, or is not writable: mail is refused and what waits may stay");
        }
    }

    /// Mail was written.
    pub(crate) fn was_found(&self) {
        let is_news = self.found().present();
        if is_news {
            let path = self.database.display();
            tracing::info!(%path, "the store's disk has room again");
        }
    }

    /// Whether there is none. Who hears so sends no mail, and without mail no write would find out
    /// that there is room again: so it is tried with a file beside the database.
    pub(crate) fn is_missing(&self) -> bool {
        let is_missing = self.found().is_missing;
        if is_missing && self.probe().is_ok() {
            self.was_found();
            return false;
        }
        is_missing
    }

    fn found(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_takes_small_mail_only_is_told_of_every_five_minutes() {
        let start = Instant::now();
        let mut found = Found::default();
        let mut said = 0;
        for minute in 0..11 {
            let was_missing = found.missing(start + Duration::from_secs(60 * minute));
            assert_eq!(found.present(), was_missing, "minute {minute}");
            said += u32::from(was_missing);
        }
        assert_eq!(said, 3);
    }

    #[test]
    fn a_disk_that_fills_up_again_within_five_minutes_is_told_of_after_them() {
        let start = Instant::now();
        let mut found = Found::default();
        assert!(found.missing(start));
        assert!(!found.missing(start + SAID_AGAIN_AFTER), "it is said");
        assert!(found.present());
        assert!(!found.present(), "it is said");
        assert!(found.missing(start + SAID_AGAIN_AFTER));
        assert!(found.present());
        assert!(!found.missing(start + SAID_AGAIN_AFTER + Duration::from_secs(1)));
        assert!(found.is_missing);
        assert!(found.missing(start + SAID_AGAIN_AFTER * 2));
    }
}
