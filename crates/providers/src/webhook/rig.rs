//! What the services' webhook tests have in common: a parser by its table, a request, the outcome.

use std::sync::Arc;

use malote_core::clock::FixedClock;
use malote_core::event::{Blame, EventKind, ProviderEvent};
use malote_core::fault::Severity;
use malote_core::provider::Outgoing;
use malote_core::webhook::{Webhook, WebhookParser, WebhookRefusal, WebhookRequest};
use serde_json::Value;

use crate::correlation::{self, tests::outgoing};
use crate::{Adapter, ProviderConfig, build};

/// The time of the tests.
pub(crate) const NOW: &str = "2026-11-22T10:00:00Z";
/// The shared secret of the tests.
pub(crate) const SECRET: &str = "a-secret-of-the-tests";

/// The parser of a provider's table.
pub(crate) fn parser(toml: &str) -> Arc<dyn WebhookParser> {
    let config: ProviderConfig = toml::from_str(toml).unwrap();
    let clock = Arc::new(FixedClock(NOW.parse().unwrap())) as _;
    let mut faults = Vec::new();
    let adapter = build(&"p".try_into().unwrap(), &config, &clock, &mut faults);
    let is_warning = |fault: &malote_core::fault::ConfigFault| fault.severity == Severity::Warning;
    assert!(faults.iter().all(is_warning), "{faults:?}");
    adapter.unwrap().webhook.unwrap()
}

/// The adapter of a provider's table and its faults, warnings too, as they are shown.
pub(crate) fn built(toml: &str) -> (Option<Adapter>, Vec<String>) {
    let config: ProviderConfig = toml::from_str(toml).unwrap();
    let clock = Arc::new(FixedClock(NOW.parse().unwrap())) as _;
    let mut faults = Vec::new();
    let adapter = build(&"p".try_into().unwrap(), &config, &clock, &mut faults);
    (adapter, faults.iter().map(ToString::to_string).collect())
}

/// The faults of a table that must be refused.
pub(crate) fn refused(toml: &str) -> String {
    let (adapter, faults) = built(toml);
    assert!(adapter.is_none(), "{toml}");
    faults.join("\n")
}

/// The only event of a post all of which could be read.
pub(crate) fn only(webhook: Webhook) -> ProviderEvent {
    assert_eq!(webhook.unreadable, []);
    let [event] = <[_; 1]>::try_from(webhook.events).unwrap();
    event
}

/// What the only event means.
pub(crate) fn meaning(webhook: Webhook) -> (EventKind, Option<Blame>) {
    let event = only(webhook);
    (event.kind, event.blame)
}

/// A posted body.
pub(crate) fn post(body: impl AsRef<[u8]>, headers: &[(&str, &str)]) -> WebhookRequest {
    let headers = headers.iter().copied();
    WebhookRequest {
        method: "POST".into(),
        path_secret: None,
        headers: headers.map(|(n, v)| (n.into(), v.into())).collect(),
        query: String::new(),
        body: body.as_ref().to_vec().into(),
        peer: [127, 0, 0, 1].into(),
    }
}

/// A posted body with the secret.
pub(crate) fn with_secret(body: impl AsRef<[u8]>) -> WebhookRequest {
    post(body, &[("authorization", &format!("Bearer {SECRET}"))])
}

/// Asserts that nothing without the secret is believed by this table's parser.
pub(crate) async fn believes_nothing_without_the_secret(toml: &str, body: &str) {
    let parser = parser(toml);
    let mut in_query = post(body, &[]);
    in_query.query = format!("secret={SECRET}");
    for request in [
        post(body, &[]),
        post(body, &[("authorization", "Bearer another-secret-of-16")]),
        in_query,
    ] {
        let refused = parser.parse(&request).await;
        assert!(matches!(refused, Err(WebhookRefusal::Unverified(_))));
    }
    assert!(parser.parse(&with_secret(body)).await.is_ok());
}

/// Kind and blame of each event.
pub(crate) fn told(webhook: &Webhook) -> Vec<(&str, Option<Blame>)> {
    let events = webhook.events.iter();
    events.map(|e| (e.kind.as_str(), e.blame)).collect()
}

/// A message to `a@x.test` and `b@x.test`, and what an adapter gives a service of it as members.
pub(crate) fn sent() -> (Outgoing, Value) {
    let sent = outgoing(&["a@x.test", "b@x.test"]);
    let members = serde_json::json!({
        correlation::MESSAGE: sent.message.simple(),
        "malote-to-0": correlation::recipients(&sent, 1000)[0],
    });
    (sent, members)
}

/// An object with the members of another over its own.
pub(crate) fn over(mut own: Value, more: &Value) -> Value {
    let more = more.as_object().unwrap().clone();
    own.as_object_mut().unwrap().extend(more);
    own
}
