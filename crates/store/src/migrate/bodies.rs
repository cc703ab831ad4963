//! Bodies on their way: in pieces of one size, whole and unchanged or not at all.

use malote_core::id::MessageId;
use sha2::{Digest, Sha256};

use crate::StoreError;
use crate::migrate::table::{Row, Table, Value};

/// Octets of one piece, the last one of a body may be shorter. As PostgreSQL keeps them.
pub(crate) const PIECE_BYTES: usize = 256 << 10;
/// The columns of a piece.
pub(crate) const MESSAGE: usize = 0;
pub(crate) const PIECE: usize = 1;
pub(crate) const SIZE: usize = 2;
pub(crate) const OCTETS: usize = 4;
const SUM: usize = 3;

/// A body's row.
pub(crate) fn row(message: MessageId, piece: usize, of: (i64, i64), octets: Value) -> Row {
    let piece = i64::try_from(piece).unwrap_or(i64::MAX);
    vec![
        Value::Blob(bytes::Bytes::copy_from_slice(message.as_bytes())),
        Value::Int(piece),
        Value::Int(of.0),
        Value::Int(of.1),
        octets,
    ]
}

/// Watches pieces go by.
#[derive(Default)]
pub(crate) struct Watch {
    begun: Option<Begun>,
}

struct Begun {
    row: Row,
    digest: Sha256,
    pieces: i64,
    octets: u64,
}

impl Watch {
    /// Takes a piece in.
    ///
    /// # Errors
    /// If the body is missing, has a gap or does not match its checksum.
    pub(crate) fn see(&mut self, table: &Table, number: u64, row: &Row) -> Result<(), StoreError> {
        let refused = |what: &str| Err(table.damaged(number, row, what));
        let Some(octets) = row[OCTETS].blob() else {
            return refused("the body is missing");
        };
        if row[PIECE] == Value::Int(0) {
            self.end(table, number)?;
            self.begun = Some(Begun {
                row: row[..OCTETS].to_vec(),
                digest: Sha256::new(),
                pieces: 0,
                octets: 0,
            });
        }
        let Some(begun) = &mut self.begun else {
            return refused("a piece of the body is missing");
        };
        if row[MESSAGE] != begun.row[MESSAGE] || row[PIECE].int() != Some(begun.pieces) {
            return refused("a piece of the body is missing");
        }
        begun.pieces += 1;
        begun.octets += octets.len() as u64;
        begun.digest.update(octets);
        let size = row[SIZE].int().map(i64::cast_unsigned);
        if Some(begun.octets) == size {
            return self.end(table, number);
        }
        if Some(begun.octets) > size || octets.len() != PIECE_BYTES {
            return refused("the body has not the size that its message says");
        }
        Ok(())
    }

    /// Looks at the last body, once all pieces went by.
    ///
    /// # Errors
    /// If it is not whole.
    pub(crate) fn end(&mut self, table: &Table, number: u64) -> Result<(), StoreError> {
        let Some(begun) = self.begun.take() else {
            return Ok(());
        };
        let is_whole = begun.row[SIZE].int().map(i64::cast_unsigned) == Some(begun.octets);
        let mut head = [0; 8];
        head.copy_from_slice(&begun.digest.finalize()[..8]);
        let is_same = begun.row[SUM] == Value::Int(i64::from_be_bytes(head));
        if is_whole && is_same {
            return Ok(());
        }
        let what = "the body does not match its checksum";
        Err(table.damaged(number, &begun.row, what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::columns::body_sum;
    use crate::migrate::tables::{BODIES, TABLES};

    fn pieces(body: &[u8]) -> Vec<Row> {
        let id = MessageId::from_bytes([7; 16]);
        let of = (body.len() as i64, body_sum(body));
        let mut cut: Vec<&[u8]> = body.chunks(PIECE_BYTES).collect();
        if cut.is_empty() {
            cut.push(&[]);
        }
        let one = |(piece, octets): (usize, &[u8])| {
            row(id, piece, of, Value::Blob(octets.to_vec().into()))
        };
        cut.into_iter().enumerate().map(one).collect()
    }

    fn seen(rows: &[Row]) -> Result<(), String> {
        let table = TABLES.iter().find(|table| table.name == BODIES).unwrap();
        let mut watch = Watch::default();
        for row in rows {
            watch
                .see(table, 1, row)
                .map_err(|error| error.to_string())?;
        }
        watch.end(table, 1).map_err(|error| error.to_string())
    }

    #[test]
    fn only_a_body_that_is_whole_and_unchanged_goes_by() {
        for len in [0, 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES] {
            let body: Vec<u8> = (0..len).map(|octet| octet as u8).collect();
            let good = pieces(&body);
            seen(&[good.clone(), good.clone()].concat()).unwrap();
            let mut changed = good.clone();
            changed[0][SUM] = Value::Int(1);
            assert!(seen(&changed).unwrap_err().contains("checksum"), "{len}");
            let mut missing = good;
            let last = missing.len() - 1;
            missing[last][OCTETS] = Value::Null;
            assert!(seen(&missing).unwrap_err().contains("is missing"));
        }
        let three = pieces(&vec![1; 2 * PIECE_BYTES + 5]);
        assert!(seen(&three[1..]).is_err() && seen(&three[..2]).is_err());
        assert!(seen(&[three[0].clone(), three[2].clone()]).is_err());
        let short = pieces(b"short");
        let said = seen(&[three[0].clone(), short[0].clone()]).unwrap_err();
        assert!(said.contains("checksum"), "{said}");
    }
}
