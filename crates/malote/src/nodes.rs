//! This gateway as one of several: it tells the others that it lives, and looks who else does.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use malote_core::intake::Openness;
use malote_delivery::{DrainProgress, Engine};
use malote_store::{NodeRecord, NodeReport, NodeState, NodeWish, StoreError, Wished};
use prometheus::{Gauge, IntGauge, IntGaugeVec, Opts, Registry};
use tokio_util::sync::CancellationToken;

/// How often it says so; one that has not been heard of for three times as long counts as lost.
const BEAT_EVERY: Duration = Duration::from_secs(5);
/// The same while it drains, which somebody waits for.
const DRAINING_BEAT_EVERY: Duration = Duration::from_secs(1);
/// Longest wait for the database at the end: the others find out by themselves.
const LEAVE_MAX: Duration = Duration::from_secs(2);

/// The digest of the configuration in force.
pub(crate) type DigestInForce = Arc<ArcSwap<String>>;

/// This gateway among its nodes.
pub(crate) struct Membership {
    /// What drains, and knows where nodes meet.
    pub(crate) engine: Arc<Engine>,
    /// What it is called.
    pub(crate) name: String,
    /// What its configuration is.
    pub(crate) digest: DigestInForce,
    /// What is counted.
    pub(crate) metrics: NodeMetrics,
}

/// What is counted of nodes.
#[derive(Clone)]
pub(crate) struct NodeMetrics {
    nodes: IntGaugeVec,
    other_configurations: IntGauge,
    clock_ahead: Gauge,
}

impl NodeMetrics {
    /// Registers them.
    pub(crate) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let opts = Opts::new(
            "malote_nodes",
            "Nodes of the last day, as this one sees them; lost ones that are not back",
        );
        let nodes = IntGaugeVec::new(opts, &["state"])?;
        let other_configurations = IntGauge::new(
            "malote_nodes_with_another_configuration",
            "Nodes that live and do not have this one's rules, streams, providers and credentials",
        )?;
        let clock_ahead = Gauge::new(
            "malote_node_clock_ahead_seconds",
            "By how much this node's clock is ahead of the database's",
        )?;
        registry.register(Box::new(nodes.clone()))?;
        registry.register(Box::new(other_configurations.clone()))?;
        registry.register(Box::new(clock_ahead.clone()))?;
        Ok(Self {
            nodes,
            other_configurations,
            clock_ahead,
        })
    }

    fn take_in(&self, nodes: &[NodeRecord], strangers: usize) {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        for state in NodeState::ALL {
            let count = nodes.iter().filter(|node| node.report.state == state);
            let count = count.filter(|node| state != NodeState::Lost || !is_back(node, nodes));
            let gauge = self.nodes.with_label_values(&[state.as_str()]);
            gauge.set(number(count.count()));
        }
        self.other_configurations.set(number(strangers));
        if let Some(own) = nodes.iter().find(|node| node.is_this) {
            self.clock_ahead.set(own.clock_ahead_s());
        }
    }
}

/// Whether a node was started again since, under the same name.
fn is_back(lost: &NodeRecord, nodes: &[NodeRecord]) -> bool {
    let is_later = |node: &NodeRecord| {
        node.report.name == lost.report.name && node.started_at > lost.started_at
    };
    nodes.iter().any(is_later)
}

/// The nodes that live and have another configuration than the one that was asked.
pub(crate) fn strangers(nodes: &[NodeRecord]) -> Vec<&NodeRecord> {
    let Some(own) = nodes.iter().find(|node| node.is_this) else {
        return Vec::new();
    };
    let lives = |node: &&NodeRecord| node.report.state.is_alive();
    let is_other = |node: &&NodeRecord| node.report.configuration != own.report.configuration;
    nodes.iter().filter(lives).filter(is_other).collect()
}

/// What a node is doing, by how far its drain has come.
pub(crate) fn state_of(progress: &DrainProgress) -> NodeState {
    match progress.openness {
        Openness::Open => NodeState::Serving,
        Openness::Closing | Openness::Closed if progress.is_drained() => NodeState::Drained,
        Openness::Closing | Openness::Closed => NodeState::Draining,
    }
}

impl Membership {
    /// Tells the others that this one lives, how far its drain has come, and that it goes once
    /// `stops`. Does what they ask of it.
    pub(crate) async fn keep(self, stops: CancellationToken) {
        let mut openness = self.engine.openness();
        let (mut heard, mut warned_of) = (0, Vec::new());
        loop {
            let state = self.state().await;
            match self.beat(state, &mut warned_of).await {
                Ok(Some(wished)) if wished.by != heard => {
                    heard = wished.by;
                    self.heed(wished.wish);
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(%error, "could not tell other nodes that this one lives");
                }
            }
            let pause = match state {
                NodeState::Serving => BEAT_EVERY,
                NodeState::Draining
                | NodeState::Drained
                | NodeState::Gone
                | NodeState::Lost
                | NodeState::Other => DRAINING_BEAT_EVERY,
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                Ok(()) = openness.changed() => {}
                () = stops.cancelled() => break,
            }
        }
        self.leave().await;
    }

    async fn state(&self) -> NodeState {
        match self.engine.drain_progress().await {
            Ok(progress) => state_of(&progress),
            Err(error) => {
                tracing::debug!(%error, "could not look whether all is drained");
                NodeState::Draining
            }
        }
    }

    fn heed(&self, wish: NodeWish) {
        tracing::info!(wish = wish.as_str(), "another node asked");
        match wish {
            NodeWish::Drain => self.engine.drain(),
            NodeWish::Undrain => self.engine.undrain(),
        }
    }

    async fn beat(
        &self,
        state: NodeState,
        warned_of: &mut Vec<String>,
    ) -> Result<Option<Wished>, StoreError> {
        let shared = self.engine.shared();
        let Some(nodes) = shared.nodes() else {
            return Ok(None);
        };
        let report = NodeReport {
            name: self.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            configuration: self.digest.load().as_str().to_owned(),
            state,
        };
        let wished = nodes.beat(&report).await?;
        let all = nodes.list().await?;
        let strangers = strangers(&all);
        self.metrics.take_in(&all, strangers.len());
        let names: Vec<String> = strangers
            .iter()
            .map(|node| format!("{} ({})", node.report.name, node.instance))
            .collect();
        for name in names.iter().filter(|name| !warned_of.contains(name)) {
            tracing::warn!(
                node = name,
                "another node has other rules, streams, providers or credentials: `malote nodes` compares them"
            );
        }
        *warned_of = names;
        Ok(wished)
    }

    async fn leave(&self) {
        let shared = self.engine.shared();
        let Some(nodes) = shared.nodes() else {
            return;
        };
        match tokio::time::timeout(LEAVE_MAX, nodes.leave()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::debug!(%error, "could not tell other nodes that this one goes")
            }
            Err(_) => tracing::debug!("could not tell other nodes in time that this one goes"),
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn node(name: &str, started_at: i64, state: NodeState) -> NodeRecord {
        NodeRecord {
            report: NodeReport {
                name: name.to_owned(),
                version: String::new(),
                configuration: String::new(),
                state,
            },
            instance: format!("{name}{started_at}"),
            is_this: false,
            started_at: Timestamp::from_second(started_at).unwrap(),
            beat_at: Timestamp::UNIX_EPOCH,
            clock_ahead_ms: 0,
        }
    }

    #[test]
    fn a_lost_node_counts_until_it_is_back() {
        let metrics = NodeMetrics::new(&Registry::new()).unwrap();
        let of = |state: NodeState| metrics.nodes.with_label_values(&[state.as_str()]).get();
        let mut nodes = vec![
            node("a", 1, NodeState::Lost),
            node("b", 2, NodeState::Serving),
        ];
        metrics.take_in(&nodes, 0);
        assert_eq!((of(NodeState::Lost), of(NodeState::Serving)), (1, 1));
        nodes.push(node("a", 3, NodeState::Serving));
        metrics.take_in(&nodes, 0);
        assert_eq!((of(NodeState::Lost), of(NodeState::Serving)), (0, 2));
        nodes[2].report.state = NodeState::Lost;
        metrics.take_in(&nodes, 0);
        assert_eq!((of(NodeState::Lost), of(NodeState::Serving)), (1, 1));
    }
}
