//! The keyed hash under which addresses are looked up, and the file that keeps its key.

use std::fs;
use std::io;
use std::path::Path;

use hmac::{Hmac, Mac};
use rand::RngCore;
use rusqlite::{Connection, OptionalExtension};
use sha2::{Digest, Sha256};

use crate::StoreError;
use crate::sqlite::body::write_synced;
use crate::sqlite::fault::Fault;

const KEY_BYTES: usize = 32;

/// Hashes addresses so that an index of them tells nothing to who has the index alone.
#[derive(Clone)]
pub(crate) struct AddressKey {
    keyed: Hmac<Sha256>,
    fingerprint: [u8; 16],
}

impl AddressKey {
    fn new(key: &[u8; KEY_BYTES]) -> Result<Self, StoreError> {
        let keyed = <Hmac<Sha256> as Mac>::new_from_slice(key)
            .map_err(|_| StoreError::Engine("the key file holds no key".into()))?;
        let digest = Sha256::new()
            .chain_update(b"malote address key")
            .chain_update(key)
            .finalize();
        let mut fingerprint = [0; 16];
        fingerprint.copy_from_slice(&digest[..16]);
        Ok(Self { keyed, fingerprint })
    }

    /// 16 octets of HMAC-SHA-256 over scope and address, both in lower case.
    pub(crate) fn hash(&self, scope: &str, address_key: &str) -> [u8; 16] {
        let mut mac = self.keyed.clone();
        mac.update(scope.as_bytes());
        mac.update(&[0]);
        mac.update(address_key.as_bytes());
        let digest = mac.finalize().into_bytes();
        let mut hash = [0; 16];
        hash.copy_from_slice(&digest[..16]);
        hash
    }

    /// The hash of a recipient in the index of deliveries: 8 octets, since a hit is compared with
    /// the address itself.
    pub(crate) fn recipient(&self, address_key: &str) -> i64 {
        Self::recipient_head(&self.recipient_hash(address_key))
    }

    /// The whole hash of a recipient, which stands in a delivery that was erased.
    pub(crate) fn recipient_hash(&self, address_key: &str) -> [u8; 16] {
        self.hash(" recipient", address_key)
    }

    /// The part of that hash which is in the index.
    pub(crate) fn recipient_head(hash: &[u8; 16]) -> i64 {
        let mut head = [0; 8];
        head.copy_from_slice(&hash[..8]);
        i64::from_be_bytes(head)
    }
}

/// Reads the key of a store, or makes one for a new store.
///
/// # Errors
/// If the store was written with another key, or its key is missing.
pub(crate) fn open(conn: &Connection, path: &Path) -> Result<AddressKey, StoreError> {
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
            if known.is_some_and(|known| known != key.fingerprint) {
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
        (None, None) => AddressKey::new(&create(path)?)?,
    };
    Ok(key)
}

/// Notes which key the store is written with.
pub(crate) fn note(conn: &Connection, key: &AddressKey) -> rusqlite::Result<usize> {
    conn.execute(
        "INSERT INTO meta (key, value) VALUES ('address_key', ?1) ON CONFLICT (key) DO NOTHING",
        [&key.fingerprint[..]],
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
    let text = text.trim_end();
    let mut key = [0; KEY_BYTES];
    let is_hex = text.len() == 2 * KEY_BYTES && text.bytes().all(|b| b.is_ascii_hexdigit());
    if !is_hex {
        return Err(StoreError::Engine(format!(
            "{} holds no key of 64 hex digits",
            path.display()
        )));
    }
    for (index, octet) in key.iter_mut().enumerate() {
        *octet = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).unwrap_or(0);
    }
    Ok(Some(key))
}

fn create(path: &Path) -> Result<[u8; KEY_BYTES], StoreError> {
    let mut key = [0; KEY_BYTES];
    rand::rng().fill_bytes(&mut key);
    let text: String = key.iter().map(|octet| format!("{octet:02x}")).collect();
    // Written whole or not at all: half a key would keep the store from opening.
    let partial = path.with_extension("key.part");
    let write = || -> io::Result<()> {
        write_synced(&partial, format!("{text}\n").as_bytes())?;
        fs::rename(&partial, path)
    };
    write().map_err(|error| {
        StoreError::Engine(format!("{} cannot be written: {error}", path.display()))
    })?;
    Ok(key)
}
