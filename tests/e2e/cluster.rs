//! Three gateways on one queue in PostgreSQL: any may die, freeze or lose the database, and nothing
//! that was acknowledged is lost.

mod clocks;
mod kills;
mod limits;
mod load;
mod outages;
mod outlets;
mod rolling;

use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use malote_sandbox::Kind;
use malote_tests::{Backends, Config, Gateway, Mood, Postgres, Service, Wire};

use crate::{campaigns_by, long};

/// Gateways of a cluster.
const NODES: usize = 3;
/// Calls to the relay at once of each node.
const CONCURRENCY: usize = 8;
/// Messages under way of a node that is [`bounded`]: with the relay, or answered and not yet settled.
/// So many may be unknown or sent twice after one death.
const WORKERS: usize = 2 * CONCURRENCY;
/// Connections of each node to the database.
const POOL: u16 = 4;
/// What a dead node had under way is another's within this.
const TAKE_OVER_MAX: Duration = Duration::from_secs(15);
/// How long the queue may take to drain.
const DRAIN_MAX: Duration = Duration::from_secs(60);
/// Bounds what a node may have under way by [`WORKERS`]: its calls end before they are settled, so
/// that [`CONCURRENCY`] bounds only those that the relay has.
fn bounded(config: &mut Config) {
    config.add(&format!("[delivery]\nworkers = {WORKERS}\n"));
}

/// Three nodes, each with a wire of its own to the database, and one relay that takes everything.
struct Cluster {
    nodes: Vec<Gateway>,
    wires: Vec<Wire>,
    relay: Service,
    postgres: Postgres,
}

impl Cluster {
    /// Starts one whose nodes are [`bounded`].
    async fn start() -> Result<Self> {
        let change = |_, config: &mut Config| {
            bounded(config);
            Ok(())
        };
        Self::start_with(Postgres::start()?, change).await
    }

    /// Starts one on this server; `change` is given each node's number and configuration.
    async fn start_with(
        postgres: Postgres,
        change: impl Fn(usize, &mut Config) -> Result<()>,
    ) -> Result<Self> {
        let relay = Service::start(Kind::Smtp).await?;
        let (mut configs, mut wires) = (Vec::new(), Vec::new());
        for number in 0..NODES {
            let wire = Wire::to(postgres.address()).await?;
            let mut config = Config::contract(Backends {
                ses: relay.address,
                mailgun: relay.address,
                relay: relay.address,
            })?;
            campaigns_by(&mut config, "{ provider = \"relay\", pool = \"bulk\" }")?;
            config.replace(
                "targets = [{ provider = \"ses\", pool = \"tx\" }, { provider = \"relay\" }]",
                "targets = [{ provider = \"relay\" }]",
            )?;
            config.replace("first = \"10s\"", "first = \"1s\"")?;
            postgres.keep(&mut config, wire.address, POOL)?;
            config.add(&format!(
                "[providers.relay.limits]\nconcurrency = {CONCURRENCY}\n"
            ));
            change(number, &mut config)?;
            configs.push(config);
            wires.push(wire);
        }
        let configs: Result<[Config; NODES], _> = configs.try_into();
        let [one, two, three] = configs.map_err(|_| anyhow!("there are three nodes"))?;
        let (one, two, three) = tokio::try_join!(
            Gateway::start(one),
            Gateway::start(two),
            Gateway::start(three)
        )?;
        Ok(Self {
            nodes: vec![one, two, three],
            wires,
            relay,
            postgres,
        })
    }

    fn node(&self, number: usize) -> Result<&Gateway> {
        self.nodes.get(number).context("there are three nodes")
    }

    fn node_mut(&mut self, number: usize) -> Result<&mut Gateway> {
        self.nodes.get_mut(number).context("there are three nodes")
    }

    /// Starts those that have ended, as a service manager does: who lost its session ends.
    async fn restart_ended(&mut self) -> Result<()> {
        for node in &mut self.nodes {
            if node.has_ended()? {
                println!("a node had ended: {:?}", node.log().lines().last());
                node.boot().await?;
            }
        }
        Ok(())
    }

    /// Changes the wires of all nodes.
    fn set_wires(&self, mood: Mood) {
        for wire in &self.wires {
            wire.set(mood);
        }
    }

    /// The doors that take mail.
    fn doors(&self) -> Vec<std::net::SocketAddr> {
        self.nodes.iter().map(|node| node.doors().http).collect()
    }
}
