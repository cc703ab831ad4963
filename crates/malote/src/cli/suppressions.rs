//! `malote suppressions`: addresses that must not be mailed.

mod documents;

use std::io::{self, Write};
use std::path::PathBuf;

use malote_core::address::EmailAddress;
use malote_core::clock::{Clock, SystemClock};
use malote_core::name::StreamName;
use malote_core::suppression::{SuppressionPlace, SuppressionQuery, SuppressionScope};
use malote_core::units::Span;
use reqwest::{Method, StatusCode};

use self::documents::List;
use super::client::{Client, LONG_ANSWER_MAX};
use super::exit::{Failure, Outcome};
use super::out::{self, Table};
use super::place::PlaceArgs;
use super::progress::Progress;
use super::service_list::{self, ServiceListArgs};
use super::source::{Offline, Source};
use crate::admin::api::{ImportReport, Keep, LiftedBody, SuppressionBody, SuppressionPage};
use crate::admin::suppressions::NDJSON;
use crate::lists;

/// Entries read at once.
const PAGE: u16 = 1_000;
/// Refused lines that are named; all are counted.
const FAULTS_SHOWN_MAX: usize = 100;

/// What to do with suppressions.
#[derive(Debug, clap::Subcommand)]
pub(super) enum SuppressionsCommand {
    /// List them in the order of their addresses.
    List(ListArgs),
    /// Suppress an address.
    Add(AddArgs),
    /// Lift the suppressions of an address.
    Remove(RemoveArgs),
    /// Take in a file: CSV with a header line, or on each line an address or a JSON document.
    Import(ImportArgs),
    /// Write them all, as one JSON document on each line or as CSV.
    Export(ExportArgs),
    /// Bring in what a provider's service itself suppresses.
    Pull(ServiceListArgs),
    /// Put on a provider's service's list what it lacks of ours; nothing is taken off.
    Push(ServiceListArgs),
}

/// What to list.
#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    /// Only those of this address.
    #[arg(long, value_name = "ADDRESS")]
    rcpt: Option<EmailAddress>,
    /// Entries at most.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    limit: u16,
    /// Write JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

/// What to suppress.
#[derive(Debug, clap::Args)]
pub(super) struct AddArgs {
    /// The address.
    address: EmailAddress,
    /// Only for this stream [default: for all].
    #[arg(long)]
    stream: Option<StreamName>,
    /// Why, in words.
    #[arg(long, default_value = "")]
    detail: String,
    /// For how long, as in 30d [default: for ever].
    #[arg(long, value_name = "SPAN")]
    expires: Option<Span>,
    /// Write JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

/// What to lift.
#[derive(Debug, clap::Args)]
pub(super) struct RemoveArgs {
    /// The address.
    address: EmailAddress,
    /// Only for this stream [default: all of them].
    #[arg(long, conflicts_with = "global")]
    stream: Option<StreamName>,
    /// Only the one that stops every stream.
    #[arg(long)]
    global: bool,
    /// Write JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

/// What to take in.
#[derive(Debug, clap::Args)]
pub(super) struct ImportArgs {
    /// The file; `-` is standard input.
    file: PathBuf,
    /// Write JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

/// Where to write them.
#[derive(Debug, clap::Args)]
pub(super) struct ExportArgs {
    /// How to write them.
    #[arg(long, value_enum, default_value_t = ExportFormat::Ndjson)]
    format: ExportFormat,
    #[command(flatten)]
    place: PlaceArgs,
}

/// How an export is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum ExportFormat {
    /// One JSON document a line.
    Ndjson,
    /// email,scope,reason,source,at,expires_at,detail with a header line.
    Csv,
}

/// Runs `malote suppressions`.
pub(super) async fn run(command: SuppressionsCommand) -> Outcome {
    match command {
        SuppressionsCommand::List(args) => list(args).await,
        SuppressionsCommand::Add(args) => add(args).await,
        SuppressionsCommand::Remove(args) => remove(args).await,
        SuppressionsCommand::Import(args) => import(args).await,
        SuppressionsCommand::Export(args) => export(args).await,
        SuppressionsCommand::Pull(args) => service_list::pull(args).await,
        SuppressionsCommand::Push(args) => service_list::push(args).await,
    }
}

async fn list(args: ListArgs) -> Outcome {
    let source = Source::open(&args.place).await?;
    let found = match (&source, args.rcpt) {
        (Source::Gateway(client), Some(address)) => {
            let query = [("address", address.to_string())];
            let page: SuppressionPage = client.get("suppressions", &query).await?;
            page.suppressions
        }
        (Source::Gateway(client), None) => {
            let page = page(client, args.limit, None).await?;
            if page.next_cursor.is_some() {
                out::say_cut(page.suppressions.len(), "first");
            }
            page.suppressions
        }
        (Source::Store(offline), Some(address)) => of_address(offline, &address).await?,
        (Source::Store(offline), None) => {
            let shared = offline.shared().await?;
            let mut found = shared.suppressions(&query(None, args.limit + 1)).await?;
            if found.len() > args.limit.into() {
                found.truncate(args.limit.into());
                out::say_cut(found.len(), "first");
            }
            found.into_iter().map(Into::into).collect()
        }
    };
    let nothing = "no suppression";
    if args.json {
        return out::json_list(&found, found.is_empty(), nothing);
    }
    if found.is_empty() {
        return Err(Failure::Nothing(nothing.to_owned()));
    }
    Ok(print(&found)?)
}

pub(super) fn print(entries: &[SuppressionBody]) -> io::Result<()> {
    let mut table = Table::new(&[
        "ADDRESS", "STREAM", "REASON", "SINCE", "UNTIL", "SOURCE", "DETAIL",
    ]);
    let time = |at: Option<jiff::Timestamp>| at.map_or("-".to_owned(), |at| format!("{at:.0}"));
    for entry in entries {
        table.row([
            &entry.address.to_string(),
            entry.stream.as_ref().map_or("(all)", StreamName::as_str),
            entry.reason.as_str(),
            &time(entry.created_at),
            &time(entry.expires_at),
            entry.source.as_deref().unwrap_or("-"),
            &entry.detail,
        ]);
    }
    table.print()
}

fn query(after: Option<SuppressionPlace>, limit: u16) -> SuppressionQuery {
    SuppressionQuery {
        after,
        limit: limit.into(),
        ..SuppressionQuery::default()
    }
}

pub(super) async fn page(
    client: &Client,
    limit: u16,
    cursor: Option<String>,
) -> Outcome<SuppressionPage> {
    let mut query = vec![("limit", limit.to_string())];
    query.extend(cursor.map(|cursor| ("cursor", cursor)));
    client.get("suppressions", &query).await
}

async fn of_address(offline: &Offline, address: &EmailAddress) -> Outcome<Vec<SuppressionBody>> {
    let config = offline.config()?;
    let streams = config.streams.keys().cloned();
    let scopes =
        std::iter::once(SuppressionScope::Global).chain(streams.map(SuppressionScope::Stream));
    let addresses = std::slice::from_ref(address);
    let now = offline.clock.now();
    let shared = offline.shared().await?;
    let mut found = Vec::new();
    for scope in scopes {
        let entries = shared.suppressed(addresses, &[scope], now).await?;
        found.extend(entries.into_iter().flatten().map(SuppressionBody::from));
    }
    Ok(found)
}

async fn add(args: AddArgs) -> Outcome {
    let client = args.place.client()?;
    client.expect().await?;
    let now = SystemClock::start().now();
    let until = args.expires.map(|span| now.checked_add(span.0)).transpose();
    let body = SuppressionBody {
        stream: args.stream,
        detail: args.detail,
        expires_at: until?,
        ..SuppressionBody::of(args.address.into())
    };
    let request = client.request(Method::POST, "suppressions").json(&body);
    let answer = client.answer(request).await?;
    let is_new = answer.status() == StatusCode::CREATED;
    let stands: SuppressionBody = answer.json().await?;
    if args.json {
        return Ok(out::json(&stands)?);
    }
    if is_new {
        return Ok(out::text(&format!("{} is suppressed", stands.address))?);
    }
    out::text(&format!("{} was suppressed already:", stands.address))?;
    Ok(print(&[stands])?)
}

async fn remove(args: RemoveArgs) -> Outcome {
    let client = args.place.client()?;
    client.expect().await?;
    let mut query = vec![("address", args.address.to_string())];
    query.extend(args.stream.map(|stream| ("stream", stream.to_string())));
    query.extend(args.global.then(|| ("global", "true".to_owned())));
    let request = client.request(Method::DELETE, "suppressions").query(&query);
    let lifted: LiftedBody = client.read(request).await?;
    if args.json {
        out::json(&lifted)?;
    } else if lifted.lifted > 0 {
        out::text(&format!("{} lifted", lifted.lifted))?;
    }
    match lifted.lifted {
        0 => Err(Failure::Nothing("no such suppression".to_owned())),
        _ => Ok(()),
    }
}

async fn import(args: ImportArgs) -> Outcome {
    let client = args.place.client()?;
    client.expect().await?;
    let mut list = List::open(&args.file)?;
    let mut progress = Progress::start("imported", list.bytes);
    let mut all = ImportReport::default();
    let read = loop {
        let chunk = list.chunk();
        let (documents, lines) = std::mem::take(&mut list.ready);
        all.refused += list.refused.len() as u64;
        all.faults.append(&mut list.refused);
        if !lines.is_empty() {
            let report = send(&client, documents, &lines, Keep::All).await?;
            all.imported += report.imported;
            all.outlived += report.outlived;
            all.refused += report.refused;
            all.faults.extend(report.faults);
        }
        all.faults.truncate(FAULTS_SHOWN_MAX);
        progress.at(list.read, all.imported);
        match chunk {
            Ok(true) => {}
            Ok(false) => break Ok(()),
            Err(failure) => break Err(failure),
        }
    };
    progress.end();
    if args.json {
        out::json(&all)?;
    } else {
        for fault in &all.faults {
            eprintln!("line {}: {}", fault.line, fault.detail);
        }
        if all.refused > all.faults.len() as u64 {
            eprintln!("and {} more", all.refused - all.faults.len() as u64);
        }
        out::text(&format!(
            "{} imported, {} refused",
            all.imported, all.refused
        ))?;
        if all.outlived > 0 {
            out::text(&format!(
                "{} stop nobody: they had ended, or their recipients came back later",
                all.outlived
            ))?;
        }
    }
    read?;
    match all.refused {
        0 => Ok(()),
        _ => Err(Failure::failed(
            "some lines were refused; the others are kept",
        )),
    }
}

/// Sends documents that stand on these lines of the list.
pub(super) async fn send(
    client: &Client,
    documents: Vec<u8>,
    lines: &[u64],
    keep: Keep,
) -> Outcome<ImportReport> {
    let request = client
        .request(Method::POST, "suppressions/import")
        .query(&[("keep", keep)])
        .header(reqwest::header::CONTENT_TYPE, NDJSON)
        .timeout(LONG_ANSWER_MAX)
        .body(documents);
    let mut report: ImportReport = client.read(request).await?;
    for fault in &mut report.faults {
        let index = usize::try_from(fault.line).unwrap_or(0).saturating_sub(1);
        fault.line = lines.get(index).copied().unwrap_or(fault.line);
    }
    Ok(report)
}

async fn export(args: ExportArgs) -> Outcome {
    let mut progress = Progress::start("exported", None);
    match Source::open(&args.place).await? {
        Source::Gateway(client) => {
            let format = match args.format {
                ExportFormat::Ndjson => "ndjson",
                ExportFormat::Csv => "csv",
            };
            let request = client.request(Method::GET, "suppressions/export");
            let request = request.query(&[("format", format)]);
            let mut answer = client.answer(request.timeout(LONG_ANSWER_MAX)).await?;
            let (mut bytes, mut lines) = (0, 0);
            while let Some(chunk) = answer.chunk().await? {
                io::stdout().write_all(&chunk)?;
                bytes += chunk.len() as u64;
                lines += chunk.iter().filter(|octet| **octet == b'\n').count() as u64;
                progress.at(bytes, lines);
            }
        }
        Source::Store(offline) => export_offline(&offline, args.format, &mut progress).await?,
    }
    progress.end();
    Ok(io::stdout().flush()?)
}

async fn export_offline(
    offline: &Offline,
    format: ExportFormat,
    progress: &mut Progress,
) -> Outcome {
    if format == ExportFormat::Csv {
        io::stdout().write_all(lists::csv_header().as_bytes())?;
    }
    let shared = offline.shared().await?;
    let (mut after, mut lines) = (None, 0);
    loop {
        let page = shared.suppressions(&query(after, PAGE)).await?;
        let last = page.last();
        after = last.map(|entry| (entry.address.clone(), entry.scope.clone()));
        let is_done = page.len() < usize::from(PAGE);
        lines += page.len() as u64;
        for entry in page.into_iter().map(SuppressionBody::from) {
            match format {
                ExportFormat::Ndjson => out::json_line(&entry)?,
                ExportFormat::Csv => {
                    io::stdout().write_all(lists::csv_line(&entry).as_bytes())?;
                }
            }
        }
        progress.at(0, lines);
        if is_done {
            return Ok(());
        }
    }
}
