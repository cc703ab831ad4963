//! The DNS records that a service tells of a sender domain, as records of ours.

use malote_core::provider::{SenderRecord, SenderRecordKind, SenderRecordPurpose, bounded};

/// Octets of a name (RFC 1035 2.3.4).
const NAME_BYTES_MAX: usize = 255;
/// Octets of a value; the key of RSA with 4,096 bits has 800.
const VALUE_BYTES_MAX: usize = 2_000;
/// Where keys are (RFC 6376 3.6.2.1).
const KEYS: &str = "._domainkey.";

/// A record of this whole name for a sender domain.
pub(crate) fn record(
    sender: &str,
    name: &str,
    kind: SenderRecordKind,
    value: &str,
    purpose: SenderRecordPurpose,
) -> SenderRecord {
    SenderRecord {
        sender: sender.to_ascii_lowercase(),
        name: bounded(name.trim_end_matches('.'), NAME_BYTES_MAX).to_ascii_lowercase(),
        kind,
        value: bounded(value, VALUE_BYTES_MAX),
        purpose,
    }
}

/// The type of a record by the word of a service.
pub(crate) fn kind_of(word: &str) -> Option<SenderRecordKind> {
    match word.to_ascii_uppercase().as_str() {
        "TXT" => Some(SenderRecordKind::Txt),
        "CNAME" => Some(SenderRecordKind::Cname),
        "MX" => Some(SenderRecordKind::Mx),
        _ => None,
    }
}

/// What a record is for whose name is below a sender domain: a key, or a return path. What is
/// neither, as an SPF record in text, is left out.
pub(crate) fn purpose_of(name: &str, kind: SenderRecordKind) -> Option<SenderRecordPurpose> {
    let is_key = name.to_ascii_lowercase().contains(KEYS);
    match kind {
        SenderRecordKind::Mx => Some(SenderRecordPurpose::MailFrom),
        SenderRecordKind::Txt | SenderRecordKind::Cname if is_key => {
            Some(SenderRecordPurpose::Dkim)
        }
        SenderRecordKind::Cname => Some(SenderRecordPurpose::MailFrom),
        SenderRecordKind::Txt => None,
    }
}
