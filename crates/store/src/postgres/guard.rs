//! What the reputation guard counts, in hourly buckets, and what it has decided.

use std::collections::BTreeMap;

use async_trait::async_trait;
use jiff::Timestamp;
use malote_core::name::StreamName;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use crate::postgres::columns::{micros, parsed, signed, text, timestamp, unsigned};
use crate::postgres::fault::{Fault, damaged};
use crate::postgres::metrics::Operation;
use crate::postgres::shared_engine::PostgresShared;
use crate::{
    GuardBook, GuardCount, GuardKey, GuardRecord, GuardState, GuardSum, GuardTally, StoreError,
};

const GUARD: Operation = Operation::Guard;
const HOUR_S: i64 = 3_600;

fn hour(at: Timestamp) -> i64 {
    at.as_second().div_euclid(HOUR_S)
}

/// The four counts from this column on.
fn tally(row: &Row, first: usize) -> Result<GuardTally, Fault> {
    Ok(GuardTally {
        sends: unsigned(row.try_get(first)?)?,
        reported: unsigned(row.try_get(first + 1)?)?,
        bounces: unsigned(row.try_get(first + 2)?)?,
        complaints: unsigned(row.try_get(first + 3)?)?,
    })
}

/// The counts by their row, in the order of rows, so that nodes that add at once wait for each
/// other instead of locking each other out.
fn by_row(counts: &[GuardCount]) -> BTreeMap<(&str, String, i64), GuardTally> {
    let mut sums = BTreeMap::new();
    for count in counts {
        let row = (count.stream.as_str(), text(&count.campaign), hour(count.at));
        let sum: &mut GuardTally = sums.entry(row).or_default();
        sum.add(&count.tally);
    }
    sums
}

#[async_trait]
impl GuardBook for PostgresShared {
    async fn add_guard_counts(&self, counts: Vec<GuardCount>) -> Result<(), StoreError> {
        let sums = by_row(&counts);
        let streams: Vec<&str> = sums.keys().map(|row| row.0).collect();
        let campaigns: Vec<&str> = sums.keys().map(|row| row.1.as_str()).collect();
        let hours: Vec<i64> = sums.keys().map(|row| row.2).collect();
        let column = |count: fn(&GuardTally) -> u64| -> Vec<i64> {
            sums.values().map(|sum| signed(count(sum))).collect()
        };
        self.writing()?
            .execute(
                GUARD,
                "INSERT INTO malote.guard_counts AS c
                    (stream, campaign, hour, sends, reported, bounces, complaints)
                 SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7)
                 ON CONFLICT (stream, campaign, hour) DO UPDATE SET
                    sends = c.sends + excluded.sends,
                    reported = c.reported + excluded.reported,
                    bounces = c.bounces + excluded.bounces,
                    complaints = c.complaints + excluded.complaints",
                &[
                    (&streams, Type::TEXT_ARRAY),
                    (&campaigns, Type::TEXT_ARRAY),
                    (&hours, Type::INT8_ARRAY),
                    (&column(|sum| sum.sends), Type::INT8_ARRAY),
                    (&column(|sum| sum.reported), Type::INT8_ARRAY),
                    (&column(|sum| sum.bounces), Type::INT8_ARRAY),
                    (&column(|sum| sum.complaints), Type::INT8_ARRAY),
                ],
            )
            .await
            .map(drop)
    }

    async fn guard_sums(
        &self,
        stream: &StreamName,
        since: Timestamp,
    ) -> Result<Vec<GuardSum>, StoreError> {
        let rows = self
            .reading()
            .rows(
                GUARD,
                "SELECT campaign, sum(sends)::bigint, sum(reported)::bigint,
                    sum(bounces)::bigint, sum(complaints)::bigint, max(sends)
                 FROM malote.guard_counts WHERE stream = $1 AND hour >= $2
                 GROUP BY campaign ORDER BY campaign",
                &[(&stream.as_str(), Type::TEXT), (&hour(since), Type::INT8)],
            )
            .await?;
        let read = |row: &Row| -> Result<GuardSum, Fault> {
            Ok(GuardSum {
                campaign: row.try_get(0)?,
                tally: tally(row, 1)?,
                busiest_hour: unsigned(row.try_get(5)?)?,
            })
        };
        Ok(rows.iter().map(read).collect::<Result<_, _>>()?)
    }

    async fn reset_guard_counts(&self, key: &GuardKey) -> Result<(), StoreError> {
        let stream = key.stream.as_str();
        let resumed = GuardState::Resumed.as_str();
        let (sql, second) = match &key.campaign {
            Some(campaign) => (
                "DELETE FROM malote.guard_counts WHERE stream = $1 AND campaign = $2",
                text(campaign),
            ),
            None => (
                "DELETE FROM malote.guard_counts WHERE stream = $1 AND campaign NOT IN
                    (SELECT campaign FROM malote.guard_records
                     WHERE stream = $1 AND campaign <> '' AND state <> $2)",
                resumed.to_owned(),
            ),
        };
        let params = [(&stream as _, Type::TEXT), (&second as _, Type::TEXT)];
        self.writing()?.execute(GUARD, sql, &params).await.map(drop)
    }

    async fn forget_guard_counts(
        &self,
        before: Timestamp,
        campaigns_max: u32,
    ) -> Result<(), StoreError> {
        let sql = "DELETE FROM malote.guard_counts WHERE hour < $1";
        let params = [(&hour(before) as _, Type::INT8)];
        self.writing()?.execute(GUARD, sql, &params).await?;
        let sql = "DELETE FROM malote.guard_counts WHERE (stream, campaign) IN
                    (SELECT stream, campaign FROM malote.guard_counts GROUP BY stream, campaign
                     ORDER BY max(hour) DESC, stream, campaign OFFSET $1)";
        let params = [(&i64::from(campaigns_max) as _, Type::INT8)];
        self.writing()?.execute(GUARD, sql, &params).await.map(drop)
    }

    async fn guard_records(&self) -> Result<Vec<GuardRecord>, StoreError> {
        let sql = "SELECT stream, campaign, state, since, reason, pace,
                    sends, reported, bounces, complaints
                   FROM malote.guard_records ORDER BY stream, campaign";
        let rows = self.reading().rows(GUARD, sql, &[]).await?;
        let read = |row: &Row| -> Result<GuardRecord, Fault> {
            let campaign: String = row.try_get(1)?;
            let state = GuardState::parse(row.try_get(2)?);
            Ok(GuardRecord {
                key: GuardKey {
                    stream: parsed(row.try_get(0)?, "stream")?,
                    campaign: (!campaign.is_empty()).then_some(campaign),
                },
                state: state.ok_or_else(|| damaged("unknown state of the guard"))?,
                since: timestamp(row.try_get(3)?)?,
                reason: row.try_get(4)?,
                pace: row.try_get(5)?,
                tally: tally(row, 6)?,
            })
        };
        Ok(rows.iter().map(read).collect::<Result<_, _>>()?)
    }

    async fn set_guard_record(
        &self,
        key: &GuardKey,
        record: Option<GuardRecord>,
    ) -> Result<(), StoreError> {
        let stream = key.stream.as_str();
        let campaign = text(key.campaign.as_deref().unwrap_or_default());
        let database = self.writing()?;
        let Some(record) = record else {
            let sql = "DELETE FROM malote.guard_records WHERE stream = $1 AND campaign = $2";
            let params = [(&stream as _, Type::TEXT), (&campaign as _, Type::TEXT)];
            return database.execute(GUARD, sql, &params).await.map(drop);
        };
        database
            .execute(
                GUARD,
                "INSERT INTO malote.guard_records (stream, campaign, state, since, reason, pace,
                    sends, reported, bounces, complaints)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
                 ON CONFLICT (stream, campaign) DO UPDATE SET state = $3, since = $4,
                    reason = $5, pace = $6, sends = $7, reported = $8, bounces = $9,
                    complaints = $10",
                &[
                    (&stream, Type::TEXT),
                    (&campaign, Type::TEXT),
                    (&record.state.as_str(), Type::TEXT),
                    (&micros(record.since), Type::INT8),
                    (&text(&record.reason), Type::TEXT),
                    (&record.pace, Type::FLOAT8),
                    (&signed(record.tally.sends), Type::INT8),
                    (&signed(record.tally.reported), Type::INT8),
                    (&signed(record.tally.bounces), Type::INT8),
                    (&signed(record.tally.complaints), Type::INT8),
                ],
            )
            .await
            .map(drop)
    }
}
