//! Edits of a header section: fields removed, replaced and added, the rest byte-exact.

use bytes::{BufMut, Bytes, BytesMut};
use malote_core::control_field::{PROVIDER_CONTROL_PREFIXES, has_prefix};

use super::{Header, Span};

/// Fields that never leave: blind copies (RFC 5322 3.6.3) and the trace field that only a final
/// server may write (RFC 5321 4.4).
const PRIVATE: [&str; 3] = ["Bcc", "Resent-Bcc", "Return-Path"];

/// Our own control fields.
const OWN_PREFIX: &str = "X-Malote-";

/// Where a folded line is broken, if it has a blank to break at (RFC 5322 2.1.1).
const LINE_BYTES: usize = 78;

/// What to change in a header section. Empty edits change nothing.
#[derive(Clone, Default)]
pub struct Edits {
    remove: Vec<&'static str>,
    remove_prefixes: Vec<&'static str>,
    replace: Vec<(&'static str, String)>,
    add: Vec<(&'static str, String)>,
}

impl Edits {
    /// Edits that remove what never leaves: Bcc, Resent-Bcc, Return-Path and `X-Malote-*`.
    #[must_use]
    pub fn hygiene() -> Self {
        Self {
            remove: PRIVATE.to_vec(),
            remove_prefixes: vec![OWN_PREFIX],
            ..Self::default()
        }
    }

    /// Removes the control fields of all services too (`X-SES-*`, `X-SMTPAPI`, ...), for
    /// credentials that are not trusted with them.
    #[must_use]
    pub fn without_provider_controls(mut self) -> Self {
        self.remove_prefixes.extend(PROVIDER_CONTROL_PREFIXES);
        self
    }

    /// Removes every field of this name.
    #[must_use]
    pub fn remove(mut self, name: &'static str) -> Self {
        self.remove.push(name);
        self
    }

    /// Puts `value` in the place of the first field of this name and removes further ones; adds
    /// the field if there is none.
    #[must_use]
    pub fn replace(mut self, name: &'static str, value: String) -> Self {
        self.replace.push((name, value));
        self
    }

    /// Adds a field at the end of the section.
    #[must_use]
    pub fn add(mut self, name: &'static str, value: String) -> Self {
        self.add.push((name, value));
        self
    }

    fn removes(&self, name: &str) -> bool {
        self.remove.iter().any(|n| n.eq_ignore_ascii_case(name))
            || self.remove_prefixes.iter().any(|p| has_prefix(name, p))
    }

    fn replaces(&self, name: &str) -> Option<usize> {
        self.replace
            .iter()
            .position(|(n, _)| n.eq_ignore_ascii_case(name))
    }
}

impl Header {
    /// The message with `edits` made. The same octets, uncopied, if they change nothing.
    ///
    /// Control characters in new values become blanks, so that no value can make a field.
    #[must_use]
    pub fn rewrite(&self, edits: &Edits) -> Bytes {
        let touched = |span: &Span| {
            let name = self.field(*span).name;
            edits.removes(name) || edits.replaces(name).is_some()
        };
        let adds = !edits.add.is_empty() || !edits.replace.is_empty();
        if !adds && !self.fields.iter().any(touched) {
            return self.message.clone();
        }
        let mut out = BytesMut::with_capacity(self.message.len() + 1024);
        let mut is_replaced = vec![false; edits.replace.len()];
        for span in &self.fields {
            let name = self.field(*span).name;
            if edits.removes(name) {
                continue;
            }
            let Some(at) = edits.replaces(name) else {
                out.put_slice(&self.message[span.all()]);
                continue;
            };
            if !is_replaced[at] {
                is_replaced[at] = true;
                put_field(&mut out, edits.replace[at].0, &edits.replace[at].1);
            }
        }
        let left = edits.replace.iter().zip(&is_replaced);
        let left = left.filter_map(|(field, done)| (!done).then_some(field));
        for (name, value) in left.chain(&edits.add) {
            end_line(&mut out);
            put_field(&mut out, name, value);
        }
        out.put_slice(&self.message[self.end..]);
        out.freeze()
    }
}

/// A section without body may lack its last line end; what is added behind it needs one.
fn end_line(out: &mut BytesMut) {
    if !out.is_empty() && !out.ends_with(b"\r\n") {
        out.put_slice(b"\r\n");
    }
}

/// Writes `name: value`, folded at blanks; control characters become blanks.
pub(crate) fn put_field(out: &mut BytesMut, name: &str, value: &str) {
    out.put_slice(name.as_bytes());
    out.put_u8(b':');
    let clean: String = value
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let mut line_bytes = name.len() + 1;
    let mut is_first = true;
    for word in clean.split(' ').filter(|word| !word.is_empty()) {
        if !is_first && line_bytes + 1 + word.len() > LINE_BYTES {
            out.put_slice(b"\r\n");
            line_bytes = 0;
        }
        out.put_u8(b' ');
        out.put_slice(word.as_bytes());
        line_bytes += 1 + word.len();
        is_first = false;
    }
    out.put_slice(b"\r\n");
}
