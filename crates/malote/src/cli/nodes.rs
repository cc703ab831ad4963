//! `malote nodes`: which gateways work together, how they are, and draining one.

use std::time::Duration;

use malote_core::units::Span;
use malote_store::{NodeRecord, NodeState, NodeWish};
use tokio::time::Instant;

use super::client::Client;
use super::exit::{Failure, Outcome};
use super::out::{self, Table};
use super::place::PlaceArgs;
use super::source::Source;
use crate::admin::api::{NodeBody, NodeRequest, NodesAction, NodesAnswer, NodesBody, NodesRequest};

/// Digits of an instance that are shown: enough to tell a handful apart.
const INSTANCE_DIGITS: usize = 8;

/// How often is asked whether a node is drained.
const ASK_EVERY: Duration = Duration::from_millis(200);

/// What to do with nodes; nothing lists them.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct NodesArgs {
    #[command(subcommand)]
    command: Option<NodesCommand>,
    #[command(flatten)]
    list: ListArgs,
}

#[derive(Debug, clap::Subcommand)]
enum NodesCommand {
    /// List nodes: state, version, clock, and whose configuration differs.
    List(ListArgs),
    /// Have a node take no new mail and end what it has under way, so that it can be stopped.
    Drain(DrainArgs),
    /// Have it serve again.
    Undrain(UndrainArgs),
    /// Say that a node never comes back: it is no longer listed, and the idempotency keys that it left
    /// open are free.
    Forget(ForgetArgs),
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

/// Which node to drain.
#[derive(Debug, clap::Args)]
struct DrainArgs {
    /// The node, as `malote nodes` names it; it hears of it within 5 s [default: the gateway asked].
    name: Option<String>,
    /// Wait until it is drained.
    #[arg(long)]
    wait: bool,
    /// How long to wait for that.
    #[arg(long, value_name = "SPAN", default_value = "5m", requires = "wait")]
    wait_max: Span,
    /// Write JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

/// Which node to have serve again.
#[derive(Debug, clap::Args)]
struct UndrainArgs {
    /// The node, as `malote nodes` names it; it hears of it within 5 s [default: the gateway asked].
    name: Option<String>,
    /// Write JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

/// Which node does not come back.
#[derive(Debug, clap::Args)]
struct ForgetArgs {
    /// The node, as `malote nodes` names it.
    name: String,
    /// Write JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

/// Runs `malote nodes`.
pub(super) async fn run(args: NodesArgs) -> Outcome {
    match args.command {
        None => list(args.list).await,
        Some(NodesCommand::List(args)) => list(args).await,
        Some(NodesCommand::Drain(args)) => drain(args).await,
        Some(NodesCommand::Undrain(args)) => {
            let client = args.place.client()?;
            client.expect().await?;
            ask(
                &client,
                args.name.as_deref(),
                (NodeWish::Undrain, args.json),
            )
            .await
        }
        Some(NodesCommand::Forget(args)) => forget(args).await,
    }
}

async fn list(args: ListArgs) -> Outcome {
    let nodes = Source::open(&args.place).await?.nodes().await?;
    let nothing = "the gateway works alone: no [shared.postgres] or [store.postgres]";
    if args.json {
        return out::json_list(&nodes, nodes.nodes.is_empty(), nothing);
    }
    if nodes.nodes.is_empty() {
        return Err(Failure::Nothing(nothing.to_owned()));
    }
    print(&nodes)
}

async fn drain(args: DrainArgs) -> Outcome {
    let client = args.place.client()?;
    client.expect().await?;
    let name = args.name.as_deref();
    ask(&client, name, (NodeWish::Drain, args.json)).await?;
    if !args.wait {
        return Ok(());
    }
    let until = Instant::now() + args.wait_max.0;
    loop {
        let (is_drained, left) = progress(&client, name).await?;
        if is_drained {
            return if args.json {
                Ok(())
            } else {
                Ok(out::text("drained")?)
            };
        }
        if Instant::now() >= until {
            return Err(Failure::failed(format!("not drained yet: {left}")));
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

/// Asks it of the gateway itself, or by name of another.
async fn ask(client: &Client, name: Option<&str>, (wish, is_json): (NodeWish, bool)) -> Outcome {
    let Some(name) = name else {
        let node: NodeBody = client.post("node", &NodeRequest { action: wish }).await?;
        if is_json {
            return Ok(out::json(&node)?);
        }
        return Ok(out::text(&format!(
            "{} is {}",
            node.node,
            node.state.as_str()
        ))?);
    };
    let action = match wish {
        NodeWish::Drain => NodesAction::Drain,
        NodeWish::Undrain => NodesAction::Undrain,
    };
    let answer = ask_by_name(client, name, action).await?;
    if is_json {
        return Ok(out::json(&answer)?);
    }
    Ok(out::text(&format!(
        "{name} was asked to {}",
        wish.as_str()
    ))?)
}

async fn ask_by_name(client: &Client, name: &str, action: NodesAction) -> Outcome<NodesAnswer> {
    let node = name.to_owned();
    client.post("nodes", &NodesRequest { node, action }).await
}

/// Whether it is drained, and what it waits for.
async fn progress(client: &Client, name: Option<&str>) -> Outcome<(bool, String)> {
    let Some(name) = name else {
        let node: NodeBody = client.get("node", &[]).await?;
        let (under_way, waiting) = (node.under_way, node.waiting);
        let left = format!("{under_way} messages under way, {waiting} deliveries waiting");
        return Ok((node.state == NodeState::Drained, left));
    };
    let all: NodesBody = client.get("nodes", &[]).await?;
    let named = all.nodes.iter().filter(|node| node.report.name == name);
    let mut live = named
        .map(|node| node.report.state)
        .filter(|state| state.is_alive());
    let is_drained = live.all(|state| state == NodeState::Drained);
    Ok((is_drained, format!("{name} says so when it is")))
}

async fn forget(args: ForgetArgs) -> Outcome {
    let client = args.place.client()?;
    client.expect().await?;
    let answer = ask_by_name(&client, &args.name, NodesAction::Forget).await?;
    if args.json {
        return Ok(out::json(&answer)?);
    }
    let name = &args.name;
    match (answer.processes, answer.keys) {
        (0, 0) => Err(Failure::Nothing(format!("all of {name} live"))),
        (_, 0) => Ok(out::text(&format!("{name} is forgotten"))?),
        (_, 1) => Ok(out::text(&format!("{name} is forgotten, 1 key is free"))?),
        (_, keys) => Ok(out::text(&format!(
            "{name} is forgotten, {keys} keys are free"
        ))?),
    }
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
