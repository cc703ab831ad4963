//! Counts and checksums of rows, and the mark that a half-finished target bears.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::StoreError;
use crate::migrate::table::{Row, Value};

/// How many rows there are, and what they hold. The checksum does not depend on their order: two
/// engines sort differently.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Rows.
    pub rows: u64,
    /// Octets of their values.
    pub octets: u64,
    /// The sum of 16 octets of each row's SHA-256, modulo 2^128; in hex.
    #[serde(with = "hex")]
    pub sum: u128,
}

mod hex {
    //! The checksum as text: JSON has no numbers of 128 bits.

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(sum: &u128, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(&format!("{sum:032x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u128, D::Error> {
        let text = String::deserialize(from)?;
        u128::from_str_radix(&text, 16).map_err(serde::de::Error::custom)
    }
}

impl Tally {
    /// Counts a row.
    pub(crate) fn add(&mut self, row: &Row) {
        let mut digest = Sha256::new();
        for value in row {
            let (tag, number) = match value {
                Value::Null => (0_u8, 0),
                Value::Int(number) => (1, number.cast_unsigned()),
                Value::Real(number) => (2, number.to_bits()),
                Value::Text(text) => (3, text.len() as u64),
                Value::Blob(blob) => (4, blob.len() as u64),
            };
            digest.update([tag]);
            digest.update(number.to_be_bytes());
            match value {
                Value::Text(text) => digest.update(text),
                Value::Blob(blob) => digest.update(blob),
                Value::Null | Value::Int(_) | Value::Real(_) => {}
            }
        }
        let mut head = [0; 16];
        head.copy_from_slice(&digest.finalize()[..16]);
        self.sum = self.sum.wrapping_add(u128::from_be_bytes(head));
        self.rows += 1;
        self.octets += row.iter().map(Value::octets).sum::<usize>() as u64;
    }
}

/// What a half-finished target knows of its source.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    /// Where the rows come from.
    pub(crate) from: String,
    /// What of each table is here.
    pub(crate) tables: BTreeMap<String, Tally>,
}

impl Mark {
    /// As it is kept.
    pub(crate) fn text(&self) -> Result<String, StoreError> {
        serde_json::to_string(self).map_err(|_| crate::columns::damaged("unwritable mark"))
    }

    /// What was kept.
    pub(crate) fn of(text: &str) -> Result<Self, StoreError> {
        serde_json::from_str(text)
            .map_err(|_| crate::columns::damaged("unreadable mark of a migration"))
    }

    /// What of a table is here.
    pub(crate) fn of_table(&self, name: &str) -> Tally {
        self.tables.get(name).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_depends_on_every_value_and_not_on_the_order_of_rows() {
        let rows: [Row; 4] = [
            vec![Value::Int(1), Value::Text("ab".into())],
            vec![Value::Int(1), Value::Blob("ab".into())],
            vec![Value::Int(1), Value::Null],
            vec![Value::Real(1.0), Value::Text("ab".into())],
        ];
        let tally = |rows: &[&Row]| {
            let mut tally = Tally::default();
            for row in rows {
                tally.add(row);
            }
            tally
        };
        assert_eq!(tally(&[&rows[0], &rows[1]]), tally(&[&rows[1], &rows[0]]));
        for (index, one) in rows.iter().enumerate() {
            for other in &rows[index + 1..] {
                assert_ne!(tally(&[one]).sum, tally(&[other]).sum);
            }
        }
        // A row twice is not a row of none.
        assert_ne!(tally(&[&rows[0], &rows[0]]).sum, 0);
    }

    #[test]
    fn a_mark_comes_back_as_it_was_kept() {
        let mut tally = Tally::default();
        tally.add(&vec![Value::Int(1)]);
        let mark = Mark {
            from: "sqlite:/a".into(),
            tables: [("lanes".to_owned(), tally)].into(),
        };
        assert_eq!(Mark::of(&mark.text().unwrap()).unwrap(), mark);
        assert_eq!(mark.of_table("messages"), Tally::default());
        assert!(Mark::of("{").is_err());
    }
}
