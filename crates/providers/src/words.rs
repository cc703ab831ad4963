//! What the words of a reply say, whomever they are about.

/// A reply's text in lower case without its addresses: `<sandbox@x.test>` says nothing about the
/// account, and whoever is mailed may be called anything.
pub(crate) fn spoken(text: &str) -> String {
    let words = text.split_ascii_whitespace();
    let words: Vec<&str> = words.filter(|word| !word.contains('@')).collect();
    words.join(" ").to_ascii_lowercase()
}

/// Whether one of `phrases` (lower case) is in a [`spoken`] text.
pub(crate) fn says_any(text: &str, phrases: &[&str]) -> bool {
    phrases.iter().any(|phrase| text.contains(phrase))
}

/// Whether a [`spoken`] text says that what the message says was judged, not how it is written.
/// Whole words: `X-Spam-Flag` is the name of a field.
pub(crate) fn judges_content(text: &str) -> bool {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    let mut words = words.map(|word| word.trim_matches('-'));
    words.any(|word| JUDGEMENTS.contains(&word))
}

/// The words of such a judgement.
const JUDGEMENTS: [&str; 8] = [
    "spam",
    "spammy",
    "virus",
    "viruses",
    "malware",
    "phish",
    "phishing",
    "malicious",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_judgement_of_the_content_is_told_from_its_form() {
        for (text, judges) in [
            ("This message was classified as spam", true),
            ("Virus found: EICAR.", true),
            ("content looks like (phishing)", true),
            ("Forbidden attachment type", false),
            ("X-Spam-Flag is no field that may be sent", false),
            ("Subject is too long", false),
            ("ask <spam@x.test>", false),
        ] {
            assert_eq!(judges_content(&spoken(text)), judges, "{text}");
        }
    }
}
