//! One submission, one message: the client's key, Mautic's tracking hash, and keys under way.

use malote_core::intake::Refusal;
use malote_core::message::{Channel, IdempotencyKey, Submission};
use malote_core::name::CredentialName;
use sha2::{Digest, Sha256};

use crate::engine::{Engine, lock};
use crate::prepare::Prepared;

/// Longest key that a client may give, as HTTP ingress has it.
const KEY_BYTES_MAX: usize = 255;

/// The key of a submission: the API's, the message's `X-Malote-Idempotency-Key`, or for Mautic its
/// tracking hash with the recipients, whose repeats differ in Message-ID and Date by nature.
pub(crate) fn key_of(submission: &Submission, prepared: &Prepared) -> Option<IdempotencyKey> {
    if let Some(key) = &submission.idempotency {
        return Some(key.clone());
    }
    if let Some(key) = prepared
        .idempotency_key
        .as_ref()
        .filter(|key| key.len() <= KEY_BYTES_MAX)
    {
        let fingerprint = Sha256::digest(as_sent(submission)).into();
        return Some(IdempotencyKey {
            key: format!("field:{key}"),
            fingerprint: Some(fingerprint),
        });
    }
    let hash = prepared.tracking_hash.as_ref()?;
    let mut recipients: Vec<String> = submission
        .recipients
        .iter()
        .map(|recipient| recipient.address.key())
        .collect();
    recipients.sort_unstable();
    let digest = Sha256::digest(recipients.join("\n").as_bytes());
    let short: String = digest[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Some(IdempotencyKey {
        key: format!("mautic:{hash}:{short}"),
        fingerprint: None,
    })
}

/// The body as the client sent it: without the trace field that differs each time.
fn as_sent(submission: &Submission) -> &[u8] {
    match submission.channel {
        Channel::Smtp(_) => without_first_field(&submission.body),
        Channel::Http(_) | Channel::Internal => &submission.body,
    }
}

fn without_first_field(body: &[u8]) -> &[u8] {
    let mut rest = body;
    loop {
        let Some(end) = memchr::memchr(b'\n', rest) else {
            return rest;
        };
        rest = &rest[end + 1..];
        if !matches!(rest.first(), Some(b' ' | b'\t')) {
            return rest;
        }
    }
}

/// A key whose first submission is under way. A second one is told to wait.
pub(crate) struct KeyInFlight<'a> {
    engine: &'a Engine,
    key: String,
}

impl<'a> KeyInFlight<'a> {
    pub(crate) fn enter(
        engine: &'a Engine,
        credential: &CredentialName,
        key: &str,
    ) -> Result<Self, Refusal> {
        let key = format!("{credential}\n{key}");
        if !lock(&engine.keys_in_flight).insert(key.clone()) {
            return Err(Refusal::InProgress);
        }
        Ok(Self { engine, key })
    }
}

impl Drop for KeyInFlight<'_> {
    fn drop(&mut self) {
        lock(&self.engine.keys_in_flight).remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trace_field_does_not_make_a_repeat_another_body() {
        let first = b"Received: by gw id 1;\r\n\tnow\r\nFrom: a@b\r\n\r\nhi\r\n";
        let second = b"Received: by gw id 2; later\r\nFrom: a@b\r\n\r\nhi\r\n";
        assert_eq!(without_first_field(first), without_first_field(second));
        assert_eq!(without_first_field(b"no end"), b"no end");
    }
}
