//! Header fields in front of a message: ASCII, folded, never twice.

mod json;
mod metadata;

use bytes::Bytes;
use malote_core::provider::Outgoing;
use memchr::memmem;

use json::escaped_bytes;
pub(crate) use json::fitting;
pub(crate) use metadata::Metadata;

/// Longest value that is not folded. With the longest of our names and a fold it stays below the
/// 998 octets of RFC 5322 2.1.1.
pub(crate) const VALUE_BYTES_MAX: usize = 900;

/// Where a list is folded (RFC 5322 2.1.1 recommends 78).
const LINE_BYTES: usize = 76;

/// The fields of plain SMTP.
pub(crate) fn none(_: &mut Fields<'_>, _: &Outgoing, _: Option<&str>) {}

/// Fields under way.
pub(crate) struct Fields<'a> {
    /// The message's own header section.
    section: &'a [u8],
    lines: Vec<u8>,
}

impl<'a> Fields<'a> {
    /// Fields for this message.
    pub(crate) fn of(message: &'a [u8]) -> Self {
        Self {
            section: header_section(message),
            lines: Vec::new(),
        }
    }

    /// Adds a field. What is not visible ASCII or a blank is left out of its value, and what is
    /// over [`VALUE_BYTES_MAX`]; without a value there is no field.
    pub(crate) fn add(&mut self, name: &str, value: &str) {
        let value = visible(value, VALUE_BYTES_MAX);
        if !value.is_empty() {
            self.lines
                .extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
    }

    /// Adds a field of which a service reads one only: not if the message has it already, from a
    /// client that is trusted with such fields.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        if !has_field(self.section, name) {
            self.add(name, value);
        }
    }

    /// As [`Fields::set`], with items joined by commas and folded between them.
    pub(crate) fn set_list(&mut self, name: &str, items: impl Iterator<Item = String>) {
        if has_field(self.section, name) {
            return;
        }
        let mut line = format!("{name}:");
        let mut text = String::new();
        let mut items = items
            .map(|item| visible(&item, VALUE_BYTES_MAX))
            .filter(|item| !item.is_empty())
            .peekable();
        while let Some(item) = items.next() {
            if line.len() + item.len() > LINE_BYTES && !line.ends_with(':') {
                text.push_str(&line);
                text.push_str("\r\n");
                line.clear();
            }
            line.push(' ');
            line.push_str(&item);
            if items.peek().is_some() {
                line.push(',');
            }
        }
        if !line.ends_with(':') {
            text.push_str(&line);
            self.lines.extend_from_slice(text.as_bytes());
            self.lines.extend_from_slice(b"\r\n");
        }
    }

    /// As [`Fields::set`], with JSON that is folded where it may have blanks. Names and strings in
    /// it must not be over [`VALUE_BYTES_MAX`] together, escaped.
    pub(crate) fn set_json(&mut self, name: &str, value: &serde_json::Value) {
        if !has_field(self.section, name) {
            self.add_json(name, value);
        }
    }

    /// As [`Fields::add`], with JSON.
    pub(crate) fn add_json(&mut self, name: &str, value: &serde_json::Value) {
        self.lines
            .extend_from_slice(format!("{name}: {}\r\n", json::folded(value)).as_bytes());
    }

    /// All of them.
    pub(crate) fn into_lines(self) -> Bytes {
        self.lines.into()
    }
}

/// The visible ASCII of `text`, at most `bytes_max` of it.
pub(crate) fn visible(text: &str, bytes_max: usize) -> String {
    let kept: String = text
        .chars()
        .filter(|c| c.is_ascii_graphic() || *c == ' ')
        .take(bytes_max)
        .collect();
    kept.trim().to_owned()
}

/// The header section with the last line's end.
fn header_section(message: &[u8]) -> &[u8] {
    let end = memmem::find(message, b"\r\n\r\n").map_or(message.len(), |at| at + 2);
    &message[..end]
}

fn has_field(section: &[u8], name: &str) -> bool {
    lines(section).any(|line| is_named(line, name))
}

/// Lines with their ends.
fn lines(section: &[u8]) -> impl Iterator<Item = &[u8]> {
    section.split_inclusive(|b| *b == b'\n')
}

/// Whether a line begins a field of this name (RFC 5322 4.5 allows blanks before the colon).
fn is_named(line: &[u8], name: &str) -> bool {
    let Some((start, rest)) = line.split_at_checked(name.len()) else {
        return false;
    };
    start.eq_ignore_ascii_case(name.as_bytes()) && rest.trim_ascii_start().starts_with(b":")
}

/// The message without its fields of these names; `None` if it has none.
pub(crate) fn without(message: &Bytes, names: &[String]) -> Option<Bytes> {
    let section = header_section(message);
    let is_ours = |line: &[u8]| names.iter().any(|name| is_named(line, name));
    if !lines(section).any(is_ours) {
        return None;
    }
    let mut kept = Vec::with_capacity(message.len());
    let mut drops = false;
    for line in lines(section) {
        let is_folded = line.starts_with(b" ") || line.starts_with(b"\t");
        drops = if is_folded { drops } else { is_ours(line) };
        if !drops {
            kept.extend_from_slice(line);
        }
    }
    kept.extend_from_slice(&message[section.len()..]);
    Some(kept.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(message: &str, write: impl Fn(&mut Fields<'_>)) -> String {
        let mut fields = Fields::of(message.as_bytes());
        write(&mut fields);
        String::from_utf8(fields.into_lines().to_vec()).unwrap()
    }

    #[test]
    fn values_are_visible_ascii_without_line_ends() {
        let text = written("", |fields| {
            fields.add("X-A", "a\r\nBcc: é x@y.test");
            fields.add("X-B", "\r\né");
            fields.add("X-C", &"c".repeat(2000));
        });
        let lines: Vec<&str> = text.split("\r\n").collect();
        assert_eq!(lines[0], "X-A: aBcc:  x@y.test");
        assert_eq!(lines[1].len(), "X-C: ".len() + VALUE_BYTES_MAX);
        assert_eq!(lines[2..], [""], "a field without a value is none");
    }

    #[test]
    fn a_field_that_the_message_has_is_not_set_twice() {
        let message = "From: a@x.test\r\nx-one : theirs\r\n\r\nX-Two: body\r\n";
        let text = written(message, |fields| {
            fields.set("X-One", "ours");
            fields.set("X-On", "other");
            fields.set("X-Two", "ours");
            fields.set_json("X-One", &serde_json::json!({}));
            fields.set_list("X-One", ["ours".to_owned()].into_iter());
            fields.add("X-One", "added");
        });
        assert_eq!(text, "X-On: other\r\nX-Two: ours\r\nX-One: added\r\n");
    }

    #[test]
    fn lists_are_folded_between_items() {
        let items = |n: usize| (0..n).map(|n| format!("name-{n}={}", "v".repeat(20)));
        let text = written("", |fields| fields.set_list("X-Tags", items(9)));
        let unfolded = text.replace("\r\n ", " ");
        let all = items(9).collect::<Vec<_>>().join(", ");
        assert_eq!(unfolded, format!("X-Tags: {all}\r\n"));
        assert!(text.lines().all(|line| line.len() <= 80), "{text}");
        assert_eq!(written("", |fields| fields.set_list("X", items(0))), "");
        let long = written("", |fields| {
            fields.set_list("X", ["x".repeat(5000)].into_iter());
        });
        assert_eq!(long.len(), "X: \r\n".len() + VALUE_BYTES_MAX);
    }

    #[test]
    fn fields_of_a_name_are_taken_out_with_their_folds_and_nothing_else() {
        let names = ["X-Pool".to_owned(), "X-B".to_owned()];
        for (message, expected) in [
            (
                "X-Pool: a\r\n\tb\r\nFrom: x\r\n y\r\nx-pool:c\r\nX-Pools: d\r\n\r\nX-Pool: body\r\n",
                Some("From: x\r\n y\r\nX-Pools: d\r\n\r\nX-Pool: body\r\n"),
            ),
            ("X-B: only\r\n\r\nbody", Some("\r\nbody")),
            ("X-B: no body\r\n", Some("")),
            ("From: x\r\n\r\nX-Pool: body\r\n", None),
            ("", None),
        ] {
            let kept = without(&Bytes::copy_from_slice(message.as_bytes()), &names);
            assert_eq!(kept.as_deref(), expected.map(str::as_bytes), "{message:?}");
        }
    }
}
