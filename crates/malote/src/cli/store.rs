//! `malote store`: backup, restore and check of the store.

use std::path::PathBuf;

use malote_store::restore;

use super::client::{Client, LONG_ANSWER_MAX};
use super::exit::{Failure, Outcome};
use super::out;
use super::place::{Place, PlaceArgs};
use super::source::open_store;
use crate::admin::api::{BackupBody, BackupRequest};

/// What to do with the store.
#[derive(Debug, clap::Subcommand)]
pub(super) enum StoreCommand {
    /// Copy the store into a new or empty directory, also while the gateway runs.
    Backup(BackupArgs),
    /// Make the store of a configuration out of a backup. Mail that was pending is held until
    /// `malote queue release --state held`, as it may have been sent after the backup was made.
    Restore(RestoreArgs),
    /// Look for damage. Reads the whole store.
    Check(CheckArgs),
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
    #[command(flatten)]
    place: PlaceArgs,
}

/// Which store.
#[derive(Debug, clap::Args)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    place: PlaceArgs,
}

/// Runs `malote store`.
pub(super) async fn run(command: StoreCommand) -> Outcome {
    match command {
        StoreCommand::Backup(args) => backup(args).await,
        StoreCommand::Restore(args) => restored(args).await,
        StoreCommand::Check(args) => check(args).await,
    }
}

async fn backup(args: BackupArgs) -> Outcome {
    let place = args.place.place()?;
    let path = std::path::absolute(&args.dir)?;
    let report = if place.client.is_there().await {
        let request = place.client.request(reqwest::Method::POST, "store/backup");
        let request = request
            .json(&BackupRequest { path })
            .timeout(LONG_ANSWER_MAX);
        Client::read::<BackupBody>(request).await?
    } else {
        let clock = place.clock.clone();
        let store = open_store(&place.config()?, &clock)?;
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

async fn restored(args: RestoreArgs) -> Outcome {
    let place = args.place.place()?;
    let now = place.clock.now();
    let store = place.config()?.store;
    let path = store.path.display().to_string();
    let restoring = tokio::task::spawn_blocking(move || restore(&args.dir, &store, now));
    let report = restoring.await?;
    let report = report.map_err(|error| Failure::failed(error.to_string()))?;
    let text = format!(
        "{path} is restored with {} bodies; {} deliveries are held until they are released",
        report.body_files, report.held
    );
    Ok(out::text(&text)?)
}

async fn check(args: CheckArgs) -> Outcome {
    let place: Place = args.place.place()?;
    let clock = place.clock.clone();
    let store = open_store(&place.config()?, &clock)?;
    let faults = store.check_integrity().await?;
    if faults.is_empty() {
        return Ok(out::text("no damage found")?);
    }
    for fault in &faults {
        out::text(fault)?;
    }
    Err(Failure::failed("the store is damaged: restore a backup"))
}
