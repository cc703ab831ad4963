//! What the reputation guard counts, in hourly buckets, and what it has decided.

use async_trait::async_trait;
use jiff::Timestamp;
use malote_core::name::StreamName;
use rusqlite::{Connection, Row, params};

use crate::sqlite::columns::{damaged, micros, parsed, signed, timestamp, unsigned};
use crate::sqlite::fault::Fault;
use crate::sqlite::rows::str_of;
use crate::sqlite::writer::Tx;
use crate::sqlite::{Load, SqliteStore};
use crate::{
    GuardBook, GuardCount, GuardKey, GuardRecord, GuardState, GuardSum, GuardTally, StoreError,
};

const HOUR_S: i64 = 3_600;
/// Octets of a count in the queue, about.
const COUNT_BYTES: usize = 256;

#[async_trait]
impl GuardBook for SqliteStore {
    async fn add_guard_counts(&self, counts: Vec<GuardCount>) -> Result<(), StoreError> {
        let load = Load {
            operations: counts.len(),
            bytes: COUNT_BYTES * (1 + counts.len()),
            ..Load::small()
        };
        self.write(load, move |tx| add(tx, &counts)).await
    }

    async fn guard_sums(
        &self,
        stream: &StreamName,
        since: Timestamp,
    ) -> Result<Vec<GuardSum>, StoreError> {
        let stream = stream.clone();
        self.read(move |conn| sums(conn, &stream, since)).await
    }

    async fn reset_guard_counts(&self, key: &GuardKey) -> Result<(), StoreError> {
        let key = key.clone();
        self.write(Load::small(), move |tx| reset(tx, &key)).await
    }

    async fn forget_guard_counts(
        &self,
        before: Timestamp,
        campaigns_max: u32,
    ) -> Result<(), StoreError> {
        self.write(Load::small(), move |tx| forget(tx, before, campaigns_max))
            .await
    }

    async fn guard_records(&self) -> Result<Vec<GuardRecord>, StoreError> {
        self.read(records).await
    }

    async fn set_guard_record(
        &self,
        key: &GuardKey,
        record: Option<GuardRecord>,
    ) -> Result<(), StoreError> {
        let key = key.clone();
        self.write(Load::small(), move |tx| set(tx, &key, record.as_ref()))
            .await
    }
}

fn hour(at: Timestamp) -> i64 {
    at.as_second().div_euclid(HOUR_S)
}

fn add(tx: &mut Tx<'_>, counts: &[GuardCount]) -> Result<(), Fault> {
    let mut insert = tx.conn.prepare_cached(
        "INSERT INTO guard_counts (stream, campaign, hour, sends, reported, bounces, complaints)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (stream, campaign, hour) DO UPDATE SET sends = sends + ?4,
            reported = reported + ?5, bounces = bounces + ?6, complaints = complaints + ?7",
    )?;
    for count in counts {
        insert.execute(params![
            count.stream.as_str(),
            count.campaign,
            hour(count.at),
            signed(count.tally.sends),
            signed(count.tally.reported),
            signed(count.tally.bounces),
            signed(count.tally.complaints),
        ])?;
    }
    Ok(())
}

/// The four counts from this column on.
fn tally(row: &Row<'_>, first: usize) -> Result<GuardTally, Fault> {
    Ok(GuardTally {
        sends: unsigned(row.get(first)?)?,
        reported: unsigned(row.get(first + 1)?)?,
        bounces: unsigned(row.get(first + 2)?)?,
        complaints: unsigned(row.get(first + 3)?)?,
    })
}

fn sums(conn: &Connection, stream: &StreamName, since: Timestamp) -> Result<Vec<GuardSum>, Fault> {
    let mut find = conn.prepare_cached(
        "SELECT campaign, sum(sends), sum(reported), sum(bounces), sum(complaints), max(sends)
         FROM guard_counts WHERE stream = ?1 AND hour >= ?2 GROUP BY campaign ORDER BY campaign",
    )?;
    let mut rows = find.query(params![stream.as_str(), hour(since)])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(GuardSum {
            campaign: row.get(0)?,
            tally: tally(row, 1)?,
            busiest_hour: unsigned(row.get(5)?)?,
        });
    }
    Ok(found)
}

fn reset(tx: &mut Tx<'_>, key: &GuardKey) -> Result<(), Fault> {
    let stream = key.stream.as_str();
    match &key.campaign {
        Some(campaign) => tx
            .conn
            .prepare_cached("DELETE FROM guard_counts WHERE stream = ?1 AND campaign = ?2")?
            .execute([stream, campaign])?,
        None => tx
            .conn
            .prepare_cached(
                "DELETE FROM guard_counts WHERE stream = ?1 AND campaign NOT IN
                    (SELECT campaign FROM guard_records
                     WHERE stream = ?1 AND campaign <> '' AND state <> ?2)",
            )?
            .execute([stream, GuardState::Resumed.as_str()])?,
    };
    Ok(())
}

fn forget(tx: &mut Tx<'_>, before: Timestamp, campaigns_max: u32) -> Result<(), Fault> {
    tx.conn
        .prepare_cached("DELETE FROM guard_counts WHERE hour < ?1")?
        .execute([hour(before)])?;
    tx.conn
        .prepare_cached(
            "DELETE FROM guard_counts WHERE (stream, campaign) IN
                (SELECT stream, campaign FROM guard_counts GROUP BY stream, campaign
                 ORDER BY max(hour) DESC, stream, campaign LIMIT -1 OFFSET ?1)",
        )?
        .execute([i64::from(campaigns_max)])?;
    Ok(())
}

fn records(conn: &Connection) -> Result<Vec<GuardRecord>, Fault> {
    let mut find = conn.prepare_cached(
        "SELECT stream, campaign, state, since, reason, pace, sends, reported, bounces, complaints
         FROM guard_records ORDER BY stream, campaign",
    )?;
    let mut rows = find.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let campaign: String = row.get(1)?;
        let state = GuardState::parse(str_of(row, 2)?);
        found.push(GuardRecord {
            key: GuardKey {
                stream: parsed(str_of(row, 0)?, "stream")?,
                campaign: (!campaign.is_empty()).then_some(campaign),
            },
            state: state.ok_or_else(|| damaged("unknown state of the guard"))?,
            since: timestamp(row.get(3)?)?,
            reason: row.get(4)?,
            pace: row.get(5)?,
            tally: tally(row, 6)?,
        });
    }
    Ok(found)
}

fn set(tx: &mut Tx<'_>, key: &GuardKey, record: Option<&GuardRecord>) -> Result<(), Fault> {
    let campaign = key.campaign.as_deref().unwrap_or_default();
    let Some(record) = record else {
        tx.conn
            .prepare_cached("DELETE FROM guard_records WHERE stream = ?1 AND campaign = ?2")?
            .execute([key.stream.as_str(), campaign])?;
        return Ok(());
    };
    tx.conn
        .prepare_cached(
            "INSERT OR REPLACE INTO guard_records (stream, campaign, state, since, reason, pace,
                sends, reported, bounces, complaints)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )?
        .execute(params![
            key.stream.as_str(),
            campaign,
            record.state.as_str(),
            micros(record.since),
            record.reason,
            record.pace,
            signed(record.tally.sends),
            signed(record.tally.reported),
            signed(record.tally.bounces),
            signed(record.tally.complaints),
        ])?;
    Ok(())
}
