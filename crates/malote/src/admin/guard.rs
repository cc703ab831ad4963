//! `/admin/v1/guard`: what the reputation guard counts and has decided, and letting it go on.

use axum::Json;
use axum::extract::{Request, State};

use super::AdminState;
use super::api::{GuardBody, GuardResumeRequest, GuardResumedBody};
use super::problem::{Problem, ProblemKind};
use super::request;

/// `GET guard`.
pub(super) async fn list(State(state): State<AdminState>) -> Result<Json<GuardBody>, Problem> {
    Ok(Json(state.engine.guard_rows().await?.into()))
}

/// `POST guard/resume`: durable before it is answered.
pub(super) async fn resume(
    State(state): State<AdminState>,
    request: Request,
) -> Result<Json<GuardResumedBody>, Problem> {
    let body: GuardResumeRequest = request::json(request).await?;
    let done = state.engine.resume_guard(&body.into()).await?;
    if !done.was_stopped && done.released.is_empty() {
        let text = "the guard has neither slowed nor paused it; `malote guard` lists what it has";
        return Err(Problem::new(ProblemKind::NotFound, text));
    }
    Ok(Json(GuardResumedBody {
        resumed: done.was_stopped,
        released: done.released.len() as u64,
    }))
}
