//! Signatures of the Standard Webhooks scheme (standardwebhooks.com, version 1): what an app checks
//! with a library that it finds for its language.

use std::fmt;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use malote_core::secret::Secret;

/// What a secret begins with.
const PREFIX: &str = "whsec_";
/// Shortest key, in octets.
const KEY_BYTES_MIN: usize = 24;
/// Longest key, in octets.
const KEY_BYTES_MAX: usize = 64;

/// Why a text is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be \"whsec_\" and 24 to 64 octets in base64; make one with: \
     echo whsec_$(openssl rand -base64 32)"
)]
pub(super) struct KeyFault;

/// A key that signs.
pub(super) struct Key(hmac::Key);

impl Key {
    /// Reads a secret of the form `whsec_BASE64`.
    ///
    /// # Errors
    /// [`KeyFault`] for any other form or length.
    pub(super) fn read(secret: &Secret) -> Result<Self, KeyFault> {
        let text = secret.expose().strip_prefix(PREFIX).ok_or(KeyFault)?;
        let octets = zeroize::Zeroizing::new(STANDARD.decode(text).map_err(|_| KeyFault)?);
        if !(KEY_BYTES_MIN..=KEY_BYTES_MAX).contains(&octets.len()) {
            return Err(KeyFault);
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &octets)))
    }
}

/// Signs with one key, or with two while the app changes from one to the other.
pub(super) struct Signer {
    key: Key,
    next: Option<Key>,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer(***)")
    }
}

impl Signer {
    /// Signs with these keys.
    pub(super) const fn new(key: Key, next: Option<Key>) -> Self {
        Self { key, next }
    }

    /// The value of `webhook-signature` for this id, `webhook-timestamp` in Unix seconds and body.
    pub(super) fn sign(&self, id: &str, timestamp_s: i64, body: &[u8]) -> String {
        let mut value = String::new();
        for key in [Some(&self.key), self.next.as_ref()].into_iter().flatten() {
            let mut context = hmac::Context::with_key(&key.0);
            context.update(format!("{id}.{timestamp_s}.").as_bytes());
            context.update(body);
            if !value.is_empty() {
                value.push(' ');
            }
            value.push_str("v1,");
            value.push_str(&STANDARD.encode(context.sign()));
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Result<Key, KeyFault> {
        Key::read(&Secret::new(text))
    }

    /// The example of the scheme's own libraries.
    const EXAMPLE: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    #[test]
    fn the_scheme_s_example_is_signed_as_its_libraries_sign_it() {
        let signer = Signer::new(key(EXAMPLE).unwrap(), None);
        let signature = signer.sign(
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            b"{\"test\": 2432232314}",
        );
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn while_keys_change_both_sign() {
        let other = format!("whsec_{}", STANDARD.encode([7; 64]));
        let signer = Signer::new(key(EXAMPLE).unwrap(), Some(key(&other).unwrap()));
        let (id, body) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", b"{\"test\": 2432232314}");
        let both = signer.sign(id, 1_614_265_330, body);
        let alone = Signer::new(key(&other).unwrap(), None).sign(id, 1_614_265_330, body);
        let expected = format!("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE= {alone}");
        assert_eq!(both, expected);
        assert_eq!(format!("{signer:?}"), "Signer(***)");
    }

    #[test]
    fn a_key_is_a_prefix_and_24_to_64_octets_in_base64() {
        for octets in [24, 32, 64] {
            assert!(key(&format!("whsec_{}", STANDARD.encode(vec![1; octets]))).is_ok());
        }
        for wrong in [
            String::new(),
            "whsec_".into(),
            "whsec_not base64!".into(),
            EXAMPLE.trim_start_matches("whsec_").into(),
            format!("whsec_{}", STANDARD.encode([1; 23])),
            format!("whsec_{}", STANDARD.encode([1; 65])),
        ] {
            assert!(key(&wrong).is_err(), "{wrong}");
        }
    }
}
