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
