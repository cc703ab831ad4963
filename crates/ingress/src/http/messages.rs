//! `POST /v1/messages`: one message as JSON.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use malote_core::credential::Credential;
use malote_core::id::MessageId;
use malote_core::intake::{Accepted, AcceptedRecipient, RecipientStatus};
use malote_core::message::{Channel, DsnParameters, IdempotencyKey, Recipient, Submission};
use serde::Serialize;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;
use uuid::Uuid;

use super::compose::{ComposeRules, Composed, compose};
use super::peer::{Peer, client_address};
use super::problem_rfc9457::{Problem, ProblemBody, ProblemKind};
use super::request::MessageRequest;
use super::state::HttpState;
use super::{auth, body, json};

/// Longest idempotency key.
const KEY_BYTES_MAX: usize = 255;
/// Bodies above this are parsed and composed beside the event loop, so that other requests on
/// this thread do not wait for them.
const INLINE_BYTES_MAX: usize = 128 * 1024;

/// Custody was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Accepted)]
pub(crate) struct AcceptedBody {
    /// The message's id.
    #[schema(example = "0192b3a0-0000-7000-8000-000000000000")]
    pub(crate) id: String,
    /// The stream it goes out on.
    pub(crate) stream: String,
    /// What becomes of each recipient.
    pub(crate) recipients: Vec<RecipientBody>,
}

/// What becomes of one recipient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = AcceptedRecipient)]
pub(crate) struct RecipientBody {
    /// The address as kept.
    pub(crate) email: String,
    /// `queued`; `suppressed` if the address must not be mailed; `bounced` if it cannot exist.
    #[schema(example = "queued")]
    pub(crate) status: &'static str,
}

impl From<&Accepted> for AcceptedBody {
    fn from(accepted: &Accepted) -> Self {
        Self {
            id: accepted.id.to_string(),
            stream: accepted.stream.to_string(),
            recipients: accepted.recipients.iter().map(Into::into).collect(),
        }
    }
}

impl From<&AcceptedRecipient> for RecipientBody {
    fn from(recipient: &AcceptedRecipient) -> Self {
        Self {
            email: recipient.address.clone(),
            status: match recipient.status {
                RecipientStatus::Queued => "queued",
                RecipientStatus::Suppressed => "suppressed",
                RecipientStatus::Bounced => "bounced",
            },
        }
    }
}

/// Send one message.
///
/// Answers 202 once the message is on disk.
#[utoipa::path(
    post,
    path = "/v1/messages",
    tag = "messages",
    params(("Idempotency-Key" = Option<String>, Header, description =
        "1 to 255 visible ASCII characters; a repeat within 24 h is answered like the first")),
    request_body = MessageRequest,
    responses(
        (status = 202, body = AcceptedBody, description = "the message is on disk", headers(
            ("Location" = String, description = "where its timeline is"),
            ("Idempotent-Replayed" = String, description = "`true` on a repeat"))),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json",
            description = "refused, nothing was kept"),
        (status = "5XX", body = ProblemBody, content_type = "application/problem+json",
            description = "no custody taken, try again after Retry-After"),
    ),
    security(("api_key" = []))
)]
pub(crate) async fn send(
    State(state): State<Arc<HttpState>>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, content) = request.into_parts();
    let credential = auth::caller(&state, &parts)?;
    state.expect_open()?;
    let key = header_key(&parts.headers)?;
    let rules = body::BodyRules {
        bytes_max: state.config.body_max.0,
        media_type: Some("application/json"),
        sender: body::Sender::Known,
    };
    let received = body::read(&state, &parts.headers, content, rules).await?;
    let idempotency = key.map(|key| IdempotencyKey {
        key,
        fingerprint: Some(fingerprint(&[parts.uri.path().as_bytes(), &received.bytes])),
    });
    let rules = compose_rules(&state, &credential);
    let bytes = received.bytes;
    let composed = off_loop(bytes.len(), move || {
        json::parse::<MessageRequest>(&bytes).and_then(|request| compose(request, &rules))
    })
    .await?;
    let channel = channel(&state, &parts);
    let submission = submission(composed, credential, channel, idempotency);
    let accepted = state.ports.intake.accept(submission).await?;
    drop(received.share);
    Ok(accepted_response(&accepted))
}

/// What composing for this credential depends on.
pub(crate) fn compose_rules(state: &HttpState, credential: &Credential) -> ComposeRules {
    let now = state.ports.clock.now();
    ComposeRules {
        now,
        seed: Uuid::from_bytes(*MessageId::new(now).as_bytes()),
        provider_headers: credential.provider_headers,
        message_bytes_max: state.config.message_max.0,
    }
}

/// Runs `work` here if it is small, else on a thread for blocking work.
pub(crate) async fn off_loop<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    if bytes <= INLINE_BYTES_MAX {
        return work();
    }
    let result = tokio::task::spawn_blocking(work).await;
    result.unwrap_or_else(|_| {
        tracing::error!("composing a message panicked");
        let text = "the gateway failed on this request";
        Err(Problem::new(ProblemKind::Internal, text))
    })
}

/// The door and the peer of a request.
pub(crate) fn channel(state: &HttpState, parts: &Parts) -> Channel {
    let peer = parts.extensions.get::<Peer>();
    let peer = peer.map_or(std::net::Ipv4Addr::UNSPECIFIED.into(), |peer| peer.0);
    let trusted = &state.config.trusted_proxies;
    Channel::Http(client_address(peer, &parts.headers, trusted))
}

/// A composed message as the port takes it. MAIL FROM is the sender's address.
pub(crate) fn submission(
    composed: Composed,
    credential: Arc<Credential>,
    channel: Channel,
    idempotency: Option<IdempotencyKey>,
) -> Submission {
    Submission {
        credential,
        channel,
        mail_from: Some(composed.from),
        recipients: composed
            .recipients
            .into_iter()
            .map(Recipient::new)
            .collect(),
        impossible: Vec::new(),
        body: composed.body,
        stream: composed.hints.stream,
        tags: composed.hints.tags,
        metadata: composed.hints.metadata,
        tracking: composed.hints.tracking,
        send_at: composed.hints.send_at,
        idempotency,
        dsn: DsnParameters::default(),
    }
}

/// The key in `Idempotency-Key`.
///
/// # Errors
/// `bad_idempotency_key` if it is given twice or is not one.
pub(crate) fn header_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default();
    if values.next().is_some() {
        return Err(bad_key("/Idempotency-Key"));
    }
    check_key(text, "/Idempotency-Key").map(Some)
}

/// A key that can be kept.
///
/// # Errors
/// `bad_idempotency_key` at `pointer`.
pub(crate) fn check_key(text: &str, pointer: &str) -> Result<String, Problem> {
    let is_visible = text.bytes().all(|b| b.is_ascii_graphic());
    if is_visible && (1..=KEY_BYTES_MAX).contains(&text.len()) {
        return Ok(text.to_owned());
    }
    Err(bad_key(pointer))
}

fn bad_key(pointer: &str) -> Problem {
    let text = "give one key of 1 to 255 visible ASCII characters";
    Problem::at(ProblemKind::BadIdempotencyKey, pointer, text)
}

/// SHA-256 of parts, each with its length, so that no two lists of parts look the same.
pub(crate) fn fingerprint(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// 202 with where to look, and whether this was a repeat.
pub(crate) fn accepted_response(accepted: &Accepted) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(header::LOCATION, location(accepted.id));
    if accepted.is_replay {
        let name = HeaderName::from_static("idempotent-replayed");
        headers.insert(name, HeaderValue::from_static("true"));
    }
    let body = axum::Json(AcceptedBody::from(accepted));
    (StatusCode::ACCEPTED, headers, body).into_response()
}

fn location(id: MessageId) -> HeaderValue {
    let path = format!("/v1/messages/{id}");
    HeaderValue::try_from(path).unwrap_or(HeaderValue::from_static("/v1/messages"))
}

/// A time as answers write it (RFC 3339).
pub(crate) fn written(at: Timestamp) -> String {
    at.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_one_to_255_visible_characters_given_once() {
        let key = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append("idempotency-key", value.parse().unwrap());
            }
            header_key(&headers).map_err(|problem| problem.kind())
        };
        assert_eq!(key(&[]), Ok(None));
        assert_eq!(key(&["order-17"]), Ok(Some("order-17".to_owned())));
        for bad in [
            &[""][..],
            &["a b"],
            &["é"],
            &["a\tb"],
            &["a", "a"],
            &[&"x".repeat(300)],
        ] {
            assert_eq!(key(bad), Err(ProblemKind::BadIdempotencyKey), "{bad:?}");
        }
    }

    #[test]
    fn fingerprints_tell_apart_where_parts_end() {
        assert_eq!(fingerprint(&[b"ab", b"c"]), fingerprint(&[b"ab", b"c"]));
        assert_ne!(fingerprint(&[b"ab", b"c"]), fingerprint(&[b"a", b"bc"]));
    }
}
