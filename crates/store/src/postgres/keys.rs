//! Idempotency keys of nodes that each keep a queue of their own.

use std::time::Duration;

use async_trait::async_trait;
use malote_core::id::MessageId;
use malote_core::intake::RecipientStatus;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use crate::postgres::columns::{parsed, unsigned};
use crate::postgres::database::Work;
use crate::postgres::fault::{Fault, damaged};
use crate::postgres::metrics::Operation;
use crate::postgres::nodes::LOST_AFTER;
use crate::postgres::shared_engine::PostgresShared;
use crate::{
    CompletedKey, Forgotten, KeyBook, KeyClaim, KeyRecord, KeyWish, NodeState, OwnedKey, StoreError,
};

const KEY: Operation = Operation::Key;
/// Microseconds that a key stands.
const KEPT: i64 = 24 * 3_600_000_000;
/// Open keys told at once.
const OPEN_MAX: i64 = 500;
/// Keys that expire at once.
const EXPIRED_MAX: i64 = 2_000;

/// Takes the key if nobody has it, if it is older than a day, or if it is open and was ours before;
/// else tells who has it. A row that another transaction wrote at this moment is told by neither.
const RESERVE: &str = "
    WITH taken AS (
        INSERT INTO malote.keys AS k (credential, key, home, instance, fingerprint, reserved_at)
        VALUES ($1, $2, $3, $4, $5, malote.clock())
        ON CONFLICT (credential, key) DO UPDATE SET home = $3, instance = $4, fingerprint = $5,
            message = NULL, stream = NULL, statuses = NULL, reserved_at = excluded.reserved_at
        WHERE k.reserved_at <= excluded.reserved_at - $6 OR (k.home = $3 AND k.message IS NULL)
        RETURNING 1)
    SELECT t.is_ours, k.home IS NOT NULL, k.message, k.fingerprint, k.stream, k.statuses,
        malote.clock() - k.reserved_at, n.name
    FROM (SELECT EXISTS (SELECT FROM taken) AS is_ours) t
    LEFT JOIN malote.keys k ON NOT t.is_ours AND k.credential = $1 AND k.key = $2
        AND k.reserved_at > malote.clock() - $6 AND (k.home <> $3 OR k.message IS NOT NULL)
    LEFT JOIN malote.nodes n ON n.instance = k.instance";

#[async_trait]
impl KeyBook for PostgresShared {
    async fn reserve_key(&self, wish: &KeyWish) -> Result<KeyClaim, StoreError> {
        let database = self.writing()?;
        let fingerprint = wish.fingerprint.as_ref().map(|print| &print[..]);
        let act = || -> Work<'_, KeyClaim> {
            Box::pin(async move {
                let client = database.connection().await?;
                let params: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 6] = [
                    (&wish.key.credential.as_str(), Type::TEXT),
                    (&wish.key.key, Type::TEXT),
                    (&wish.home, Type::TEXT),
                    (&&self.instance()[..], Type::BYTEA),
                    (&fingerprint, Type::BYTEA),
                    (&KEPT, Type::INT8),
                ];
                let rows = client.query_typed(RESERVE, &params).await?;
                claim(rows.first().ok_or_else(|| damaged("no claim"))?)
            })
        };
        database.tried(KEY, act).await
    }

    async fn complete_keys(&self, home: &str, keys: &[CompletedKey]) -> Result<(), StoreError> {
        if keys.is_empty() {
            return Ok(());
        }
        let (credentials, names) = columns(keys.iter().map(|one| &one.key));
        let messages: Vec<&[u8]> = keys.iter().map(|one| &one.message.as_bytes()[..]).collect();
        let streams: Vec<&str> = keys.iter().map(|one| one.stream.as_str()).collect();
        let statuses = keys.iter().map(|one| &one.statuses);
        let statuses: Vec<String> = statuses
            .map(|all| all.iter().map(|status| letter(*status)).collect())
            .collect();
        let sql = "UPDATE malote.keys k
            SET message = u.message, stream = u.stream, statuses = u.statuses
            FROM unnest($2, $3, $4, $5, $6) AS u(credential, key, message, stream, statuses)
            WHERE k.credential = u.credential AND k.key = u.key AND k.home = $1
                AND k.message IS NULL";
        let params = [
            (&home as _, Type::TEXT),
            (&credentials as _, Type::TEXT_ARRAY),
            (&names as _, Type::TEXT_ARRAY),
            (&messages as _, Type::BYTEA_ARRAY),
            (&streams as _, Type::TEXT_ARRAY),
            (&statuses as _, Type::TEXT_ARRAY),
        ];
        let done = self.writing()?.execute(KEY, sql, &params);
        done.await.map(drop)
    }

    async fn release_keys(&self, home: &str, keys: &[OwnedKey]) -> Result<(), StoreError> {
        if keys.is_empty() {
            return Ok(());
        }
        let (credentials, names) = columns(keys.iter());
        let sql = "DELETE FROM malote.keys k USING unnest($2, $3) AS u(credential, key)
            WHERE k.credential = u.credential AND k.key = u.key AND k.home = $1
                AND k.message IS NULL";
        let params = [
            (&home as _, Type::TEXT),
            (&credentials as _, Type::TEXT_ARRAY),
            (&names as _, Type::TEXT_ARRAY),
        ];
        let done = self.writing()?.execute(KEY, sql, &params);
        done.await.map(drop)
    }

    async fn open_keys(&self, home: &str) -> Result<Vec<OwnedKey>, StoreError> {
        let sql = "SELECT credential, key FROM malote.keys
            WHERE home = $1 AND message IS NULL ORDER BY reserved_at LIMIT $2";
        let params = [(&home as _, Type::TEXT), (&OPEN_MAX as _, Type::INT8)];
        let rows = self.reading().rows(KEY, sql, &params).await?;
        let read = |row: &Row| -> Result<OwnedKey, Fault> {
            Ok(OwnedKey {
                credential: parsed(row.try_get(0)?, "credential")?,
                key: row.try_get(1)?,
            })
        };
        Ok(rows.iter().map(read).collect::<Result<_, _>>()?)
    }

    async fn forget_node(&self, node: &str) -> Result<Forgotten, StoreError> {
        let sql = "WITH gone AS (
                DELETE FROM malote.nodes WHERE name = $1
                    AND (state = $2 OR beat_at < malote.clock() - $3) RETURNING instance),
            free AS (
                DELETE FROM malote.keys k USING gone
                    WHERE k.message IS NULL AND k.instance = gone.instance RETURNING 1)
            SELECT (SELECT count(*) FROM gone), (SELECT count(*) FROM free)";
        let params = [
            (&node as _, Type::TEXT),
            (&NodeState::Gone.as_str() as _, Type::TEXT),
            (&LOST_AFTER as _, Type::INT8),
        ];
        let rows = self.writing()?.rows(KEY, sql, &params).await?;
        let read = |row: &Row| -> Result<Forgotten, Fault> {
            Ok(Forgotten {
                processes: unsigned(row.try_get(0)?)?,
                keys: unsigned(row.try_get(1)?)?,
            })
        };
        let row = rows.first().ok_or_else(|| damaged("no counts"))?;
        Ok(read(row)?)
    }

    async fn expire_keys(&self) -> Result<u64, StoreError> {
        let sql = "DELETE FROM malote.keys WHERE (credential, key) IN (
            SELECT credential, key FROM malote.keys WHERE reserved_at <= malote.clock() - $1
            ORDER BY reserved_at LIMIT $2 FOR UPDATE SKIP LOCKED)";
        let params = [(&KEPT as _, Type::INT8), (&EXPIRED_MAX as _, Type::INT8)];
        self.writing()?.execute(KEY, sql, &params).await
    }
}

fn columns<'a>(keys: impl Iterator<Item = &'a OwnedKey>) -> (Vec<&'a str>, Vec<&'a str>) {
    keys.map(|one| (one.credential.as_str(), one.key.as_str()))
        .unzip()
}

fn claim(row: &Row) -> Result<KeyClaim, Fault> {
    if row.try_get(0)? {
        return Ok(KeyClaim::Ours);
    }
    if !row.try_get::<_, bool>(1)? {
        return Err(Fault::Conflict);
    }
    let Some(message) = row.try_get::<_, Option<&[u8]>>(2)? else {
        let age: i64 = row.try_get(6)?;
        return Ok(KeyClaim::Held {
            node: row.try_get(7)?,
            age: Duration::from_micros(unsigned(age.max(0))?),
        });
    };
    let message = message.try_into().map_err(|_| damaged("id of a message"))?;
    let fingerprint = row.try_get::<_, Option<&[u8]>>(3)?.map(TryInto::try_into);
    let fingerprint = fingerprint.transpose();
    let statuses: &str = row.try_get(5)?;
    let statuses = statuses.chars().map(status).collect::<Option<_>>();
    Ok(KeyClaim::Done(KeyRecord {
        message: MessageId::from_bytes(message),
        fingerprint: fingerprint.map_err(|_| damaged("fingerprint"))?,
        stream: parsed(row.try_get(4)?, "stream")?,
        statuses: statuses.ok_or_else(|| damaged("unknown status of a recipient"))?,
    }))
}

/// Written to disk: never change one.
const fn letter(status: RecipientStatus) -> char {
    match status {
        RecipientStatus::Queued => 'q',
        RecipientStatus::Suppressed => 's',
        RecipientStatus::Bounced => 'b',
    }
}

fn status(of: char) -> Option<RecipientStatus> {
    let all = [
        RecipientStatus::Queued,
        RecipientStatus::Suppressed,
        RecipientStatus::Bounced,
    ];
    all.into_iter().find(|status| letter(*status) == of)
}
