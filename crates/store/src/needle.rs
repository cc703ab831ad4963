//! An address that is erased: how it is found in texts, and what stands in its place.

use malote_core::address::EmailAddress;
use malote_core::suppression::SuppressedAddress;

/// What an erased recipient begins with; no address does.
pub(crate) const MARK: &str = "hash:";
/// Stands for an erased address where one must stand (RFC 6761 6.4: never anybody's).
pub(crate) const NOBODY: &str = "erased@erased.invalid";

/// Whether a recipient was erased.
pub(crate) fn is_erased(recipient: &str) -> bool {
    recipient.starts_with(MARK)
}

/// The address in the spellings in which texts hold it, and what stands there instead.
#[derive(Clone)]
pub(crate) struct Needle {
    /// The address in lower case.
    pub(crate) key: String,
    /// As [`Needle::key`] and with its `@` escaped as in URLs.
    pub(crate) spellings: [String; 2],
    /// What stands in its place.
    pub(crate) hash: String,
}

impl Needle {
    pub(crate) fn new(address: &EmailAddress, hash: [u8; 16]) -> Self {
        let key = address.key();
        let spellings = [key.clone(), key.replace('@', "%40")];
        let hash = SuppressedAddress::Erased(hash).to_string();
        Self {
            key,
            spellings,
            hash,
        }
    }

    /// Whether the text is the address.
    pub(crate) fn is(&self, text: &str) -> bool {
        text.to_lowercase() == self.key
    }

    /// Whether the octets hold the address.
    pub(crate) fn is_in(&self, octets: &[u8]) -> bool {
        let octets = octets.to_ascii_lowercase();
        let mut spellings = self.spellings.iter().map(String::as_bytes);
        spellings.any(|own| octets.windows(own.len()).any(|window| window == own))
    }

    /// The text without the address; `None` if it does not hold it.
    pub(crate) fn out_of(&self, text: &str) -> Option<String> {
        let mut text = text.to_owned();
        let mut is_changed = false;
        for spelling in &self.spellings {
            let mut from = 0;
            // Lower case in ASCII keeps every octet in its place.
            while let Some(at) = text.to_ascii_lowercase()[from..].find(spelling) {
                let at = from + at;
                text.replace_range(at..at + spelling.len(), &self.hash);
                from = at + self.hash.len();
                is_changed = true;
            }
        }
        is_changed.then_some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_replaced_in_every_spelling_and_nothing_else_is() {
        let address = EmailAddress::parse("Ana@x.test").unwrap();
        let needle = Needle::new(&address, [7; 16]);
        let hash = format!("hash:{}", "07".repeat(16));
        for (text, without) in [
            (
                "<ANA@X.test> and ana%40x.test",
                Some(format!("<{hash}> and {hash}")),
            ),
            ("é ana@x.test é", Some(format!("é {hash} é"))),
            ("anna@x.test", None),
            ("", None),
        ] {
            assert_eq!(needle.out_of(text), without, "{text}");
            assert_eq!(needle.is_in(text.as_bytes()), without.is_some());
        }
        assert!(needle.is("aNa@x.test") && !needle.is("xana@x.test"));
    }
}
