//! `/u/{ticket}`: the link that stands in List-Unsubscribe, for people and for their mailbox
//! providers' one click (RFC 8058).
//!
//! GET never acts: scanners follow links. No path is logged, and metrics have its template only.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use malote_core::subscription::{Subscription, Wish};
use malote_core::webhook::SinkUnavailable;

use super::body;
use super::problem_rfc9457::Problem;
use super::state::HttpState;

mod page;

use page::{Language, Shown};

/// Largest form: a one-click post has 26 octets, a few more as multipart.
const FORM_BYTES_MAX: u64 = 4 << 10;
/// No script, no other server, nobody's frame, no form to elsewhere.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; \
                      base-uri 'none'; frame-ancestors 'none'";

/// Shows where the reader stands. Changes nothing.
pub(crate) async fn show(
    State(state): State<Arc<HttpState>>,
    Path(ticket): Path<String>,
    headers: HeaderMap,
) -> Response {
    let found = state.ports.subscriptions.find(&ticket).await;
    answer((found, None), Language::of(&headers), StatusCode::OK)
}

/// Does what a form says: unsubscribe, by one click or by the page's button, or subscribe again.
pub(crate) async fn act(
    State(state): State<Arc<HttpState>>,
    Path(ticket): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, content) = request.into_parts();
    let rules = body::BodyRules {
        bytes_max: FORM_BYTES_MAX,
        media_type: None,
        sender: body::Sender::Stranger,
    };
    let received = body::read(&state, &parts.headers, content, rules).await?;
    let language = Language::of(&parts.headers);
    let subscriptions = &state.ports.subscriptions;
    let response = match wish(&received.bytes) {
        Some(wish) => answer(
            (subscriptions.ask(&ticket, wish).await, Some(wish)),
            language,
            StatusCode::OK,
        ),
        None => answer(
            (subscriptions.find(&ticket).await, None),
            language,
            StatusCode::BAD_REQUEST,
        ),
    };
    drop(received.share);
    Ok(response)
}

/// What a form asks for: a field and its value, as URL-encoded or multipart forms have them. RFC
/// 8058 3.2 wants both taken.
fn wish(form: &[u8]) -> Option<Wish> {
    let text = String::from_utf8_lossy(form);
    let fields = [
        ("List-Unsubscribe", "One-Click", Wish::Unsubscribe),
        ("Subscribe", "Again", Wish::Resubscribe),
    ];
    let wishes = fields.into_iter().filter(|(name, value, _)| {
        let pair = format!("{name}={value}");
        let is_encoded = text
            .trim()
            .split('&')
            .any(|own| own.eq_ignore_ascii_case(&pair));
        is_encoded || has_part(&text, name, value)
    });
    let mut wishes = wishes.map(|(_, _, wish)| wish);
    // Who asks for both has not been understood.
    wishes.next().filter(|_| wishes.next().is_none())
}

/// Whether a multipart form (RFC 7578) has this field with this value.
fn has_part(text: &str, name: &str, value: &str) -> bool {
    let name = format!("name=\"{name}\"");
    text.split("\r\n--").any(|part| {
        let Some((fields, content)) = part.split_once("\r\n\r\n") else {
            return false;
        };
        fields.contains(&name) && content.trim().eq_ignore_ascii_case(value)
    })
}

fn answer(
    (found, wish): (Result<Option<Subscription>, SinkUnavailable>, Option<Wish>),
    language: Language,
    status: StatusCode,
) -> Response {
    let (status, shown) = match &found {
        Ok(Some(subscription)) if wish == Some(Wish::Resubscribe) => {
            (status, Shown::Back(subscription))
        }
        Ok(Some(subscription)) => (status, Shown::Standing(subscription)),
        Ok(None) => (StatusCode::NOT_FOUND, Shown::Unknown),
        Err(SinkUnavailable) => (StatusCode::SERVICE_UNAVAILABLE, Shown::Later),
    };
    let mut response = (status, page::write(&shown, language)).into_response();
    let headers = response.headers_mut();
    let fields: [(HeaderName, &'static str); 6] = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_LANGUAGE, language.tag()),
        (header::VARY, "Accept-Language"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("x-robots-tag"), "noindex, nofollow"),
    ];
    for (name, value) in fields {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("10"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_says_what_is_wished_in_either_encoding() {
        let multipart = |name: &str, value: &str| {
            format!(
                "--x\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n--x--\r\n"
            )
        };
        let leave = Some(Wish::Unsubscribe);
        for (form, expected) in [
            ("List-Unsubscribe=One-Click".to_owned(), leave),
            ("a=b&list-unsubscribe=one-click\r\n".to_owned(), leave),
            (multipart("List-Unsubscribe", "One-Click"), leave),
            ("Subscribe=Again".to_owned(), Some(Wish::Resubscribe)),
            (multipart("Subscribe", "Again"), Some(Wish::Resubscribe)),
            (String::new(), None),
            ("List-Unsubscribe=".to_owned(), None),
            ("List-Unsubscribe=One-Click2".to_owned(), None),
            ("x=List-Unsubscribe=One-Click".to_owned(), None),
            (multipart("other", "One-Click"), None),
            (
                "List-Unsubscribe=One-Click&Subscribe=Again".to_owned(),
                None,
            ),
            ("\u{0}\u{1}".to_owned(), None),
        ] {
            assert_eq!(wish(form.as_bytes()), expected, "{form:?}");
        }
    }
}
