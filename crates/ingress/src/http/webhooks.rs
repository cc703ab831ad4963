//! `/v1/webhooks/{provider}`: octets in, the provider's own parser, events durable, then 200.
//!
//! A path may end in a shared secret. So no path is logged, and metrics have its template only.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use malote_core::message::Channel;
use malote_core::name::ProviderName;
use malote_core::secret::Secret;
use malote_core::webhook::{Webhook, WebhookParser, WebhookRefusal, WebhookRequest};

use super::body;
use super::messages::channel;
use super::problem_rfc9457::{Problem, ProblemBody, ProblemKind};
use super::state::HttpState;

/// Largest webhook body.
const BODY_BYTES_MAX: u64 = 5 << 20;
/// Most events, readable or not, of one request.
const EVENTS_MAX: usize = 10_000;
/// A parser may have to fetch a certificate; services give up on us after 10 s or more.
const PARSE_WAIT_MAX: Duration = Duration::from_secs(10);

/// A provider's events.
///
/// The body's shape and proof of origin are the provider's own. Answered 200 once the events are
/// on disk; a repeat is answered 200 and changes nothing.
#[utoipa::path(
    post,
    path = "/v1/webhooks/{provider}",
    tag = "webhooks",
    params(("provider" = String, Path, description = "the provider's name in the configuration")),
    request_body(content = String, content_type = "*/*",
        description = "as the provider sends it, at most 5 MiB and 10,000 events"),
    responses(
        (status = 200, description = "the events are on disk"),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json",
            description = "unknown provider, origin not proven, not for us, unreadable, too large"),
        (status = "5XX", body = ProblemBody, content_type = "application/problem+json",
            description = "come again"),
    )
)]
pub(crate) async fn receive(
    State(state): State<Arc<HttpState>>,
    place: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
) -> Result<Response, Problem> {
    handle(&state, place, request).await
}

/// A provider's probe of the address, or its event in a query.
///
/// Some services ask before they post, and some tell an event this way; the provider's parser
/// decides.
#[utoipa::path(
    get,
    path = "/v1/webhooks/{provider}",
    tag = "webhooks",
    params(("provider" = String, Path, description = "the provider's name in the configuration")),
    responses(
        (status = 200, description = "the address is right, what it told is on disk"),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json",
            description = "unknown provider, origin not proven, or not what it asks"),
    )
)]
pub(crate) async fn probe(
    State(state): State<Arc<HttpState>>,
    place: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
) -> Result<Response, Problem> {
    handle(&state, place, request).await
}

/// A provider's events, the shared secret in the path.
///
/// For services that sign nothing and can be told a URL only. Where login fields can be given, the
/// secret is better the password of HTTP Basic or a bearer token.
#[utoipa::path(
    post,
    path = "/v1/webhooks/{provider}/{secret}",
    tag = "webhooks",
    params(
        ("provider" = String, Path, description = "the provider's name in the configuration"),
        ("secret" = String, Path, description = "`providers.NAME.webhook.secret`"),
    ),
    request_body(content = String, content_type = "*/*",
        description = "as the provider sends it, at most 5 MiB and 10,000 events"),
    responses(
        (status = 200, description = "the events are on disk"),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json",
            description = "unknown provider, wrong secret, unreadable, too large"),
        (status = "5XX", body = ProblemBody, content_type = "application/problem+json",
            description = "come again"),
    )
)]
pub(crate) async fn receive_with_secret(
    State(state): State<Arc<HttpState>>,
    place: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
) -> Result<Response, Problem> {
    handle(&state, place, request).await
}

/// A provider's probe of the address with the shared secret in its path, or its event in a query.
#[utoipa::path(
    get,
    path = "/v1/webhooks/{provider}/{secret}",
    tag = "webhooks",
    params(
        ("provider" = String, Path, description = "the provider's name in the configuration"),
        ("secret" = String, Path, description = "`providers.NAME.webhook.secret`"),
    ),
    responses(
        (status = 200, description = "the address is right, what it told is on disk"),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json",
            description = "unknown provider, wrong secret, or not what it asks"),
    )
)]
pub(crate) async fn probe_with_secret(
    State(state): State<Arc<HttpState>>,
    place: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
) -> Result<Response, Problem> {
    handle(&state, place, request).await
}

async fn handle(
    state: &HttpState,
    place: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let part = |name: &str| {
        let mut parts = place.iter().flatten();
        let found = parts.find(|(own, _)| *own == name);
        found.map(|(_, value)| value)
    };
    let (provider, parser) = find(state, part("provider").unwrap_or_default())?;
    let secret = part("secret").map(Secret::new);
    let believed = believed(state, parser.as_ref(), secret, request).await;
    let outcome = believed
        .as_ref()
        .map_or_else(Problem::status, |_| StatusCode::OK);
    state.metrics.count_webhook(&provider, outcome);
    if let Err(problem) = &believed {
        state.metrics.count_refused(&provider, problem.kind());
    }
    let (webhook, share) = believed?;
    state
        .metrics
        .count_events(&provider, webhook.events.len(), webhook.unreadable.len());
    if !webhook.events.is_empty() || !webhook.unreadable.is_empty() {
        let applied = state.ports.sink.apply(&provider, webhook).await;
        applied.map_err(|fault| Problem::new(ProblemKind::Unavailable, fault.to_string()))?;
    }
    drop(share);
    Ok(StatusCode::OK.into_response())
}

/// What a request tells, if its size and its proof of origin are as they should be.
async fn believed(
    state: &HttpState,
    parser: &dyn WebhookParser,
    path_secret: Option<Secret>,
    request: Request,
) -> Result<(Webhook, body::Share), Problem> {
    let (parts, content) = request.into_parts();
    let rules = body::BodyRules {
        bytes_max: BODY_BYTES_MAX,
        media_type: None,
        sender: body::Sender::Stranger,
    };
    let received = body::read(state, &parts.headers, content, rules).await?;
    let request = WebhookRequest {
        method: method(&parts).to_owned(),
        path_secret,
        headers: lower_case(&parts.headers),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        body: received.bytes,
        peer: match channel(state, &parts) {
            Channel::Http(ip) | Channel::Smtp(ip) => ip,
            Channel::Internal => std::net::Ipv4Addr::UNSPECIFIED.into(),
        },
    };
    Ok((parse(parser, &request).await?, received.share))
}

fn find(state: &HttpState, name: &str) -> Result<(ProviderName, Arc<dyn WebhookParser>), Problem> {
    let parsers = state.ports.parsers.load();
    let found = ProviderName::try_from(name).ok().and_then(|name| {
        let parser = parsers.get(&name).map(Arc::clone)?;
        Some((name, parser))
    });
    found.ok_or_else(|| {
        let text = "no provider of this name takes webhooks";
        Problem::new(ProblemKind::NotFound, text)
    })
}

async fn parse(parser: &dyn WebhookParser, request: &WebhookRequest) -> Result<Webhook, Problem> {
    let webhook = match tokio::time::timeout(PARSE_WAIT_MAX, parser.parse(request)).await {
        Ok(result) => result?,
        Err(_) => return Err(WebhookRefusal::Unavailable("verification took too long").into()),
    };
    let count = webhook.events.len() + webhook.unreadable.len();
    if count > EVENTS_MAX {
        let text = format!("{count} events, at most {EVENTS_MAX} are taken");
        return Err(Problem::new(ProblemKind::TooManyEvents, text));
    }
    Ok(webhook)
}

impl From<WebhookRefusal> for Problem {
    fn from(refusal: WebhookRefusal) -> Self {
        let kind = match refusal {
            WebhookRefusal::Unverified(_) => ProblemKind::WebhookUnverified,
            WebhookRefusal::Forbidden(_) => ProblemKind::WebhookForbidden,
            WebhookRefusal::Malformed(_) => ProblemKind::WebhookUnreadable,
            WebhookRefusal::Unavailable(_) => ProblemKind::Unavailable,
        };
        Self::new(kind, refusal.to_string())
    }
}

/// A HEAD is answered as the GET would be, without its body.
fn method(parts: &Parts) -> &str {
    if parts.method == Method::HEAD {
        "GET"
    } else {
        parts.method.as_str()
    }
}

fn lower_case(headers: &HeaderMap) -> Vec<(String, String)> {
    let pairs = headers.iter().filter_map(|(name, value)| {
        let value = value.to_str().ok()?;
        Some((name.as_str().to_owned(), value.to_owned()))
    });
    pairs.collect()
}
