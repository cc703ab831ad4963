//! One submission, one message: the client's key, Mautic's tracking hash, and what a repeat is
//! answered.

use malote_core::address::EmailAddress;
use malote_core::event::EventKind;
use malote_core::intake::{Accepted, AcceptedRecipient, RecipientStatus, Refusal};
use malote_core::message::{Channel, IdempotencyKey, Submission};
use malote_store::IdempotencyRecord;
use sha2::{Digest, Sha256};

use crate::engine::Engine;
use crate::intake::refused;
use crate::prepare::Prepared;

/// Longest key that a client may give, as HTTP ingress has it.
const KEY_BYTES_MAX: usize = 255;

/// The key of a submission: the API's, the message's `X-Malote-Idempotency-Key` with its envelope, or
/// for Mautic its tracking hash with the recipients, whose repeats differ in Message-ID and Date by
/// nature.
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
            key: format!("field:{}:{key}", envelope(submission)),
            fingerprint: Some(fingerprint),
        });
    }
    let hash = prepared.tracking_hash.as_ref()?;
    let recipients = sorted(submission).join("\n");
    Some(IdempotencyKey {
        key: format!("mautic:{hash}:{}", short::<8>(&recipients)),
        fingerprint: None,
    })
}

/// The envelope in short. A message for more recipients than one transaction takes comes in several
/// (RFC 5321 4.5.3.1.10), which have the message and its fields in common.
fn envelope(submission: &Submission) -> String {
    let mail_from = submission.mail_from.as_ref().map(EmailAddress::key);
    let mut lines = vec![mail_from.unwrap_or_default()];
    lines.extend(sorted(submission));
    let mut impossible: Vec<_> = submission.impossible.iter().map(|one| &one.text).collect();
    impossible.sort_unstable();
    lines.extend(impossible.into_iter().cloned());
    short::<16>(&lines.join("\n"))
}

/// The recipients in one order: a repeat may name them in another.
fn sorted(submission: &Submission) -> Vec<String> {
    let recipients = submission.recipients.iter();
    let mut keys: Vec<String> = recipients.map(|one| one.address.key()).collect();
    keys.sort_unstable();
    keys
}

/// The first octets of a text's digest, in hexadecimal.
fn short<const OCTETS: usize>(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    let octets = digest.iter().take(OCTETS);
    octets.map(|octet| format!("{octet:02x}")).collect()
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

impl Engine {
    /// The answer that the first submission under this key got.
    pub(crate) async fn replay(
        &self,
        record: &IdempotencyRecord,
        fingerprint: Option<[u8; 32]>,
    ) -> Result<Accepted, Refusal> {
        if let (Some(first), Some(this)) = (record.fingerprint, fingerprint)
            && first != this
        {
            return Err(Refusal::KeyReused);
        }
        let view = self.spool.view(record.message).await.map_err(refused)?;
        let view = view.ok_or(Refusal::Unavailable)?;
        let recipients = view.deliveries.iter().map(|delivery| AcceptedRecipient {
            address: delivery.recipient.clone(),
            status: first_status(&delivery.events),
        });
        Ok(Accepted {
            id: record.message,
            stream: view.stream,
            recipients: recipients.collect(),
            is_replay: true,
        })
    }
}

/// What was answered for a recipient at submission: custody and its consequences are the first two
/// events of a timeline.
fn first_status(events: &[malote_core::ledger::EventView]) -> RecipientStatus {
    let second = events.get(1).filter(|second| events[0].at == second.at);
    match second.map(|event| &event.kind) {
        Some(EventKind::Suppressed) => RecipientStatus::Suppressed,
        Some(EventKind::Bounced) => RecipientStatus::Bounced,
        _ => RecipientStatus::Queued,
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
