//! An answer that repeats the credentials of its request, as some services' errors do.

use axum::body::Body;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, header};
use serde_json::Value;

/// Marks an answer whose words are to repeat the credentials.
#[derive(Clone, Copy)]
struct Repeating;

/// The same answer, to be told by [`told`].
pub(crate) fn repeating(mut response: Response) -> Response {
    response.extensions_mut().insert(Repeating);
    response
}

/// The answer to a request with this head: as it is, or with the credentials behind its words.
pub(crate) async fn told(response: Response, head: &HeaderMap) -> Response {
    if response.extensions().get::<Repeating>().is_none() {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await;
    let body = body.unwrap_or_default();
    let said = credentials(head);
    let body = match serde_json::from_slice::<Value>(&body) {
        Ok(mut document) => {
            repeat(&mut document, "", &said);
            document.to_string()
        }
        Err(_) => format!("{} {said}", String::from_utf8_lossy(&body)),
    };
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(body))
}

/// The fields that prove who calls; a login (RFC 7617) is read, too.
fn credentials(head: &HeaderMap) -> String {
    let proves = |name: &str| {
        let marks = ["authorization", "key", "token"];
        marks.iter().any(|mark| name.contains(mark))
    };
    let mut said = String::new();
    for (name, value) in head.iter().filter(|(name, _)| proves(name.as_str())) {
        let value = value.to_str().unwrap_or_default();
        let login = value.strip_prefix("Basic ").unwrap_or_default();
        let login = STANDARD.decode(login).unwrap_or_default();
        let login = String::from_utf8_lossy(&login);
        said.push_str(&format!("({name}: {value} {login})"));
    }
    said
}

/// Puts `said` behind each text of this document that is words, not a code.
fn repeat(value: &mut Value, name: &str, said: &str) {
    match value {
        Value::String(text) if is_of_words(name) => {
            text.push(' ');
            text.push_str(said);
        }
        Value::Array(entries) => {
            for entry in entries {
                repeat(entry, name, said);
            }
        }
        Value::Object(members) => {
            for (name, member) in members {
                repeat(member, name, said);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn is_of_words(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let ends = ["message", "error", "errors", "description"];
    ends.iter().any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn words_repeat_and_codes_do_not() {
        let mut document = json!({
            "code": "unauthorized",
            "data": { "ErrorMessage": "no", "error_code": "E1" },
            "errors": ["bad", { "message": "bad", "field": null }],
        });
        repeat(&mut document, "", "K");
        let expected = json!({
            "code": "unauthorized",
            "data": { "ErrorMessage": "no K", "error_code": "E1" },
            "errors": ["bad K", { "message": "bad K", "field": null }],
        });
        assert_eq!(document, expected);
    }

    #[test]
    fn a_login_is_repeated_as_it_came_and_in_clear() {
        let mut head = HeaderMap::new();
        head.insert("authorization", "Basic YXBpOms=".parse().unwrap());
        head.insert("accept", "text/plain".parse().unwrap());
        assert_eq!(credentials(&head), "(authorization: Basic YXBpOms= api:k)");
    }
}
