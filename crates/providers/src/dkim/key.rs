//! One private key: read from PEM, judged, what is published of it, and signing with it.

use std::sync::Arc;

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::error::{KeyRejected, Unspecified};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;
use sha2::{Digest as _, Sha256};

/// What is said of a text that is no key.
const FORM: &str = "is no private key in PEM: RSA of 2048 to 8192 bits (PKCS #1 or #8) or Ed25519 \
                    (PKCS #8), as `openssl genpkey` writes them";
/// RFC 8301 3.2 asks signers for 2048 bits; our cryptography signs with no fewer.
const SMALL: &str = "is an RSA key under 2048 bits, which RFC 8301 asks for: make a new one";
/// RFC 8301 3.2: verifiers must be able to verify up to this.
const BITS_VERIFIED: usize = 4096;

/// A key with its selector. Clones share it.
#[derive(Clone)]
pub(super) struct Key {
    pub(super) selector: String,
    pair: Arc<Pair>,
    /// SubjectPublicKeyInfo of an RSA key, the point of an Ed25519 one (RFC 8463 3).
    public: Vec<u8>,
}

enum Pair {
    Rsa(RsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl Key {
    /// Reads PKCS #8 or PKCS #1 in PEM.
    ///
    /// # Errors
    /// In words, without anything of the key.
    pub(super) fn read(selector: &str, pem: &str) -> Result<Self, String> {
        let der = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| FORM)?;
        let pair = pair(&der)?;
        let public = match &pair {
            Pair::Rsa(pair) => {
                let der: PublicKeyX509Der<'_> = pair.public_key().as_der().map_err(|_| FORM)?;
                der.as_ref().to_vec()
            }
            Pair::Ed25519(pair) => pair.public_key().as_ref().to_vec(),
        };
        Ok(Self {
            selector: selector.to_owned(),
            pair: Arc::new(pair),
            public,
        })
    }

    /// The size of an RSA key.
    fn bits(&self) -> Option<usize> {
        match &*self.pair {
            Pair::Rsa(pair) => Some(pair.public_modulus_len() * 8),
            Pair::Ed25519(_) => None,
        }
    }

    /// What is to be said against the key, though it signs.
    pub(super) fn weakness(&self) -> Option<String> {
        let bits = self.bits().filter(|bits| *bits > BITS_VERIFIED)?;
        Some(format!(
            "its RSA key has {bits} bits: not everybody verifies more than {BITS_VERIFIED}"
        ))
    }

    /// The text of its TXT record.
    pub(super) fn record(&self) -> String {
        let kind = match &*self.pair {
            Pair::Rsa(_) => "rsa",
            Pair::Ed25519(_) => "ed25519",
        };
        format!("v=DKIM1; k={kind}; p={}", STANDARD.encode(&self.public))
    }

    /// The value of `a=`.
    pub(super) fn algorithm(&self) -> &'static str {
        match &*self.pair {
            Pair::Rsa(_) => "rsa-sha256",
            Pair::Ed25519(_) => "ed25519-sha256",
        }
    }

    /// Signs what RFC 6376 3.7 hashes. Ed25519 signs the hash (RFC 8463 3).
    ///
    /// # Errors
    /// If the library cannot.
    pub(super) fn sign(&self, octets: &[u8]) -> Result<Vec<u8>, Unspecified> {
        match &*self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                let random = SystemRandom::new();
                pair.sign(&RSA_PKCS1_SHA256, &random, octets, &mut signature)?;
                Ok(signature)
            }
            Pair::Ed25519(pair) => Ok(pair.sign(&Sha256::digest(octets)).as_ref().to_vec()),
        }
    }
}

fn pair(der: &PrivateKeyDer<'_>) -> Result<Pair, &'static str> {
    let rsa = |read: Result<RsaKeyPair, KeyRejected>| match read {
        Ok(pair) => Ok(Pair::Rsa(pair)),
        // The library names the reason by its text alone.
        Err(why) if why.to_string() == "TooSmall" => Err(SMALL),
        Err(_) => Err(FORM),
    };
    match der {
        PrivateKeyDer::Pkcs1(der) => rsa(RsaKeyPair::from_der(der.secret_pkcs1_der())),
        PrivateKeyDer::Pkcs8(der) => {
            let der = der.secret_pkcs8_der();
            // OpenSSL leaves the public key out.
            match Ed25519KeyPair::from_pkcs8_maybe_unchecked(der) {
                Ok(pair) => Ok(Pair::Ed25519(pair)),
                Err(_) => rsa(RsaKeyPair::from_pkcs8(der)),
            }
        }
        PrivateKeyDer::Sec1(_) | _ => Err(FORM),
    }
}
