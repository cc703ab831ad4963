//! Whose fault a bounce is, by the codes and words of the server that refused.
//!
//! Only [`Blame::Recipient`] suppresses an address, so it needs evidence about the mailbox, and
//! words about blocks or reputation beat any code: some servers refuse whole networks with 5.1.1.

use malote_core::event::Blame;

/// What a refusing server said, as far as a service passes it on.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Refusal<'a> {
    /// SMTP reply code.
    pub code: Option<u16>,
    /// Enhanced status code (RFC 3463), `5.1.1`.
    pub enhanced: Option<&'a str>,
    /// The text.
    pub text: &'a str,
}

const BLOCK_WORDS: [&str; 10] = [
    "spamhaus",
    "blacklist",
    "blocklist",
    "block list",
    "denylist",
    "dnsbl",
    " rbl",
    "reputation",
    "spam",
    "blocked",
];
const FULL_WORDS: [&str; 6] = [
    "mailbox full",
    "mailbox is full",
    "over quota",
    "overquota",
    "quota exceeded",
    "exceeded storage",
];
const NOBODY_WORDS: [&str; 12] = [
    "user unknown",
    "unknown user",
    "no such user",
    "no such recipient",
    "user not found",
    "recipient not found",
    "mailbox not found",
    "does not exist",
    "doesn't exist",
    "no mailbox here",
    "invalid recipient",
    "account is disabled",
];

/// Reads a permanent refusal; `None` if neither code nor words tell.
pub(crate) fn blame(refusal: Refusal<'_>) -> Option<Blame> {
    let text = refusal.text.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if says(&BLOCK_WORDS) {
        return Some(Blame::Reputation);
    }
    let by_code = refusal.enhanced.and_then(blame_of_status);
    if by_code.is_some() {
        return by_code;
    }
    if says(&FULL_WORDS) || refusal.code == Some(552) && text.contains("quota") {
        return Some(Blame::MailboxFull);
    }
    if says(&NOBODY_WORDS) {
        return Some(Blame::Recipient);
    }
    None
}

/// RFC 3463 3: `class.subject.detail`. What is about the sender's address (5.1.7, 5.1.8), routing
/// (5.4.x, which some servers use for unknown recipients and others for their own faults) or
/// unspecified (x.x.0) says nothing certain of the mailbox.
fn blame_of_status(status: &str) -> Option<Blame> {
    let mut parts = status
        .trim()
        .split('.')
        .map(|part| part.parse::<u16>().ok());
    let class = parts.next()??;
    let subject = parts.next()??;
    let detail = parts.next()??;
    if class != 4 && class != 5 {
        return None;
    }
    match (subject, detail) {
        (1, 1 | 2 | 3 | 6 | 10) | (2, 1) => Some(Blame::Recipient),
        (1, 7 | 8) | (7, _) => Some(Blame::Reputation),
        (2, 2) => Some(Blame::MailboxFull),
        (2, 3) | (3, 4) | (6, _) => Some(Blame::Content),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_words_or_codes_about_the_mailbox_blame_the_recipient() {
        for (code, enhanced, text, expected) in [
            (550, Some("5.1.1"), "user unknown", Some(Blame::Recipient)),
            (550, Some("5.1.10"), "null MX", Some(Blame::Recipient)),
            (
                550,
                Some("5.2.1"),
                "mailbox disabled",
                Some(Blame::Recipient),
            ),
            (550, None, "No such user here", Some(Blame::Recipient)),
            (
                550,
                Some("5.1.1"),
                "blocked by Spamhaus",
                Some(Blame::Reputation),
            ),
            (550, Some("5.7.1"), "no such user", Some(Blame::Reputation)),
            (
                550,
                Some("5.7.26"),
                "not authenticated",
                Some(Blame::Reputation),
            ),
            (
                553,
                Some("5.1.8"),
                "sender's domain",
                Some(Blame::Reputation),
            ),
            (552, Some("5.2.2"), "", Some(Blame::MailboxFull)),
            (552, None, "Quota violated", Some(Blame::MailboxFull)),
            (452, None, "mailbox full", Some(Blame::MailboxFull)),
            (552, Some("5.3.4"), "too big", Some(Blame::Content)),
            (554, Some("5.6.0"), "bad MIME", Some(Blame::Content)),
            (
                550,
                Some("5.4.1"),
                "Recipient address rejected: Access denied",
                None,
            ),
            (550, Some("5.0.0"), "rejected", None),
            (550, Some("nonsense"), "", None),
            (550, Some("5.1"), "", None),
            (550, Some("5.99999999999.1"), "", None),
        ] {
            let refusal = Refusal {
                code: Some(code),
                enhanced,
                text,
            };
            assert_eq!(blame(refusal), expected, "{enhanced:?} {text}");
        }
    }
}
