//! An adapter around another one that signs each message with the keys of its From's domain.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use jiff::Timestamp;
use mail_parser::MessageParser;
use malote_core::address::EmailAddress;
use malote_core::clock::Clock;
use malote_core::provider::{
    Account, Capabilities, Finding, Outgoing, Provider, Reply, SendError, SendReport, SenderRecord,
    Unasked, Verdict, report_for_all,
};

use sha2::{Digest as _, Sha256};

use super::key::Key;
use super::{DkimKeys, canon};
use crate::reencode::{self, EightBit};

/// From this size on, hashing would hold up other tasks of the thread.
const BLOCKING_FROM_BYTES: usize = 256 * 1024;
/// Octets of a signature on one line.
const SIGNATURE_LINE_BYTES: usize = 72;

/// The fields that are signed where they are there (RFC 6376 5.4.1), and those by which readers
/// act: what the text is, one-click unsubscribing (RFC 8058 4), Gmail's feedback loop.
const SIGNED: [&str; 28] = [
    "From",
    "Reply-To",
    "Sender",
    "Subject",
    "Date",
    "Message-ID",
    "To",
    "Cc",
    "In-Reply-To",
    "References",
    "Resent-Date",
    "Resent-From",
    "Resent-To",
    "Resent-Cc",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
    "Content-ID",
    "Content-Description",
    "List-Id",
    "List-Help",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
    "List-Subscribe",
    "List-Post",
    "List-Owner",
    "List-Archive",
    "Feedback-ID",
];

/// `provider`, signing what it sends. What has no key leaves unsigned.
#[must_use]
pub fn signing(
    provider: Arc<dyn Provider>,
    keys: Arc<DkimKeys>,
    clock: Arc<dyn Clock>,
) -> Arc<dyn Provider> {
    Arc::new(Signing {
        provider,
        keys,
        clock,
    })
}

struct Signing {
    provider: Arc<dyn Provider>,
    keys: Arc<DkimKeys>,
    clock: Arc<dyn Clock>,
}

#[async_trait]
impl Provider for Signing {
    fn kind(&self) -> &'static str {
        self.provider.kind()
    }

    fn capabilities(&self) -> &Capabilities {
        self.provider.capabilities()
    }

    fn reports_by_mail(&self) -> bool {
        self.provider.reports_by_mail()
    }

    async fn send(&self, outgoing: &Outgoing) -> SendReport {
        match self.sign(&outgoing.body).await {
            Ok(Some(body)) => {
                let signed = Outgoing {
                    body,
                    ..outgoing.clone()
                };
                self.provider.send(&signed).await
            }
            Ok(None) => self.provider.send(outgoing).await,
            Err(error) => report_for_all(outgoing, &Err(error)),
        }
    }

    async fn check(&self) -> Result<Account, SendError> {
        self.provider.check().await
    }

    async fn inspect(&self, senders: &[String]) -> Result<Vec<Finding>, SendError> {
        self.provider.inspect(senders).await
    }

    fn unasked(&self) -> &'static [Unasked] {
        self.provider.unasked()
    }

    async fn sender_records(&self, senders: &[String]) -> Result<Vec<SenderRecord>, SendError> {
        self.provider.sender_records(senders).await
    }

    fn account_poll_every(&self) -> Option<Duration> {
        self.provider.account_poll_every()
    }
}

impl Signing {
    /// The message with its signatures before it; `None` if its From's domain has no key.
    ///
    /// It is brought into ASCII and short lines first, as far as that can be done: a server that
    /// takes nothing else would have the text encoded afterwards, and the signature broken.
    async fn sign(&self, body: &Bytes) -> Result<Option<Bytes>, SendError> {
        let Some(domain) = from_domain(body) else {
            return Ok(None);
        };
        let Some((domain, keys)) = self.keys.of(&domain) else {
            return Ok(None);
        };
        let bytes_max = self.provider.capabilities().message_bytes_max;
        let body = reencode::fit(body, EightBit::Unwanted, bytes_max).await?;
        let now = self.clock.now();
        let signed = if body.len() < BLOCKING_FROM_BYTES {
            signed(&body, domain, keys, now)
        } else {
            let (domain, keys) = (domain.to_owned(), keys.to_vec());
            let signing = tokio::task::spawn_blocking(move || signed(&body, &domain, &keys, now));
            match signing.await {
                Ok(signed) => signed,
                Err(stopped) => std::panic::resume_unwind(stopped.into_panic()),
            }
        };
        // Unsigned it would fail the domain's DMARC policy: better late.
        signed.map(Some).ok_or_else(|| {
            let reply = Reply::none("the message could not be signed");
            SendError::new(Verdict::Transient, reply)
        })
    }
}

fn from_domain(message: &[u8]) -> Option<String> {
    let parsed = MessageParser::new()
        .header_address("From")
        .default_header_ignore()
        .parse_headers(message)?;
    let address = parsed.from()?.first()?.address()?;
    let address = EmailAddress::parse(address).ok()?;
    Some(address.domain().to_owned())
}

/// The fields to sign in the order of `h=`, each as whole lines. Of fields with one name the lowest
/// comes first (RFC 6376 5.4.2).
fn fields(header: &[u8]) -> Vec<(&'static str, &[u8])> {
    let mut starts: Vec<usize> = memchr::memchr_iter(b'\n', header)
        .map(|end| end + 1)
        .filter(|start| !matches!(header.get(*start), None | Some(b' ' | b'\t')))
        .collect();
    starts.insert(0, 0);
    let ends = starts.iter().copied().skip(1).chain([header.len()]);
    let all: Vec<&[u8]> = starts
        .iter()
        .zip(ends)
        .map(|(start, end)| &header[*start..end])
        .collect();
    let is_named = |field: &[u8], name: &str| {
        let colon = memchr::memchr(b':', field).unwrap_or(0);
        field[..colon]
            .trim_ascii_end()
            .eq_ignore_ascii_case(name.as_bytes())
    };
    let mut signed = Vec::new();
    for name in SIGNED {
        let own = all.iter().rev().filter(|field| is_named(field, name));
        signed.extend(own.map(|field| (name, *field)));
    }
    signed
}

/// The message with a signature of each key before it; `None` if a key cannot sign.
fn signed(message: &Bytes, domain: &str, keys: &[Key], now: Timestamp) -> Option<Bytes> {
    let end = memchr::memmem::find(message, b"\r\n\r\n");
    let (header, body) = match end {
        Some(end) => (&message[..end + 2], &message[end + 4..]),
        None => (&message[..], &message[message.len()..]),
    };
    let mut hash = Sha256::new();
    canon::body(body, |part| hash.update(part));
    let body_hash = STANDARD.encode(hash.finalize());
    let fields = fields(header);
    // From once more than it is there: nobody can put another one on top (RFC 6376 8.15).
    let names = fields.iter().map(|(name, _)| *name).chain(["From"]);
    let names = names.collect::<Vec<_>>().join(":\r\n\t");
    let mut to_sign = Vec::with_capacity(header.len() + 1_024);
    for (_, field) in &fields {
        to_sign.extend_from_slice(&canon::field(field));
        to_sign.extend_from_slice(b"\r\n");
    }
    let mut signed = Vec::with_capacity(message.len() + 2_048);
    for key in keys {
        let unsigned = format!(
            "DKIM-Signature: v=1; a={}; s={}; d={domain};\r\n\tc=relaxed/relaxed; t={};\r\n\t\
             h={names};\r\n\tbh={body_hash};\r\n\tb=",
            key.algorithm(),
            key.selector,
            now.as_second(),
        );
        let mut octets = to_sign.clone();
        octets.extend_from_slice(&canon::field(unsigned.as_bytes()));
        let signature = STANDARD.encode(key.sign(&octets).ok()?);
        signed.extend_from_slice(unsigned.as_bytes());
        for (position, line) in signature
            .as_bytes()
            .chunks(SIGNATURE_LINE_BYTES)
            .enumerate()
        {
            if position > 0 {
                signed.extend_from_slice(b"\r\n\t");
            }
            signed.extend_from_slice(line);
        }
        signed.extend_from_slice(b"\r\n");
    }
    signed.extend_from_slice(message);
    Some(signed.into())
}
