//! `malote nodes`: which gateways work together, and how they are.

use malote_store::NodeRecord;

use super::exit::{Failure, Outcome};
use super::out::{self, Table};
use super::place::PlaceArgs;
use super::source::Source;
use crate::admin::api::NodesBody;

/// Digits of an instance that are shown: enough to tell a handful apart.
const INSTANCE_DIGITS: usize = 8;

/// How to show nodes.
#[derive(Debug, clap::Args)]
pub(super) struct NodesArgs {
    /// Write JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

/// Runs `malote nodes`.
pub(super) async fn run(args: NodesArgs) -> Outcome {
    let nodes = Source::open(&args.place).await?.nodes().await?;
    if args.json {
        return Ok(out::json(&nodes)?);
    }
    if nodes.nodes.is_empty() {
        let text = "the gateway works alone: no [shared.postgres] or [store.postgres]".to_owned();
        return Err(Failure::Nothing(text));
    }
    print(&nodes)
}

fn print(body: &NodesBody) -> Outcome {
    let mut table = Table::new(&[
        "NODE",
        "INSTANCE",
        "STATE",
        "VERSION",
        "CONFIGURATION",
        "CLOCK",
        "SINCE",
        "LAST HEARD OF",
    ]);
    for node in &body.nodes {
        let is_other = body.other_configurations.contains(&node.instance);
        let configuration = if is_other {
            format!("{} (other)", node.report.configuration)
        } else {
            node.report.configuration.clone()
        };
        table.row([
            &called(node),
            node.instance
                .get(..INSTANCE_DIGITS)
                .unwrap_or(&node.instance),
            node.report.state.as_str(),
            &node.report.version,
            &configuration,
            &clock(node.clock_ahead_ms),
            &format!("{:.0}", node.started_at),
            &format!("{:.0}", node.beat_at),
        ]);
    }
    table.print()?;
    if !body.other_configurations.is_empty() {
        out::text(
            "(other): rules, streams, providers or credentials differ from those of the gateway that was asked",
        )?;
    }
    Ok(())
}

fn called(node: &NodeRecord) -> String {
    let mark = if node.is_this { " *" } else { "" };
    format!("{}{mark}", node.report.name)
}

fn clock(ahead_ms: i64) -> String {
    match ahead_ms {
        -999..=999 => "right".to_owned(),
        1_000.. => format!("{} s ahead", ahead_ms / 1_000),
        _ => format!("{} s behind", -(ahead_ms / 1_000)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_right_within_a_second() {
        for (ahead, text) in [
            (0, "right"),
            (-999, "right"),
            (1_000, "1 s ahead"),
            (61_500, "61 s ahead"),
            (-120_000, "120 s behind"),
        ] {
            assert_eq!(clock(ahead), text, "{ahead}");
        }
    }
}
