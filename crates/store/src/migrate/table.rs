//! A table as both engines tell it: columns with their kinds, rows of plain values, and how each
//! engine reads and writes it.

use bytes::Bytes;

use crate::StoreError;
use crate::columns;

/// One value of a row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    /// Nothing.
    Null,
    /// A number, a time, a state, yes and no.
    Int(i64),
    /// A number with a fraction.
    Real(f64),
    /// Text without NUL, which PostgreSQL has no place for.
    Text(String),
    /// Octets.
    Blob(Bytes),
}

impl Value {
    /// Octets that it takes.
    pub(crate) fn octets(&self) -> usize {
        match self {
            Self::Null => 0,
            Self::Int(_) | Self::Real(_) => 8,
            Self::Text(text) => text.len(),
            Self::Blob(blob) => blob.len(),
        }
    }

    /// The number, if it is one.
    pub(crate) const fn int(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            Self::Null | Self::Real(_) | Self::Text(_) | Self::Blob(_) => None,
        }
    }

    /// The number with a fraction, if it is one.
    pub(crate) const fn real(&self) -> Option<f64> {
        match self {
            Self::Real(number) => Some(*number),
            Self::Null | Self::Int(_) | Self::Text(_) | Self::Blob(_) => None,
        }
    }

    /// The text, if it is one.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Null | Self::Int(_) | Self::Real(_) | Self::Blob(_) => None,
        }
    }

    /// The octets, if it has some.
    pub(crate) const fn blob(&self) -> Option<&Bytes> {
        match self {
            Self::Blob(blob) => Some(blob),
            Self::Null | Self::Int(_) | Self::Real(_) | Self::Text(_) => None,
        }
    }
}

/// The values of one row, in the order of its table's columns.
pub(crate) type Row = Vec<Value>;

/// What a column may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The 16 octets of a message's id.
    Id,
    /// Any number.
    Int,
    /// A number from 0 on.
    Count,
    /// Microseconds since 1970.
    Time,
    /// The number of a delivery's state.
    State,
    /// The word of a class.
    Class,
    /// Any text.
    Text,
    /// Any octets.
    Blob,
    /// A number with a fraction.
    Real,
}

/// How an engine holds a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A whole number of 64 bits.
    Int,
    /// A number with a fraction of 64 bits.
    Real,
    /// Text.
    Text,
    /// Octets.
    Blob,
}

impl Kind {
    pub(crate) const fn shape(self) -> Shape {
        match self {
            Self::Int | Self::Count | Self::Time | Self::State => Shape::Int,
            Self::Class | Self::Text => Shape::Text,
            Self::Id | Self::Blob => Shape::Blob,
            Self::Real => Shape::Real,
        }
    }

    fn takes(self, value: &Value) -> bool {
        match (self, value) {
            (Self::Id, Value::Blob(id)) => id.len() == 16,
            (Self::Int, Value::Int(_))
            | (Self::Text, Value::Text(_))
            | (Self::Blob, Value::Blob(_))
            | (Self::Real, Value::Real(_)) => true,
            (Self::Count, Value::Int(count)) => *count >= 0,
            (Self::Time, Value::Int(at)) => columns::timestamp(*at).is_ok(),
            (Self::State, Value::Int(state)) => columns::state(*state).is_ok(),
            (Self::Class, Value::Text(class)) => columns::class(class).is_ok(),
            (
                Self::Id
                | Self::Int
                | Self::Count
                | Self::Time
                | Self::State
                | Self::Class
                | Self::Text
                | Self::Blob
                | Self::Real,
                Value::Null | Value::Int(_) | Value::Real(_) | Value::Text(_) | Value::Blob(_),
            ) => false,
        }
    }
}

/// One column.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// Whether it may hold nothing.
    pub(crate) is_optional: bool,
}

/// A column that every row fills.
pub(crate) const fn must(name: &'static str, kind: Kind) -> Column {
    Column {
        name,
        kind,
        is_optional: false,
    }
}

/// A column that may hold nothing.
pub(crate) const fn may(name: &'static str, kind: Kind) -> Column {
    Column {
        name,
        kind,
        is_optional: true,
    }
}

/// A table that moves.
pub(crate) struct Table {
    /// Its name in both engines.
    pub(crate) name: &'static str,
    pub(crate) columns: &'static [Column],
    /// Reads all its rows in an order that is the same every time.
    pub(crate) sqlite_read: &'static str,
    /// Writes one row; `?1` is its first column. `{inline}` is the size up to which bodies stand in
    /// the table.
    pub(crate) sqlite_write: &'static [&'static str],
    /// Reads all its rows in an order that is the same every time; whole numbers as `bigint`, ids
    /// as `bytea`.
    pub(crate) postgres_read: &'static str,
    /// Writes the rows of `u`, whose columns are this table's.
    pub(crate) postgres_write: &'static str,
}

impl Table {
    /// Refuses a row that no engine could read, by its name.
    pub(crate) fn check(&self, number: u64, row: &Row) -> Result<(), StoreError> {
        for (column, value) in self.columns.iter().zip(row) {
            let is_good = match value {
                Value::Null => column.is_optional,
                Value::Int(_) | Value::Real(_) | Value::Text(_) | Value::Blob(_) => {
                    column.kind.takes(value)
                }
            };
            if !is_good {
                let what = format!("{} cannot be read", column.name);
                return Err(self.damaged(number, row, &what));
            }
        }
        Ok(())
    }

    /// What is wrong with a row, and which one it is. Texts stay out of it: they may be addresses.
    pub(crate) fn damaged(&self, number: u64, row: &Row, what: &str) -> StoreError {
        let name = match (row.first(), self.columns.first()) {
            (Some(Value::Blob(id)), Some(column)) if column.kind == Kind::Id && id.len() == 16 => {
                let mut octets = [0; 16];
                octets.copy_from_slice(id);
                format!(
                    " (message {})",
                    malote_core::id::MessageId::from_bytes(octets)
                )
            }
            (Some(Value::Int(id)), Some(column)) => format!(" ({} {id})", column.name),
            (Some(_) | None, _) => String::new(),
        };
        let table = self.name;
        StoreError::Damaged(format!("row {number} of {table}{name}: {what}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_no_engine_could_read_is_refused_by_its_column() {
        let blob = |len: usize| Value::Blob(vec![0; len].into());
        for (kind, good, bad) in [
            (Kind::Id, blob(16), blob(15)),
            (Kind::Count, Value::Int(0), Value::Int(-1)),
            (Kind::Time, Value::Int(1), Value::Int(i64::MAX)),
            (Kind::State, Value::Int(12), Value::Int(13)),
            (
                Kind::Class,
                Value::Text("campaign".into()),
                Value::Text("x".into()),
            ),
            (Kind::Int, Value::Int(-1), Value::Text("1".into())),
        ] {
            let columns: &'static [Column] =
                Box::leak(Box::new([must("n", Kind::Int), may("it", kind)]));
            let table = Table {
                name: "things",
                columns,
                sqlite_read: "",
                sqlite_write: &[],
                postgres_read: "",
                postgres_write: "",
            };
            table.check(3, &vec![Value::Int(7), good]).unwrap();
            table.check(3, &vec![Value::Int(7), Value::Null]).unwrap();
            let said = table.check(3, &vec![Value::Int(7), bad]).unwrap_err();
            let wanted = "damaged record: row 3 of things (n 7): it cannot be read";
            assert_eq!(said.to_string(), wanted);
            table.check(3, &vec![Value::Null, Value::Null]).unwrap_err();
        }
    }
}
