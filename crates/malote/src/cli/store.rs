//! `malote store`: backup, restore, check and move of the store.

use std::path::PathBuf;
use std::sync::Arc;

use malote_core::clock::{Clock, SystemClock};
use malote_store::restore;
use serde::Serialize;

use super::client::LONG_ANSWER_MAX;
use super::exit::{Failure, Outcome};
use super::migrate::{self, MigrateArgs};
use super::out;
use super::place::{GIVE_CONFIG, PlaceArgs};
use super::restored::{self, RestoredArgs};
use super::source::open_store;
use crate::admin::api::{BackupBody, BackupRequest};
use crate::config::{StorePart, StoreSettings};
use crate::place::StorePlace;

/// What to do with the store.
#[derive(Debug, clap::Subcommand)]
pub(super) enum StoreCommand {
    /// Copy the store into a new or empty directory, also while the gateway runs.
    Backup(BackupArgs),
    /// Make the store of a configuration out of a backup. Mail that was pending is held until
    /// `malote queue release --state held`, as it may have been sent after the backup was made.
    Restore(RestoreArgs),
    /// After `pg_restore`, before the first start: hold what was pending, and leave out places that
    /// readers of events may have passed since.
    Restored(RestoredArgs),
    /// Look for damage. Reads the whole store.
    Check(CheckArgs),
    /// Move everything from SQLite to PostgreSQL or back, while no gateway runs. A run that was
    /// cut is continued by the same command.
    Migrate(MigrateArgs),
}

/// Where to.
#[derive(Debug, clap::Args)]
pub(super) struct BackupArgs {
    /// The directory; on the gateway's machine, if one runs.
    dir: PathBuf,
    /// Write JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

/// Where from.
#[derive(Debug, clap::Args)]
pub(super) struct RestoreArgs {
    /// The backup's directory.
    dir: PathBuf,
    /// Write JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

/// Which store.
#[derive(Debug, clap::Args)]
pub(super) struct CheckArgs {
    /// Write JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

/// What a restore made.
#[derive(Debug, Serialize)]
struct Restored {
    /// The new store's database.
    path: PathBuf,
    /// Bodies that stand in files.
    body_files: u64,
    /// Deliveries that were pending, now held until released.
    held: u64,
}

/// What a look for damage found.
#[derive(Debug, Serialize)]
struct Checked {
    /// Whether there is none.
    ok: bool,
    /// The damage, in SQLite's words.
    faults: Vec<String>,
}

/// Runs `malote store`.
pub(super) async fn run(command: StoreCommand) -> Outcome {
    match command {
        StoreCommand::Backup(args) => backup(args).await,
        StoreCommand::Restore(args) => restore_from(args).await,
        StoreCommand::Restored(args) => restored::run(args).await,
        StoreCommand::Check(args) => check(args).await,
        StoreCommand::Migrate(args) => migrate::run(args).await,
    }
}

async fn backup(args: BackupArgs) -> Outcome {
    let client = args.place.client()?;
    let path = std::path::absolute(&args.dir)?;
    let report = if client.is_there().await {
        let request = client.request(reqwest::Method::POST, "store/backup");
        let request = request
            .json(&BackupRequest { path })
            .timeout(LONG_ANSWER_MAX);
        client.read::<BackupBody>(request).await?
    } else {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
        let part = args.place.store(GIVE_CONFIG)?;
        let store = match open_store(&part.store, &clock).await? {
            StorePlace::Sqlite(store) => store,
            StorePlace::Postgres(_, settings) => {
                return Err(of_its_own(&settings.dump_command(&path)));
            }
        };
        say_what_is_elsewhere(&part);
        let report = store.backup(&path).await?;
        BackupBody {
            path,
            database_bytes: report.database_bytes,
            body_files: report.body_files,
        }
    };
    if args.json {
        return Ok(out::json(&report)?);
    }
    let text = format!(
        "{} holds a database of {} octets and {} bodies; it is as secret as the store",
        report.path.display(),
        report.database_bytes,
        report.body_files
    );
    Ok(out::text(&text)?)
}

/// These commands are about files of this machine.
fn say_what_is_elsewhere(part: &StorePart) {
    if let Some(settings) = &part.shared {
        eprintln!(
            "suppressions, quotas, warm-up, breakers and switches are not in the store but in the \
             database {}: use pg_dump, pg_restore and pg_amcheck for them",
            settings.place()
        );
    }
}

/// A database is copied and looked through by the tools of its server.
fn of_its_own(command: &str) -> Failure {
    let text = format!("the store is a PostgreSQL database, which has tools of its own: {command}");
    Failure::failed(text)
}

async fn restore_from(args: RestoreArgs) -> Outcome {
    let now = SystemClock::start().now();
    let part = args.place.store(GIVE_CONFIG)?;
    say_what_is_elsewhere(&part);
    let store = match part.store {
        StoreSettings::Sqlite(store) => store,
        StoreSettings::Postgres(settings) => {
            return Err(of_its_own(&settings.restore_command(&args.dir)));
        }
    };
    let path = store.path.clone();
    let restoring = tokio::task::spawn_blocking(move || restore(&args.dir, &store, now));
    let report = restoring.await?;
    let report = report.map_err(|error| Failure::failed(error.to_string()))?;
    let restored = Restored {
        path,
        body_files: report.body_files,
        held: report.held,
    };
    if args.json {
        return Ok(out::json(&restored)?);
    }
    let text = format!(
        "{} is restored with {} bodies; {} deliveries are held until they are released",
        restored.path.display(),
        restored.body_files,
        restored.held
    );
    Ok(out::text(&text)?)
}

async fn check(args: CheckArgs) -> Outcome {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let part = args.place.store(GIVE_CONFIG)?;
    let store = match open_store(&part.store, &clock).await? {
        StorePlace::Sqlite(store) => store,
        StorePlace::Postgres(_, settings) => return Err(of_its_own(&settings.verify_command())),
    };
    say_what_is_elsewhere(&part);
    let faults = store.check_integrity().await?;
    let checked = Checked {
        ok: faults.is_empty(),
        faults,
    };
    if args.json {
        out::json(&checked)?;
    } else if checked.ok {
        out::text("no damage found")?;
    } else {
        for fault in &checked.faults {
            out::text(fault)?;
        }
    }
    if checked.ok {
        return Ok(());
    }
    Err(Failure::failed("the store is damaged: restore a backup"))
}
