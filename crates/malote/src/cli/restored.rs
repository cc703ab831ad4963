//! `malote store restored`: what has to be done between `pg_restore` and the first start.

use malote_core::clock::{Clock, SystemClock};
use malote_store::PostgresStore;
use serde::Serialize;

use super::exit::{Failure, Outcome};
use super::out;
use super::place::{GIVE_CONFIG, PlaceArgs};
use crate::config::StoreSettings;

/// Which store.
#[derive(Debug, clap::Args)]
pub(super) struct RestoredArgs {
    /// Write JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

/// What was done.
#[derive(Debug, Serialize)]
struct Restored {
    /// The database.
    place: String,
    /// Deliveries that were pending, now held until released.
    held: u64,
}

/// Runs the command.
pub(super) async fn run(args: RestoredArgs) -> Outcome {
    let now = SystemClock::start().now();
    let StoreSettings::Postgres(settings) = args.place.store(GIVE_CONFIG)?.store else {
        return Err(Failure::Usage(
            "this is for [store.postgres]: a store in files comes back with `malote store restore`"
                .into(),
        ));
    };
    let restored = Restored {
        held: PostgresStore::restored(&settings, now).await?,
        place: settings.place(),
    };
    if args.json {
        return Ok(out::json(&restored)?);
    }
    let text = format!(
        "{} is ready; {} deliveries are held until `malote queue release --state held`, as they \
         may have been sent after the backup was made",
        restored.place, restored.held
    );
    Ok(out::text(&text)?)
}
