//! The canonicalization `relaxed` of RFC 6376 3.4, of one header field and of a body.

/// A field as it is hashed (3.4.2): the name in lower case, the value unfolded, each run of white
/// space one space, none at its ends. `field` is whole lines; their last CRLF is left out.
pub(super) fn field(field: &[u8]) -> Vec<u8> {
    let colon = memchr::memchr(b':', field).unwrap_or(field.len());
    let (name, value) = field.split_at(colon);
    let mut canonical = name.trim_ascii_end().to_ascii_lowercase();
    canonical.push(b':');
    let value = value.get(1..).unwrap_or_default();
    let is_space = |octet: &u8| matches!(octet, b' ' | b'\t' | b'\r' | b'\n');
    let words = value.split(is_space).filter(|word| !word.is_empty());
    for (position, word) in words.enumerate() {
        if position > 0 {
            canonical.push(b' ');
        }
        canonical.extend_from_slice(word);
    }
    canonical
}

/// Gives a body to `take` as it is hashed (3.4.4): white space at the ends of lines left out, each
/// other run of it one space, no empty lines at the end, and a CRLF behind the last line.
pub(super) fn body(body: &[u8], mut take: impl FnMut(&[u8])) {
    let mut empty_lines = 0;
    for line in Lines(body) {
        let mut is_empty = true;
        let mut rest = line;
        while let Some(start) = rest.iter().position(|octet| !is_blank(*octet)) {
            if is_empty {
                (0..empty_lines).for_each(|_| take(b"\r\n"));
                empty_lines = 0;
                is_empty = false;
            }
            if start > 0 {
                take(b" ");
            }
            rest = &rest[start..];
            let end = rest.iter().position(|octet| is_blank(*octet));
            let (word, after) = rest.split_at(end.unwrap_or(rest.len()));
            take(word);
            rest = after;
        }
        if is_empty {
            empty_lines += 1;
        } else {
            take(b"\r\n");
        }
    }
}

const fn is_blank(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t')
}

/// Lines without their CRLF; nothing behind the last CRLF is no line.
struct Lines<'a>(&'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.0.is_empty() {
            return None;
        }
        let end = memchr::memmem::find(self.0, b"\r\n");
        let (line, rest) = match end {
            Some(end) => (&self.0[..end], &self.0[end + 2..]),
            None => (self.0, &self.0[self.0.len()..]),
        };
        self.0 = rest;
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of_body(text: &[u8]) -> Vec<u8> {
        let mut canonical = Vec::new();
        body(text, |part| canonical.extend_from_slice(part));
        canonical
    }

    #[test]
    fn the_examples_of_rfc_6376_3_4_5_come_out_as_there() {
        assert_eq!(field(b"A: X\r\n"), b"a:X");
        assert_eq!(field(b"B : Y\t\r\n\tZ  \r\n"), b"b:Y Z");
        assert_eq!(of_body(b" C \r\nD \t E\r\n\r\n\r\n"), b" C\r\nD E\r\n");
    }

    #[test]
    fn empty_lines_count_only_before_text() {
        for (text, canonical) in [
            ("", ""),
            ("\r\n\r\n", ""),
            (" \t\r\n", ""),
            ("a", "a\r\n"),
            ("\r\n \r\na\r\n\r\n", "\r\n\r\na\r\n"),
            ("a  b\t\r\n", "a b\r\n"),
        ] {
            assert_eq!(of_body(text.as_bytes()), canonical.as_bytes(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_canonical_stays_as_it_is(text in "[ab \t\r\n]{0,64}") {
            let once = of_body(text.as_bytes());
            prop_assert_eq!(of_body(&once), once.clone());
            prop_assert!(once.is_empty() || once.ends_with(b"\r\n"));
            let name = format!("X: {text}");
            let once = field(name.as_bytes());
            prop_assert_eq!(field(&once), once);
        }
    }
}
