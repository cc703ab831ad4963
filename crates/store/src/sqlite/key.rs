//! The file that keeps the key under which addresses are hashed.

use std::fs;
use std::io;
use std::path::Path;

use malote_core::secret::Secret;
use rand::RngCore;
use rusqlite::{Connection, OptionalExtension};

use crate::StoreError;
use crate::address_key::{AddressKey, KEY_BYTES, of_hex};
use crate::sqlite::body::write_synced;
use crate::sqlite::fault::Fault;

/// Reads the key of a store, or makes one for a new store. For who writes the store: of two that
/// make one, the later would keep the other from opening it.
///
/// # Errors
/// If the store was written with another key, or its key is missing.
pub(crate) fn open(conn: &Connection, path: &Path) -> Result<AddressKey, StoreError> {
    match known(conn, path)? {
        Some(key) => Ok(key),
        None => AddressKey::new(&create(path)?),
    }
}

/// Reads the key of a store that others write.
///
/// # Errors
/// As [`open`], and if the store is so new that it has none yet.
pub(crate) fn existing(conn: &Connection, path: &Path) -> Result<AddressKey, StoreError> {
    known(conn, path)?.ok_or_else(|| {
        let path = path.display();
        StoreError::Engine(format!(
            "{path} is not there yet: its gateway has only begun to make the store"
        ))
    })
}

/// The key that is there; `None` for a new store.
fn known(conn: &Connection, path: &Path) -> Result<Option<AddressKey>, StoreError> {
    let known: Option<Vec<u8>> = conn
        .query_row(
            "SELECT value FROM meta WHERE key = 'address_key'",
            [],
            |row| row.get(0),
        )
        .optional()
        .map_err(Fault::from)?;
    let key = match (read(path)?, known) {
        (Some(key), known) => {
            let key = AddressKey::new(&key)?;
            if known.is_some_and(|known| known != key.fingerprint()[..]) {
                return Err(StoreError::Engine(format!(
                    "{} is not the key that this store was written with: \
                     put the right one there, it is part of every backup",
                    path.display()
                )));
            }
            key
        }
        (None, Some(_)) => {
            return Err(StoreError::Engine(format!(
                "{} is missing: suppressions cannot be looked up without it, \
                 put it back from a backup",
                path.display()
            )));
        }
        (None, None) => return Ok(None),
    };
    Ok(Some(key))
}

/// Notes which key the store is written with.
pub(crate) fn note(conn: &Connection, key: &AddressKey) -> rusqlite::Result<usize> {
    conn.execute(
        "INSERT INTO meta (key, value) VALUES ('address_key', ?1) ON CONFLICT (key) DO NOTHING",
        [&key.fingerprint()[..]],
    )
}

fn read(path: &Path) -> Result<Option<[u8; KEY_BYTES]>, StoreError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(StoreError::Engine(format!(
                "{} cannot be read: {error}",
                path.display()
            )));
        }
    };
    let key = of_hex(text.trim_end()).ok_or_else(|| {
        StoreError::Engine(format!("{} holds no key of 64 hex digits", path.display()))
    })?;
    Ok(Some(key))
}

/// The text of the file.
///
/// # Errors
/// If it is missing or holds no key.
pub(crate) fn text(path: &Path) -> Result<Secret, StoreError> {
    let key = read(path)?.ok_or_else(|| {
        let path = path.display();
        StoreError::Engine(format!("{path} is missing: it is part of the store"))
    })?;
    Ok(Secret::new(hex(&key)))
}

/// Writes a key that a new store is given, unless it has it already.
///
/// # Errors
/// If it has another one, or the file cannot be written.
pub(crate) fn keep(path: &Path, key: &[u8; KEY_BYTES]) -> Result<(), StoreError> {
    match read(path)? {
        Some(kept) if kept == *key => Ok(()),
        Some(_) => Err(StoreError::Engine(format!(
            "{} is there already and holds another key: move to a new path",
            path.display()
        ))),
        None => write(path, key),
    }
}

fn create(path: &Path) -> Result<[u8; KEY_BYTES], StoreError> {
    let mut key = [0; KEY_BYTES];
    rand::rng().fill_bytes(&mut key);
    write(path, &key)?;
    Ok(key)
}

fn hex(key: &[u8; KEY_BYTES]) -> String {
    key.iter().map(|octet| format!("{octet:02x}")).collect()
}

fn write(path: &Path, key: &[u8; KEY_BYTES]) -> Result<(), StoreError> {
    let text = hex(key);
    // Written whole or not at all: half a key would keep the store from opening.
    let partial = path.with_extension("key.part");
    let write = || -> io::Result<()> {
        write_synced(&partial, format!("{text}\n").as_bytes())?;
        fs::rename(&partial, path)
    };
    write().map_err(|error| {
        StoreError::Engine(format!("{} cannot be written: {error}", path.display()))
    })
}
