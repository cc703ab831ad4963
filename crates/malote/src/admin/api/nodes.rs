//! What the operators' door answers about nodes.

use malote_store::{NodeRecord, Shared, StoreError};
use serde::{Deserialize, Serialize};

use crate::nodes::strangers;

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
