//! Bodies: small ones in a row of their own, large ones piece by piece outside the transaction of
//! their message, so that one large message delays no other.

use std::collections::HashMap;

use bytes::{Bytes, BytesMut};
use tokio_postgres::{Client, GenericClient};

use crate::columns::body_sum;
use crate::postgres::fault::{Fault, damaged};
use crate::postgres::spool::Tx;
use crate::postgres::spool::args::{self, Id};
use crate::postgres::spool::rows::MessageRow;

/// Largest body that is one row.
pub(crate) const INLINE_MAX: usize = 64 << 10;
/// Octets of one piece of a larger one.
const CHUNK_BYTES: usize = 256 << 10;
/// Pieces written or read in one go.
const CHUNKS_AT_ONCE: usize = 4;
/// Pieces without a message that one sweep removes at most.
const SWEEP_MAX: i64 = 1_000;

/// Where a body is. Written to the database: never change a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Nowhere: retention has dropped it.
    Dropped,
    /// In a row of its own.
    Table,
    /// In pieces.
    Chunks,
}

impl Place {
    pub(crate) const fn of_new(body: &Bytes) -> Self {
        if body.len() <= INLINE_MAX {
            Self::Table
        } else {
            Self::Chunks
        }
    }

    pub(crate) const fn number(self) -> i16 {
        match self {
            Self::Dropped => 0,
            Self::Table => 1,
            Self::Chunks => 2,
        }
    }

    pub(crate) fn of(number: i16) -> Result<Self, Fault> {
        [Self::Dropped, Self::Table, Self::Chunks]
            .into_iter()
            .find(|place| place.number() == number)
            .ok_or_else(|| damaged("unknown place of a body"))
    }
}

/// Writes some pieces of a body, beginning with the one at `place`; returns the next place, `None`
/// after the last. They need no sync of their own: the log is written in order, so the commit of
/// their message makes them durable too.
pub(crate) async fn write_some(
    tx: &Tx<'_>,
    id: Id,
    body: &[u8],
    place: usize,
) -> Result<Option<usize>, Fault> {
    let pieces = body.chunks(CHUNK_BYTES).skip(place).take(CHUNKS_AT_ONCE);
    let pieces: Vec<&[u8]> = pieces.collect();
    let places: Vec<i32> = (place..)
        .take(pieces.len())
        .map(|place| i32::try_from(place).unwrap_or(i32::MAX))
        .collect();
    let messages = vec![id; pieces.len()];
    args::run(tx, "SET LOCAL synchronous_commit = off", &[]).await?;
    args::run(
        tx,
        "INSERT INTO malote.body_chunks (message, place, octets)
         SELECT * FROM unnest($1, $2, $3)",
        &[&messages, &places, &pieces],
    )
    .await?;
    let next = place + pieces.len();
    Ok((next * CHUNK_BYTES < body.len()).then_some(next))
}

/// Removes the pieces of bodies whose messages were not kept after all.
pub(crate) async fn remove<C: GenericClient>(conn: &C, ids: &Vec<Id>) -> Result<(), Fault> {
    args::run(
        conn,
        "DELETE FROM malote.body_chunks c WHERE c.message = ANY($1)
            AND NOT EXISTS (SELECT 1 FROM malote.messages m WHERE m.id = c.message)",
        &[ids],
    )
    .await?;
    Ok(())
}

/// Removes pieces that a process left behind which died before it wrote their message.
pub(crate) async fn sweep(conn: &Client) -> Result<u64, Fault> {
    args::run(
        conn,
        "DELETE FROM malote.body_chunks WHERE (message, place) IN
            (SELECT c.message, c.place FROM malote.body_chunks c
             WHERE c.message < malote.day_start((extract(epoch FROM now()) / 86400)::integer - 1)
                AND NOT EXISTS (SELECT 1 FROM malote.messages m WHERE m.id = c.message)
             LIMIT $1)",
        &[&SWEEP_MAX],
    )
    .await
}

/// A body, or what is wrong with it.
pub(crate) type Loaded = Result<Bytes, String>;

/// Reads the bodies of messages.
pub(crate) async fn load(
    conn: &Client,
    messages: &[MessageRow],
) -> Result<HashMap<Id, Loaded>, Fault> {
    let ids = messages.iter().map(|row| row.id).collect();
    let inline = inline(conn, &ids).await?;
    complete(conn, messages, inline).await
}

/// Bodies that are one row.
pub(crate) async fn inline(conn: &Client, ids: &Vec<Id>) -> Result<HashMap<Id, Bytes>, Fault> {
    let mut inline = HashMap::new();
    let sql = "SELECT message, body FROM malote.bodies WHERE message = ANY($1)";
    for row in args::rows(conn, sql, &[ids]).await? {
        let body: &[u8] = row.try_get(1)?;
        inline.insert(row.try_get::<_, Id>(0)?, Bytes::copy_from_slice(body));
    }
    Ok(inline)
}

/// Checks bodies that are one row, and reads the others.
pub(crate) async fn complete(
    conn: &Client,
    messages: &[MessageRow],
    mut inline: HashMap<Id, Bytes>,
) -> Result<HashMap<Id, Loaded>, Fault> {
    let mut loaded = HashMap::new();
    for row in messages {
        let body = match Place::of(row.body_place) {
            Err(Fault::Refused(error)) => Err(error.to_string()),
            Err(fault) => return Err(fault),
            Ok(Place::Dropped) => Err("retention has dropped the body".into()),
            Ok(Place::Table) => checked(row, inline.remove(&row.id)),
            Ok(Place::Chunks) => checked(row, Some(pieces(conn, row).await?)),
        };
        loaded.insert(row.id, body);
    }
    Ok(loaded)
}

fn checked(row: &MessageRow, body: Option<Bytes>) -> Loaded {
    let Some(body) = body else {
        return Err("the body is missing".into());
    };
    if body.len() as u64 != row.record.size_bytes || body_sum(&body) != row.body_sum {
        return Err("the body's checksum does not hold".into());
    }
    Ok(body)
}

async fn pieces(conn: &Client, row: &MessageRow) -> Result<Bytes, Fault> {
    let mut body = BytesMut::new();
    let step = i32::try_from(CHUNKS_AT_ONCE).unwrap_or(1);
    let mut from = 0;
    loop {
        let found = args::rows(
            conn,
            "SELECT octets FROM malote.body_chunks
             WHERE message = $1 AND place >= $2 AND place < $2 + $3 ORDER BY place",
            &[&row.id, &from, &step],
        )
        .await?;
        for piece in &found {
            body.extend_from_slice(piece.try_get(0)?);
        }
        if found.len() < CHUNKS_AT_ONCE || body.len() as u64 > row.record.size_bytes {
            return Ok(body.freeze());
        }
        from += step;
    }
}
