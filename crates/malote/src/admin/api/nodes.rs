//! What the operators' door answers about nodes.

use malote_delivery::DrainProgress;
use malote_store::{NodeRecord, NodeState, NodeWish, Shared, StoreError};
use serde::{Deserialize, Serialize};

use crate::nodes::{state_of, strangers};

/// The gateways that work together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NodesBody {
    /// Every node of the last day, those that live first, then by name; empty where a gateway
    /// shares nothing with others.
    pub(crate) nodes: Vec<NodeRecord>,
    /// The instances that live and have another configuration than the one that was asked.
    pub(crate) other_configurations: Vec<String>,
}

impl NodesBody {
    /// As this engine knows them.
    ///
    /// # Errors
    /// If the database cannot be asked.
    pub(crate) async fn of(shared: &dyn Shared) -> Result<Self, StoreError> {
        let nodes = match shared.nodes() {
            Some(nodes) => nodes.list().await?,
            None => Vec::new(),
        };
        let others = strangers(&nodes).into_iter();
        let other_configurations = others.map(|node| node.instance.clone()).collect();
        Ok(Self {
            nodes,
            other_configurations,
        })
    }
}

/// Something asked of a node by its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NodesRequest {
    /// The node.
    pub(crate) node: String,
    /// What.
    pub(crate) action: NodesAction,
}

/// What to ask of a node, or to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum NodesAction {
    /// To take no new mail and to end what it has under way.
    Drain,
    /// To serve again.
    Undrain,
    /// It does not come back: it is no longer listed, and the idempotency keys that it left open are
    /// free.
    Forget,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NodesAnswer {
    /// Processes of that name that were asked, of which each hears of it within 5 s, or forgotten.
    pub(crate) processes: u64,
    /// Keys that are free now.
    pub(crate) keys: u64,
}

/// Something asked of the gateway that is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NodeRequest {
    /// What.
    pub(crate) action: NodeWish,
}

/// The gateway that is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NodeBody {
    /// Its name.
    pub(crate) node: String,
    /// What it is doing.
    pub(crate) state: NodeState,
    /// Messages under way.
    pub(crate) under_way: u32,
    /// Deliveries that it has yet to send; 0 where others work on the same queue.
    pub(crate) waiting: u64,
}

impl NodeBody {
    /// As its engine says.
    pub(crate) fn new(node: String, progress: DrainProgress) -> Self {
        Self {
            node,
            state: state_of(&progress),
            under_way: progress.under_way,
            waiting: progress.waiting,
        }
    }
}
