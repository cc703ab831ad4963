//! The keyed hash under which addresses are looked up.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

use crate::StoreError;

/// Octets of a key.
pub(crate) const KEY_BYTES: usize = 32;

/// Hashes addresses so that an index of them tells nothing to who has the index alone.
#[derive(Clone)]
pub(crate) struct AddressKey {
    keyed: Hmac<Sha256>,
    fingerprint: [u8; 16],
}

impl AddressKey {
    pub(crate) fn new(key: &[u8; KEY_BYTES]) -> Result<Self, StoreError> {
        let keyed = <Hmac<Sha256> as Mac>::new_from_slice(key)
            .map_err(|_| StoreError::Engine("the address key is no key".into()))?;
        let digest = Sha256::new()
            .chain_update(b"malote address key")
            .chain_update(key)
            .finalize();
        let mut fingerprint = [0; 16];
        fingerprint.copy_from_slice(&digest[..16]);
        Ok(Self { keyed, fingerprint })
    }

    /// What tells one key from another without telling either.
    pub(crate) const fn fingerprint(&self) -> &[u8; 16] {
        &self.fingerprint
    }

    /// [`AddressKey::fingerprint`] in 32 hex digits.
    pub(crate) fn fingerprint_text(&self) -> String {
        let octets = self.fingerprint.iter();
        octets.map(|octet| format!("{octet:02x}")).collect()
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

/// A key written as 64 hex digits; `None` for anything else.
pub(crate) fn of_hex(text: &str) -> Option<[u8; KEY_BYTES]> {
    let is_hex = text.len() == 2 * KEY_BYTES && text.bytes().all(|b| b.is_ascii_hexdigit());
    if !is_hex {
        return None;
    }
    let mut key = [0; KEY_BYTES];
    for (index, octet) in key.iter_mut().enumerate() {
        *octet = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(key)
}

/// A key written as 64 hex digits or as base64; `None` for anything else.
pub(crate) fn of_text(text: &str) -> Option<[u8; KEY_BYTES]> {
    of_hex(text).or_else(|| STANDARD.decode(text).ok()?.try_into().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_the_same_in_hex_and_in_base64() {
        let key: [u8; KEY_BYTES] = std::array::from_fn(|index| index as u8 * 7);
        let hex: String = key.iter().map(|octet| format!("{octet:02X}")).collect();
        assert_eq!(of_text(&hex), Some(key));
        assert_eq!(of_text(&STANDARD.encode(key)), Some(key));
        for wrong in [
            "",
            "short",
            &hex[2..],
            &STANDARD.encode(&key[1..]),
            &"g".repeat(64),
        ] {
            assert_eq!(of_text(wrong), None, "{wrong}");
        }
    }
}
