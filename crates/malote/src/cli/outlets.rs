//! `malote outlets`: who is told of events, and telling them again.

use malote_core::clock::{Clock, SystemClock};

use super::exit::{Failure, Outcome};
use super::filter::Since;
use super::out::{self, Table};
use super::place::PlaceArgs;
use super::source::Source;
use crate::admin::api::{OutletAction, OutletRequest, OutletsBody, ReplayBody, ReplayRequest};

/// What to do with outlets; nothing lists them.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct OutletsArgs {
    #[command(subcommand)]
    command: Option<OutletsCommand>,
    #[command(flatten)]
    list: ListArgs,
}

#[derive(Debug, clap::Subcommand)]
enum OutletsCommand {
    /// List outlets: how each does, and what waits for it.
    List(ListArgs),
    /// Tell an outlet of events again: those that waited first.
    Enable(SetArgs),
    /// Tell an outlet nothing until it is enabled; nothing is lost.
    Disable(SetArgs),
    /// Tell an outlet once more of the events of some time, under the same ids.
    Replay(ReplayArgs),
}

/// How to list.
#[derive(Debug, clap::Args)]
struct ListArgs {
    /// Write JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

/// Which outlet.
#[derive(Debug, clap::Args)]
struct SetArgs {
    /// The outlet, as `malote outlets` names it.
    name: String,
    /// Write JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

/// What to tell again.
#[derive(Debug, clap::Args)]
struct ReplayArgs {
    /// The outlet, as `malote outlets` names it.
    name: String,
    /// Events kept since: 30m, 1h, 7d ago, or a time (RFC 3339).
    #[arg(long, value_name = "WHEN")]
    from: Since,
    /// Events kept until [default: now].
    #[arg(long, value_name = "WHEN")]
    to: Option<Since>,
    /// Write JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

/// Runs `malote outlets`.
pub(super) async fn run(args: OutletsArgs) -> Outcome {
    match args.command {
        None => list(args.list).await,
        Some(OutletsCommand::List(args)) => list(args).await,
        Some(OutletsCommand::Enable(args)) => set(OutletAction::Enable, args).await,
        Some(OutletsCommand::Disable(args)) => set(OutletAction::Disable, args).await,
        Some(OutletsCommand::Replay(args)) => replay(args).await,
    }
}

async fn list(args: ListArgs) -> Outcome {
    let source = Source::open(&args.place).await?;
    let outlets = source.outlets().await?;
    let is_empty = outlets.outlets.is_empty();
    if args.json {
        return out::json_list(&outlets, is_empty, NOBODY);
    }
    print(&outlets)
}

/// What is said where there is no outlet.
const NOBODY: &str = "nobody is told of events";

fn print(outlets: &OutletsBody) -> Outcome {
    if outlets.outlets.is_empty() {
        return Err(Failure::Nothing(NOBODY.to_owned()));
    }
    let mut table = Table::new(&[
        "OUTLET",
        "STATE",
        "SINCE",
        "WAITING",
        "OLDEST",
        "LAST ERROR",
    ]);
    let time = |at: Option<jiff::Timestamp>| at.map_or("-".to_owned(), |at| format!("{at:.0}"));
    for outlet in &outlets.outlets {
        table.row([
            &outlet.outlet,
            outlet.state.as_str(),
            &time(outlet.since),
            &outlet.waiting.to_string(),
            &time(outlet.oldest_at),
            outlet.last_error.as_deref().unwrap_or("-"),
        ]);
    }
    Ok(table.print()?)
}

async fn set(action: OutletAction, args: SetArgs) -> Outcome {
    let client = args.place.client()?;
    client.expect().await?;
    let request = OutletRequest {
        outlet: args.name,
        action,
    };
    let outlets: OutletsBody = client.post("outlets", &request).await?;
    if args.json {
        return Ok(out::json(&outlets)?);
    }
    print(&outlets)
}

async fn replay(args: ReplayArgs) -> Outcome {
    let client = args.place.client()?;
    client.expect().await?;
    let now = SystemClock::start().now();
    let to = args.to.map(|to| to.timestamp(now)).transpose()?;
    let request = ReplayRequest {
        outlet: args.name,
        from: args.from.timestamp(now)?,
        to: to.unwrap_or(now),
    };
    let replayed: ReplayBody = client.post("outlets/replay", &request).await?;
    if args.json {
        out::json(&replayed)?;
    } else {
        let plural = if replayed.queued == 1 {
            "event is"
        } else {
            "events are"
        };
        out::text(&format!("{} {plural} told again", replayed.queued))?;
    }
    if replayed.is_full {
        let text = "the outbox is full: replay again when fewer events wait";
        return Err(Failure::failed(text));
    }
    match replayed.queued {
        0 => Err(Failure::Nothing(
            "no event of that time is for it".to_owned(),
        )),
        _ => Ok(()),
    }
}
