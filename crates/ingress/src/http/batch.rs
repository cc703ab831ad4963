//! `POST /v1/messages/batch`: up to 500 messages, each accepted or refused by itself.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, stream};
use malote_core::credential::Credential;
use malote_core::message::{Channel, IdempotencyKey};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::compose::compose;
use super::messages::{
    AcceptedBody, RecipientBody, channel, check_key, compose_rules, fingerprint, off_loop,
    submission,
};
use super::problem_rfc9457::{Problem, ProblemBody, ProblemKind};
use super::request::{BatchRequest, MessageRequest};
use super::state::HttpState;
use super::{auth, body, json};

/// Most messages of one batch.
const MESSAGES_MAX: usize = 500;
/// Messages of one batch under way at once: enough to share group commits, few enough that one
/// batch does not hold all of its composed messages in memory.
const CONCURRENCY: usize = 64;

/// The results, in the order of the messages.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BatchResults)]
pub(crate) struct BatchBody {
    /// One for each message.
    pub(crate) results: Vec<BatchResult>,
}

/// What became of one message of a batch: an id or a problem.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct BatchResult {
    /// The status that this message alone would have been answered with.
    pub(crate) status: u16,
    /// The accepted message's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "0192b3a0-0000-7000-8000-000000000000", nullable = false)]
    pub(crate) id: Option<String>,
    /// The stream it goes out on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) stream: Option<String>,
    /// What becomes of each recipient.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) recipients: Option<Vec<RecipientBody>>,
    /// Whether this repeats an earlier submission with the same key.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) replayed: Option<bool>,
    /// Why it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) problem: Option<ProblemBody>,
}

impl BatchResult {
    fn refused(problem: Problem) -> Self {
        Self {
            status: problem.status().as_u16(),
            problem: Some(problem.into_body()),
            ..Self::default()
        }
    }
}

/// Send up to 500 messages.
///
/// Each message is accepted or refused by itself; the answer is 200 with one result for each.
#[utoipa::path(
    post,
    path = "/v1/messages/batch",
    tag = "messages",
    request_body = BatchRequest,
    responses(
        (status = 200, body = BatchBody, description = "results in the messages' order"),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json",
            description = "refused as a whole, nothing was kept"),
        (status = "5XX", body = ProblemBody, content_type = "application/problem+json",
            description = "no custody taken, try again after Retry-After"),
    ),
    security(("api_key" = []))
)]
pub(crate) async fn send_batch(
    State(state): State<Arc<HttpState>>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, content) = request.into_parts();
    let credential = auth::caller(&state, &parts)?;
    state.expect_open()?;
    if parts.headers.contains_key("idempotency-key") {
        let text = "a batch takes no key; give each message its own idempotency_key";
        let kind = ProblemKind::BadIdempotencyKey;
        return Err(Problem::at(kind, "/Idempotency-Key", text));
    }
    let rules = body::BodyRules {
        bytes_max: state.config.body_max.0,
        media_type: Some("application/json"),
        sender: body::Sender::Known,
    };
    let received = body::read(&state, &parts.headers, content, rules).await?;
    let bytes = received.bytes;
    let batch: BatchRequest = off_loop(bytes.len(), move || json::parse(&bytes)).await?;
    let count = batch.messages.len();
    if !(1..=MESSAGES_MAX).contains(&count) {
        let text = format!("{count} messages, 1 to {MESSAGES_MAX} are taken");
        return Err(Problem::at(ProblemKind::TooMany, "/messages", text));
    }
    let channel = channel(&state, &parts);
    let work = batch
        .messages
        .into_iter()
        .enumerate()
        .map(|(index, message)| {
            let (state, credential) = (Arc::clone(&state), Arc::clone(&credential));
            async move {
                let result = send_one(&state, credential, channel, message).await;
                result.unwrap_or_else(|problem| {
                    BatchResult::refused(problem.under(&format!("/messages/{index}")))
                })
            }
        });
    let results = stream::iter(work).buffered(CONCURRENCY).collect().await;
    drop(received.share);
    Ok(axum::Json(BatchBody { results }).into_response())
}

async fn send_one(
    state: &HttpState,
    credential: Arc<Credential>,
    channel: Channel,
    mut message: Value,
) -> Result<BatchResult, Problem> {
    let key = take_key(&mut message)?;
    let idempotency = key.map(|key| IdempotencyKey {
        key,
        fingerprint: Some(fingerprint(&[
            b"/v1/messages/batch",
            message.to_string().as_bytes(),
        ])),
    });
    let rules = compose_rules(state, &credential);
    let request: MessageRequest = json::from_value(message)?;
    let size = [&request.text, &request.html].into_iter().flatten();
    let size = size.map(String::len).sum::<usize>()
        + request
            .attachments
            .iter()
            .flatten()
            .map(|file| file.content.len())
            .sum::<usize>();
    let composed = off_loop(size, move || compose(request, &rules)).await?;
    let submission = submission(composed, credential, channel, idempotency);
    let accepted = state.ports.intake.accept(submission).await?;
    let body = AcceptedBody::from(&accepted);
    Ok(BatchResult {
        status: 202,
        id: Some(body.id),
        stream: Some(body.stream),
        recipients: Some(body.recipients),
        replayed: accepted.is_replay.then_some(true),
        problem: None,
    })
}

fn take_key(message: &mut Value) -> Result<Option<String>, Problem> {
    match message
        .as_object_mut()
        .and_then(|object| object.remove("idempotency_key"))
    {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(key)) => check_key(&key, "/idempotency_key").map(Some),
        Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            let text = "the key is a string";
            Err(Problem::at(
                ProblemKind::InvalidType,
                "/idempotency_key",
                text,
            ))
        }
    }
}
