//! What goes on beside the work: counters summed up, parts for the coming days, orphans swept.

use std::sync::Arc;
use std::time::Duration;

use crate::StoreError;
use crate::postgres::metrics::Operation;
use crate::postgres::spool::{Core, bodies, days, in_transaction, on_connection, retain};

/// How often counters are summed up.
const FOLD_EVERY: Duration = Duration::from_secs(1);
/// How often the rest is done, counted in the former.
const HOUR_IN_FOLDS: u32 = 3_600;
/// Days for which there are parts ahead of time, today among them.
const DAYS_AHEAD: u64 = 4;

/// Makes the parts of today and of the coming days.
pub(crate) async fn make_days(core: &Core) -> Result<(), StoreError> {
    core.days.forget();
    let now = core.clock.now();
    let ids = (0..DAYS_AHEAD).map(|ahead| days::id_in(now, ahead));
    core.days.make(&core.database, ids).await
}

/// Goes on until it is ended.
pub(crate) async fn keep(core: Arc<Core>) {
    let mut ticks = tokio::time::interval(FOLD_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for tick in (0..HOUR_IN_FOLDS).cycle() {
        ticks.tick().await;
        let done = if tick == HOUR_IN_FOLDS - 1 {
            hourly(&core).await
        } else {
            in_transaction!(core, Operation::Upkeep, |tx| retain::fold_counts(tx))
        };
        if let Err(error) = done {
            tracing::warn!(%error, "the upkeep of the database failed, it comes again");
        }
    }
}

async fn hourly(core: &Core) -> Result<(), StoreError> {
    make_days(core).await?;
    let swept = on_connection!(core, Operation::Upkeep, |conn| bodies::sweep(conn))?;
    if swept > 0 {
        tracing::info!(
            pieces = swept,
            "removed pieces of bodies that no message names"
        );
    }
    Ok(())
}
