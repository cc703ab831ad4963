//! `malote log`: looks up deliveries, and follows them.

use std::collections::HashMap;
use std::time::Duration;

use malote_core::address::EmailAddress;
use malote_core::clock::{Clock, SystemClock};
use malote_core::event::State;
use malote_core::id::DeliveryId;
use malote_core::ledger::{Search, SearchRow};
use malote_core::name::StreamName;

use super::exit::{Failure, Outcome};
use super::filter::{self, Id, Since};
use super::out;
use super::place::PlaceArgs;
use super::source::Source;
use super::timeline::{self, Life};
use super::waiting;

/// Rows of one page.
const PAGE: u16 = 200;
/// How often `--follow` looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Pages that one look of `--follow` reads at most: 2,000 deliveries.
const LOOK_PAGES_MAX: usize = 10;
/// Most unreadable parts that are listed.
const UNREADABLE_MAX: u16 = 1_000;

/// Which deliveries to look up.
#[derive(Debug, clap::Args)]
pub(super) struct LogArgs {
    /// A message or delivery: everything that happened to it.
    #[arg(value_name = "ID", conflicts_with_all = ["rcpt", "stream", "state", "tag", "since", "follow"])]
    id: Option<Id>,
    /// With an ID: what services told of its events, as they told it.
    #[arg(long, requires = "id")]
    raw: bool,
    /// What services told and nobody could read, with the reason, newest last.
    #[arg(long, conflicts_with_all = ["id", "rcpt", "stream", "state", "tag", "since", "follow"])]
    unreadable: bool,
    /// Only deliveries to this address.
    #[arg(long, value_name = "ADDRESS")]
    rcpt: Option<EmailAddress>,
    /// Only this stream.
    #[arg(long)]
    stream: Option<StreamName>,
    /// Only deliveries in this state now.
    #[arg(long, value_parser = filter::state)]
    state: Option<State>,
    /// Only messages with this tag.
    #[arg(long)]
    tag: Option<String>,
    /// Only messages accepted since: 30m, 1h, 7d ago, or a time (RFC 3339).
    #[arg(long, value_name = "WHEN")]
    since: Option<Since>,
    /// Go on: print new deliveries, and each again when its state changes, until Ctrl-C.
    #[arg(long, short)]
    follow: bool,
    /// Deliveries at most, the newest; of what is unreadable at most 1,000.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
    /// Write JSON, one line for each delivery.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

/// Runs `malote log`.
pub(super) async fn run(args: LogArgs) -> Outcome {
    let source = Source::open(&args.place).await?;
    if let Some(id) = args.id.filter(|_| args.raw) {
        return raw(&source, id, args.json).await;
    }
    if args.unreadable {
        let limit = u16::try_from(args.limit).unwrap_or(UNREADABLE_MAX);
        return unreadable(&source, limit.min(UNREADABLE_MAX), args.json).await;
    }
    if let Some(id) = args.id {
        let view = source.message(id.message()).await?;
        let waits_for = waiting::of_messages(&source, std::slice::from_ref(&view)).await;
        let life = Life { view, waits_for };
        if args.json {
            return Ok(out::json(&life)?);
        }
        let now = SystemClock::start().now();
        return Ok(out::text(&timeline::message(&life, now))?);
    }
    let clock = SystemClock::start();
    let since = args
        .since
        .map(|since| since.timestamp(clock.now()))
        .transpose()?;
    let search = Search {
        recipient: args.rcpt,
        stream: args.stream,
        state: args.state,
        tag: args.tag,
        since,
        limit: PAGE,
        ..Search::default()
    };
    let (rows, is_cut) = newest(&source, &search, args.limit as usize).await?;
    if rows.is_empty() && !args.follow {
        return Err(Failure::Nothing("no such delivery".to_owned()));
    }
    if args.follow {
        let from = rows.last().map_or(clock.now(), |row| row.accepted_at);
        let search = Search {
            since: Some(from),
            ..search
        };
        return follow(&source, &search, rows, args.json).await;
    }
    if is_cut {
        out::say_cut(rows.len(), "newest");
    }
    if args.json {
        return Ok(rows.iter().rev().try_for_each(out::json_line)?);
    }
    let rows: Vec<SearchRow> = rows.into_iter().rev().collect();
    Ok(timeline::rows(&rows)?)
}

/// Prints what services told: of a message, or of one delivery of it.
async fn raw(source: &Source, id: Id, is_json: bool) -> Outcome {
    let mut found = source.raw_events(id.message()).await?;
    if let Id::Delivery(delivery) = id {
        found.events.retain(|event| event.id.delivery == delivery);
    }
    if found.events.is_empty() {
        let text = "no event of it was told by a service, or none is kept as it was told";
        return Err(Failure::Nothing(text.to_owned()));
    }
    if is_json {
        return Ok(found.events.iter().try_for_each(out::json_line)?);
    }
    for event in &found.events {
        out::text(&format!("{}\n{}\n", event.id, event.raw))?;
    }
    Ok(())
}

/// Prints what services told and nobody could read.
async fn unreadable(source: &Source, limit: u16, is_json: bool) -> Outcome {
    let found = source.unreadable(limit).await?;
    if found.parts.is_empty() {
        let text = "all that services told could be read";
        return Err(Failure::Nothing(text.to_owned()));
    }
    if is_json {
        return Ok(found.parts.iter().rev().try_for_each(out::json_line)?);
    }
    for own in found.parts.iter().rev() {
        out::text(&format!("{:.0}  {}  {}", own.at, own.provider, own.part))?;
    }
    Ok(())
}

/// The newest rows, newest first, and whether there are more.
async fn newest(
    source: &Source,
    search: &Search,
    count_max: usize,
) -> Outcome<(Vec<SearchRow>, bool)> {
    let mut search = search.clone();
    let mut rows = Vec::new();
    loop {
        let page = source.search(&search).await?;
        rows.extend(page.rows);
        search.cursor = page.next_cursor;
        if rows.len() >= count_max || search.cursor.is_none() {
            let is_cut = rows.len() > count_max || search.cursor.is_some();
            rows.truncate(count_max);
            return Ok((rows, is_cut));
        }
    }
}

/// Prints what is new or has changed among the newest deliveries, once a second; nothing older than
/// the first that was printed.
async fn follow(source: &Source, search: &Search, first: Vec<SearchRow>, is_json: bool) -> Outcome {
    let mut seen = HashMap::new();
    let mut rows = first;
    let looked_at_max = usize::from(PAGE) * LOOK_PAGES_MAX;
    loop {
        let mut now_seen = HashMap::with_capacity(rows.len());
        for row in rows.iter().rev() {
            if seen.get(&row.delivery) != Some(&row.state) {
                print(row, is_json)?;
            }
            now_seen.insert(row.delivery, row.state);
        }
        seen = now_seen;
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            ended = tokio::signal::ctrl_c() => return Ok(ended?),
        }
        rows = look(source, search, &seen).await?;
        if rows.len() >= looked_at_max {
            eprintln!("more than {looked_at_max} deliveries at once: some are left out");
        }
    }
}

/// The newest page, and older ones until one was wholly seen before.
async fn look(
    source: &Source,
    search: &Search,
    seen: &HashMap<DeliveryId, State>,
) -> Outcome<Vec<SearchRow>> {
    let mut search = search.clone();
    let mut rows = Vec::new();
    for _ in 0..LOOK_PAGES_MAX {
        let page = source.search(&search).await?;
        let is_old = page.rows.iter().any(|row| seen.contains_key(&row.delivery));
        rows.extend(page.rows);
        search.cursor = page.next_cursor;
        if is_old || search.cursor.is_none() || seen.is_empty() {
            break;
        }
    }
    Ok(rows)
}

fn print(row: &SearchRow, is_json: bool) -> std::io::Result<()> {
    if is_json {
        out::json_line(row)
    } else {
        out::text(&timeline::line(row))
    }
}
