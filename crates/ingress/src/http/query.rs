//! Asking about messages: one timeline, a search, and taking a message back.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Query, Request, State};
use axum::http::Uri;
use malote_core::address::EmailAddress;
use malote_core::event::State as DeliveryState;
use malote_core::id::MessageId;
use malote_core::ledger::Search;
use malote_core::name::{CredentialName, StreamName};

use super::auth;
use super::problem_rfc9457::{Faults, Problem, ProblemBody, ProblemKind};
use super::state::HttpState;
use super::timeline::{CancelledBody, MessageBody, SearchBody};

/// Rows of a page if the client does not say.
const LIMIT_DEFAULT: u16 = 50;
/// Most rows of a page.
const LIMIT_MAX: u16 = 200;
/// Cursors and tags longer than this are none of ours.
const VALUE_BYTES_MAX: usize = 512;

/// One message's timeline: deliveries, attempts and events.
#[utoipa::path(
    get,
    path = "/v1/messages/{id}",
    tag = "messages",
    params(("id" = String, Path, description = "the message's id")),
    responses(
        (status = 200, body = MessageBody, description = "everything that happened to it"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json",
            description = "this credential has no such message"),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json",
            description = "refused"),
        (status = "5XX", body = ProblemBody, content_type = "application/problem+json",
            description = "try again after Retry-After"),
    ),
    security(("api_key" = []))
)]
pub(crate) async fn show(
    State(state): State<Arc<HttpState>>,
    id: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Json<MessageBody>, Problem> {
    let (parts, _) = request.into_parts();
    let credential = auth::caller(&state, &parts)?;
    let id = parse_id(id)?;
    let view = state
        .ports
        .ledger
        .message(id, Some(&credential.name))
        .await?;
    view.map(|view| Json(view.into())).ok_or_else(no_message)
}

/// Cancel what has not left.
#[utoipa::path(
    delete,
    path = "/v1/messages/{id}",
    tag = "messages",
    params(("id" = String, Path, description = "the message's id")),
    responses(
        (status = 200, body = CancelledBody, description = "how many deliveries were taken back"),
        (status = 404, body = ProblemBody, content_type = "application/problem+json",
            description = "this credential has no such message"),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json",
            description = "refused"),
        (status = "5XX", body = ProblemBody, content_type = "application/problem+json",
            description = "try again after Retry-After"),
    ),
    security(("api_key" = []))
)]
pub(crate) async fn cancel(
    State(state): State<Arc<HttpState>>,
    id: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Json<CancelledBody>, Problem> {
    let (parts, _) = request.into_parts();
    let credential = auth::caller(&state, &parts)?;
    let id = parse_id(id)?;
    let cancelled = state
        .ports
        .ledger
        .cancel(id, Some(&credential.name))
        .await?;
    Ok(Json(cancelled.into()))
}

/// Search deliveries, newest message first.
#[utoipa::path(
    get,
    path = "/v1/messages",
    tag = "messages",
    params(
        ("rcpt" = Option<String>, Query, description = "only deliveries to this address"),
        ("stream" = Option<String>, Query, description = "only this stream"),
        ("state" = Option<String>, Query, description = "only deliveries in this state"),
        ("tag" = Option<String>, Query, description = "only messages with this tag"),
        ("since" = Option<String>, Query, description =
            "only messages accepted at or after this time (RFC 3339)"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the last page"),
        ("limit" = Option<u16>, Query, minimum = 1, maximum = 200, description =
            "rows of a page, default 50"),
    ),
    responses(
        (status = 200, body = SearchBody, description = "one page"),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json",
            description = "refused"),
        (status = "5XX", body = ProblemBody, content_type = "application/problem+json",
            description = "try again after Retry-After"),
    ),
    security(("api_key" = []))
)]
pub(crate) async fn search(
    State(state): State<Arc<HttpState>>,
    request: Request,
) -> Result<Json<SearchBody>, Problem> {
    let (parts, _) = request.into_parts();
    let credential = auth::caller(&state, &parts)?;
    let search = parse_search(&parts.uri, &credential.name)?;
    Ok(Json(state.ports.ledger.search(&search).await?.into()))
}

fn parse_id(id: Result<Path<String>, PathRejection>) -> Result<MessageId, Problem> {
    let Path(text) = id.map_err(|_| no_message())?;
    text.parse().map_err(|_| no_message())
}

fn no_message() -> Problem {
    Problem::new(ProblemKind::NotFound, "no such message")
}

fn parse_search(uri: &Uri, owner: &CredentialName) -> Result<Search, Problem> {
    let search = Search {
        owner: Some(owner.clone()),
        limit: LIMIT_DEFAULT,
        ..Search::default()
    };
    read_query(uri, search, set)
}

/// Puts every parameter of a query string into `asked`, each once, or tells all that is wrong with
/// them. `set` answers why a parameter or its value is none.
pub(super) fn read_query<T>(
    uri: &Uri,
    mut asked: T,
    set: fn(&mut T, &str, &str) -> Result<(), String>,
) -> Result<T, Problem> {
    let Ok(Query(pairs)) = Query::<Vec<(String, String)>>::try_from_uri(uri) else {
        return Err(Problem::new(
            ProblemKind::BadQuery,
            "the query cannot be read",
        ));
    };
    let mut faults = Faults::default();
    let mut seen: Vec<&str> = Vec::new();
    for (name, value) in &pairs {
        let result = if seen.contains(&name.as_str()) {
            Err("this parameter is given twice".to_owned())
        } else if value.len() > VALUE_BYTES_MAX {
            Err(format!("the value is longer than {VALUE_BYTES_MAX} octets"))
        } else {
            set(&mut asked, name, value)
        };
        if let Err(text) = result {
            faults.push(ProblemKind::BadQuery, format!("/{name}"), text);
        }
        seen.push(name);
    }
    faults.none_or(asked)
}

fn set(search: &mut Search, name: &str, value: &str) -> Result<(), String> {
    match name {
        "rcpt" => {
            let address = EmailAddress::parse(value).map_err(|fault| fault.to_string())?;
            search.recipient = Some(address);
        }
        "stream" => {
            let stream = StreamName::try_from(value).map_err(|fault| fault.to_string())?;
            search.stream = Some(stream);
        }
        "state" => {
            let state = DeliveryState::from_word(value);
            search.state = Some(state.ok_or("there is no such state")?);
        }
        "tag" => search.tag = Some(value.to_owned()),
        "since" => {
            let at = value
                .parse()
                .map_err(|_| "not a time such as 2026-12-01T08:00:00Z")?;
            search.since = Some(at);
        }
        "cursor" => search.cursor = Some(value.to_owned()),
        "limit" => {
            let limit = value
                .parse()
                .ok()
                .filter(|limit| (1..=LIMIT_MAX).contains(limit));
            search.limit = limit.ok_or_else(|| format!("give 1 to {LIMIT_MAX}"))?;
        }
        _ => {
            return Err("use rcpt, stream, state, tag, since, cursor and limit only".to_owned());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(query: &str) -> Result<Search, String> {
        let uri: Uri = format!("/v1/messages?{query}").parse().unwrap();
        parse_search(&uri, &"shop".try_into().unwrap())
            .map_err(|problem| problem.errors()[0].pointer.clone())
    }

    #[test]
    fn every_parameter_is_read_and_the_owner_is_always_set() {
        let search = parsed(
            "rcpt=Ana%2Bx%40Dest.example&stream=campaign&state=bounced&tag=a%20b\
             &since=2026-11-22T00:00:00Z&cursor=abc&limit=200",
        )
        .unwrap();
        assert_eq!(search.recipient.unwrap().as_str(), "Ana+x@dest.example");
        assert_eq!(search.state, Some(DeliveryState::Bounced));
        assert_eq!(search.tag.as_deref(), Some("a b"));
        assert_eq!(
            (search.limit, search.owner.unwrap().as_str()),
            (200, "shop")
        );
        assert_eq!(parsed("").unwrap().limit, LIMIT_DEFAULT);
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_its_name() {
        for (query, pointer) in [
            ("limit=1e9", "/limit"),
            ("limit=0", "/limit"),
            ("limit=201", "/limit"),
            ("state=gone", "/state"),
            ("since=yesterday", "/since"),
            ("rcpt=x", "/rcpt"),
            ("stream=A%20B", "/stream"),
            ("owner=other", "/owner"),
            ("tag=a&tag=b", "/tag"),
        ] {
            assert_eq!(parsed(query), Err(pointer.to_owned()), "{query}");
        }
        assert_eq!(
            parsed(&format!("cursor={}", "x".repeat(600))),
            Err("/cursor".to_owned())
        );
    }

    #[test]
    fn what_is_no_id_is_simply_not_found() {
        for text in ["x", "' OR 1", "../../x"] {
            let fault = parse_id(Ok(Path(text.to_owned()))).unwrap_err();
            assert_eq!(fault.kind(), ProblemKind::NotFound);
        }
    }
}
