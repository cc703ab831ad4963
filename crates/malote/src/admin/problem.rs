//! Problem documents (RFC 9457) of the operators' door.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use malote_core::ledger::LedgerFault;
use malote_core::provider::bounded;
use malote_store::StoreError;
use serde::{Deserialize, Serialize};

/// Longest detail, in octets: details quote what a client wrote.
const DETAIL_BYTES_MAX: usize = 512;

/// The closed set of problem types. The type URI is `urn:malote:problem:` and the word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProblemKind {
    /// No token, or a wrong one.
    Unauthorized,
    /// A browser asks on behalf of another site.
    CrossSite,
    /// Nothing there.
    NotFound,
    /// Not by this method.
    MethodNotAllowed,
    /// A query parameter that is unknown or not understood.
    BadQuery,
    /// The body is not the JSON that is expected.
    MalformedJson,
    /// Understood, and not allowed.
    InvalidValue,
    /// The body came too slowly.
    BodyTimeout,
    /// The body is over its bound.
    BodyTooLarge,
    /// Not `application/json` (or what the path takes).
    UnsupportedMediaType,
    /// The store cannot be read or written.
    Unavailable,
    /// The disk is full.
    StorageFull,
    /// Ours.
    Internal,
}

impl ProblemKind {
    const fn parts(self) -> (&'static str, StatusCode, &'static str) {
        match self {
            Self::Unauthorized => ("unauthorized", StatusCode::UNAUTHORIZED, "No valid token"),
            Self::CrossSite => (
                "cross_site",
                StatusCode::FORBIDDEN,
                "Asked for by another site",
            ),
            Self::NotFound => ("not_found", StatusCode::NOT_FOUND, "Not found"),
            Self::MethodNotAllowed => (
                "method_not_allowed",
                StatusCode::METHOD_NOT_ALLOWED,
                "Method not allowed",
            ),
            Self::BadQuery => (
                "bad_query",
                StatusCode::BAD_REQUEST,
                "Query parameter not understood",
            ),
            Self::MalformedJson => ("malformed_json", StatusCode::BAD_REQUEST, "Malformed JSON"),
            Self::InvalidValue => (
                "invalid_value",
                StatusCode::UNPROCESSABLE_ENTITY,
                "Value not allowed",
            ),
            Self::BodyTimeout => (
                "body_timeout",
                StatusCode::REQUEST_TIMEOUT,
                "Body came too slowly",
            ),
            Self::BodyTooLarge => (
                "body_too_large",
                StatusCode::PAYLOAD_TOO_LARGE,
                "Body too large",
            ),
            Self::UnsupportedMediaType => (
                "unsupported_media_type",
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "Unsupported media type",
            ),
            Self::Unavailable => (
                "unavailable",
                StatusCode::SERVICE_UNAVAILABLE,
                "Not available now",
            ),
            Self::StorageFull => (
                "storage_full",
                StatusCode::INSUFFICIENT_STORAGE,
                "Storage full",
            ),
            Self::Internal => (
                "internal",
                StatusCode::INTERNAL_SERVER_ERROR,
                "Internal error",
            ),
        }
    }
}

/// A problem document as it is written, and as the command line reads it back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProblemBody {
    /// `urn:malote:problem:` and a word.
    #[serde(rename = "type")]
    pub(crate) type_uri: String,
    /// What kind of problem it is, the same for every occurrence.
    pub(crate) title: String,
    /// The HTTP status.
    pub(crate) status: u16,
    /// What is wrong here and the way out.
    pub(crate) detail: String,
    /// JSON pointer (RFC 6901) or query parameter that is at fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pointer: Option<String>,
}

/// A refusal on its way to the operator. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    kind: ProblemKind,
    detail: String,
    pointer: Option<String>,
}

impl Problem {
    /// A problem of the request as a whole.
    pub(crate) fn new(kind: ProblemKind, detail: impl AsRef<str>) -> Self {
        Self {
            kind,
            detail: bounded(detail.as_ref(), DETAIL_BYTES_MAX),
            pointer: None,
        }
    }

    /// A problem at one place.
    pub(crate) fn at(kind: ProblemKind, pointer: &str, detail: impl AsRef<str>) -> Self {
        Self {
            pointer: Some(bounded(pointer, DETAIL_BYTES_MAX)),
            ..Self::new(kind, detail)
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (slug, status, title) = self.kind.parts();
        let body = ProblemBody {
            type_uri: format!("urn:malote:problem:{slug}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: self.detail,
            pointer: self.pointer,
        };
        let mut response = (status, Json(body)).into_response();
        let kind = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let kind = match &error {
            StoreError::Full => ProblemKind::StorageFull,
            StoreError::Busy | StoreError::Closed | StoreError::Unavailable(_) => {
                ProblemKind::Unavailable
            }
            StoreError::BadCursor => {
                return Self::at(ProblemKind::BadQuery, "cursor", error.to_string());
            }
            StoreError::Damaged(_) | StoreError::Engine(_) => {
                tracing::error!(%error, "could not do what an operator asked of the store");
                let text = "the store failed on this request, see the log";
                return Self::new(ProblemKind::Internal, text);
            }
        };
        Self::new(kind, error.to_string())
    }
}

impl From<LedgerFault> for Problem {
    fn from(fault: LedgerFault) -> Self {
        match fault {
            LedgerFault::NotFound => Self::new(ProblemKind::NotFound, "no such message"),
            LedgerFault::BadCursor => Self::at(ProblemKind::BadQuery, "cursor", fault.to_string()),
            LedgerFault::Unavailable => Self::new(ProblemKind::Unavailable, fault.to_string()),
        }
    }
}
