//! The API described by itself: `/openapi.json`, and a page that shows it without any network.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::server::Server;
use utoipa::{Modify, OpenApi};

use super::problem_rfc9457::{FieldFault, ProblemBody, ProblemKind};
use super::request::{AddressInput, AddressObject, AttachmentInput, BatchMessage, MessageRequest};
use super::state::HttpState;
use super::{batch, events, messages, query, raw, suppressions, timeline, webhooks};

/// What the reference page may load: its own script, style and description, nothing else.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
                           connect-src 'self'; base-uri 'none'; form-action 'none'; \
                           frame-ancestors 'none'";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "malote",
        description = "Mail in, mail out through the provider that its stream is routed to, and \
                       what became of it. A 202 is answered once the message is on disk.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    paths(
        messages::send,
        raw::send_raw,
        batch::send_batch,
        query::search,
        query::show,
        query::cancel,
        events::list,
        suppressions::list,
        suppressions::show,
        suppressions::put,
        suppressions::lift,
        webhooks::receive,
        webhooks::probe,
        webhooks::receive_with_secret,
        webhooks::probe_with_secret,
    ),
    components(schemas(
        MessageRequest,
        AddressInput,
        AddressObject,
        AttachmentInput,
        BatchMessage,
        ProblemBody,
        FieldFault,
        batch::BatchResult,
        timeline::ReplyBody,
    )),
    tags(
        (name = "messages", description = "Sending, and asking what became of it"),
        (name = "events", description = "What happened, in order"),
        (name = "suppressions", description = "Addresses that must not be mailed"),
        (name = "webhooks", description = "Where providers report to"),
    ),
    modifiers(&BearerKey, &ProblemTypes)
)]
struct Description;

struct BearerKey;

impl Modify for BearerKey {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        components.add_security_scheme("api_key", scheme);
    }
}

/// Lists every problem type, so that a client can switch on them.
struct ProblemTypes;

impl Modify for ProblemTypes {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let lines = ProblemKind::ALL.iter().map(|kind| {
            let status = kind.status().as_u16();
            format!(
                "- `urn:malote:problem:{}` ({status}): {}",
                kind.slug(),
                kind.title()
            )
        });
        let text = lines.collect::<Vec<_>>().join("\n");
        let description = document.info.description.get_or_insert_default();
        description.push_str("\n\nProblem types (RFC 9457):\n\n");
        description.push_str(&text);
    }
}

/// The description of the API (OpenAPI 3.1), with `public_url` as its server.
#[must_use]
pub fn document(public_url: Option<&str>) -> utoipa::openapi::OpenApi {
    let mut document = Description::openapi();
    if let Some(url) = public_url {
        document.servers = Some(vec![Server::new(url.trim_end_matches('/'))]);
    }
    document
}

pub(crate) async fn serve_document(State(state): State<Arc<HttpState>>) -> Response {
    axum::Json(document(state.config.public_url.as_deref())).into_response()
}

pub(crate) async fn serve_page() -> Response {
    let policy = (header::CONTENT_SECURITY_POLICY, PAGE_POLICY);
    file(
        include_str!("reference/page.html"),
        "text/html; charset=utf-8",
        Some(policy),
    )
}

pub(crate) async fn serve_script() -> Response {
    file(
        include_str!("reference/page.js"),
        "text/javascript; charset=utf-8",
        None,
    )
}

pub(crate) async fn serve_style() -> Response {
    file(
        include_str!("reference/page.css"),
        "text/css; charset=utf-8",
        None,
    )
}

fn file(
    text: &'static str,
    media_type: &'static str,
    extra: Option<(HeaderName, &'static str)>,
) -> Response {
    let mut response = text.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Some((name, value)) = extra {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn described() -> Value {
        serde_json::to_value(document(Some("https://mail.example/"))).unwrap()
    }

    #[test]
    fn every_endpoint_is_described_with_its_security() {
        let document = described();
        for (path, methods) in [
            ("/v1/messages", &["post", "get"][..]),
            ("/v1/messages/raw", &["post"]),
            ("/v1/messages/batch", &["post"]),
            ("/v1/messages/{id}", &["get", "delete"]),
            ("/v1/events", &["get"]),
            ("/v1/suppressions", &["get"]),
            ("/v1/suppressions/{email}", &["get", "put", "delete"]),
            ("/v1/webhooks/{provider}", &["post", "get"]),
            ("/v1/webhooks/{provider}/{secret}", &["post", "get"]),
        ] {
            for method in methods {
                let operation = &document["paths"][path][method];
                assert!(operation["responses"].is_object(), "{method} {path}");
                let is_secured = operation["security"][0]["api_key"].is_array();
                assert_eq!(is_secured, !path.contains("webhooks"), "{method} {path}");
            }
        }
        assert_eq!(document["servers"][0]["url"], "https://mail.example");
        let text = document["info"]["description"].as_str().unwrap();
        assert!(text.contains("urn:malote:problem:key_reused` (422)"));
    }

    #[test]
    fn every_reference_in_the_description_leads_somewhere() {
        fn check(value: &Value, document: &Value) {
            match value {
                Value::Object(object) => {
                    if let Some(Value::String(target)) = object.get("$ref") {
                        let pointer = target.strip_prefix('#').unwrap();
                        assert!(document.pointer(pointer).is_some(), "{target}");
                    }
                    object.values().for_each(|value| check(value, document));
                }
                Value::Array(array) => array.iter().for_each(|value| check(value, document)),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
            }
        }
        let document = described();
        check(&document, &document);
    }

    #[test]
    fn a_message_of_a_batch_is_a_message_that_may_have_a_key() {
        let schemas = &described()["components"]["schemas"];
        let one = schemas["MessageRequest"]["properties"].as_object().unwrap();
        let batched = &schemas["BatchMessage"]["properties"];
        assert!(one.keys().all(|name| batched[name] == one[name]));
        assert!(batched["idempotency_key"].is_object() && !one.contains_key("idempotency_key"));
        assert_eq!(
            schemas["MessageRequest"]["required"],
            serde_json::json!(["from"])
        );
    }

    #[test]
    fn an_event_is_described_as_it_is_written() {
        let schemas = &described()["components"]["schemas"];
        let described = schemas["FeedEvent"]["properties"].as_object().unwrap();
        let described: Vec<&String> = described.keys().collect();
        let members = [
            "at",
            "class",
            "id",
            "message_id",
            "metadata",
            "pool",
            "provider",
            "provider_message_id",
            "recipient",
            "reply",
            "stream",
            "tags",
            "type",
        ];
        assert_eq!(described, members);
        let class = &schemas["FeedEvent"]["properties"]["class"];
        assert_eq!(class["type"], serde_json::json!(["string", "null"]));
        assert_eq!(class["enum"].as_array().unwrap().len(), 10);
    }

    #[test]
    fn the_reference_page_needs_no_other_host() {
        for text in [
            include_str!("reference/page.html"),
            include_str!("reference/page.js"),
            include_str!("reference/page.css"),
        ] {
            assert!(!text.contains("://"));
        }
    }
}
