//! What a peer repeats of our secrets is left out of what is kept of its answers, which go to
//! timelines, events and logs.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{HeaderMap, HeaderValue};
use malote_core::secret::Secret;

/// So many octets in a row of a secret are never kept: peers cut what they repeat. Fewer stand in
/// other words by chance, such as ids.
const PART_BYTES: usize = 8;
/// What is shorter is not looked for: it would be found in words that mean something else.
const SECRET_BYTES_MIN: usize = 6;
/// What stands in its place.
const MASK: &[u8] = b"***";
/// The scheme of AWS, whose signatures are of one request and of no use for another.
const SIGNATURE: &str = "AWS4-HMAC-SHA256";

/// The secrets in the header fields of a call that are marked as sensitive: a token or key, and of
/// a login in base64 (RFC 7617) the password, too.
pub(crate) fn secrets(headers: &HeaderMap) -> Vec<Secret> {
    let marked = headers.values().filter(|value| value.is_sensitive());
    marked.flat_map(secrets_in).collect()
}

fn secrets_in(value: &HeaderValue) -> Vec<Secret> {
    let text = value.to_str().unwrap_or_default();
    let (scheme, proof) = text.split_once(' ').unwrap_or(("", text));
    match scheme {
        SIGNATURE => Vec::new(),
        "Basic" => {
            let password = password(proof);
            password.into_iter().chain([Secret::new(proof)]).collect()
        }
        _ => vec![Secret::new(proof)],
    }
}

fn password(login: &str) -> Option<Secret> {
    let login = String::from_utf8(STANDARD.decode(login).ok()?).ok()?;
    let (_, password) = login.split_once(':')?;
    Some(Secret::new(password))
}

/// An answer's body without what it repeats of `secrets`.
pub(crate) fn masked(body: Bytes, secrets: &[Secret]) -> Bytes {
    secrets.iter().fold(body, |body, secret| {
        without(&body, secret).map_or(body, Bytes::from)
    })
}

/// A text without what it repeats of `secrets`.
pub(crate) fn masked_text<'s>(text: &str, secrets: impl IntoIterator<Item = &'s Secret>) -> String {
    let mut kept = text.to_owned();
    for secret in secrets {
        if let Some(octets) = without(kept.as_bytes(), secret) {
            kept = String::from_utf8_lossy(&octets).into_owned();
        }
    }
    kept
}

/// What is left of `said`; `None` if it repeats nothing.
fn without(said: &[u8], secret: &Secret) -> Option<Vec<u8>> {
    let secret = secret.expose().as_bytes();
    let size = secret.len().min(PART_BYTES);
    if size < SECRET_BYTES_MIN {
        return None;
    }
    let mut parts: Vec<u64> = runs(secret, size).map(|(_, run)| run).collect();
    parts.sort_unstable();
    let ends = runs(said, size)
        .filter(|(_, run)| parts.binary_search(run).is_ok())
        .map(|(end, _)| end);
    let mut kept = Vec::new();
    let mut hidden_to = None;
    for end in ends {
        let start = end - size;
        // A part that touches the one before goes with it.
        if hidden_to.is_none_or(|before| start > before) {
            kept.extend_from_slice(&said[hidden_to.unwrap_or(0)..start]);
            kept.extend_from_slice(MASK);
        }
        hidden_to = Some(end);
    }
    kept.extend_from_slice(&said[hidden_to?..]);
    Some(kept)
}

/// Each run of `size` octets (at most eight) as a number, and where it ends.
fn runs(octets: &[u8], size: usize) -> impl Iterator<Item = (usize, u64)> {
    let kept = u64::MAX >> (8 * (PART_BYTES - size));
    let run = move |run: &mut u64, (at, octet): (usize, &u8)| {
        *run = ((*run << 8) | u64::from(*octet)) & kept;
        Some((at + 1, *run))
    };
    octets.iter().enumerate().scan(0, run).skip(size - 1)
}

#[cfg(test)]
mod tests {
    use http::header::AUTHORIZATION;

    use super::*;
    use crate::http::sensitive;

    const KEY: &str = "SG.k7Lq-0aZx_9.Tr4/w+Q2=";

    #[test]
    fn what_comes_back_of_a_secret_is_left_out_in_whatever_form() {
        let secrets = [Secret::new(KEY)];
        for (said, kept) in [
            ("no such key", "no such key"),
            ("", ""),
            (KEY, "***"),
            (
                "{\"error\":\"SG.k7Lq-0aZx_9.Tr4/w+Q2= is bad\"}",
                "{\"error\":\"*** is bad\"}",
            ),
            ("cut SG.k7Lq-0aZ... here", "cut ***... here"),
            ("the end: aZx_9.Tr4/w+Q2=", "the end: ***"),
            ("escaped SG.k7Lq-0aZx_9.Tr4\\/w+Q2=", "escaped ***\\/w+Q2="),
            ("twice SG.k7Lq-0aSG.k7Lq-0a", "twice ***"),
            ("twice SG.k7Lq-0a SG.k7Lq-0a", "twice *** ***"),
            ("seven octets SG.k7Lq", "seven octets SG.k7Lq"),
            ("não SG.k7Lq-0aZx_9.Tr4/w+Q2= é", "não *** é"),
        ] {
            assert_eq!(masked_text(said, &secrets), kept, "{said}");
            assert_eq!(masked(Bytes::from(said), &secrets), kept, "{said}");
        }
    }

    #[test]
    fn a_short_secret_is_found_as_a_whole_and_a_very_short_one_is_not() {
        for (secret, said, kept) in [
            ("hunter2", "bad password hunter2!", "bad password ***!"),
            ("hunter2", "hunter", "hunter"),
            ("hunter", "a hunter", "a ***"),
            ("key", "no such key", "no such key"),
            ("", "no such key", "no such key"),
        ] {
            assert_eq!(masked_text(said, [&Secret::new(secret)]), kept, "{secret}");
        }
    }

    #[test]
    fn the_secrets_of_a_call_are_its_sensitive_fields() {
        let found = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, sensitive(value).unwrap());
            let found = secrets(&headers);
            found
                .iter()
                .map(|one| one.expose().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(found("k-1"), ["k-1"]);
        assert_eq!(found("Bearer k-1"), ["k-1"]);
        assert_eq!(
            found("Basic YXBpOmtleS1hOmI="),
            ["key-a:b", "YXBpOmtleS1hOmI="]
        );
        let signed = "AWS4-HMAC-SHA256 Credential=A, SignedHeaders=host, Signature=da2f";
        assert_eq!(found(signed), [""; 0]);
        let open = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static("k-1"))]);
        assert!(secrets(&open).is_empty());
    }
}
