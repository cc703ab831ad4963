//! `/admin/v1/nodes` and `/admin/v1/node`: which gateways work together, how they are, and draining
//! one.

use axum::Json;
use axum::extract::{Request, State};
use malote_store::{NodeWish, Nodes};

use super::AdminState;
use super::api::{NodeBody, NodeRequest, NodesAction, NodesAnswer, NodesBody, NodesRequest};
use super::problem::{Problem, ProblemKind};
use super::request;

/// `GET nodes`.
pub(super) async fn list(State(state): State<AdminState>) -> Result<Json<NodesBody>, Problem> {
    Ok(Json(NodesBody::of(state.engine.shared().as_ref()).await?))
}

/// `POST nodes`: asks something of a node by its name, or forgets what it left open.
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
    let mut answer = NodesAnswer::default();
    match body.action {
        NodesAction::Drain => answer.processes = nodes.wish(&body.node, NodeWish::Drain).await?,
        NodesAction::Undrain => {
            answer.processes = nodes.wish(&body.node, NodeWish::Undrain).await?
        }
        NodesAction::Forget => {
            refuse_live(nodes, &body.node).await?;
            answer.keys = nodes.forget_keys(&body.node).await?;
            return Ok(Json(answer));
        }
    }
    if answer.processes == 0 {
        let text = format!("no node {} lives", body.node);
        return Err(Problem::at(ProblemKind::NotFound, "/node", text));
    }
    Ok(Json(answer))
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

/// Refuses a node that may yet say itself what became of its keys, and one that nobody knows.
async fn refuse_live(nodes: &dyn Nodes, name: &str) -> Result<(), Problem> {
    let all = nodes.list().await?;
    let mut named = all
        .iter()
        .filter(|node| node.report.name == name)
        .peekable();
    if named.peek().is_none() {
        let text = format!("there was no node {name} in the last day");
        return Err(Problem::at(ProblemKind::NotFound, "/node", text));
    }
    if named.any(|node| node.report.state.is_alive()) {
        let text = format!("node {name} lives: it settles its keys itself");
        return Err(Problem::at(ProblemKind::InvalidValue, "/node", text));
    }
    Ok(())
}
