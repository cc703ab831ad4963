//! What the services document of their refusals, and what the adapters make of them: the rows of
//! the adapters' table tests, which `malote providers` and the pages of `docs/providers` show.

use crate::smtp::documented as by_smtp;
use crate::{
    brevo, elasticemail, mailgun, mailjet, mailtrap, postal, postmark, resend, sendgrid, ses,
    smtp2go, sparkpost,
};

/// The services' own APIs, by kind.
const BY_API: [(&str, &[Documented]); 12] = [
    ("ses", ses::DOCUMENTED),
    ("mailgun", mailgun::DOCUMENTED),
    ("sparkpost", sparkpost::DOCUMENTED),
    ("elasticemail", elasticemail::DOCUMENTED),
    ("postmark", postmark::DOCUMENTED),
    ("sendgrid", sendgrid::DOCUMENTED),
    ("mailtrap", mailtrap::DOCUMENTED),
    ("mailjet", mailjet::DOCUMENTED),
    ("brevo", brevo::DOCUMENTED),
    ("resend", resend::DOCUMENTED),
    ("smtp2go", smtp2go::DOCUMENTED),
    ("postal", postal::DOCUMENTED),
];

/// The answers of a service, by the name of its kind or of its SMTP preset: for each transport,
/// `api` or `smtp`, its rows. Those of SMTP begin with what was asked, as in `RCPT TO: text`.
/// Empty for a name that is neither.
#[must_use]
pub fn documented(kind: &str) -> Vec<(&'static str, &'static [Documented])> {
    let is_it = |name: &str| name == kind;
    let api = BY_API.iter().filter(|(name, _)| is_it(name));
    let api = api.map(|(_, rows)| ("api", *rows));
    let smtp = by_smtp().filter(|(name, rows)| is_it(name) && !rows.is_empty());
    api.chain(smtp.map(|(_, rows)| ("smtp", rows))).collect()
}

/// The names that [`documented`] knows: kinds, then presets that are no kind.
pub fn documented_names() -> impl Iterator<Item = &'static str> {
    let is_kind = |name: &str| BY_API.iter().any(|(kind, _)| *kind == name);
    let presets = by_smtp().map(|(name, _)| name);
    let presets = presets.filter(move |name| !is_kind(name));
    BY_API.iter().map(|(kind, _)| *kind).chain(presets)
}

/// One answer that a service documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Documented {
    /// The HTTP status or SMTP reply code.
    pub status: u16,
    /// The answer's body, or the reply's text, as the service writes it.
    pub answer: &'static str,
    /// The verdict's word ([`malote_core::provider::Verdict::as_str`]); `accepted` for a receipt.
    pub verdict: &'static str,
    /// Where it is documented, or a word on what it means.
    pub source: &'static str,
    /// Whether the answer's words are the service's. Where it documents an occasion and no
    /// sentence, they are ours, and the adapter knows the real ones only by their key words.
    pub is_quoted: bool,
}

impl Documented {
    /// A row in the service's words.
    pub(crate) const fn new(
        status: u16,
        answer: &'static str,
        verdict: &'static str,
        source: &'static str,
    ) -> Self {
        Self {
            status,
            answer,
            verdict,
            source,
            is_quoted: true,
        }
    }

    /// The same row, its answer in our words.
    pub(crate) const fn in_our_words(self) -> Self {
        Self {
            is_quoted: false,
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_service_has_a_table_and_every_row_a_source() {
        for name in documented_names() {
            let tables = documented(name);
            assert!(!tables.is_empty(), "{name}");
            for (transport, rows) in tables {
                let mut seen = BTreeSet::new();
                for row in rows {
                    assert!(!row.source.is_empty(), "{name} {transport} {row:?}");
                    let is_new = seen.insert((row.status, row.answer));
                    assert!(is_new, "{name} {transport}: twice {row:?}");
                }
            }
        }
        assert!(documented("carrier-pigeon").is_empty());
    }
}
