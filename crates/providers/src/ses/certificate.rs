//! SNS's signing certificates: read, checked, and fetched once from the region's own host.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::signature::{
    RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
};
use bytes::Bytes;
use http::Method;
use jiff::{SignedDuration, Timestamp};
use malote_core::web::is_public;
use malote_core::webhook::WebhookRefusal;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, Request};
use x509_parser::extensions::GeneralName;
use x509_parser::oid_registry::OID_PKCS1_RSAENCRYPTION;
use x509_parser::pem::parse_x509_pem;

use super::sns::Topic;
use crate::http::{FetchFault, client_builder, fetch};
use crate::single_flight::{Kept, NoValue, SingleFlight};

const CERTIFICATE_BYTES_MAX: usize = 16 * 1024;
const FETCH_WAIT_MAX: Duration = Duration::from_secs(3);
/// A certificate is fetched again after this, so that one that SNS has withdrawn goes.
const KEPT_MAX: SignedDuration = SignedDuration::from_hours(24);
/// How long a fetch that failed is not made again: less than the 20 s after which SNS posts again
/// (three times, "Amazon SNS message delivery retries"), so that each of its posts is a new chance.
const FAILED_KEPT: SignedDuration = SignedDuration::from_secs(10);
/// Longest rest between two places that never gave a certificate: whoever makes up places makes no more
/// calls than that. A new certificate of SNS comes with a post that is repeated for a minute, so a
/// longer rest would keep out every one of its posts.
const STRANGERS_REST_MAX: SignedDuration = SignedDuration::from_mins(1);

/// SNS's signature versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SignatureVersion {
    /// `"1"`: SHA-1, the service's default.
    One,
    /// `"2"`: SHA-256.
    Two,
}

/// A certificate as far as it matters here.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SigningCertificate {
    /// PKCS#1 `RSAPublicKey`.
    public_key: Vec<u8>,
    names: Vec<String>,
    not_before: i64,
    not_after: i64,
    is_self_signed: bool,
}

impl SigningCertificate {
    /// Reads the first certificate of a PEM text.
    ///
    /// # Errors
    /// What it is instead.
    pub(crate) fn read(pem: &[u8]) -> Result<Self, &'static str> {
        let (_, pem) = parse_x509_pem(pem).map_err(|_| "not a PEM certificate")?;
        let certificate = pem.parse_x509().map_err(|_| "not an X.509 certificate")?;
        let key = certificate.public_key();
        if key.algorithm.algorithm != OID_PKCS1_RSAENCRYPTION {
            return Err("not a certificate for an RSA key");
        }
        let subject = certificate.subject();
        let mut names: Vec<String> = subject
            .iter_common_name()
            .filter_map(|name| name.as_str().ok())
            .map(str::to_ascii_lowercase)
            .collect();
        if let Ok(Some(alternatives)) = certificate.subject_alternative_name() {
            for name in &alternatives.value.general_names {
                if let GeneralName::DNSName(name) = name {
                    names.push(name.to_ascii_lowercase());
                }
            }
        }
        Ok(Self {
            public_key: key.subject_public_key.data.to_vec(),
            names,
            not_before: certificate.validity().not_before.timestamp(),
            not_after: certificate.validity().not_after.timestamp(),
            is_self_signed: certificate.issuer().as_raw() == subject.as_raw(),
        })
    }

    /// Whether it may sign for the topic's region at `now`.
    ///
    /// # Errors
    /// Why it may not.
    pub(crate) fn check(&self, topic: &Topic, now: Timestamp) -> Result<(), &'static str> {
        if !(self.not_before..=self.not_after).contains(&now.as_second()) {
            return Err("the signing certificate is not valid at this time");
        }
        let allowed = topic.certificate_names();
        if !self.names.iter().any(|name| allowed.contains(name)) {
            return Err("the signing certificate is not of SNS in the topic's region");
        }
        Ok(())
    }

    /// Whether `signature` is this key's over `text`.
    pub(crate) fn has_signed(
        &self,
        version: SignatureVersion,
        text: &str,
        signature: &[u8],
    ) -> bool {
        let algorithm = match version {
            SignatureVersion::One => &RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
            SignatureVersion::Two => &RSA_PKCS1_2048_8192_SHA256,
        };
        let key = UnparsedPublicKey::new(algorithm, &self.public_key);
        key.verify(text.as_bytes(), signature).is_ok()
    }
}

/// Where certificates come from.
pub(crate) struct Certificates {
    /// The one that the operator gives: then nothing is fetched.
    pinned: Option<Arc<SigningCertificate>>,
    web: Arc<dyn Web>,
    cache: SingleFlight<SigningCertificate>,
    failures: Mutex<Failures>,
}

/// What became of fetches lately. Certificates cannot be known before they are asked for, since SNS
/// tells their places in its posts only.
#[derive(Debug, Default)]
struct Failures {
    /// Places asked in vain, for [`FAILED_KEPT`]: those that are known, and the last stranger.
    places: BTreeMap<String, Failed>,
    /// Strangers in a row that had no certificate of SNS.
    made_up: u32,
    /// Until when no stranger is asked.
    strangers_rest_until: Option<Timestamp>,
}

/// A fetch that failed.
#[derive(Debug, Clone)]
struct Failed {
    refusal: WebhookRefusal,
    until: Timestamp,
}

/// Why a fetch gave no certificate.
#[derive(Debug)]
enum Unfetched {
    /// It may be there another time.
    Unreachable(WebhookRefusal),
    /// Nothing is there that SNS signs with.
    NoneThere(WebhookRefusal),
}

impl Unfetched {
    fn refusal(self) -> WebhookRefusal {
        match self {
            Self::Unreachable(refusal) | Self::NoneThere(refusal) => refusal,
        }
    }
}

impl Failures {
    /// Why a place is not asked now.
    fn refusal(&mut self, url: &str, is_stranger: bool, now: Timestamp) -> Option<WebhookRefusal> {
        self.places.retain(|_, own| now < own.until);
        if let Some(own) = self.places.get(url) {
            return Some(own.refusal.clone());
        }
        let rests = self.strangers_rest_until.is_some_and(|until| now < until);
        let why =
            "another unknown signing certificate was asked for in vain; only known ones serve";
        (is_stranger && rests).then_some(WebhookRefusal::Unavailable(why))
    }

    fn note(&mut self, url: &str, is_stranger: bool, unfetched: &Unfetched, now: Timestamp) {
        let after = |rest| now.checked_add(rest).unwrap_or(Timestamp::MAX);
        let (refusal, is_made_up) = match unfetched {
            Unfetched::Unreachable(refusal) => (refusal, false),
            Unfetched::NoneThere(refusal) => (refusal, true),
        };
        let failed = Failed {
            refusal: refusal.clone(),
            until: after(FAILED_KEPT),
        };
        self.places.insert(url.to_owned(), failed);
        if !is_stranger {
            return;
        }
        let mut rest = FAILED_KEPT;
        if is_made_up {
            let doublings = 1_i32.checked_shl(self.made_up.min(8)).unwrap_or(i32::MAX);
            rest = (FAILED_KEPT * doublings).min(STRANGERS_REST_MAX);
            self.made_up = self.made_up.saturating_add(1);
        }
        self.strangers_rest_until = Some(after(rest));
    }
}

impl Certificates {
    /// With the operator's certificate, or fetching through `web`.
    pub(crate) fn new(pinned: Option<SigningCertificate>, web: Arc<dyn Web>) -> Self {
        Self {
            pinned: pinned.map(Arc::new),
            web,
            cache: SingleFlight::new(),
            failures: Mutex::default(),
        }
    }

    /// The certificate at `url`, which must have passed [`Topic::is_certificate_url`].
    ///
    /// A fetched one is believed because TLS proves the host it comes from. It stands alone there,
    /// without the chain to a root, but a self-signed one is nobody's.
    ///
    /// # Errors
    /// Forbidden if it is not one that may sign for the topic; unavailable if it is not to be had
    /// now.
    pub(crate) async fn of(
        &self,
        url: &str,
        topic: &Topic,
        now: Timestamp,
    ) -> Result<Arc<SigningCertificate>, WebhookRefusal> {
        let certificate = match &self.pinned {
            Some(pinned) => Arc::clone(pinned),
            None => self.fetched(url, topic, now).await?,
        };
        certificate
            .check(topic, now)
            .map_err(WebhookRefusal::Forbidden)?;
        Ok(certificate)
    }

    async fn fetched(
        &self,
        url: &str,
        topic: &Topic,
        now: Timestamp,
    ) -> Result<Arc<SigningCertificate>, WebhookRefusal> {
        let fetch = async {
            // Whoever waited for its turn finds what became of the one before.
            let is_stranger = !self.cache.knows(url);
            if let Some(refusal) = self.failures().refusal(url, is_stranger, now) {
                return Err(refusal);
            }
            let fetched = self.fetch(url, topic, now).await;
            let mut failures = self.failures();
            match &fetched {
                Ok(_) if is_stranger => {
                    (failures.made_up, failures.strangers_rest_until) = (0, None);
                }
                Ok(_) => {}
                Err(unfetched) => failures.note(url, is_stranger, unfetched, now),
            }
            let until = now.checked_add(KEPT_MAX).unwrap_or(Timestamp::MAX);
            Ok(Kept {
                value: Arc::new(fetched.map_err(Unfetched::refusal)?),
                renew_at: until,
                until,
            })
        };
        let found = self.cache.get(url, now, fetch).await;
        found.map_err(|fault| match fault {
            NoValue::Failed(refusal) => refusal,
            NoValue::Busy => WebhookRefusal::Unavailable("the signing certificate is slow to come"),
        })
    }

    async fn fetch(
        &self,
        url: &str,
        topic: &Topic,
        now: Timestamp,
    ) -> Result<SigningCertificate, Unfetched> {
        let none_there = |why| Unfetched::NoneThere(WebhookRefusal::Forbidden(why));
        let pem = self.web.get(url, CERTIFICATE_BYTES_MAX).await;
        let pem = pem.map_err(unfetched)?;
        let certificate = SigningCertificate::read(&pem).map_err(none_there)?;
        certificate.check(topic, now).map_err(none_there)?;
        if certificate.is_self_signed {
            return Err(none_there("the signing certificate is signed by itself"));
        }
        Ok(certificate)
    }

    fn failures(&self) -> MutexGuard<'_, Failures> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Nothing is known of the post then, so it is to come again: SNS takes a 4xx for a delivery.
fn unfetched(fault: FetchFault) -> Unfetched {
    let why = match fault {
        FetchFault::Status(300..=399) => "the signing certificate's place leads elsewhere",
        FetchFault::NotWhole => "the signing certificate is too long or was cut off",
        FetchFault::Status(_) | FetchFault::Unreachable(_) => {
            "the signing certificate cannot be fetched"
        }
    };
    let refusal = WebhookRefusal::Unavailable(why);
    match fault {
        FetchFault::Status(400..=499) => Unfetched::NoneThere(refusal),
        FetchFault::Status(_) | FetchFault::NotWhole | FetchFault::Unreachable(_) => {
            Unfetched::Unreachable(refusal)
        }
    }
}

/// Fetches documents of AWS by HTTPS. A seam, so that tests count the calls.
#[async_trait]
pub(crate) trait Web: Send + Sync {
    /// A document of at most `bytes_max` octets.
    ///
    /// # Errors
    /// [`FetchFault`].
    async fn get(&self, url: &str, bytes_max: usize) -> Result<Bytes, FetchFault>;
}

/// The web as it is: HTTPS only, public addresses only, no redirects, no proxy.
pub(crate) struct PublicWeb {
    client: Client,
}

impl PublicWeb {
    /// A client that connects to nothing yet.
    ///
    /// # Errors
    /// If TLS cannot be set up on this machine.
    pub(crate) fn new() -> Result<Self, reqwest::Error> {
        let client = client_builder()
            .https_only(true)
            .dns_resolver(PublicOnly)
            .build()?;
        Ok(Self { client })
    }
}

#[async_trait]
impl Web for PublicWeb {
    async fn get(&self, url: &str, bytes_max: usize) -> Result<Bytes, FetchFault> {
        let url = url
            .parse()
            .map_err(|_| FetchFault::Unreachable("not a URL".to_owned()))?;
        let request = Request::new(Method::GET, url);
        fetch(&self.client, request, bytes_max, FETCH_WAIT_MAX).await
    }
}

/// Resolves names to public addresses only, at the moment of connecting, so that a name cannot
/// lead inside.
#[derive(Debug)]
struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public: Vec<SocketAddr> = found.filter(|found| is_public(found.ip())).collect();
            if public.is_empty() {
                return Err("the name has no public address".into());
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}
