//! `/admin/v1/nodes` and `/admin/v1/node`: which gateways work together, how they are, and draining
//! one.

use axum::Json;
use axum::extract::{Request, State};
use jiff::SignedDuration;
use malote_store::{NodeRecord, NodeWish, Nodes};

use super::AdminState;
use super::api::{NodeBody, NodeRequest, NodesAction, NodesAnswer, NodesBody, NodesRequest};
use super::problem::{Problem, ProblemKind};
use super::request;

/// A node that has lived for so long has settled what it can.
const SETTLED_AFTER: SignedDuration = SignedDuration::from_secs(60);

/// `GET nodes`.
pub(super) async fn list(State(state): State<AdminState>) -> Result<Json<NodesBody>, Problem> {
    Ok(Json(NodesBody::of(state.engine.shared().as_ref()).await?))
}

/// `POST nodes`: asks something of a node by its name, or forgets it with what it left open.
pub(super) async fn ask(
    State(state): State<AdminState>,
    request: Request,
) -> Result<Json<NodesAnswer>, Problem> {
    let body: NodesRequest = request::json(request).await?;
    let shared = state.engine.shared();
    let Some(nodes) = shared.nodes() else {
        let text = "the gateway works alone: no [shared.postgres] or [store.postgres]";
        return Err(Problem::new(ProblemKind::InvalidValue, text));
    };
    let wish = match body.action {
        NodesAction::Drain => NodeWish::Drain,
        NodesAction::Undrain => NodeWish::Undrain,
        NodesAction::Forget => {
            refuse_unsettled(nodes, &body.node).await?;
            let forgotten = nodes.forget_node(&body.node).await?;
            return Ok(Json(NodesAnswer {
                processes: forgotten.processes,
                keys: forgotten.keys,
            }));
        }
    };
    let processes = nodes.wish(&body.node, wish).await?;
    if processes == 0 {
        let text = format!("no node {} lives", body.node);
        return Err(Problem::at(ProblemKind::NotFound, "/node", text));
    }
    Ok(Json(NodesAnswer { processes, keys: 0 }))
}

/// `GET node`.
pub(super) async fn show(State(state): State<AdminState>) -> Result<Json<NodeBody>, Problem> {
    this(&state).await
}

/// `POST node`.
pub(super) async fn set(
    State(state): State<AdminState>,
    request: Request,
) -> Result<Json<NodeBody>, Problem> {
    let body: NodeRequest = request::json(request).await?;
    match body.action {
        NodeWish::Drain => state.engine.drain(),
        NodeWish::Undrain => state.engine.undrain(),
    }
    this(&state).await
}

async fn this(state: &AdminState) -> Result<Json<NodeBody>, Problem> {
    let progress = state.engine.drain_progress().await?;
    Ok(Json(NodeBody::new(state.node.clone(), progress)))
}

/// Refuses a node that may yet say itself what became of its keys, and one that nobody knows. One
/// that has lived for a while and left some open has another store than they went into.
async fn refuse_unsettled(nodes: &dyn Nodes, name: &str) -> Result<(), Problem> {
    let all = nodes.list().await?;
    let mut named = all
        .iter()
        .filter(|node| node.report.name == name)
        .peekable();
    if named.peek().is_none() {
        let text = format!("there was no node {name} in the last day");
        return Err(Problem::at(ProblemKind::NotFound, "/node", text));
    }
    let settles = |node: &NodeRecord| {
        let age = node.beat_at.duration_since(node.started_at);
        node.report.state.is_alive() && age < SETTLED_AFTER
    };
    if named.any(settles) {
        let text = format!(
            "node {name} lives and settles its keys itself: if it has left some a minute after its \
             start, ask again"
        );
        return Err(Problem::at(ProblemKind::InvalidValue, "/node", text));
    }
    Ok(())
}
