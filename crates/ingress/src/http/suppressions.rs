//! `/v1/suppressions`: addresses that must not be mailed; listed, asked for, put and lifted.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use jiff::Timestamp;
use malote_core::address::EmailAddress;
use malote_core::credential::Credential;
use malote_core::ledger::LedgerFault;
use malote_core::provider::{REPLY_TEXT_BYTES_MAX, bounded};
use malote_core::suppression::{
    Asker, Put, SOURCE_BYTES_MAX, SOURCE_OPERATOR, SUPPRESSION_PAGE_MAX, Suppression,
    SuppressionQuery, SuppressionReason, SuppressionScope, TimesFault, cursor_behind, place_of,
    source_of_app, stands_since, without_effect,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa::openapi::schema::{Object, ObjectBuilder, Type};

use super::messages::written;
use super::problem_rfc9457::{Faults, Problem, ProblemBody, ProblemKind};
use super::query::read_query;
use super::state::HttpState;
use super::{auth, body, json};

/// Entries of a page if the client does not say.
const LIMIT_DEFAULT: u32 = 100;
/// Largest body of a PUT: a few words.
const BODY_BYTES_MAX: u64 = 16 << 10;

/// An address that must not be mailed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Suppression)]
pub(crate) struct SuppressionBody {
    /// The address; `hash:` and 32 hex digits if it was erased.
    #[schema(example = "ana@dest.example")]
    email: String,
    /// `global`, or the stream that must not mail it.
    #[schema(example = "global")]
    scope: String,
    /// Why.
    #[schema(schema_with = reason_schema)]
    reason: &'static str,
    /// Where it comes from: `provider:NAME`, `credential:NAME`, `recipient`, `operator`, `import`, or
    /// what was said when it was put.
    #[schema(example = "provider:ses")]
    source: String,
    /// In words: what a server said.
    detail: String,
    /// Since when.
    #[schema(format = DateTime)]
    at: String,
    /// Until when; `null` is for ever.
    #[schema(format = DateTime)]
    expires_at: Option<String>,
}

/// One page, or all entries of one address.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Suppressions)]
pub(crate) struct SuppressionsBody {
    /// In the order of address and scope.
    suppressions: Vec<SuppressionBody>,
    /// Give this as `cursor` for the next page; `null` on the last.
    next_cursor: Option<String>,
}

/// What is to stop.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SuppressionRequest)]
pub(crate) struct SuppressionRequest {
    /// `global`, which needs the admin token, or a campaign stream; transactional mail is stopped by
    /// global entries only.
    #[schema(example = "newsletter", required = true, nullable = false)]
    scope: Option<String>,
    /// Why; `manual` if absent.
    #[schema(schema_with = reason_schema)]
    reason: Option<String>,
    /// Where it comes from, at most 128 octets, with the admin token; `operator` if absent. What an API
    /// key puts comes from `credential:NAME`; words of its own go into `detail`.
    source: Option<String>,
    /// In words.
    detail: Option<String>,
    /// Since when (RFC 3339), at most a minute ahead; now if absent.
    #[schema(format = DateTime)]
    at: Option<String>,
    /// Until when (RFC 3339), later than now and `at`; for ever if absent.
    #[schema(format = DateTime)]
    expires_at: Option<String>,
}

/// How many entries were lifted.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Lifted)]
pub(crate) struct LiftedBody {
    /// The number.
    lifted: u64,
}

fn reason_schema() -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(SuppressionReason::ALL.map(SuppressionReason::as_str)))
        .build()
}

/// List suppressions in the order of their addresses.
///
/// An API key lists what its own mail caused and what it added; the admin token lists all.
#[utoipa::path(
    get,
    path = "/v1/suppressions",
    tag = "suppressions",
    params(
        ("scope" = Option<String>, Query, description = "only `global`, or only this stream"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the last page"),
        ("limit" = Option<u16>, Query, minimum = 1, maximum = 1000, description =
            "entries of a page, default 100"),
    ),
    responses(
        (status = 200, body = SuppressionsBody, description = "one page"),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json",
            description = "refused"),
        (status = "5XX", body = ProblemBody, content_type = "application/problem+json",
            description = "try again after Retry-After"),
    ),
    security(("api_key" = []))
)]
pub(crate) async fn list(
    State(state): State<Arc<HttpState>>,
    request: Request,
) -> Result<Json<SuppressionsBody>, Problem> {
    let (parts, _) = request.into_parts();
    let caller = auth::caller_or_operator(&state, &parts)?;
    let query = SuppressionQuery {
        owner: caller.as_deref().map(|own| own.name.clone()),
        limit: LIMIT_DEFAULT,
        ..SuppressionQuery::default()
    };
    let query = read_query(&parts.uri, query, set)?;
    let found = state.ports.suppressions.list(&query).await?;
    let is_full = found.len() == usize::try_from(query.limit).unwrap_or(usize::MAX);
    let next_cursor = found.last().filter(|_| is_full).map(cursor_behind);
    Ok(Json(SuppressionsBody {
        suppressions: found.into_iter().map(shown).collect(),
        next_cursor,
    }))
}

/// The suppressions of one address.
///
/// An API key is told of those that its own mail caused and that it added.
#[utoipa::path(
    get,
    path = "/v1/suppressions/{email}",
    tag = "suppressions",
    params(
        ("email" = String, Path, description = "the address, however it is spelt"),
        ("scope" = Option<String>, Query, description = "only `global`, or only this stream"),
    ),
    responses(
        (status = 200, body = SuppressionsBody, description = "what stands now"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json",
            description = "nothing that this credential may see"),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json",
            description = "refused"),
        (status = "5XX", body = ProblemBody, content_type = "application/problem+json",
            description = "try again after Retry-After"),
    ),
    security(("api_key" = []))
)]
pub(crate) async fn show(
    State(state): State<Arc<HttpState>>,
    email: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Json<SuppressionsBody>, Problem> {
    let (parts, _) = request.into_parts();
    let caller = auth::caller_or_operator(&state, &parts)?;
    let scope = read_query(&parts.uri, None, set_scope)?;
    let address = parse_email(email)?;
    let asker = asker(caller.as_deref());
    let mut found = state.ports.suppressions.entries_of(&address).await?;
    found.retain(|entry| asker.may_see(entry));
    found.retain(|entry| scope.as_ref().is_none_or(|scope| *scope == entry.scope));
    if found.is_empty() {
        return Err(nothing());
    }
    Ok(Json(SuppressionsBody {
        suppressions: found.into_iter().map(shown).collect(),
        next_cursor: None,
    }))
}

/// Suppress an address.
///
/// The same request may be repeated. An entry that stands in the scope is replaced only by one that
/// lasts longer, and what somebody else said of the address stays; the answer is the entry that
/// stands, or, where the caller may not see that, what was asked for. An API key may do so in the
/// streams that it may use.
#[utoipa::path(
    put,
    path = "/v1/suppressions/{email}",
    tag = "suppressions",
    params(("email" = String, Path, description = "the address")),
    request_body = SuppressionRequest,
    responses(
        (status = 201, body = SuppressionBody, description = "it is suppressed from now on"),
        (status = 200, body = SuppressionBody, description = "it was suppressed already"),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json",
            description = "refused, nothing was changed"),
        (status = "5XX", body = ProblemBody, content_type = "application/problem+json",
            description = "try again after Retry-After"),
    ),
    security(("api_key" = []))
)]
pub(crate) async fn put(
    State(state): State<Arc<HttpState>>,
    email: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<(StatusCode, Json<SuppressionBody>), Problem> {
    let (parts, content) = request.into_parts();
    let caller = auth::caller_or_operator(&state, &parts)?;
    let rules = body::BodyRules {
        bytes_max: BODY_BYTES_MAX,
        media_type: Some("application/json"),
        sender: body::Sender::Known,
    };
    let received = body::read(&state, &parts.headers, content, rules).await?;
    let address = parse_email(email)?;
    let wanted: SuppressionRequest = json::parse(&received.bytes)?;
    let entry = entry_of(address, wanted, caller.as_deref(), state.ports.clock.now())?;
    let asker = asker(caller.as_deref());
    if !asker.may_put(&entry.scope) {
        return Err(scope_not_allowed(&entry.scope));
    }
    match state.ports.suppressions.put(entry.clone()).await {
        Ok(Put::Added(entry)) => Ok((StatusCode::CREATED, Json(shown(entry)))),
        Ok(Put::Stands(stands)) if asker.may_see(&stands) => {
            Ok((StatusCode::OK, Json(shown(stands))))
        }
        Ok(Put::Stands(_)) => Ok((StatusCode::OK, Json(shown(entry)))),
        Ok(Put::Outlived) => {
            let text = "the entry has ended, or its recipient came back after this time: leave it out \
                        to begin now";
            Err(Problem::at(ProblemKind::InvalidValue, "/at", text))
        }
        Ok(Put::WithoutEffect) => Err(has_no_effect(&entry.scope)),
        Err(LedgerFault::NotFound) => {
            let text = format!("no stream {} is configured", entry.scope);
            Err(Problem::at(ProblemKind::InvalidValue, "/scope", text))
        }
        Err(fault @ (LedgerFault::BadCursor | LedgerFault::Unavailable)) => Err(fault.into()),
    }
}

/// Lift the suppressions of an address.
///
/// Without `scope`, in every scope. An API key lifts what it put in itself, in the streams that it may
/// use: a bounce, a complaint or an unsubscribe that its mail caused takes the admin token, and so does
/// what another one put in as well.
#[utoipa::path(
    delete,
    path = "/v1/suppressions/{email}",
    tag = "suppressions",
    params(
        ("email" = String, Path, description = "the address, however it is spelt"),
        ("scope" = Option<String>, Query, description = "only `global`, or only this stream"),
    ),
    responses(
        (status = 200, body = LiftedBody, description = "how many were lifted"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json",
            description = "nothing that this credential may lift"),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json",
            description = "refused"),
        (status = "5XX", body = ProblemBody, content_type = "application/problem+json",
            description = "try again after Retry-After"),
    ),
    security(("api_key" = []))
)]
pub(crate) async fn lift(
    State(state): State<Arc<HttpState>>,
    email: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Json<LiftedBody>, Problem> {
    let (parts, _) = request.into_parts();
    let caller = auth::caller_or_operator(&state, &parts)?;
    let scope = read_query(&parts.uri, None, set_scope)?;
    let address = parse_email(email)?;
    let asker = asker(caller.as_deref());
    if let Some(scope) = &scope
        && !asker.may_put(scope)
    {
        return Err(scope_not_allowed(scope));
    }
    let stands = state.ports.suppressions.entries_of(&address).await?;
    let is_meant = |own: &Suppression| scope.as_ref().is_none_or(|scope| *scope == own.scope);
    let lifted = stands
        .into_iter()
        .filter(|entry| asker.may_lift(entry) && is_meant(entry));
    let scopes: Vec<SuppressionScope> = lifted.map(|entry| entry.scope).collect();
    let lifted = state.ports.suppressions.lift(&address, &scopes).await?;
    if lifted == 0 {
        return Err(nothing_to_lift(asker));
    }
    Ok(Json(LiftedBody { lifted }))
}

fn asker(caller: Option<&Credential>) -> Asker<'_> {
    caller.map_or(Asker::Operator, Asker::Credential)
}

fn shown(entry: Suppression) -> SuppressionBody {
    SuppressionBody {
        email: entry.address.to_string(),
        scope: entry.scope.to_string(),
        reason: entry.reason.as_str(),
        source: entry.source,
        detail: entry.detail,
        at: written(entry.created_at),
        expires_at: entry.expires_at.map(written),
    }
}

fn entry_of(
    address: EmailAddress,
    wanted: SuppressionRequest,
    caller: Option<&Credential>,
    now: Timestamp,
) -> Result<Suppression, Problem> {
    let mut faults = Faults::default();
    let scope = match wanted.scope.as_deref().map(str::parse) {
        Some(Ok(scope)) => scope,
        Some(Err(_)) => {
            let text = "give global or a stream's name";
            faults.push(ProblemKind::InvalidValue, "/scope", text);
            SuppressionScope::Global
        }
        None => {
            let text = "give global or a stream's name";
            faults.push(ProblemKind::MissingField, "/scope", text);
            SuppressionScope::Global
        }
    };
    let word = wanted.reason.as_deref().unwrap_or("manual");
    let reason = SuppressionReason::from_word(word).unwrap_or_else(|| {
        let words = SuppressionReason::ALL
            .map(SuppressionReason::as_str)
            .join(", ");
        faults.push(
            ProblemKind::InvalidValue,
            "/reason",
            format!("use one of {words}"),
        );
        SuppressionReason::Manual
    });
    let own_source = caller.map_or_else(
        || SOURCE_OPERATOR.to_owned(),
        |own| source_of_app(&own.name),
    );
    let source = wanted.source.unwrap_or_else(|| own_source.clone());
    if source.is_empty() || source.len() > SOURCE_BYTES_MAX || source.chars().any(char::is_control)
    {
        let text = format!("use 1 to {SOURCE_BYTES_MAX} octets without control characters");
        faults.push(ProblemKind::InvalidValue, "/source", text);
    }
    if caller.is_some() && source != own_source {
        let text = format!("what this key puts comes from {own_source}: leave it out, use detail");
        faults.push(ProblemKind::InvalidValue, "/source", text);
    }
    let (created_at, expires_at) = times((wanted.at, wanted.expires_at), now, &mut faults);
    faults.none_or(Suppression {
        address: address.into(),
        scope,
        reason,
        detail: bounded(&wanted.detail.unwrap_or_default(), REPLY_TEXT_BYTES_MAX),
        source,
        provider: None,
        credential: caller.map(|own| own.name.clone()),
        created_at,
        expires_at,
    })
}

/// Since when and until when the entry stands.
fn times(
    (at, expires_at): (Option<String>, Option<String>),
    now: Timestamp,
    faults: &mut Faults,
) -> (Timestamp, Option<Timestamp>) {
    let mut time = |name: &str, text: Option<String>| {
        let at = text?.parse::<Timestamp>();
        if at.is_err() {
            let text = "not a time such as 2026-12-01T08:00:00Z";
            faults.push(ProblemKind::InvalidValue, name, text);
        }
        at.ok()
    };
    let (at, expires_at) = (time("/at", at), time("/expires_at", expires_at));
    let (name, text) = match stands_since(at, expires_at, now) {
        Ok(since) if expires_at.is_none_or(|end| end > now) => return (since, expires_at),
        Ok(_) => ("/expires_at", "this time is over".to_owned()),
        Err(fault @ TimesFault::BeginsLater) => ("/at", fault.to_string()),
        Err(fault @ TimesFault::EndsFirst) => ("/expires_at", fault.to_string()),
    };
    faults.push(ProblemKind::InvalidValue, name, text);
    (now, expires_at)
}

fn parse_email(email: Result<Path<String>, PathRejection>) -> Result<EmailAddress, Problem> {
    let refused = |text: String| Problem::at(ProblemKind::InvalidAddress, "/email", text);
    let Path(text) = email.map_err(|_| refused("the path cannot be read".to_owned()))?;
    EmailAddress::parse(&text).map_err(|fault| refused(fault.to_string()))
}

fn scope_not_allowed(scope: &SuppressionScope) -> Problem {
    let text = match scope {
        SuppressionScope::Global => "only the admin token changes global entries".to_owned(),
        SuppressionScope::Stream(stream) => {
            format!("this credential may not use the stream {stream}")
        }
    };
    Problem::at(ProblemKind::ScopeNotAllowed, "/scope", text)
}

fn has_no_effect(scope: &SuppressionScope) -> Problem {
    let text = match scope {
        SuppressionScope::Global => "this entry would stop nothing".to_owned(),
        SuppressionScope::Stream(stream) => without_effect(stream),
    };
    Problem::at(ProblemKind::InvalidValue, "/scope", text)
}

fn nothing() -> Problem {
    Problem::new(ProblemKind::NotFound, "no such suppression")
}

fn nothing_to_lift(asker: Asker<'_>) -> Problem {
    match asker {
        Asker::Operator => nothing(),
        Asker::Credential(_) => {
            let text = "no such suppression that this credential put in by itself; the admin token \
                        lifts the others";
            Problem::new(ProblemKind::NotFound, text)
        }
    }
}

fn set_scope(scope: &mut Option<SuppressionScope>, name: &str, value: &str) -> Result<(), String> {
    if name != "scope" {
        return Err("use scope only".to_owned());
    }
    let parsed = value.parse();
    *scope = Some(parsed.map_err(|_| "give global or a stream's name".to_owned())?);
    Ok(())
}

fn set(query: &mut SuppressionQuery, name: &str, value: &str) -> Result<(), String> {
    match name {
        "scope" => set_scope(&mut query.scope, name, value)?,
        "cursor" => {
            let place = place_of(value).ok_or("not a `next_cursor` of a page")?;
            query.after = Some(place);
        }
        "limit" => {
            let limit = value.parse().ok();
            let limit = limit.filter(|limit| (1..=SUPPRESSION_PAGE_MAX).contains(limit));
            let limit = limit.ok_or_else(|| format!("give 1 to {SUPPRESSION_PAGE_MAX}"))?;
            query.limit = limit.into();
        }
        _ => return Err("use scope, cursor and limit only".to_owned()),
    }
    Ok(())
}
