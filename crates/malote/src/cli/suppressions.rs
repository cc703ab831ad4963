//! `malote suppressions`: addresses that must not be mailed.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use malote_core::address::EmailAddress;
use malote_core::clock::{Clock, SystemClock};
use malote_core::name::StreamName;
use malote_core::units::Span;
use malote_store::{Shared, SuppressionReason, SuppressionScope};
use reqwest::Method;
use serde_json::json;

use super::client::{Client, LONG_ANSWER_MAX};
use super::exit::{Failure, Outcome};
use super::out::{self, Table};
use super::place::PlaceArgs;
use super::source::{Offline, Source};
use crate::admin::api::{ImportReport, LiftedBody, LineFault, SuppressionBody, SuppressionPage};
use crate::admin::suppressions::NDJSON;

/// Entries read at once.
const PAGE: u16 = 1_000;
/// Octets of an import sent at once, a line more or less.
const CHUNK_BYTES: usize = 4 << 20;

/// What to do with suppressions.
#[derive(Debug, clap::Subcommand)]
pub(super) enum SuppressionsCommand {
    /// List them in the order of their addresses.
    List(ListArgs),
    /// Suppress an address.
    Add(AddArgs),
    /// Lift the suppressions of an address.
    Remove(RemoveArgs),
    /// Take in a file: one address, or one JSON document as `export` writes it, on each line.
    Import(ImportArgs),
    /// Write them all, one JSON document on each line.
    Export(ExportArgs),
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
    #[command(flatten)]
    place: PlaceArgs,
}

/// Runs `malote suppressions`.
pub(super) async fn run(command: SuppressionsCommand) -> Outcome {
    match command {
        SuppressionsCommand::List(args) => list(args).await,
        SuppressionsCommand::Add(args) => add(args).await,
        SuppressionsCommand::Remove(args) => remove(args).await,
        SuppressionsCommand::Import(args) => import(args).await,
        SuppressionsCommand::Export(args) => export(args).await,
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
        (Source::Gateway(client), None) => page(client, args.limit, None).await?.suppressions,
        (Source::Store(offline), Some(address)) => of_address(offline, &address).await?,
        (Source::Store(offline), None) => {
            let found = offline.store.suppressions(None, args.limit.into()).await?;
            found.into_iter().map(Into::into).collect()
        }
    };
    if args.json {
        return Ok(out::json(&found)?);
    }
    if found.is_empty() {
        return Err(Failure::Nothing("no suppression".to_owned()));
    }
    Ok(print(&found)?)
}

fn print(entries: &[SuppressionBody]) -> io::Result<()> {
    let mut table = Table::new(&["ADDRESS", "STREAM", "REASON", "SINCE", "UNTIL", "DETAIL"]);
    let time = |at: Option<jiff::Timestamp>| at.map_or("-".to_owned(), |at| format!("{at:.0}"));
    for entry in entries {
        let reason = match entry.reason {
            SuppressionReason::HardBounce => "hard_bounce",
            SuppressionReason::MailboxFull => "mailbox_full",
            SuppressionReason::Complaint => "complaint",
            SuppressionReason::Unsubscribe => "unsubscribe",
            SuppressionReason::Manual => "manual",
        };
        table.row([
            entry.address.as_str(),
            entry.stream.as_ref().map_or("(all)", StreamName::as_str),
            reason,
            &time(entry.created_at),
            &time(entry.expires_at),
            &entry.detail,
        ]);
    }
    table.print()
}

async fn page(client: &Client, limit: u16, cursor: Option<String>) -> Outcome<SuppressionPage> {
    let mut query = vec![("limit", limit.to_string())];
    query.extend(cursor.map(|cursor| ("cursor", cursor)));
    client.get("suppressions", &query).await
}

async fn of_address(offline: &Offline, address: &EmailAddress) -> Outcome<Vec<SuppressionBody>> {
    let streams = offline.config.streams.keys().cloned();
    let scopes =
        std::iter::once(SuppressionScope::Global).chain(streams.map(SuppressionScope::Stream));
    let addresses = std::slice::from_ref(address);
    let now = offline.clock.now();
    let mut found = Vec::new();
    for scope in scopes {
        let entries = offline.store.suppressed(addresses, &[scope], now).await?;
        found.extend(entries.into_iter().flatten().map(SuppressionBody::from));
    }
    Ok(found)
}

async fn add(args: AddArgs) -> Outcome {
    let client = args.place.place()?.client;
    client.expect().await?;
    let now = SystemClock::start().now();
    let until = args.expires.map(|span| now.checked_add(span.0)).transpose();
    let body = SuppressionBody {
        address: args.address,
        stream: args.stream,
        reason: SuppressionReason::Manual,
        detail: args.detail,
        provider: None,
        credential: None,
        created_at: None,
        expires_at: until?,
    };
    let kept: SuppressionBody = client.post("suppressions", &body).await?;
    if args.json {
        return Ok(out::json(&kept)?);
    }
    Ok(out::text(&format!("{} is suppressed", kept.address))?)
}

async fn remove(args: RemoveArgs) -> Outcome {
    let client = args.place.place()?.client;
    client.expect().await?;
    let mut query = vec![("address", args.address.to_string())];
    query.extend(args.stream.map(|stream| ("stream", stream.to_string())));
    query.extend(args.global.then(|| ("global", "true".to_owned())));
    let request = client.request(Method::DELETE, "suppressions").query(&query);
    let lifted: LiftedBody = Client::read(request).await?;
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
    let client = args.place.place()?.client;
    client.expect().await?;
    let mut lines = Lines::open(&args.file)?;
    let mut all = ImportReport::default();
    while let Some((chunk, first_line)) = lines.chunk()? {
        let request = client
            .request(Method::POST, "suppressions/import")
            .header(reqwest::header::CONTENT_TYPE, NDJSON)
            .timeout(LONG_ANSWER_MAX)
            .body(chunk);
        let report: ImportReport = Client::read(request).await?;
        all.imported += report.imported;
        all.refused += report.refused;
        all.faults
            .extend(report.faults.into_iter().map(|fault| LineFault {
                line: fault.line + first_line,
                detail: fault.detail,
            }));
    }
    if args.json {
        out::json(&all)?;
    } else {
        for fault in &all.faults {
            eprintln!("line {}: {}", fault.line, fault.detail);
        }
        out::text(&format!(
            "{} imported, {} refused",
            all.imported, all.refused
        ))?;
    }
    match all.refused {
        0 => Ok(()),
        _ => Err(Failure::failed(
            "some lines were refused; the others are kept",
        )),
    }
}

/// The lines of an import, in chunks.
struct Lines {
    reader: Box<dyn BufRead + Send>,
    read: u64,
}

impl Lines {
    fn open(file: &Path) -> Outcome<Self> {
        let reader: Box<dyn BufRead + Send> = if file == Path::new("-") {
            Box::new(BufReader::new(io::stdin()))
        } else {
            let opened = File::open(file);
            let text = |error| Failure::Usage(format!("{}: {error}", file.display()));
            Box::new(BufReader::new(opened.map_err(text)?))
        };
        Ok(Self { reader, read: 0 })
    }

    /// The next lines as JSON documents, and how many lines came before.
    fn chunk(&mut self) -> io::Result<Option<(Vec<u8>, u64)>> {
        let first_line = self.read;
        let (mut chunk, mut line) = (Vec::new(), String::new());
        while chunk.len() < CHUNK_BYTES {
            line.clear();
            if self.reader.read_line(&mut line)? == 0 {
                break;
            }
            self.read += 1;
            chunk.extend_from_slice(document(line.trim()).as_bytes());
            chunk.push(b'\n');
        }
        Ok((self.read > first_line).then_some((chunk, first_line)))
    }
}

/// A line as a JSON document: a bare address becomes one.
fn document(line: &str) -> String {
    if line.is_empty() || line.starts_with('{') {
        return line.to_owned();
    }
    json!({ "address": line }).to_string()
}

async fn export(args: ExportArgs) -> Outcome {
    match Source::open(&args.place).await? {
        Source::Gateway(client) => {
            let request = client.request(Method::GET, "suppressions/export");
            let mut answer = Client::answer(request.timeout(LONG_ANSWER_MAX)).await?;
            while let Some(chunk) = answer.chunk().await? {
                io::stdout().write_all(&chunk)?;
            }
            Ok(io::stdout().flush()?)
        }
        Source::Store(offline) => {
            let mut after = None;
            loop {
                let page = offline.store.suppressions(after, PAGE.into()).await?;
                let last = page.last();
                after = last.map(|entry| (entry.address.clone(), entry.scope.clone()));
                let is_done = page.len() < usize::from(PAGE);
                for entry in page {
                    out::json_line(&SuppressionBody::from(entry))?;
                }
                if is_done {
                    return Ok(());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_address_becomes_a_document_and_lines_are_counted() {
        assert_eq!(document("a@x.test"), "{\"address\":\"a@x.test\"}");
        assert_eq!(document("{\"address\":1}"), "{\"address\":1}");
        let mut lines = Lines {
            reader: Box::new(io::Cursor::new("a@x.test\r\n\nb\"@x.test")),
            read: 0,
        };
        let (chunk, before) = lines.chunk().unwrap().unwrap();
        assert_eq!(before, 0);
        let chunk = String::from_utf8(chunk).unwrap();
        let expected = "{\"address\":\"a@x.test\"}\n\n{\"address\":\"b\\\"@x.test\"}\n";
        assert_eq!(chunk, expected);
        assert!(lines.chunk().unwrap().is_none());
    }
}
