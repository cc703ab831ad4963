//! A database that comes from a dump: what was pending is held, places in the feed are left out.

use std::time::Duration;

use jiff::Timestamp;
use prometheus::Registry;
use tokio::time::timeout;

use crate::postgres::columns::micros;
use crate::postgres::database::{Database, Opening, PostgresParts};
use crate::postgres::fault::{Fault, late};
use crate::postgres::schema;
use crate::postgres::spool::Tx;
use crate::postgres::spool::args;
use crate::{PostgresSettings, PostgresStore, StoreError};

/// Places that are left out: more than can have been given out since the dump was made, so that who
/// went on from one of them misses nothing that comes now.
const FEED_LEAP: i64 = 1 << 40;
/// Longest time for all of it: every waiting delivery is written once.
const RESTORED_MAX: Duration = Duration::from_secs(3_600);

impl PostgresStore {
    /// Makes a database ready that `pg_restore` has filled, before a gateway starts on it. What was
    /// waiting or under way is held, since it may have been sent after the dump was made; an
    /// operator releases it. Returns how many deliveries that were.
    ///
    /// # Errors
    /// If a gateway is connected, the tables have another version, or they cannot be written;
    /// then nothing was changed.
    pub async fn restored(settings: &PostgresSettings, now: Timestamp) -> Result<u64, StoreError> {
        let parts = PostgresParts::Whole;
        let database = Database::open(settings, parts, Opening::AsIs, &Registry::new()).await?;
        let mut client = database.connection().await?;
        if schema::others_are_connected(&**client).await? {
            return Err(StoreError::Engine(
                "another malote is connected, or was a moment ago: stop every node first".into(),
            ));
        }
        let work = async {
            let tx = client.transaction().await?;
            let held = hold_pending(&tx, now).await?;
            tx.commit().await?;
            Ok(held)
        };
        let held: Result<u64, Fault> = timeout(RESTORED_MAX, work).await.map_err(|_| late())?;
        database.close();
        Ok(held?)
    }
}

async fn hold_pending(tx: &Tx<'_>, now: Timestamp) -> Result<u64, Fault> {
    schema::hold(tx).await?;
    tx.batch_execute(
        "UPDATE malote.sessions SET ended_at = clock_timestamp() WHERE ended_at IS NULL;
         UPDATE malote.outlets SET session = NULL",
    )
    .await?;
    let leap = "SELECT setval('malote.feed_places', nextval('malote.feed_places') + $1)";
    args::rows(tx, leap, &[&FEED_LEAP]).await?;
    let held = args::run(
        tx,
        "WITH held AS (UPDATE malote.jobs SET state = 6, due_at = NULL, session = NULL,
            prior_state = NULL, told_state = NULL, last_seq = last_seq + 1
            WHERE state IN (0, 1, 2, 5) RETURNING message, idx, last_seq)
         INSERT INTO malote.events (message, idx, seq, feed, at, durable_at, kind, detail)
         SELECT message, idx, last_seq, nextval('malote.feed_places'), $1, $1, 'held',
            'restored from a backup: it may have been sent since' FROM held",
        &[&micros(now)],
    )
    .await?;
    tx.batch_execute(COUNT_ANEW).await?;
    Ok(held)
}

/// Counts deliveries and octets of bodies as they are.
pub(crate) const COUNT_ANEW: &str = "DELETE FROM malote.counts;
    INSERT INTO malote.counts (lane, state, n)
        SELECT lane, state, count(*) FROM malote.delivery_now GROUP BY lane, state;
    INSERT INTO malote.counts (lane, state, n)
        SELECT 0, -1, sum(size_bytes) FROM malote.messages WHERE settled_at IS NULL
        HAVING sum(size_bytes) > 0;";
