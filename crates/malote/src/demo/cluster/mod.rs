//! `malote demo --cluster`: three gateways on one queue in PostgreSQL. One of them is killed under
//! load; the terminal shows that nothing was lost and who sent what it had under way.

mod nodes;
mod server;
mod shop;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{anyhow, ensure};
use tokio::time::{Instant, sleep};

use super::process::asked_to_end;
use super::{DRAW_EVERY, Stage};
use nodes::Nodes;
use shop::Shop;

/// How long there is load before the kill, and after it.
const BEFORE: Duration = Duration::from_secs(4);
const AFTER: Duration = Duration::from_secs(4);
/// How long the last mail may take to arrive: a dead node's is another's within 15 s.
const SETTLE_MAX: Duration = Duration::from_secs(40);
/// Which node is killed.
const VICTIM: usize = 1;

/// What was seen at the end.
struct Account {
    acknowledged: usize,
    lost: usize,
    twice: usize,
    again: u64,
    taken_over: u64,
    took: Option<Duration>,
}

/// Where the queue is.
#[derive(Debug)]
pub enum Database {
    /// In a server of the demo's own. Its programs are in this folder, on the path, or where Debian
    /// puts them.
    Own(Option<PathBuf>),
    /// In a database that is there.
    At {
        /// Where: `postgresql://user:password@host/database`.
        url: String,
        /// `verify` or `none`.
        tls: &'static str,
    },
}

/// Runs the demo; about half a minute. Ctrl-C and SIGTERM end it in order.
///
/// # Errors
/// If there is no PostgreSQL, or another malote works on it, somebody cannot be started, or mail was lost: then the demo has shown
/// a fault.
pub async fn run(database: Database) -> anyhow::Result<()> {
    let mut stage = Stage::new();
    let whose = match &database {
        Database::Own(_) => "a PostgreSQL of its own, three gateways on it",
        Database::At { .. } => "three gateways on the database",
    };
    stage.say(&format!("starting {whose}, and an SMTP relay"));
    let mut nodes = Nodes::gather(database).await?;
    let played = tokio::select! {
        played = play(&mut stage, &mut nodes) => played,
        ended = asked_to_end() => match ended {
            Ok(()) => Err(anyhow!("ended before it was over")),
            Err(error) => Err(error.into()),
        },
    };
    nodes.leave().await;
    let account = played?;
    for line in account.told() {
        stage.say(&line);
    }
    ensure!(
        account.lost == 0,
        "mail was lost: please report this output"
    );
    ensure!(
        account.took.is_some(),
        "nobody took over what the dead gateway had under way"
    );
    Ok(())
}

async fn play(stage: &mut Stage, nodes: &mut Nodes) -> anyhow::Result<Account> {
    let doors: Vec<_> = nodes.nodes.iter().map(|node| node.http).collect();
    let mut shop = Shop::open(&doors)?;
    stage.say("a shop hands password resets to each in turn; the relay takes 0.3 s for each");
    flow(stage, nodes, &shop, BEFORE).await;
    let victim = nodes.nodes.get_mut(VICTIM);
    let name = victim.as_ref().map_or("", |victim| victim.name);
    stage.say(&format!("kill -9 {name}; the shop goes on with the others"));
    victim.map_or(Ok(()), nodes::Node::kill)?;
    let killed = Instant::now();
    flow(stage, nodes, &shop, AFTER).await;
    shop.close().await;
    stage.say("no new mail; waiting for what is under way, also that of the dead one");
    let acknowledged = shop.acknowledged();
    let mut took = None;
    loop {
        let delivered = nodes.delivered();
        if took.is_none() && nodes.taken_over().await? > 0 {
            took = Some(killed.elapsed());
        }
        let lost = acknowledged
            .iter()
            .filter(|one| !delivered.contains_key(*one));
        let lost = lost.count();
        let is_over = lost == 0 && took.is_some();
        if is_over || killed.elapsed() > SETTLE_MAX {
            stage.end(&picture(nodes, &shop, &delivered));
            return Ok(Account {
                acknowledged: acknowledged.len(),
                lost,
                twice: delivered.values().filter(|times| **times > 1).count(),
                again: shop.again(),
                taken_over: nodes.taken_over().await?,
                took,
            });
        }
        stage.draw(&picture(nodes, &shop, &delivered));
        sleep(DRAW_EVERY).await;
    }
}

/// Lets mail flow for a while.
async fn flow(stage: &mut Stage, nodes: &Nodes, shop: &Shop, lasts: Duration) {
    let ends = Instant::now() + lasts;
    while Instant::now() < ends {
        stage.draw(&picture(nodes, shop, &nodes.delivered()));
        sleep(DRAW_EVERY).await;
    }
    stage.end(&picture(nodes, shop, &nodes.delivered()));
}

/// A line for each node, and one for all.
fn picture(nodes: &Nodes, shop: &Shop, delivered: &BTreeMap<String, u64>) -> String {
    let mut picture = String::new();
    for (number, node) in nodes.nodes.iter().enumerate() {
        let state = if node.is_up() { "up" } else { "killed" };
        let count = shop.acknowledged_by(number);
        let line = writeln!(
            picture,
            "  {}  {state:<6}  {count:>6} acknowledged",
            node.name
        );
        debug_assert!(line.is_ok(), "writing to a String cannot fail");
    }
    let all: u64 = (0..nodes.nodes.len())
        .map(|number| shop.acknowledged_by(number))
        .sum();
    let delivered = delivered.len();
    let line = writeln!(
        picture,
        "  all            {all:>6} acknowledged, {delivered} delivered"
    );
    debug_assert!(line.is_ok(), "writing to a String cannot fail");
    picture
}

impl Account {
    fn told(&self) -> Vec<String> {
        let took = self.took.map_or("never".to_owned(), |took| {
            format!("after {:.1} s", took.as_secs_f64())
        });
        vec![
            format!(
                "{} acknowledged, {} lost; {} were handed to another gateway under their key",
                self.acknowledged, self.lost, self.again
            ),
            format!(
                "{} deliveries that the dead gateway had under way were taken over {took}",
                self.taken_over
            ),
            format!(
                "{} arrived twice: what a relay has when a gateway dies is sent again where the \
                 stream prefers no loss",
                self.twice
            ),
        ]
    }
}
