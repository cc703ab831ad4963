//! Who may use the operators' door: the token's bearer, and never a browser on another site's
//! behalf.

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use malote_core::secret::Secret;

use super::AdminState;
use super::problem::{Problem, ProblemKind};

/// Lets a request through that presents the token. Without a token (loopback only) the guard is
/// against browsers: a page of another site must neither post here nor, by a name that it lets
/// resolve to 127.0.0.1, read here.
pub(super) async fn guard(
    State(state): State<AdminState>,
    request: Request,
    next: Next,
) -> Response {
    let is_page = request.uri().path().starts_with("/captured");
    let headers = request.headers();
    if is_cross_site(request.method(), headers) {
        let text = "a browser asks on behalf of another site";
        return Problem::new(ProblemKind::CrossSite, text).into_response();
    }
    match state.token.load_full() {
        Some(token) if !presents(&token, headers, is_page) => unauthorized(is_page),
        None if !names_this_machine(headers) => {
            let text = "without a token, ask by address or as localhost";
            Problem::new(ProblemKind::CrossSite, text).into_response()
        }
        Some(_) | None => next.run(request).await,
    }
}

/// `Authorization: Bearer TOKEN` (RFC 6750 2.1). A browser asks its user for a password, so pages
/// take the token as that, too.
fn presents(token: &Secret, headers: &HeaderMap, is_page: bool) -> bool {
    let Some(value) = headers.get(header::AUTHORIZATION) else {
        return false;
    };
    let Some((scheme, rest)) = value.to_str().ok().and_then(|text| text.split_once(' ')) else {
        return false;
    };
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return token.matches(rest.as_bytes());
    }
    if !is_page || !scheme.eq_ignore_ascii_case("basic") {
        return false;
    }
    let pair = STANDARD.decode(rest).unwrap_or_default();
    let password = pair.splitn(2, |octet| *octet == b':').nth(1);
    password.is_some_and(|password| token.matches(password))
}

fn unauthorized(is_page: bool) -> Response {
    let scheme = if is_page {
        "Basic realm=\"malote: any user name, the admin token as password\", charset=\"UTF-8\""
    } else {
        "Bearer realm=\"malote\""
    };
    let text = "present the admin token as Authorization: Bearer TOKEN";
    let mut response = Problem::new(ProblemKind::Unauthorized, text).into_response();
    response
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(scheme));
    response
}

/// What browsers say of a request that a page of another site makes (Fetch Metadata). Following a
/// link there is fine; nothing that a GET does changes anything.
fn is_cross_site(method: &Method, headers: &HeaderMap) -> bool {
    let is = |name: &str, word: &str| headers.get(name).is_some_and(|value| value == word);
    let is_link = *method == Method::GET && is("sec-fetch-mode", "navigate");
    is("sec-fetch-site", "cross-site") && !is_link
}

/// Whether `Host` is an IP address or `localhost`: a name that another's name server answers for
/// would make this door part of that site (DNS rebinding).
fn names_this_machine(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST) else {
        return true;
    };
    let uri = host.to_str().ok().and_then(|host| host.parse::<Uri>().ok());
    let Some(name) = uri.as_ref().and_then(Uri::host) else {
        return false;
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let field = |(name, value): &(&'static str, &str)| {
            (
                header::HeaderName::from_static(name),
                HeaderValue::from_str(value).unwrap(),
            )
        };
        fields.iter().map(field).collect()
    }

    #[test]
    fn only_the_token_opens_the_door() {
        let token = Secret::new("operators-secret");
        let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
        for (value, on_page, elsewhere) in [
            ("Bearer operators-secret".to_owned(), true, true),
            ("bearer operators-secret".to_owned(), true, true),
            ("Bearer operators-secre".to_owned(), false, false),
            ("Bearer".to_owned(), false, false),
            ("operators-secret".to_owned(), false, false),
            (basic("x:operators-secret"), true, false),
            (basic(":operators-secret"), true, false),
            (basic("operators-secret"), false, false),
            ("Basic ???".to_owned(), false, false),
        ] {
            let given = headers(&[("authorization", &value)]);
            assert_eq!(presents(&token, &given, true), on_page, "{value}");
            assert_eq!(presents(&token, &given, false), elsewhere, "{value}");
        }
        assert!(!presents(&token, &HeaderMap::new(), true));
    }

    #[test]
    fn a_name_that_others_answer_for_is_not_this_machine() {
        for host in ["127.0.0.1", "127.0.0.1:8081", "[::1]:8081", "localhost:1"] {
            assert!(names_this_machine(&headers(&[("host", host)])), "{host}");
        }
        for host in ["evil.example", "localhost.evil.example:8081", "a b", "::::"] {
            assert!(!names_this_machine(&headers(&[("host", host)])), "{host}");
        }
        assert!(names_this_machine(&HeaderMap::new()));
    }

    #[test]
    fn links_from_elsewhere_are_followed_and_requests_refused() {
        let cross = ("sec-fetch-site", "cross-site");
        assert!(is_cross_site(&Method::GET, &headers(&[cross])));
        assert!(is_cross_site(
            &Method::GET,
            &headers(&[cross, ("sec-fetch-mode", "no-cors")])
        ));
        assert!(!is_cross_site(
            &Method::GET,
            &headers(&[cross, ("sec-fetch-mode", "navigate")])
        ));
        assert!(is_cross_site(
            &Method::POST,
            &headers(&[cross, ("sec-fetch-mode", "navigate")])
        ));
        assert!(!is_cross_site(
            &Method::GET,
            &headers(&[("sec-fetch-site", "same-origin")])
        ));
        assert!(!is_cross_site(&Method::GET, &HeaderMap::new()));
    }
}
