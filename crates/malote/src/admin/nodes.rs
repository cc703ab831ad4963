//! `/admin/v1/nodes`: which gateways work together, and how they are.

use axum::Json;
use axum::extract::State;

use super::AdminState;
use super::api::NodesBody;
use super::problem::Problem;

/// `GET nodes`.
pub(super) async fn list(State(state): State<AdminState>) -> Result<Json<NodesBody>, Problem> {
    Ok(Json(NodesBody::of(state.engine.shared().as_ref()).await?))
}
