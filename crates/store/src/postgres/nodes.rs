//! Which nodes there are, by the clock of the database, and rates that they share.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use crate::postgres::breakers;
use crate::postgres::columns::{micros, text, timestamp, unsigned};
use crate::postgres::database::Database;
use crate::postgres::fault::{Fault, damaged};
use crate::postgres::metrics::Operation;
use crate::postgres::shared_engine::PostgresShared;
use crate::{
    BreakerChanges, NodeRecord, NodeReport, NodeState, NodeWish, Nodes, RateGrant, RateRequest,
    StoreError, Wished,
};

/// Microseconds without a beat after which a node counts as lost: three beats and a while.
pub(super) const LOST_AFTER: i64 = 15_000_000;
/// Microseconds after which one that has gone is forgotten.
const KEPT: i64 = 24 * 3_600_000_000;
/// Nodes listed at most.
const NODES_MAX: i64 = 1_000;

#[async_trait]
impl Nodes for PostgresShared {
    async fn take_rates(&self, request: RateRequest) -> Result<RateGrant, StoreError> {
        take_rates(self.writing()?, &request).await
    }

    async fn breaker_changes(&self, after: i64) -> Result<BreakerChanges, StoreError> {
        breakers::changes(self.reading(), after, self.instance()).await
    }

    async fn claim_probe(&self, key: &str, hold: Duration) -> Result<bool, StoreError> {
        breakers::claim(self.writing()?, key, hold).await
    }

    async fn release_probe(&self, key: &str) -> Result<(), StoreError> {
        breakers::release(self.writing()?, key).await
    }

    async fn beat(&self, report: &NodeReport) -> Result<Option<Wished>, StoreError> {
        beat(
            self.writing()?,
            self.instance(),
            report,
            self.machine_time(),
        )
        .await
    }

    async fn leave(&self) -> Result<(), StoreError> {
        let sql =
            "UPDATE malote.nodes SET state = $2, beat_at = malote.clock() WHERE instance = $1";
        let params = [
            (&&self.instance()[..] as _, Type::BYTEA),
            (&NodeState::Gone.as_str() as _, Type::TEXT),
        ];
        let done = self.writing()?.execute(Operation::Session, sql, &params);
        done.await.map(drop)
    }

    async fn wish(&self, node: &str, wish: NodeWish) -> Result<u64, StoreError> {
        let sql = "UPDATE malote.nodes
            SET wish = $2, wished_by = pg_current_xact_id()::text::bigint
            WHERE name = $1 AND state <> $3 AND beat_at >= malote.clock() - $4";
        let params = [
            (&node as _, Type::TEXT),
            (&wish.as_str() as _, Type::TEXT),
            (&NodeState::Gone.as_str() as _, Type::TEXT),
            (&LOST_AFTER as _, Type::INT8),
        ];
        let asked = self.writing()?.execute(Operation::Session, sql, &params);
        asked.await
    }

    async fn list(&self) -> Result<Vec<NodeRecord>, StoreError> {
        list(self.reading(), self.instance()).await
    }
}

fn nanoseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

async fn take_rates(database: &Database, request: &RateRequest) -> Result<RateGrant, StoreError> {
    let rates = request.rates.iter();
    let (accounts, periods): (Vec<&str>, Vec<i64>) = rates
        .map(|rate| (rate.account.as_str(), nanoseconds(rate.period).max(1)))
        .unzip();
    let rows = database
        .rows(
            Operation::Quota,
            "SELECT units, first, clock, wait FROM malote.take_rates_5($1, $2, $3, $4)",
            &[
                (&accounts, Type::TEXT_ARRAY),
                (&periods, Type::INT8_ARRAY),
                (&i64::from(request.want.max(1)), Type::INT8),
                (&nanoseconds(request.ahead), Type::INT8),
            ],
        )
        .await?;
    let read = || -> Result<RateGrant, Fault> {
        let row = rows.first().ok_or_else(|| damaged("no grant"))?;
        Ok(RateGrant {
            units: unsigned(row.try_get(0)?)?,
            first_ns: row.try_get(1)?,
            clock_ns: row.try_get(2)?,
            wait: Duration::from_micros(unsigned(row.try_get(3)?)?),
        })
    };
    Ok(read()?)
}

async fn beat(
    database: &Database,
    instance: &[u8; 16],
    report: &NodeReport,
    machine_time: Timestamp,
) -> Result<Option<Wished>, StoreError> {
    let rows = database
        .rows(
            Operation::Session,
            "WITH forgotten AS (
                DELETE FROM malote.nodes WHERE beat_at < malote.clock() - $7)
             INSERT INTO malote.nodes (instance, name, version, configuration, state,
                started_at, beat_at, clock_ahead)
             VALUES ($1, $2, $3, $4, $5, malote.clock(), malote.clock(), $6 - malote.clock())
             ON CONFLICT (instance) DO UPDATE SET name = $2, version = $3, configuration = $4,
                state = $5, beat_at = excluded.beat_at, clock_ahead = excluded.clock_ahead
             RETURNING wish, wished_by",
            &[
                (&&instance[..], Type::BYTEA),
                (&text(&report.name), Type::TEXT),
                (&text(&report.version), Type::TEXT),
                (&text(&report.configuration), Type::TEXT),
                (&report.state.as_str(), Type::TEXT),
                (&micros(machine_time), Type::INT8),
                (&KEPT, Type::INT8),
            ],
        )
        .await?;
    let read = |row: &Row| -> Result<Option<Wished>, Fault> {
        let wish = NodeWish::parse(row.try_get(0)?);
        let by = row.try_get(1)?;
        Ok(wish.map(|wish| Wished { wish, by }))
    };
    Ok(rows.first().map(read).transpose()?.flatten())
}

async fn list(database: &Database, own: &[u8; 16]) -> Result<Vec<NodeRecord>, StoreError> {
    let rows = database
        .rows(
            Operation::Session,
            "SELECT name, version, configuration,
                CASE WHEN state <> $3 AND beat_at < malote.clock() - $2 THEN $4 ELSE state END,
                encode(instance, 'hex'), instance = $1, started_at, beat_at, clock_ahead
             FROM malote.nodes
             ORDER BY state = $3 OR beat_at < malote.clock() - $2, name, started_at LIMIT $5",
            &[
                (&&own[..], Type::BYTEA),
                (&LOST_AFTER, Type::INT8),
                (&NodeState::Gone.as_str(), Type::TEXT),
                (&NodeState::Lost.as_str(), Type::TEXT),
                (&NODES_MAX, Type::INT8),
            ],
        )
        .await?;
    Ok(rows.iter().map(node).collect::<Result<_, _>>()?)
}

fn node(row: &Row) -> Result<NodeRecord, Fault> {
    Ok(NodeRecord {
        report: NodeReport {
            name: row.try_get(0)?,
            version: row.try_get(1)?,
            configuration: row.try_get(2)?,
            state: NodeState::of_word(row.try_get(3)?),
        },
        instance: row.try_get(4)?,
        is_this: row.try_get(5)?,
        started_at: timestamp(row.try_get(6)?)?,
        beat_at: timestamp(row.try_get(7)?)?,
        clock_ahead_ms: row.try_get::<_, i64>(8)? / 1_000,
    })
}
