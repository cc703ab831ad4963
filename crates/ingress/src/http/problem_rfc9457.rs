//! Problem documents (RFC 9457): what a refused request is told, and where the fault is.

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use malote_core::intake::Refusal;
use malote_core::ledger::LedgerFault;
use serde::Serialize;
use utoipa::ToSchema;

/// Most faults told at once.
const FAULTS_MAX: usize = 20;
/// Longest detail, in octets: details quote names that a client chose.
const DETAIL_BYTES_MAX: usize = 512;
/// When to come back to a gateway that cannot take mail and does not know for how long.
const RETRY_AFTER_UNAVAILABLE: Duration = Duration::from_secs(5);
/// When to come back to a full disk.
const RETRY_AFTER_STORAGE: Duration = Duration::from_secs(60);
/// When to come back while the first submission with a key is under way.
const RETRY_AFTER_IN_PROGRESS: Duration = Duration::from_secs(1);

macro_rules! kinds {
    ($($name:ident = $slug:literal, $status:ident, $title:literal;)+) => {
        /// The closed set of problem types. The type URI is `urn:malote:problem:` and the word.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum ProblemKind {
            $(#[doc = $title] $name,)+
        }

        impl ProblemKind {
            /// Every kind, for the API's description.
            pub(crate) const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The last part of the type URI.
            pub(crate) const fn slug(self) -> &'static str {
                match self { $(Self::$name => $slug,)+ }
            }

            /// The status it is answered with.
            pub(crate) const fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)+ }
            }

            /// What it is, the same for every occurrence.
            pub(crate) const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)+ }
            }
        }
    };
}

kinds! {
    Unauthorized = "unauthorized", UNAUTHORIZED, "No valid API key";
    StreamNotAllowed = "stream_not_allowed", FORBIDDEN, "Stream not allowed";
    ScopeNotAllowed = "scope_not_allowed", FORBIDDEN, "Scope not allowed";
    NotFound = "not_found", NOT_FOUND, "Not found";
    MethodNotAllowed = "method_not_allowed", METHOD_NOT_ALLOWED, "Method not allowed";
    MalformedJson = "malformed_json", BAD_REQUEST, "Malformed JSON";
    DuplicateField = "duplicate_field", BAD_REQUEST, "Duplicate member";
    UnknownField = "unknown_field", BAD_REQUEST, "Unknown member";
    InvalidType = "invalid_type", BAD_REQUEST, "Wrong JSON type";
    BadQuery = "bad_query", BAD_REQUEST, "Query parameter not understood";
    BadIdempotencyKey = "bad_idempotency_key", BAD_REQUEST, "Idempotency key not usable";
    MalformedBody = "malformed_body", BAD_REQUEST, "Body cannot be read";
    BodyTimeout = "body_timeout", REQUEST_TIMEOUT, "Body came too slowly";
    BodyTooLarge = "body_too_large", PAYLOAD_TOO_LARGE, "Body too large";
    MessageTooLarge = "message_too_large", PAYLOAD_TOO_LARGE, "Message too large";
    TooManyEvents = "too_many_events", PAYLOAD_TOO_LARGE, "Too many events";
    UnsupportedMediaType = "unsupported_media_type", UNSUPPORTED_MEDIA_TYPE, "Unsupported media type";
    UnsupportedEncoding = "unsupported_encoding", UNSUPPORTED_MEDIA_TYPE, "Unsupported content coding";
    HeaderTooLarge = "header_too_large", REQUEST_HEADER_FIELDS_TOO_LARGE, "Request header too large";
    InProgress = "in_progress", CONFLICT, "Submission under way";
    KeyReused = "key_reused", UNPROCESSABLE_ENTITY, "Idempotency key reused";
    MissingField = "missing_field", UNPROCESSABLE_ENTITY, "Member missing";
    InvalidValue = "invalid_value", UNPROCESSABLE_ENTITY, "Value not allowed";
    InvalidAddress = "invalid_address", UNPROCESSABLE_ENTITY, "Not exactly one mailbox address";
    FromNotAllowed = "from_not_allowed", UNPROCESSABLE_ENTITY, "Sender not allowed";
    StreamMissing = "stream_missing", UNPROCESSABLE_ENTITY, "Stream missing";
    ControlCharacter = "control_character", UNPROCESSABLE_ENTITY, "Control character";
    InvalidHeaderName = "invalid_header_name", UNPROCESSABLE_ENTITY, "Not a header field name";
    ReservedHeader = "reserved_header", UNPROCESSABLE_ENTITY, "Reserved header field";
    DuplicateHeader = "duplicate_header", UNPROCESSABLE_ENTITY, "Header field given twice";
    TooLong = "too_long", UNPROCESSABLE_ENTITY, "Too long";
    TooMany = "too_many", UNPROCESSABLE_ENTITY, "Too many";
    TooManyRecipients = "too_many_recipients", UNPROCESSABLE_ENTITY, "Too many recipients";
    InvalidBase64 = "invalid_base64", UNPROCESSABLE_ENTITY, "Not base64";
    InvalidContentType = "invalid_content_type", UNPROCESSABLE_ENTITY, "Content type not allowed";
    InvalidSendAt = "invalid_send_at", UNPROCESSABLE_ENTITY, "Send time not allowed";
    BareLineEnd = "bare_line_end", UNPROCESSABLE_ENTITY, "Bare CR or LF";
    MalformedMessage = "malformed_message", UNPROCESSABLE_ENTITY, "Malformed message";
    MailLoop = "mail_loop", UNPROCESSABLE_ENTITY, "Mail loop";
    Internal = "internal", INTERNAL_SERVER_ERROR, "Internal error";
    Busy = "busy", SERVICE_UNAVAILABLE, "Busy";
    KeyHeld = "key_held", SERVICE_UNAVAILABLE, "Idempotency key held by another gateway";
    KeyUnchecked = "key_unchecked", SERVICE_UNAVAILABLE, "Idempotency key cannot be checked";
    Draining = "draining", SERVICE_UNAVAILABLE, "Gateway is being drained";
    QueueFull = "queue_full", SERVICE_UNAVAILABLE, "Queue full";
    Unavailable = "unavailable", SERVICE_UNAVAILABLE, "Not available now";
    StorageFull = "storage_full", INSUFFICIENT_STORAGE, "Storage full";
    WebhookUnverified = "webhook_unverified", UNAUTHORIZED, "Origin not proven";
    WebhookForbidden = "webhook_forbidden", FORBIDDEN, "Not for this gateway";
    WebhookUnreadable = "webhook_unreadable", BAD_REQUEST, "Not in a known shape";
}

/// One fault in a request: where it is and what is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct FieldFault {
    /// JSON pointer (RFC 6901) into the request; for header fields, `/` and the field's name.
    pub(crate) pointer: String,
    /// The last part of this fault's problem type.
    pub(crate) code: &'static str,
    /// What is wrong and the way out.
    pub(crate) detail: String,
}

/// What a refused request is told (RFC 9457), as `application/problem+json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct ProblemBody {
    /// `urn:malote:problem:` and a word.
    #[serde(rename = "type")]
    pub(crate) type_uri: String,
    /// What kind of problem it is, the same for every occurrence.
    pub(crate) title: &'static str,
    /// The HTTP status.
    pub(crate) status: u16,
    /// What is wrong here and the way out.
    pub(crate) detail: String,
    /// The places that are at fault.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) errors: Vec<FieldFault>,
}

/// A refusal on its way to the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    kind: ProblemKind,
    detail: String,
    errors: Vec<FieldFault>,
    retry_after: Option<Duration>,
}

impl Problem {
    /// A problem of the request as a whole.
    pub(crate) fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        let waits = [
            (ProblemKind::InProgress, RETRY_AFTER_IN_PROGRESS),
            (ProblemKind::Busy, RETRY_AFTER_IN_PROGRESS),
            (ProblemKind::StorageFull, RETRY_AFTER_STORAGE),
            (ProblemKind::Unavailable, RETRY_AFTER_UNAVAILABLE),
            (ProblemKind::KeyHeld, RETRY_AFTER_UNAVAILABLE),
            (ProblemKind::KeyUnchecked, RETRY_AFTER_UNAVAILABLE),
            // Behind a balancer the next connection is another gateway's.
            (ProblemKind::Draining, RETRY_AFTER_IN_PROGRESS),
        ];
        let wait = waits.into_iter().find(|(own, _)| *own == kind);
        Self {
            kind,
            detail: bounded(detail.into()),
            errors: Vec::new(),
            retry_after: wait.map(|(_, wait)| wait),
        }
    }

    /// A problem at one place.
    pub(crate) fn at(
        kind: ProblemKind,
        pointer: impl Into<String>,
        detail: impl Into<String>,
    ) -> Self {
        let detail = detail.into();
        let mut problem = Self::new(kind, detail.clone());
        problem.errors.push(FieldFault {
            pointer: bounded(pointer.into()),
            code: kind.slug(),
            detail: bounded(detail),
        });
        problem
    }

    /// The status it is answered with.
    pub(crate) const fn status(&self) -> StatusCode {
        self.kind.status()
    }

    /// Its kind.
    pub(crate) const fn kind(&self) -> ProblemKind {
        self.kind
    }

    /// The places at fault.
    #[cfg(test)]
    pub(crate) fn errors(&self) -> &[FieldFault] {
        &self.errors
    }

    /// The same problem, seen from a document in which the faulty one stands at `prefix`.
    pub(crate) fn under(mut self, prefix: &str) -> Self {
        for error in &mut self.errors {
            error.pointer.insert_str(0, prefix);
        }
        self
    }

    /// The document.
    pub(crate) fn into_body(self) -> ProblemBody {
        ProblemBody {
            type_uri: format!("urn:malote:problem:{}", self.kind.slug()),
            title: self.kind.title(),
            status: self.kind.status().as_u16(),
            detail: self.detail,
            errors: self.errors,
        }
    }
}

fn bounded(text: impl AsRef<str>) -> String {
    malote_core::provider::bounded(text.as_ref(), DETAIL_BYTES_MAX)
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, retry_after, kind) = (self.status(), self.retry_after, self.kind);
        let text = serde_json::to_vec(&self.into_body()).unwrap_or_default();
        let mut response = (status, text).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if let Some(wait) = retry_after {
            headers.insert(
                header::RETRY_AFTER,
                HeaderValue::from(wait.as_secs().max(1)),
            );
        }
        if kind == ProblemKind::Unauthorized {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        // Every 401 names a way in (RFC 9110 15.5.2). Some services send the login of their URL only
        // when they are asked for it.
        if kind == ProblemKind::WebhookUnverified {
            let login = HeaderValue::from_static("Basic realm=\"malote\"");
            headers.insert(header::WWW_AUTHENTICATE, login);
        }
        if kind == ProblemKind::UnsupportedEncoding {
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        }
        if kind == ProblemKind::BodyTimeout {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let text = refusal.to_string();
        match refusal {
            Refusal::StreamNotAllowed(_) => {
                Self::at(ProblemKind::StreamNotAllowed, "/stream", text)
            }
            Refusal::StreamMissing => Self::at(ProblemKind::StreamMissing, "/stream", text),
            Refusal::FromNotAllowed { .. } => Self::at(ProblemKind::FromNotAllowed, "/from", text),
            Refusal::Malformed { .. } => Self::new(ProblemKind::MalformedMessage, text),
            Refusal::TooLarge { .. } => Self::new(ProblemKind::TooLong, text),
            Refusal::Loop => Self::new(ProblemKind::MailLoop, text),
            Refusal::KeyReused => Self::new(ProblemKind::KeyReused, text),
            Refusal::InProgress => Self::new(ProblemKind::InProgress, text),
            Refusal::KeyHeld => Self::new(ProblemKind::KeyHeld, text),
            Refusal::KeyUnchecked => Self::new(ProblemKind::KeyUnchecked, text),
            Refusal::Draining => Self::new(ProblemKind::Draining, text),
            Refusal::QueueFull { retry_after } => Self {
                retry_after: Some(retry_after),
                ..Self::new(ProblemKind::QueueFull, text)
            },
            Refusal::StorageFull => Self::new(ProblemKind::StorageFull, text),
            Refusal::Unavailable => Self::new(ProblemKind::Unavailable, text),
        }
    }
}

impl From<LedgerFault> for Problem {
    fn from(fault: LedgerFault) -> Self {
        let text = fault.to_string();
        match fault {
            LedgerFault::NotFound => Self::new(ProblemKind::NotFound, text),
            LedgerFault::BadCursor => Self::at(ProblemKind::BadQuery, "/cursor", text),
            LedgerFault::Unavailable => Self::new(ProblemKind::Unavailable, text),
        }
    }
}

/// Collects the faults of one request, so that a client learns all of them at once.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    first: Option<Problem>,
}

impl Faults {
    /// Notes a fault; over the bound it is dropped.
    pub(crate) fn push(
        &mut self,
        kind: ProblemKind,
        pointer: impl Into<String>,
        detail: impl Into<String>,
    ) {
        let next = Problem::at(kind, pointer, detail);
        match &mut self.first {
            None => self.first = Some(next),
            Some(first) if first.errors.len() < FAULTS_MAX => first.errors.extend(next.errors),
            Some(_) => {}
        }
    }

    /// `value`, if there is no fault.
    ///
    /// # Errors
    /// One problem that names every fault; its type is the first one's.
    pub(crate) fn none_or<T>(self, value: T) -> Result<T, Problem> {
        self.first.map_or(Ok(value), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_own_word_and_an_error_status() {
        let mut words: Vec<_> = ProblemKind::ALL.iter().map(|kind| kind.slug()).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), ProblemKind::ALL.len());
        for kind in ProblemKind::ALL {
            assert!(kind.status().as_u16() >= 400 && !kind.title().is_empty());
        }
    }

    #[test]
    fn refusals_are_answered_as_the_contract_says() {
        let queue_full = Refusal::QueueFull {
            retry_after: Duration::from_secs(7),
        };
        for (refusal, status, retry_after) in [
            (Refusal::StreamNotAllowed("x".into()), 403, None),
            (Refusal::StreamMissing, 422, None),
            (Refusal::FromNotAllowed { domain: "x".into() }, 422, None),
            (Refusal::Loop, 422, None),
            (Refusal::KeyReused, 422, None),
            (Refusal::InProgress, 409, Some("1")),
            (Refusal::KeyHeld, 503, Some("5")),
            (Refusal::KeyUnchecked, 503, Some("5")),
            (Refusal::Draining, 503, Some("1")),
            (queue_full, 503, Some("7")),
            (Refusal::StorageFull, 507, Some("60")),
            (Refusal::Unavailable, 503, Some("5")),
        ] {
            let response = Problem::from(refusal.clone()).into_response();
            assert_eq!(response.status().as_u16(), status, "{refusal}");
            let header = response.headers().get(header::RETRY_AFTER);
            assert_eq!(
                header.and_then(|v| v.to_str().ok()),
                retry_after,
                "{refusal}"
            );
        }
    }

    #[test]
    fn all_faults_are_told_up_to_the_bound_and_the_first_gives_the_type() {
        let mut faults = Faults::default();
        faults.push(ProblemKind::TooLong, "/subject", "too long");
        for index in 0..100 {
            faults.push(ProblemKind::InvalidAddress, format!("/to/{index}"), "no");
        }
        let problem = faults.none_or(()).unwrap_err();
        assert_eq!(problem.kind(), ProblemKind::TooLong);
        assert_eq!(problem.errors().len(), FAULTS_MAX);
    }
}
