//! Our ids and the message's metadata as pairs within a service's bounds.

use malote_core::provider::Outgoing;
use serde_json::{Map, Value};

use super::{escaped_bytes, fitting, visible};
use crate::correlation::{self, Readers};
use crate::mailgun::variable_name;

/// A service's bounds on metadata.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Metadata {
    /// Who can read it.
    pub(crate) readers: Readers,
    /// Longest name.
    pub(crate) name_bytes_max: usize,
    /// Longest value, escaped as JSON.
    pub(crate) value_bytes_max: usize,
    /// Most pairs.
    pub(crate) pairs_max: usize,
    /// Most octets of names and escaped values together.
    pub(crate) bytes_max: usize,
}

impl Metadata {
    /// Our ids first, then what is left room for.
    pub(crate) fn pairs(&self, outgoing: &Outgoing) -> Vec<(String, String)> {
        let mut pairs = vec![(correlation::MESSAGE.to_owned(), outgoing.message.simple())];
        if self.readers.may_see_recipients(outgoing) {
            let values = correlation::recipients(outgoing, self.value_bytes_max);
            let values = values.into_iter().enumerate();
            pairs.extend(values.map(|(n, v)| (format!("{}-{n}", correlation::RECIPIENTS), v)));
        }
        let mut bytes: usize = pairs.iter().map(|(n, v)| n.len() + v.len()).sum();
        for (name, value) in &outgoing.metadata {
            let name = visible(&variable_name(name), self.name_bytes_max);
            let value = fitting(value, self.value_bytes_max);
            let is_taken = pairs.iter().any(|(other, _)| *other == name);
            let is_ours = name.starts_with("malote-");
            let pair_bytes = name.len() + escaped_bytes(value);
            let is_over = bytes + pair_bytes > self.bytes_max || pairs.len() >= self.pairs_max;
            if !name.is_empty() && !is_taken && !is_ours && !is_over {
                bytes += pair_bytes;
                pairs.push((name, value.to_owned()));
            }
        }
        pairs
    }

    /// The same as a JSON object of strings.
    pub(crate) fn object(&self, outgoing: &Outgoing) -> Value {
        let pairs = self.pairs(outgoing).into_iter();
        let members: Map<String, Value> = pairs.map(|(n, v)| (n, Value::String(v))).collect();
        Value::Object(members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::correlation::tests::outgoing;

    const BOUNDS: Metadata = Metadata {
        readers: Readers::Service,
        name_bytes_max: 20,
        value_bytes_max: 80,
        pairs_max: 10,
        bytes_max: 1000,
    };

    #[test]
    fn our_ids_come_first_and_metadata_stays_within_bounds() {
        let addresses: Vec<String> = (0..50).map(|n| format!("r{n}@x.test")).collect();
        let mut message = outgoing(&addresses.iter().map(String::as_str).collect::<Vec<_>>());
        for n in 0..20 {
            message
                .metadata
                .insert(format!("key {n} {}", "k".repeat(40)), "v".repeat(500));
        }
        let pairs = BOUNDS.pairs(&message);
        assert_eq!(
            pairs[0],
            ("malote-message".to_owned(), message.message.simple())
        );
        assert_eq!(pairs.len(), 10, "{pairs:?}");
        assert!(pairs.iter().all(|(n, v)| n.len() <= 20 && v.len() <= 80));
        let named = pairs[1..]
            .iter()
            .filter(|(name, _)| name.starts_with("malote-to-"));
        let entries: usize = named.map(|(_, value)| value.split('_').count()).sum();
        assert_eq!(entries, 50);
    }

    #[test]
    fn names_are_plain_and_never_ours() {
        let mut message = outgoing(&["a@x.test"]);
        message
            .metadata
            .insert("malote-to-9".into(), "forged".into());
        message.metadata.insert("a b\r\nX".into(), "1".into());
        let pairs = BOUNDS.pairs(&message);
        let names: Vec<&str> = pairs.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["malote-message", "malote-to-0", "a_b__X", "order"]);
    }

    #[test]
    fn what_recipients_can_read_names_none_of_several() {
        let bounds = Metadata {
            readers: Readers::Recipients,
            ..BOUNDS
        };
        let names = |addresses: &[&str]| bounds.pairs(&outgoing(addresses)).len();
        assert_eq!(names(&["a@x.test"]), 3);
        assert_eq!(names(&["a@x.test", "b@x.test"]), 2, "no recipients");
    }
}
