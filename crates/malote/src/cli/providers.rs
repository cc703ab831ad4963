//! `malote providers`: how the targets do.

use super::exit::Outcome;
use super::filter::or_dash;
use super::out::{self, Table};
use super::place::PlaceArgs;
use super::source::Source;

/// How to show them.
#[derive(Debug, clap::Args)]
pub(super) struct ProvidersArgs {
    /// Write JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

/// Runs `malote providers`.
pub(super) async fn run(args: ProvidersArgs) -> Outcome {
    let source = Source::open(&args.place).await?;
    let targets = source.targets().await?;
    if args.json {
        return Ok(out::json(&targets)?);
    }
    let mut table = Table::new(&["TARGET", "KIND", "UP", "BREAKER", "WHY NOT"]);
    for target in &targets.targets {
        let is_up = match target.is_up {
            Some(true) => "yes",
            Some(false) => "no",
            None => "-",
        };
        table.row([
            &target.target,
            &target.kind,
            is_up,
            &or_dash(target.breaker.as_ref()),
            &or_dash(target.why.as_ref()),
        ]);
    }
    Ok(table.print()?)
}
