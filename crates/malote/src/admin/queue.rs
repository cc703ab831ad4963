//! `/admin/v1/queue`: what waits, and moving it.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::Uri;
use jiff::Timestamp;
use malote_core::address::EmailAddress;
use malote_core::event::State as DeliveryState;
use malote_core::id::DeliveryId;
use malote_core::ledger::{Ledger, Search, SearchPage};
use malote_core::name::{CredentialName, StreamName};
use malote_delivery::Resolution;
use malote_store::QueueFilter;
use serde::Deserialize;

use super::AdminState;
use super::api::{FilterBody, MovedBody, ResolutionWord, ResolveBody, StatsBody};
use super::problem::{Problem, ProblemKind};
use super::request;

/// Rows of a page if the operator does not say.
const LIMIT_DEFAULT: u16 = 50;
/// Most rows of a page.
const LIMIT_MAX: u16 = 200;
/// Moved deliveries that an answer names.
const NAMED_MAX: usize = 1_000;

/// What to look for.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct SearchQuery {
    state: Option<DeliveryState>,
    stream: Option<StreamName>,
    rcpt: Option<EmailAddress>,
    tag: Option<String>,
    credential: Option<CredentialName>,
    since: Option<Timestamp>,
    cursor: Option<String>,
    limit: Option<u16>,
}

/// `GET queue/stats`.
pub(super) async fn stats(State(state): State<AdminState>) -> Result<Json<StatsBody>, Problem> {
    Ok(Json(state.engine.queue_stats().await?.into()))
}

/// `GET queue`: deliveries in any state, newest message first.
pub(super) async fn list(
    State(state): State<AdminState>,
    uri: Uri,
) -> Result<Json<SearchPage>, Problem> {
    let query: SearchQuery = request::query(&uri)?;
    let limit = query.limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        let text = "limit must be 1 to 200";
        return Err(Problem::at(ProblemKind::BadQuery, "limit", text));
    }
    let search = Search {
        owner: query.credential,
        recipient: query.rcpt,
        stream: query.stream,
        state: query.state,
        tag: query.tag,
        since: query.since,
        cursor: query.cursor,
        limit,
    };
    let page = state.engine.search(&search).await?;
    // An empty page with a cursor, or behind one, says nothing of the others.
    if page.rows.is_empty() && page.next_cursor.is_none() && search.cursor.is_none() {
        expect_searched(&state, search).await?;
    }
    Ok(Json(page))
}

/// Refuses names that are not configured if no mail bears them, in whatever state: who asks state by
/// state finds nothing in most of them.
async fn expect_searched(state: &AdminState, search: Search) -> Result<(), Problem> {
    let Err(unknown) = expect_names(state, search.stream.as_ref(), search.owner.as_ref()) else {
        return Ok(());
    };
    let of_names = Search {
        stream: search.stream,
        owner: search.owner,
        limit: 1,
        ..Search::default()
    };
    let page = state.engine.search(&of_names).await?;
    match page.rows.is_empty() && page.next_cursor.is_none() {
        true => Err(unknown),
        false => Ok(()),
    }
}

/// `POST queue/retry`.
pub(super) async fn retry(
    State(state): State<AdminState>,
    request: Request,
) -> Result<Json<MovedBody>, Problem> {
    let filter = filter(request).await?;
    let ids = state.engine.retry(&filter).await?;
    found(&state, &filter, ids)
}

/// `POST queue/cancel`.
pub(super) async fn cancel(
    State(state): State<AdminState>,
    request: Request,
) -> Result<Json<MovedBody>, Problem> {
    let filter = filter(request).await?;
    let ids = state.engine.cancel_all(&filter).await?;
    found(&state, &filter, ids)
}

/// `POST queue/hold`.
pub(super) async fn hold(
    State(state): State<AdminState>,
    request: Request,
) -> Result<Json<MovedBody>, Problem> {
    let filter = filter(request).await?;
    let ids = state.engine.hold(&filter).await?;
    found(&state, &filter, ids)
}

/// `POST queue/release`.
pub(super) async fn release(
    State(state): State<AdminState>,
    request: Request,
) -> Result<Json<MovedBody>, Problem> {
    let filter = filter(request).await?;
    let is_other = |state: DeliveryState| state != DeliveryState::Held;
    if filter.state.is_some_and(is_other) {
        let text = "only what is held can be released";
        return Err(Problem::at(ProblemKind::InvalidValue, "/state", text));
    }
    let ids = state.engine.release(&filter).await?;
    found(&state, &filter, ids)
}

/// `POST queue/resolve`.
pub(super) async fn resolve(
    State(state): State<AdminState>,
    request: Request,
) -> Result<Json<MovedBody>, Problem> {
    let body: ResolveBody = request::json(request).await?;
    let resolution = match body.resolution {
        ResolutionWord::Sent => Resolution::Sent,
        ResolutionWord::Resend => Resolution::Resend,
    };
    if state.engine.resolve(body.delivery, resolution).await? {
        return Ok(moved(vec![body.delivery]));
    }
    let text = "no delivery of this id whose outcome is unknown";
    Err(Problem::at(ProblemKind::NotFound, "/delivery", text))
}

async fn filter(request: Request) -> Result<QueueFilter, Problem> {
    let filter: FilterBody = request::json(request).await?;
    if filter.is_empty() {
        let text = "give at least one of delivery, message, stream, rcpt, state, credential";
        return Err(Problem::new(ProblemKind::InvalidValue, text));
    }
    Ok(filter.into())
}

/// What was moved; a name that nothing bears is no reason to say that there was nothing to move.
fn found(
    state: &AdminState,
    filter: &QueueFilter,
    ids: Vec<DeliveryId>,
) -> Result<Json<MovedBody>, Problem> {
    if ids.is_empty() {
        expect_names(state, filter.stream.as_ref(), filter.owner.as_ref())?;
    }
    Ok(moved(ids))
}

/// Refuses names that are not configured. Mail of what was configured once is found without them
/// being there still, so this is asked only if none was.
fn expect_names(
    state: &AdminState,
    stream: Option<&StreamName>,
    credential: Option<&CredentialName>,
) -> Result<(), Problem> {
    let policy = state.engine.policy();
    if let Some(stream) = stream.filter(|stream| !policy.streams.contains_key(*stream)) {
        let text = format!("no stream {stream} is configured");
        return Err(Problem::at(ProblemKind::InvalidValue, "/stream", text));
    }
    if let Some(credential) = credential.filter(|name| policy.credentials.get(name).is_none()) {
        let text = format!("no credential {credential} is configured");
        return Err(Problem::at(ProblemKind::InvalidValue, "/credential", text));
    }
    Ok(())
}

fn moved(mut deliveries: Vec<DeliveryId>) -> Json<MovedBody> {
    let moved = deliveries.len() as u64;
    deliveries.truncate(NAMED_MAX);
    Json(MovedBody { moved, deliveries })
}
