//! Parameters of statements with their types, so that every statement can be unnamed: a pooler in
//! transaction mode gives the next statement another connection.

use std::borrow::Cow;
use std::error::Error;

use bytes::BytesMut;
use malote_core::id::{DeliveryId, MessageId};
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, accepts, to_sql_checked};
use tokio_postgres::{GenericClient, Row};

use crate::postgres::fault::{Fault, damaged};

/// A message's id as a column holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Id(pub(crate) [u8; 16]);

impl From<MessageId> for Id {
    fn from(id: MessageId) -> Self {
        Self(*id.as_bytes())
    }
}

impl Id {
    /// The message of this id.
    pub(crate) const fn message(self) -> MessageId {
        MessageId::from_bytes(self.0)
    }

    /// A delivery of the message.
    pub(crate) fn delivery(self, index: i32) -> DeliveryId {
        DeliveryId {
            message: self.message(),
            index: u16::try_from(index).unwrap_or(u16::MAX),
        }
    }
}

impl ToSql for Id {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.extend_from_slice(&self.0);
        Ok(IsNull::No)
    }

    accepts!(UUID);
    to_sql_checked!();
}

impl<'a> FromSql<'a> for Id {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(raw.try_into()?))
    }

    accepts!(UUID);
}

/// A Rust type that one column type stands for.
pub(crate) trait Scalar: ToSql + Sync {
    /// Of one value.
    const TYPE: Type;
    /// Of many.
    const ARRAY: Type;
}

macro_rules! scalars {
    ($($type:ty: $one:ident $many:ident),+ $(,)?) => {$(
        impl Scalar for $type {
            const TYPE: Type = Type::$one;
            const ARRAY: Type = Type::$many;
        }
    )+};
}

scalars!(
    i64: INT8 INT8_ARRAY,
    i32: INT4 INT4_ARRAY,
    i16: INT2 INT2_ARRAY,
    &str: TEXT TEXT_ARRAY,
    String: TEXT TEXT_ARRAY,
    Cow<'_, str>: TEXT TEXT_ARRAY,
    &[u8]: BYTEA BYTEA_ARRAY,
    Id: UUID UUID_ARRAY,
);

impl<T: Scalar> Scalar for Option<T> {
    const TYPE: Type = T::TYPE;
    const ARRAY: Type = T::ARRAY;
}

/// A parameter that knows its type.
pub(crate) trait Arg: ToSql + Sync {
    /// As the server is told.
    fn of(&self) -> Type;
}

impl<T: Scalar> Arg for T {
    fn of(&self) -> Type {
        T::TYPE
    }
}

impl<T: Scalar> Arg for Vec<T> {
    fn of(&self) -> Type {
        T::ARRAY
    }
}

fn typed<'a>(args: &[&'a (dyn Arg + 'a)]) -> Vec<(&'a (dyn ToSql + Sync), Type)> {
    args.iter()
        .map(|arg| (*arg as &(dyn ToSql + Sync), arg.of()))
        .collect()
}

/// The rows of a statement.
pub(crate) async fn rows<C: GenericClient>(
    conn: &C,
    sql: &str,
    args: &[&(dyn Arg + '_)],
) -> Result<Vec<Row>, Fault> {
    Ok(conn.query_typed(sql, &typed(args)).await?)
}

/// The only row of a statement, if there is one.
pub(crate) async fn row<C: GenericClient>(
    conn: &C,
    sql: &str,
    args: &[&(dyn Arg + '_)],
) -> Result<Option<Row>, Fault> {
    Ok(rows(conn, sql, args).await?.into_iter().next())
}

/// Runs a statement; how many rows it changed.
pub(crate) async fn run<C: GenericClient>(
    conn: &C,
    sql: &str,
    args: &[&(dyn Arg + '_)],
) -> Result<u64, Fault> {
    Ok(conn.execute_typed(sql, &typed(args)).await?)
}

/// The rows of a function of the schema, whose plans the server keeps: `planned_2.sql`.
pub(crate) async fn call<C: GenericClient>(
    conn: &C,
    function: &str,
    args: &[&(dyn Arg + '_)],
) -> Result<Vec<Row>, Fault> {
    let places: Vec<String> = (1..=args.len()).map(|n| format!("${n}")).collect();
    let sql = format!("SELECT * FROM malote.{function}({})", places.join(", "));
    rows(conn, &sql, args).await
}

/// Conditions of a statement that are put together, with their values.
pub(crate) struct Conditions<'a> {
    /// The values so far.
    pub(crate) values: Vec<&'a (dyn Arg + 'a)>,
    /// The conditions so far, each with `AND` before it.
    pub(crate) text: String,
}

impl<'a> Conditions<'a> {
    /// Nothing but values that the statement has already.
    pub(crate) fn behind(values: Vec<&'a (dyn Arg + 'a)>) -> Self {
        Self {
            values,
            text: String::new(),
        }
    }

    /// Adds a condition, its value written as `?`, if there is a value.
    pub(crate) fn also<T: Arg>(&mut self, condition: &str, value: Option<&'a T>) {
        if let Some(value) = value {
            self.values.push(value);
            let place = format!("${}", self.values.len());
            self.text.push_str(" AND ");
            self.text.push_str(&condition.replace('?', &place));
        }
    }
}

/// Text without the one character that PostgreSQL has no place for.
pub(crate) fn clean(text: &str) -> Cow<'_, str> {
    if text.contains('\0') {
        Cow::Owned(text.replace('\0', "\u{fffd}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// A number of a column as Rust counts.
pub(crate) fn count<T, N>(number: N) -> Result<T, Fault>
where
    T: TryFrom<N>,
{
    T::try_from(number).map_err(|_| damaged("number out of range"))
}

/// A count as a column holds it.
pub(crate) fn int4(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
