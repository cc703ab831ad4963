//! `malote guard`: campaigns with their bounces and complaints, and letting paused ones go on.

use malote_core::name::StreamName;

use super::exit::{Failure, Outcome};
use super::out::{self, Table};
use super::place::PlaceArgs;
use super::source::Source;
use crate::admin::api::{GuardBody, GuardResumeRequest, GuardResumedBody};

/// Rows shown to people; JSON has more.
const ROWS_MAX: usize = 50;

/// What to do with the guard; nothing lists.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct GuardArgs {
    #[command(subcommand)]
    command: Option<GuardCommand>,
    #[command(flatten)]
    list: ListArgs,
}

#[derive(Debug, clap::Subcommand)]
enum GuardCommand {
    /// List campaigns and streams: sends, bounces, complaints, and what was decided.
    List(ListArgs),
    /// Let a slowed or paused campaign, or a stream, go on; it is counted anew.
    Resume(ResumeArgs),
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

/// What is to go on.
#[derive(Debug, clap::Args)]
struct ResumeArgs {
    /// The stream.
    stream: StreamName,
    /// The campaign [default: the stream itself].
    campaign: Option<String>,
    /// Write JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

/// Runs `malote guard`.
pub(super) async fn run(args: GuardArgs) -> Outcome {
    match args.command {
        None => list(args.list).await,
        Some(GuardCommand::List(args)) => list(args).await,
        Some(GuardCommand::Resume(args)) => resume(args).await,
    }
}

async fn list(args: ListArgs) -> Outcome {
    let source = Source::open(&args.place).await?;
    let guard = source.guard().await?;
    let nothing = "no campaign mail was sent within the window";
    if args.json {
        return out::json_list(&guard, guard.rows.is_empty(), nothing);
    }
    if guard.rows.is_empty() {
        return Err(Failure::Nothing(nothing.to_owned()));
    }
    print(&guard)
}

fn print(guard: &GuardBody) -> Outcome {
    let mut table = Table::new(&[
        "STREAM",
        "CAMPAIGN",
        "SENDS",
        "BOUNCES",
        "COMPLAINTS",
        "STATE",
        "SINCE",
    ]);
    let rows = guard.rows.iter().take(ROWS_MAX);
    for row in rows.clone() {
        let complaints = row.complaints.map(|count| count.to_string());
        let state = match (row.state, row.per_second) {
            (None, _) => "open".to_owned(),
            (Some(state), Some(pace)) => format!("{} to {pace:.2}/s", state.as_str()),
            (Some(state), None) => state.as_str().to_owned(),
        };
        table.row([
            row.stream.as_str(),
            row.campaign.as_deref().unwrap_or("-"),
            &row.sends.to_string(),
            &counted(row.bounces, row.sends),
            complaints.as_deref().unwrap_or("unknown"),
            &state,
            &row.since.map_or("-".to_owned(), |at| format!("{at:.0}")),
        ]);
    }
    table.print()?;
    for reason in rows
        .filter(|row| row.state.is_some())
        .filter_map(|row| row.reason.as_ref())
    {
        out::text(reason)?;
    }
    let shown = guard.rows.len().min(ROWS_MAX) as u64;
    if guard.total > shown {
        out::text(&format!(
            "and {} more; --json has them",
            guard.total - shown
        ))?;
    }
    Ok(())
}

/// A count with its share.
#[expect(clippy::cast_precision_loss, reason = "for people to read")]
fn counted(count: u64, of: u64) -> String {
    if of == 0 {
        return count.to_string();
    }
    format!("{count} ({:.1} %)", count as f64 * 100.0 / of as f64)
}

async fn resume(args: ResumeArgs) -> Outcome {
    let client = args.place.client()?;
    client.expect().await?;
    let what = match &args.campaign {
        Some(campaign) => format!("campaign {campaign} of {}", args.stream),
        None => format!("stream {}", args.stream),
    };
    let request = GuardResumeRequest {
        stream: args.stream,
        campaign: args.campaign,
    };
    let resumed: GuardResumedBody = client.post("guard/resume", &request).await?;
    if args.json {
        return Ok(out::json(&resumed)?);
    }
    let released = resumed.released;
    Ok(out::text(&format!(
        "{what} goes on, {released} held deliveries released; it is counted anew"
    ))?)
}
