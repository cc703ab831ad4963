//! Lines on the wire: how text becomes lines, and what a stored message may never hold.

use memchr::memchr2_iter;

/// RFC 5322 2.1.1, without the line end.
const LINE_BYTES_MAX: usize = 998;

/// Whether a CR stands without LF, or an LF without CR.
pub(crate) fn has_bare_line_end(bytes: &[u8]) -> bool {
    memchr2_iter(b'\r', b'\n', bytes).any(|at| {
        if bytes[at] == b'\r' {
            bytes.get(at + 1) != Some(&b'\n')
        } else {
            at == 0 || bytes[at - 1] != b'\r'
        }
    })
}

/// Whether every server must take these lines.
pub(super) fn is_sendable(bytes: &[u8]) -> bool {
    let lines = bytes.split(|b| *b == b'\n');
    !has_bare_line_end(bytes)
        && lines
            .into_iter()
            .all(|line| line.len() <= LINE_BYTES_MAX + 1)
}

/// The same text with CRLF for every line end, in one pass. The builder's own pass inserts into
/// the string once a line, which takes minutes for ten million of them.
pub(super) fn with_crlf(text: String) -> String {
    if !has_bare_line_end(text.as_bytes()) {
        return text;
    }
    let mut kept = String::with_capacity(text.len() + text.len() / 16);
    let mut rest = text.as_str();
    while let Some(at) = memchr::memchr2(b'\r', b'\n', rest.as_bytes()) {
        kept.push_str(&rest[..at]);
        kept.push_str("\r\n");
        let skip = if rest[at..].starts_with("\r\n") { 2 } else { 1 };
        rest = &rest[at + skip..];
    }
    kept.push_str(rest);
    kept
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_kind_of_line_end_becomes_crlf() {
        for (text, kept) in [
            ("a\n.\nb", "a\r\n.\r\nb"),
            ("a\r.\rb", "a\r\n.\r\nb"),
            ("a\r\nb", "a\r\nb"),
            ("\r\r\n\n", "\r\n\r\n\r\n"),
            ("", ""),
        ] {
            assert_eq!(with_crlf(text.to_owned()), kept, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bare_line_end_survives(text in "[a\r\n.]{0,64}") {
            let kept = with_crlf(text.clone());
            prop_assert!(!has_bare_line_end(kept.as_bytes()));
            prop_assert_eq!(kept.replace("\r\n", ""), text.replace(['\r', '\n'], ""));
        }
    }
}
