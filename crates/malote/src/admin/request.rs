//! Reading requests: query strings and bounded JSON bodies, nothing unknown let through.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Query, Request};
use axum::http::{HeaderMap, Uri, header};
use serde::de::DeserializeOwned;

use super::problem::{Problem, ProblemKind};

/// Largest JSON body: filters and hypothetical messages' headers are small.
const JSON_BYTES_MAX: usize = 1 << 20;
/// How long a body may take to come.
pub(super) const BODY_WAIT_MAX: Duration = Duration::from_secs(30);

/// The query string as `T`, which must refuse unknown parameters.
///
/// # Errors
/// 400 with what is not understood.
pub(super) fn query<T: DeserializeOwned>(uri: &Uri) -> Result<T, Problem> {
    Query::<T>::try_from_uri(uri)
        .map(|Query(query)| query)
        .map_err(|rejection| Problem::new(ProblemKind::BadQuery, rejection.body_text()))
}

/// The body as `T`, which must refuse unknown members. Asking for `application/json` also keeps
/// out what a form of another site could post.
///
/// # Errors
/// A problem that points at the member at fault.
pub(super) async fn json<T: DeserializeOwned>(request: Request) -> Result<T, Problem> {
    expect_type(request.headers(), "application/json")?;
    let body = read(request.into_body()).await?;
    let mut reader = serde_json::Deserializer::from_slice(&body);
    let value: T = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let pointer = pointer(error.path());
        let inner = error.inner();
        let kind = if inner.is_data() {
            ProblemKind::InvalidValue
        } else {
            ProblemKind::MalformedJson
        };
        Problem::at(kind, &pointer, inner.to_string())
    })?;
    reader
        .end()
        .map_err(|error| Problem::new(ProblemKind::MalformedJson, error.to_string()))?;
    Ok(value)
}

/// Refuses any other media type.
///
/// # Errors
/// 415.
pub(super) fn expect_type(headers: &HeaderMap, expected: &str) -> Result<(), Problem> {
    let given = headers.get(header::CONTENT_TYPE);
    let given = given.and_then(|value| value.to_str().ok()).unwrap_or("");
    let essence = given.split(';').next().unwrap_or("").trim();
    if essence.eq_ignore_ascii_case(expected) {
        return Ok(());
    }
    let text = format!("send Content-Type: {expected}");
    Err(Problem::new(ProblemKind::UnsupportedMediaType, text))
}

async fn read(body: Body) -> Result<axum::body::Bytes, Problem> {
    match tokio::time::timeout(BODY_WAIT_MAX, to_bytes(body, JSON_BYTES_MAX)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(_)) => {
            let text = "the body is cut off or larger than 1 MiB";
            Err(Problem::new(ProblemKind::BodyTooLarge, text))
        }
        Err(_) => {
            let text = "the body did not come within 30 seconds";
            Err(Problem::new(ProblemKind::BodyTimeout, text))
        }
    }
}

/// A JSON pointer (RFC 6901) to the place.
fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let mut pointer = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => pointer.push_str(&format!("/{index}")),
            Segment::Map { key } | Segment::Enum { variant: key } => {
                pointer.push('/');
                pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
            }
            Segment::Unknown => {}
        }
    }
    pointer
}
