//! `/admin/v1/outlets`: who is told of events, and how that goes.

use axum::Json;
use axum::extract::{Request, State};
use malote_core::outlet::OutletName;

use super::AdminState;
use super::api::{OutletAction, OutletRequest, OutletsBody, ReplayBody, ReplayRequest};
use super::problem::{Problem, ProblemKind};
use super::request;

/// `GET outlets`.
pub(super) async fn list(State(state): State<AdminState>) -> Result<Json<OutletsBody>, Problem> {
    Ok(Json(all(&state).await?))
}

/// `POST outlets`: durable before it is answered.
pub(super) async fn set(
    State(state): State<AdminState>,
    request: Request,
) -> Result<Json<OutletsBody>, Problem> {
    let body: OutletRequest = request::json(request).await?;
    let name = OutletName::kept(body.outlet);
    let is_there = match body.action {
        OutletAction::Enable => state.engine.enable_outlet(&name).await?,
        OutletAction::Disable => state.engine.disable_outlet(&name).await?,
    };
    if !is_there {
        return Err(no_outlet(&name));
    }
    Ok(Json(all(&state).await?))
}

/// `POST outlets/replay`.
pub(super) async fn replay(
    State(state): State<AdminState>,
    request: Request,
) -> Result<Json<ReplayBody>, Problem> {
    let body: ReplayRequest = request::json(request).await?;
    if body.to < body.from {
        let text = "the time ends before it begins";
        return Err(Problem::at(ProblemKind::InvalidValue, "/to", text));
    }
    let name = OutletName::kept(body.outlet);
    let replayed = state
        .engine
        .replay_outlet(&name, body.from, body.to)
        .await?;
    let replayed = replayed.ok_or_else(|| no_outlet(&name))?;
    Ok(Json(replayed.into()))
}

async fn all(state: &AdminState) -> Result<OutletsBody, Problem> {
    let outlets = state.engine.outlets().await?.into_iter();
    Ok(OutletsBody {
        outlets: outlets.map(Into::into).collect(),
    })
}

fn no_outlet(name: &OutletName) -> Problem {
    let text = format!("no outlet {name} is configured");
    Problem::new(ProblemKind::NotFound, text)
}
