//! Who asks: `Authorization: Bearer KEY` (RFC 6750 2.1), looked up before any body is read.

use std::sync::Arc;

use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use malote_core::credential::{Credential, Credentials};

use super::problem_rfc9457::{Problem, ProblemKind};
use super::state::HttpState;

/// Query parameters in which a key is never looked for and never tolerated: URLs end up in logs.
const KEY_PARAMETERS: [&str; 2] = ["api_key", "access_token"];

/// The credential whose key the request carries.
///
/// # Errors
/// The same problem whether the key is missing, malformed, wrong or in the wrong place.
pub(crate) fn caller(state: &HttpState, parts: &Parts) -> Result<Arc<Credential>, Problem> {
    let credentials = state.ports.credentials.load();
    find(&credentials, &parts.headers, parts.uri.query()).ok_or_else(unauthorized)
}

/// The credential whose key the request carries; `None` if it carries the admin token.
///
/// # Errors
/// As [`caller`].
pub(crate) fn caller_or_operator(
    state: &HttpState,
    parts: &Parts,
) -> Result<Option<Arc<Credential>>, Problem> {
    let key = bearer(&parts.headers, parts.uri.query()).ok_or_else(unauthorized)?;
    let operator = state.ports.operator.load();
    if operator
        .as_ref()
        .is_some_and(|token| token.matches(key.as_bytes()))
    {
        return Ok(None);
    }
    let found = state.ports.credentials.load().by_api_key(key);
    found.map(Some).ok_or_else(unauthorized)
}

fn unauthorized() -> Problem {
    Problem::new(
        ProblemKind::Unauthorized,
        "send a valid API key as `Authorization: Bearer KEY`",
    )
}

fn find(
    credentials: &Credentials,
    headers: &HeaderMap,
    query: Option<&str>,
) -> Option<Arc<Credential>> {
    credentials.by_api_key(bearer(headers, query)?)
}

fn bearer<'a>(headers: &'a HeaderMap, query: Option<&str>) -> Option<&'a str> {
    let names = query.unwrap_or_default().split('&');
    let mut names = names.map(|pair| pair.split('=').next().unwrap_or_default());
    if names.any(|name| KEY_PARAMETERS.contains(&name)) {
        return None;
    }
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next()?.to_str().ok()?;
    if values.next().is_some() {
        return None;
    }
    let (scheme, key) = value.split_once(' ')?;
    let key = key.trim_matches(' ');
    let is_bearer = scheme.eq_ignore_ascii_case("bearer") && !key.is_empty();
    is_bearer.then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::tests::fakes::credentials;

    fn is_found(authorization: &[&str], query: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        for value in authorization {
            headers.append(header::AUTHORIZATION, value.parse().unwrap());
        }
        find(&credentials(), &headers, query).is_some()
    }

    #[test]
    fn only_one_right_bearer_key_in_the_header_is_taken() {
        assert!(is_found(&["Bearer mk_test_shop"], None));
        assert!(is_found(&["bearer  mk_test_shop"], Some("limit=1")));
        for bad in [
            "mk_test_shop",
            "Bearer",
            "Bearer ",
            "Bearer mk_test_shoq",
            "Basic mk_test_shop",
            "Bearer mk_test_shop,mk_test_shop",
        ] {
            assert!(!is_found(&[bad], None), "{bad}");
        }
        assert!(!is_found(&[], None));
        assert!(!is_found(
            &["Bearer mk_test_shop", "Bearer mk_test_shop"],
            None
        ));
        assert!(!is_found(&[], Some("api_key=mk_test_shop")));
        assert!(!is_found(
            &["Bearer mk_test_shop"],
            Some("api_key=mk_test_shop")
        ));
    }
}
