//! `malote queue`: what waits, moving it, and what is switched off.

use malote_core::event::State;
use malote_core::id::DeliveryId;
use malote_core::ledger::{Search, SearchRow};
use malote_core::name::{ProviderName, StreamName};

use super::client::Client;
use super::exit::{Failure, Outcome};
use super::filter::{self, FilterArgs, Id};
use super::out::{self, Table};
use super::place::PlaceArgs;
use super::source::Source;
use super::{timeline, waiting};
use crate::admin::api::{
    FilterBody, MovedBody, ResolutionWord, ResolveBody, StatsBody, SwitchAction, SwitchBody,
    SwitchRequest, SwitchesBody,
};

/// The states that still need somebody: the gateway, or an operator.
const OPEN: [State; 7] = [
    State::Scheduled,
    State::Queued,
    State::Sending,
    State::Deferred,
    State::Held,
    State::Unknown,
    State::Quarantined,
];

/// What to do with the queue.
#[derive(Debug, clap::Subcommand)]
pub(super) enum QueueCommand {
    /// List deliveries that are not settled, newest first.
    List(ListArgs),
    /// Count what waits, by stream and state.
    Stats(StatsArgs),
    /// Send again now: what waits, is held, is unknown or has failed.
    Retry(MoveArgs),
    /// Take back what has not left.
    Cancel(MoveArgs),
    /// Hold what has not left until it is released.
    Hold(MoveArgs),
    /// Let go what is held, as after a restore.
    Release(MoveArgs),
    /// Stop sending a stream's mail, or through a provider; mail is still accepted.
    Pause(SwitchArgs),
    /// Send again.
    Resume(SwitchArgs),
    /// Start nothing more at a provider; what is under way ends.
    Drain(SwitchArgs),
    /// Settle an unknown outcome.
    Resolve(ResolveArgs),
}

/// What to list.
#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    /// Only this state [default: every state that is not settled].
    #[arg(long, value_parser = filter::state)]
    state: Option<State>,
    /// Only this stream.
    #[arg(long)]
    stream: Option<StreamName>,
    /// Rows at most.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=200))]
    limit: u16,
    /// Write JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

/// How to count.
#[derive(Debug, clap::Args)]
pub(super) struct StatsArgs {
    /// Write JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

/// What to move.
#[derive(Debug, clap::Args)]
pub(super) struct MoveArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// Write JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

/// What to switch.
#[derive(Debug, clap::Args)]
pub(super) struct SwitchArgs {
    #[command(flatten)]
    what: Switched,
    /// Write JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

/// One stream or one provider.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Switched {
    /// The stream.
    #[arg(long)]
    stream: Option<StreamName>,
    /// The provider.
    #[arg(long)]
    provider: Option<ProviderName>,
}

/// How an unknown outcome ended.
#[derive(Debug, clap::Args)]
pub(super) struct ResolveArgs {
    /// The delivery, or the message: then all its unknown deliveries.
    id: Id,
    #[command(flatten)]
    ending: Ending,
    /// Write JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Ending {
    /// It was sent.
    #[arg(long)]
    sent: bool,
    /// It was not sent: send it again.
    #[arg(long)]
    resend: bool,
}

/// What waits, and what is switched off.
#[derive(Debug, serde::Serialize)]
struct Counted {
    #[serde(flatten)]
    stats: StatsBody,
    switches: Vec<SwitchBody>,
}

/// Runs `malote queue`.
pub(super) async fn run(command: QueueCommand) -> Outcome {
    match command {
        QueueCommand::List(args) => list(args).await,
        QueueCommand::Stats(args) => stats(args).await,
        QueueCommand::Retry(args) => shift("retry", "due now", args).await,
        QueueCommand::Cancel(args) => shift("cancel", "taken back", args).await,
        QueueCommand::Hold(args) => shift("hold", "held", args).await,
        QueueCommand::Release(args) => shift("release", "released", args).await,
        QueueCommand::Pause(args) => switch(SwitchAction::Pause, args).await,
        QueueCommand::Resume(args) => switch(SwitchAction::Resume, args).await,
        QueueCommand::Drain(args) => switch(SwitchAction::Drain, args).await,
        QueueCommand::Resolve(args) => resolve(args).await,
    }
}

async fn list(args: ListArgs) -> Outcome {
    let source = Source::open(&args.place).await?;
    let (mut rows, mut is_cut) = (Vec::new(), false);
    let states = args.state.map_or(OPEN.to_vec(), |state| vec![state]);
    for state in states {
        let search = Search {
            state: Some(state),
            stream: args.stream.clone(),
            limit: args.limit,
            ..Search::default()
        };
        let page = source.search(&search).await?;
        is_cut |= page.next_cursor.is_some();
        rows.extend(page.rows);
    }
    is_cut |= rows.len() > args.limit.into();
    rows.sort_by_key(|row: &SearchRow| std::cmp::Reverse((row.accepted_at, row.delivery)));
    rows.truncate(args.limit.into());
    if is_cut {
        out::say_cut(rows.len(), "newest");
    }
    let nothing = "nothing waits";
    let rows = match rows.is_empty() {
        true => Vec::new(),
        false => waiting::listed(&source, rows).await,
    };
    if args.json {
        return out::json_list(&rows, rows.is_empty(), nothing);
    }
    if rows.is_empty() {
        return Err(Failure::Nothing(nothing.to_owned()));
    }
    Ok(timeline::open_rows(&rows)?)
}

async fn stats(args: StatsArgs) -> Outcome {
    let source = Source::open(&args.place).await?;
    let stats = source.stats().await?;
    let SwitchesBody { switches } = source.switches().await?;
    if args.json {
        return Ok(out::json(&Counted { stats, switches })?);
    }
    let mut table = Table::new(&["STREAM", "STATE", "DELIVERIES", "OLDEST DUE"]);
    for stream in &stats.streams {
        for (state, count) in &stream.deliveries {
            let oldest = match state {
                State::Queued | State::Deferred => stream.oldest_due_at.as_ref(),
                State::Scheduled
                | State::Sending
                | State::Sent
                | State::Delivered
                | State::Held
                | State::Bounced
                | State::Suppressed
                | State::Expired
                | State::Cancelled
                | State::Unknown
                | State::Quarantined => None,
            };
            let oldest = oldest.map_or("-".to_owned(), |at| format!("{at:.0}"));
            table.row([
                stream.stream.as_str(),
                state.as_str(),
                &count.to_string(),
                &oldest,
            ]);
        }
    }
    if stats.streams.is_empty() {
        out::text("nothing waits")?;
    } else {
        table.print()?;
        out::text(&format!("{} octets of bodies wait", stats.body_bytes))?;
    }
    Ok(print_switches(&switches)?)
}

async fn shift(action: &str, done: &str, args: MoveArgs) -> Outcome {
    let client = args.place.client()?;
    client.expect().await?;
    let filter = FilterBody::from(args.filter);
    let moved: MovedBody = client.post(&format!("queue/{action}"), &filter).await?;
    told(&moved, done, args.json)
}

fn told(moved: &MovedBody, done: &str, is_json: bool) -> Outcome {
    if is_json {
        out::json(moved)?;
    } else if moved.moved > 0 {
        out::text(&format!("{} {done}", deliveries(moved.moved)))?;
    }
    match moved.moved {
        0 => Err(Failure::Nothing(
            "no delivery that this fits could be moved".to_owned(),
        )),
        _ => Ok(()),
    }
}

fn deliveries(count: u64) -> String {
    let plural = if count == 1 { "delivery" } else { "deliveries" };
    format!("{count} {plural}")
}

async fn switch(action: SwitchAction, args: SwitchArgs) -> Outcome {
    let client = args.place.client()?;
    client.expect().await?;
    let request = SwitchRequest {
        stream: args.what.stream,
        provider: args.what.provider,
        action,
    };
    let switches: SwitchesBody = client.post("switches", &request).await?;
    if args.json {
        return Ok(out::json(&switches)?);
    }
    if switches.switches.is_empty() {
        return Ok(out::text("nothing is paused")?);
    }
    Ok(print_switches(&switches.switches)?)
}

fn print_switches(switches: &[SwitchBody]) -> std::io::Result<()> {
    for switch in switches {
        let name = match (&switch.stream, &switch.provider) {
            (Some(stream), _) => format!("stream {stream}"),
            (None, Some(provider)) => format!("provider {provider}"),
            (None, None) => continue,
        };
        out::text(&format!("{name} is {}", switch.state))?;
    }
    Ok(())
}

async fn resolve(args: ResolveArgs) -> Outcome {
    let client = args.place.client()?;
    client.expect().await?;
    let resolution = if args.ending.sent {
        ResolutionWord::Sent
    } else {
        ResolutionWord::Resend
    };
    let mut all = MovedBody {
        moved: 0,
        deliveries: Vec::new(),
    };
    for delivery in unknown(&client, args.id).await? {
        let body = ResolveBody {
            delivery,
            resolution,
        };
        let moved: MovedBody = client.post("queue/resolve", &body).await?;
        all.moved += moved.moved;
        all.deliveries.extend(moved.deliveries);
    }
    told(&all, "settled", args.json)
}

/// The delivery itself, or those of the message whose outcome is unknown.
async fn unknown(client: &Client, id: Id) -> Outcome<Vec<DeliveryId>> {
    let message = match id {
        Id::Delivery(delivery) => return Ok(vec![delivery]),
        Id::Message(message) => message,
    };
    let path = format!("messages/{message}");
    let view: malote_core::ledger::MessageView = client.get(&path, &[]).await?;
    let unknown = view.deliveries.into_iter();
    let unknown = unknown.filter(|delivery| delivery.state == State::Unknown);
    Ok(unknown.map(|delivery| delivery.id).collect())
}
