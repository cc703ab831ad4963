//! The public half of an installation's signing key, and what it has signed.

use aws_lc_rs::signature::{
    RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY, RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
    RsaParameters, UnparsedPublicKey,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use malote_core::webhook::{WebhookRefusal, WebhookRequest};
use x509_parser::oid_registry::OID_PKCS1_RSAENCRYPTION;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

/// From this size on, in bits, nobody is known to break one.
const BITS_SAFE: usize = 2048;
/// The smallest that is taken: the installer has made keys of this size since its first version.
const BITS_MIN: usize = 1024;
const BITS_MAX: usize = 8192;

/// Which digests are believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Digests {
    /// SHA-256 only.
    Sha256,
    /// SHA-1 too, if there is no other: installations older than version 3.
    Sha1Too,
}

/// An RSA public key.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Key {
    /// PKCS#1 `RSAPublicKey`.
    octets: Vec<u8>,
    bits: usize,
}

impl Key {
    /// Reads a SubjectPublicKeyInfo; `None` if it holds anything but an RSA key of a size that is
    /// taken.
    pub(super) fn read(octets: &[u8]) -> Option<Self> {
        let (_, key) = SubjectPublicKeyInfo::from_der(octets).ok()?;
        if key.algorithm.algorithm != OID_PKCS1_RSAENCRYPTION {
            return None;
        }
        let Ok(PublicKey::RSA(numbers)) = key.parsed() else {
            return None;
        };
        let bits = numbers.key_size();
        (BITS_MIN..=BITS_MAX).contains(&bits).then(|| Self {
            octets: key.subject_public_key.data.to_vec(),
            bits,
        })
    }

    /// Whether it is short enough that somebody could break it.
    pub(super) const fn is_short(&self) -> bool {
        self.bits < BITS_SAFE
    }

    /// Verifies a post over its raw body.
    ///
    /// # Errors
    /// [`WebhookRefusal::Unverified`], whatever is wrong.
    pub(super) fn verify(
        &self,
        request: &WebhookRequest,
        digests: Digests,
    ) -> Result<(), WebhookRefusal> {
        let unverified = WebhookRefusal::Unverified;
        let sha256 = request.header("x-postal-signature-256");
        let sha1 = request
            .header("x-postal-signature")
            .filter(|_| digests == Digests::Sha1Too);
        let (signature, algorithm): (_, &'static RsaParameters) = match (sha256, sha1) {
            (Some(signature), _) => (signature, &RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY),
            (None, Some(signature)) => (signature, &RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY),
            (None, None) => return Err(unverified("no signature with SHA-256")),
        };
        let signature = STANDARD
            .decode(signature)
            .map_err(|_| unverified("the signature is not base64"))?;
        UnparsedPublicKey::new(algorithm, &self.octets)
            .verify(&request.body, &signature)
            .map_err(|_| unverified("the signature is wrong"))
    }
}
