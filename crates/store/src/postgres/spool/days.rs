//! The parts in which events and attempts are kept, one for every day of message ids.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;

use crate::StoreError;
use crate::postgres::database::Database;
use crate::postgres::fault::Fault;
use crate::postgres::metrics::Operation;
use crate::postgres::spool::Tx;
use crate::postgres::spool::args::{self, Id};

const DAY_MILLIS: u64 = 24 * 3_600 * 1_000;

/// Days known to have their parts; asked anew after [`Days::forget`].
#[derive(Default)]
pub(crate) struct Days(Mutex<BTreeSet<i32>>);

impl Days {
    /// Makes the parts of the days of these ids where they are missing.
    ///
    /// # Errors
    /// If they cannot be made.
    pub(crate) async fn make(
        &self,
        database: &Database,
        ids: impl Iterator<Item = Id>,
    ) -> Result<(), StoreError> {
        let wanted: BTreeSet<i32> = ids.map(of_id).collect();
        let missing: Vec<i32> = {
            let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            wanted.difference(&known).copied().collect()
        };
        for day in missing {
            database
                .rows(
                    Operation::Upkeep,
                    "SELECT malote.make_day($1)",
                    &[(&day, tokio_postgres::types::Type::INT4)],
                )
                .await?;
            let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            known.insert(day);
        }
        Ok(())
    }

    /// Forgets what is known: another node may have dropped old days.
    pub(crate) fn forget(&self) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}

/// The day of a message id.
pub(crate) fn of_id(id: Id) -> i32 {
    let mut millis = [0; 8];
    millis[2..].copy_from_slice(&id.0[..6]);
    i32::try_from(u64::from_be_bytes(millis) / DAY_MILLIS).unwrap_or(i32::MAX)
}

/// The least id of a day so many days from now.
pub(crate) fn id_in(now: Timestamp, days: u64) -> Id {
    let millis = now.as_millisecond().max(0).unsigned_abs() + days * DAY_MILLIS;
    let mut id = [0; 16];
    id[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
    Id(id)
}

/// Drops the parts of days that ended before `before` and of which no message is left. Who reads
/// or writes is waited for a moment only: the days are still there the next time.
pub(crate) async fn drop_empty(tx: &Tx<'_>, before: Timestamp) -> Result<(), Fault> {
    let end = of_id(id_in(before, 0));
    args::run(tx, "SET LOCAL lock_timeout = '200ms'", &[]).await?;
    let parts = args::rows(
        tx,
        "SELECT c.relname::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
         WHERE i.inhparent = 'malote.events'::regclass",
        &[],
    )
    .await?;
    for row in parts {
        // Read here: the server may look at names before it knows whose they are, and those of
        // other tables hold no day.
        let day = row.try_get::<_, &str>(0)?.strip_prefix("events_");
        let day = day.and_then(|day| day.parse::<i32>().ok());
        if let Some(day) = day.filter(|day| *day < end) {
            args::rows(tx, "SELECT malote.drop_day($1)", &[&day]).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use malote_core::id::MessageId;

    use super::*;

    #[test]
    fn a_message_s_day_is_read_from_its_id() {
        let at = Timestamp::from_second(20_000 * 86_400).unwrap();
        assert_eq!(of_id(MessageId::new(at).into()), 20_000);
        assert_eq!(of_id(id_in(at, 3)), 20_003);
        let before = Timestamp::from_second(20_000 * 86_400 - 1).unwrap();
        assert_eq!(of_id(MessageId::new(before).into()), 19_999);
    }
}
