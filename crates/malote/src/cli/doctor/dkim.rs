//! DKIM (RFC 6376): the record of a public key.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Keys come with and without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Octets of a SubjectPublicKeyInfo with an RSA modulus of this many bits: 22 of wrapping, 5 of
/// exponent, and what the modulus takes. A little less, as encodings differ by an octet or two.
const SPKI_1024_BYTES: usize = 155;
const SPKI_2048_BYTES: usize = 285;

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    /// The key's octets in Base64 without spaces.
    pub(super) base64: String,
    pub(super) strength: Strength,
    /// Whether the owner says that it only tries things out (`t=y`).
    pub(super) is_testing: bool,
}

/// How hard the key is to break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strength {
    /// RSA under 1024 bits: RFC 8301 3.2 has receivers refuse it.
    Refused,
    /// RSA under 2048 bits: RFC 8301 3.2 asks for more.
    Short,
    Good,
}

/// Reads a record.
///
/// # Errors
/// Why receivers cannot verify with it.
pub(super) fn parse(text: &str) -> Result<Key, String> {
    let mut kind = "rsa".to_owned();
    let mut key = None;
    let mut is_testing = false;
    for (index, tag) in text.split(';').enumerate() {
        let Some((name, value)) = tag.split_once('=') else {
            continue;
        };
        let (name, value) = (name.trim(), value.trim());
        match name {
            "v" if index != 0 || value != "DKIM1" => {
                return Err(format!(
                    "v={value:?} is not the version DKIM1 in first place"
                ));
            }
            "k" => kind = value.to_ascii_lowercase(),
            "t" => is_testing = value.split(':').any(|flag| flag.trim() == "y"),
            "p" => key = Some(value.split_whitespace().collect::<String>()),
            _ => {}
        }
    }
    let base64 = key.ok_or_else(|| "it has no p=".to_owned())?;
    if base64.is_empty() {
        // RFC 6376 3.6.1
        return Err("the key is revoked: p= is empty".to_owned());
    }
    let octets = BASE64.decode(&base64);
    let octets = octets.map_err(|_| "p= is not Base64; was it cut?".to_owned())?;
    let strength = match kind.as_str() {
        "rsa" if octets.len() < SPKI_1024_BYTES => Strength::Refused,
        "rsa" if octets.len() < SPKI_2048_BYTES => Strength::Short,
        "rsa" => Strength::Good,
        // RFC 8463 4.2
        "ed25519" if octets.len() == 32 => Strength::Good,
        "ed25519" => return Err("p= is no Ed25519 key of 32 octets".to_owned()),
        other => return Err(format!("k={other:?} is a kind of key that nobody verifies")),
    };
    Ok(Key {
        base64,
        strength,
        is_testing,
    })
}

/// Whether two records hold the same key.
pub(super) fn is_same(record: &str, wanted: &str) -> bool {
    let key = |text| parse(text).map(|key| key.base64.trim_end_matches('=').to_owned());
    key(record).is_ok_and(|own| key(wanted).is_ok_and(|wanted| own == wanted))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rsa(bytes: usize) -> String {
        BASE64.encode(vec![7; bytes])
    }

    #[test]
    fn keys_are_weighed() {
        for (record, strength) in [
            (format!("v=DKIM1; k=rsa; p={}", rsa(94)), Strength::Refused),
            (format!("k=rsa;t=s;p={}", rsa(162)), Strength::Short),
            (format!("p={}", rsa(294)), Strength::Good),
            (format!("v=DKIM1; k=ed25519; p={}", rsa(32)), Strength::Good),
        ] {
            assert_eq!(parse(&record).unwrap().strength, strength, "{record}");
        }
    }

    #[test]
    fn records_that_verify_nothing_are_told() {
        for (record, why) in [
            ("v=DKIM1; p=", "revoked"),
            ("v=DKIM1; k=rsa", "no p="),
            ("v=DKIM1; p=MII*", "Base64"),
            ("v=DKIM2; p=MIGf", "version"),
            ("k=rsa; v=DKIM1; p=MIGf", "version"),
            ("v=DKIM1; k=dsa; p=MIGf", "kind of key"),
            ("v=DKIM1; k=ed25519; p=MIGf", "Ed25519"),
        ] {
            let found = parse(record).unwrap_err();
            assert!(found.contains(why), "{record}: {found}");
        }
    }

    #[test]
    fn the_same_key_may_be_written_in_two_ways() {
        let key = rsa(162);
        let spaced = format!("v=DKIM1; p={} {}", &key[..20], &key[20..]);
        assert!(is_same(&spaced, &format!("k=rsa; p={key}")));
        assert!(!is_same(&spaced, &format!("p={}", rsa(163))));
    }

    proptest! {
        #[test]
        fn no_record_makes_it_panic(text in "(v=DKIM1;)?\\PC{0,200}") {
            if let Ok(key) = parse(&text) {
                prop_assert!(!key.base64.is_empty());
            }
        }
    }
}
