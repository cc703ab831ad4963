//! Messages of which the person is only the sender: no index of recipients finds them.

use super::{Others, Wish, begin, drop_or_mark, drop_raw, end, scrub_message, scrub_timelines};
use crate::postgres::fault::Fault;
use crate::postgres::metrics::Operation;
use crate::postgres::spool::args::{self, Id};
use crate::postgres::spool::{Core, Tx, in_transaction};
use crate::{Erased, StoreError};

/// Messages that one transaction looks at; each that is erased is a handful of statements.
const STEP: i64 = 200;

/// What one step came to.
struct Step {
    erased: Erased,
    /// Where to go on; `None` at the end.
    next: Option<Id>,
}

/// Erases the address where it is a sender's, in settled messages; counts those under way.
pub(super) async fn erase(core: &Core, wish: Wish<'_>) -> Result<Erased, StoreError> {
    let (mut all, mut after) = (Erased::default(), Some(Id([0; 16])));
    while let Some(from) = after {
        let done = in_transaction!(core, Operation::Event, |tx| step(tx, wish, from))?;
        all += done.erased;
        after = done.next;
    }
    Ok(all)
}

async fn step(tx: &Tx<'_>, wish: Wish<'_>, after: Id) -> Result<Step, Fault> {
    begin(tx).await?;
    let found = args::rows(
        tx,
        "SELECT id, settled_at IS NOT NULL FROM malote.messages
         WHERE id > $1 AND (lower(from_address) = $2 OR lower(mail_from) = $2)
         ORDER BY id LIMIT $3",
        &[&after, &wish.needle.key.as_str(), &STEP],
    )
    .await?;
    let (mut erased, mut last) = (Erased::default(), None);
    for row in &found {
        let message: Id = row.try_get(0)?;
        last = Some(message);
        // What is under way leaves in the sender's name, and its failure is told there.
        if row.try_get(1)? {
            erased.texts += scrub_message(tx, wish.needle, message).await?;
            erased.texts += scrub_timelines(tx, wish.needle, message).await?;
            erased.raw_events += drop_raw(tx, wish.needle, message, None).await?;
            erased += drop_or_mark(tx, message, Others::Some).await?;
        } else {
            erased.under_way += 1;
        }
    }
    end(tx, wish.erasing).await?;
    let is_last = (found.len() as i64) < STEP;
    Ok(Step {
        erased,
        next: last.filter(|_| !is_last),
    })
}
