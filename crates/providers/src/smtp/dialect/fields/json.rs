//! JSON as the value of a header field: ASCII, folded behind commas.

use std::io::{self, Write};

use serde::Serialize as _;
use serde_json::Value;
use serde_json::ser::{Formatter, Serializer};

/// The value in ASCII with a fold behind each comma. A fold is a blank to whoever unfolds it
/// (RFC 5322 2.2.3), and blanks between members mean nothing to JSON.
pub(crate) fn folded(value: &Value) -> String {
    let mut text = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut text, Folding);
    // Writing a value to memory cannot fail.
    if value.serialize(&mut serializer).is_err() {
        return String::new();
    }
    String::from_utf8(text).unwrap_or_default()
}

/// The beginning of `text` that is at most `bytes_max` octets long when it is escaped.
pub(crate) fn fitting(text: &str, bytes_max: usize) -> &str {
    let mut bytes = 0;
    for (at, c) in text.char_indices() {
        bytes += escaped_len(c);
        if bytes > bytes_max {
            return &text[..at];
        }
    }
    text
}

/// How long `text` is when it is escaped.
pub(crate) fn escaped_bytes(text: &str) -> usize {
    text.chars().map(escaped_len).sum()
}

const fn escaped_len(c: char) -> usize {
    match c {
        '"' | '\\' | '\u{8}' | '\t' | '\n' | '\u{c}' | '\r' => 2,
        ' '..='~' => 1,
        _ => 6 * c.len_utf16(),
    }
}

struct Folding;

impl Formatter for Folding {
    fn begin_array_value<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        out.write_all(if first { b"" } else { b",\r\n " })
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        out.write_all(if first { b"" } else { b",\r\n " })
    }

    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        out: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        for c in fragment.chars() {
            if matches!(c, ' '..='~') {
                out.write_all(&[c as u8])?;
            } else {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(out, "\\u{unit:04x}")?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn json_is_ascii_and_folded_behind_commas() {
        let value = json!({"a": ["é", "😀"], "b": {"c": "x, y\"\r\n\u{7f}"}, "d": true});
        assert_eq!(
            folded(&value),
            "{\"a\":[\"\\u00e9\",\r\n \"\\ud83d\\ude00\"],\r\n \"b\":{\"c\":\"x, y\\\"\\r\\n\\u007f\"},\r\n \"d\":true}"
        );
    }

    proptest! {
        #[test]
        fn what_is_folded_reads_the_same(text in any::<String>(), bytes_max in 0..80_usize) {
            let value = json!({"a": text, "b": [text]});
            let folded = folded(&value);
            prop_assert!(folded.is_ascii());
            let unfolded = folded.replace("\r\n ", " ");
            prop_assert!(!unfolded.contains(['\r', '\n']));
            prop_assert_eq!(serde_json::from_str::<Value>(&unfolded).unwrap(), value);
            let fitting = fitting(&text, bytes_max);
            let escaped = super::folded(&json!(fitting));
            prop_assert!(escaped.len() <= bytes_max + 2, "{}", escaped);
        }
    }
}
