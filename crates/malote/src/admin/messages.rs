//! `/admin/v1/messages`, `/admin/v1/events` and `/admin/v1/explain`: what happened, and why it goes where it goes.

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::Uri;
use malote_core::id::MessageId;
use malote_core::ledger::{Ledger, MessageView};
use malote_router::Explanation;
use serde::Deserialize;

use super::AdminState;
use super::api::{HypothesisBody, RawEventsBody, UnreadableBody};
use super::problem::{Problem, ProblemKind};
use super::request;

/// Recipients of a hypothetical message: each may cost a question to the name server.
const RECIPIENTS_MAX: usize = 100;
/// Unreadable parts that are listed if the operator does not say.
const UNREADABLE_DEFAULT: u16 = 50;
/// Most unreadable parts that are listed: 8 MiB.
const UNREADABLE_MAX: u16 = 1_000;

/// `GET messages/{id}`.
pub(super) async fn show(
    State(state): State<AdminState>,
    Path(id): Path<String>,
) -> Result<Json<MessageView>, Problem> {
    let view = state.engine.message(parse(&id)?, None).await?;
    view.map(Json).ok_or_else(no_message)
}

/// `GET messages/{id}/raw`.
pub(super) async fn raw(
    State(state): State<AdminState>,
    Path(id): Path<String>,
) -> Result<Json<RawEventsBody>, Problem> {
    let id = parse(&id)?;
    if state.engine.message(id, None).await?.is_none() {
        return Err(no_message());
    }
    Ok(Json(state.engine.raw_events(id).await?.into()))
}

/// What to list.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct UnreadableQuery {
    limit: Option<u16>,
}

/// `GET events/unreadable`: what services told and nobody could read, newest first.
pub(super) async fn unreadable(
    State(state): State<AdminState>,
    uri: Uri,
) -> Result<Json<UnreadableBody>, Problem> {
    let query: UnreadableQuery = request::query(&uri)?;
    let limit = query.limit.unwrap_or(UNREADABLE_DEFAULT);
    if !(1..=UNREADABLE_MAX).contains(&limit) {
        let text = "limit must be 1 to 1000";
        return Err(Problem::at(ProblemKind::BadQuery, "limit", text));
    }
    Ok(Json(state.engine.unreadable(limit).await?.into()))
}

/// `GET explain/{id}`.
pub(super) async fn explain_kept(
    State(state): State<AdminState>,
    Path(id): Path<String>,
) -> Result<Json<Explanation>, Problem> {
    let explanation = state.engine.explain(parse(&id)?).await?;
    explanation.map(Json).ok_or_else(no_message)
}

/// `POST explain`.
pub(super) async fn explain(
    State(state): State<AdminState>,
    request: Request,
) -> Result<Json<Explanation>, Problem> {
    let body: HypothesisBody = request::json(request).await?;
    let policy = state.engine.policy();
    if policy.credentials.get(&body.credential).is_none() {
        let text = format!("no credential {} is configured", body.credential);
        return Err(Problem::at(ProblemKind::InvalidValue, "/credential", text));
    }
    if body.to.len() > RECIPIENTS_MAX {
        let text = "at most 100 recipients are explained at once";
        return Err(Problem::at(ProblemKind::InvalidValue, "/to", text));
    }
    Ok(Json(state.engine.explain_hypothesis(&body.into()).await))
}

fn parse(id: &str) -> Result<MessageId, Problem> {
    id.parse().map_err(|_| no_message())
}

fn no_message() -> Problem {
    Problem::new(ProblemKind::NotFound, "no such message")
}
