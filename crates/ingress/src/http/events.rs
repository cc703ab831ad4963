//! `GET /v1/events`: what happened, in the order in which it became durable.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use malote_core::address::EmailAddress;
use malote_core::event::{Blame, EventKind};
use malote_core::feed::{EventBody, FEED_LIMIT_MAX, FeedQuery};
use malote_core::name::CredentialName;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::schema::{Object, ObjectBuilder, SchemaType, Type};

use super::auth;
use super::problem_rfc9457::{Problem, ProblemBody};
use super::query::read_query;
use super::state::HttpState;

/// Events of a page if the client does not say.
const LIMIT_DEFAULT: u16 = 100;

/// One page of the feed.
#[derive(Serialize)]
struct Feed<'a> {
    events: Vec<EventBody<'a>>,
    next: String,
}

/// Events, oldest first, and where to go on.
#[derive(ToSchema)]
#[schema(as = Feed)]
#[expect(dead_code, reason = "it describes what `Feed` writes")]
pub(crate) struct FeedSchema {
    /// The events; fewer than `limit`, or none, does not mean that there are no more.
    events: Vec<EventSchema>,
    /// Give this as `since` to go on: nothing is missed and nothing comes twice.
    #[schema(example = "cur_000000000000002a")]
    next: String,
}

/// One event, as `GET /v1/events` lists it and as a webhook is told it.
#[derive(ToSchema)]
#[schema(as = FeedEvent)]
#[expect(dead_code, reason = "it describes what `EventBody` writes")]
pub(crate) struct EventSchema {
    /// Its id, the same wherever it is told.
    #[schema(example = "evt_0192b3a0000070008000000000000000_0_2")]
    id: String,
    /// What happened: a word of ours, or the service's own.
    #[schema(example = "bounced")]
    r#type: String,
    /// By whose fault, where something failed.
    #[schema(schema_with = class_schema)]
    class: Option<&'static str>,
    /// When it happened, by the clock of who told.
    #[schema(format = DateTime)]
    at: String,
    /// The message.
    message_id: String,
    /// The recipient, as submitted.
    recipient: String,
    /// The message's stream.
    stream: String,
    /// The provider that told, or whose answer it is.
    provider: Option<String>,
    /// The pool of that provider's last attempt.
    pool: Option<String>,
    /// The provider's id of the message.
    provider_message_id: Option<String>,
    /// The provider's or the remote server's words.
    reply: String,
    /// The message's tags.
    tags: Vec<String>,
    /// The message's metadata.
    metadata: BTreeMap<String, String>,
}

fn class_schema() -> Object {
    ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::String, Type::Null]))
        .enum_values(Some(
            Blame::ALL
                .map(|blame| Some(blame.as_str()))
                .into_iter()
                .chain([None]),
        ))
        .build()
}

/// Read events in the order in which they became durable.
///
/// Without `since` the feed begins at the oldest event that is kept. Events of delivery status
/// notifications are not among them.
#[utoipa::path(
    get,
    path = "/v1/events",
    tag = "events",
    params(
        ("since" = Option<String>, Query, description = "`next` of the last page"),
        ("message" = Option<String>, Query, description = "only events of this message"),
        ("recipient" = Option<String>, Query, description =
            "only events of deliveries to this address"),
        ("type" = Option<String>, Query, description =
            "only events of these types, with commas between them"),
        ("limit" = Option<u16>, Query, minimum = 1, maximum = 1000, description =
            "events of a page, default 100"),
    ),
    responses(
        (status = 200, body = FeedSchema, description = "one page"),
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
) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    let credential = auth::caller(&state, &parts)?;
    let query = parse_query(&parts.uri, &credential.name)?;
    let page = state.ports.ledger.feed(&query).await?;
    let feed = Feed {
        events: page.events.iter().map(EventBody::from).collect(),
        next: page.next.to_string(),
    };
    Ok(Json(feed).into_response())
}

fn parse_query(uri: &Uri, owner: &CredentialName) -> Result<FeedQuery, Problem> {
    let query = FeedQuery {
        owner: Some(owner.clone()),
        limit: LIMIT_DEFAULT,
        ..FeedQuery::default()
    };
    read_query(uri, query, set)
}

fn set(query: &mut FeedQuery, name: &str, value: &str) -> Result<(), String> {
    match name {
        "since" => query.after = value.parse().map_err(|_| "not a `next` of a page")?,
        "message" => query.message = Some(value.parse().map_err(|_| "not an id of a message")?),
        "recipient" => {
            let address = EmailAddress::parse(value).map_err(|fault| fault.to_string())?;
            query.recipient = Some(address);
        }
        "type" => {
            let kinds = value.split(',').map(|word| {
                let kind = EventKind::from_word(word);
                if matches!(kind, EventKind::Other(_)) {
                    return Err(format!("there is no type {word:?}"));
                }
                Ok(kind)
            });
            query.kinds = kinds.collect::<Result<_, _>>()?;
        }
        "limit" => {
            let limit = value.parse().ok();
            let limit = limit.filter(|limit| (1..=FEED_LIMIT_MAX).contains(limit));
            query.limit = limit.ok_or_else(|| format!("give 1 to {FEED_LIMIT_MAX}"))?;
        }
        _ => return Err("use since, message, recipient, type and limit only".to_owned()),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use malote_core::feed::FeedCursor;
    use malote_core::id::MessageId;

    use super::*;

    fn parsed(query: &str) -> Result<FeedQuery, String> {
        let uri: Uri = format!("/v1/events?{query}").parse().unwrap();
        parse_query(&uri, &"shop".try_into().unwrap())
            .map_err(|problem| problem.errors()[0].pointer.clone())
    }

    #[test]
    fn every_parameter_is_read_and_the_owner_is_always_set() {
        let id = "0192b3a0-0000-7000-8000-000000000000";
        let query = parsed(&format!(
            "since=cur_000000000000002a&message={id}&recipient=Ana%40Dest.example\
             &type=bounced,complained&limit=1000"
        ));
        assert_eq!(
            query,
            Ok(FeedQuery {
                after: FeedCursor(42),
                owner: Some("shop".try_into().unwrap()),
                message: Some(id.parse::<MessageId>().unwrap()),
                recipient: Some(EmailAddress::parse("Ana@dest.example").unwrap()),
                kinds: vec![EventKind::Bounced, EventKind::Complained],
                limit: 1_000,
                ..FeedQuery::default()
            })
        );
        let all = parsed("").unwrap();
        assert_eq!((all.after, all.limit), (FeedCursor(0), LIMIT_DEFAULT));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_its_name() {
        for (query, pointer) in [
            ("since=42", "/since"),
            ("since=", "/since"),
            ("message=x", "/message"),
            ("recipient=x", "/recipient"),
            ("type=gone", "/type"),
            ("type=bounced,", "/type"),
            ("limit=0", "/limit"),
            ("limit=1001", "/limit"),
            ("owner=other", "/owner"),
            ("limit=1&limit=2", "/limit"),
        ] {
            assert_eq!(parsed(query), Err(pointer.to_owned()), "{query}");
        }
    }
}
