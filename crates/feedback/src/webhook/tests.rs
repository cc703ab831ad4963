//! Webhooks against a peer that answers, refuses, hangs and hides.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use malote_core::clock::FixedClock;
use malote_core::fault::Severity;
use malote_core::secret::Secret;
use proptest::prelude::*;

use super::*;
use crate::build_webhooks;
use crate::web::responder::{Act, Responder, answer};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn clock() -> Arc<dyn Clock> {
    Arc::new(FixedClock("2026-11-22T00:00:00Z".parse().unwrap()))
}

fn with_owner<T>(act: impl FnOnce(&Owner<'_>) -> T) -> T {
    act(&Owner {
        name: &"shop".try_into().unwrap(),
        streams: &["tx".try_into().unwrap(), "news".try_into().unwrap()],
        at: "credentials.shop",
        clock: &clock(),
    })
}

fn build_from(text: &str) -> (Vec<Arc<dyn Outlet>>, Vec<ConfigFault>) {
    #[derive(serde::Deserialize)]
    struct Table {
        webhooks: Vec<WebhookConfig>,
    }
    let table: Table = toml::from_str(text).unwrap();
    let mut faults = Vec::new();
    let outlets = with_owner(|owner| build_webhooks(owner, &table.webhooks, &mut faults));
    (outlets, faults)
}

fn outlet_to(url: &str, more: &str) -> Arc<dyn Outlet> {
    let text = format!("[[webhooks]]\nurl = '{url}'\nsecret = '{SECRET}'\n{more}");
    let (mut outlets, faults) = build_from(&text);
    assert!(
        faults
            .iter()
            .all(|fault| fault.severity == Severity::Warning),
        "{faults:?}"
    );
    outlets.remove(0)
}

pub(crate) fn event(kind: &str) -> FeedEvent {
    FeedEvent {
        cursor: malote_core::feed::FeedCursor(7),
        id: "evt_0192b3a0000070008000000000000000_0_2".parse().unwrap(),
        kind: malote_core::event::EventKind::from_word(kind),
        blame: None,
        at: "2026-11-21T23:00:00Z".parse().unwrap(),
        credential: "shop".parse().unwrap(),
        stream: "tx".parse().unwrap(),
        recipient: "ana@one.example".into(),
        mail_from: None,
        provider: Some("ses".parse().unwrap()),
        pool: None,
        provider_message_id: None,
        reply: "550 5.1.1 no such user".into(),
        tags: Vec::new(),
        metadata: BTreeMap::new(),
        campaign: None,
        tracking_hash: None,
        one_click: None,
    }
}

async fn tell(act: Act) -> (Result<Told, Untold>, Responder) {
    let peer = Responder::start(vec![act]).await;
    let outlet = outlet_to(&peer.url(), "allow_private = true");
    (outlet.tell(&event("bounced"), 1).await, peer)
}

#[tokio::test]
async fn an_event_is_posted_as_json_with_id_time_and_signature() {
    let (told, peer) = tell(answer("204 No Content", "", "")).await;
    assert_eq!(told, Ok(Told::Done("answered 204".into())));
    let request = peer.texts().remove(0);
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST / HTTP/1.1\r\n"), "{head}");
    let timestamp_s = clock().now().as_second();
    let signature = Signer::new(sign::Key::read(&Secret::new(SECRET)).unwrap(), None).sign(
        "evt_0192b3a0000070008000000000000000_0_2",
        timestamp_s,
        body.as_bytes(),
    );
    for field in [
        "content-type: application/json".to_owned(),
        "webhook-id: evt_0192b3a0000070008000000000000000_0_2".to_owned(),
        format!("webhook-timestamp: {timestamp_s}"),
        format!("webhook-signature: {signature}"),
        format!("user-agent: malote/{}", env!("CARGO_PKG_VERSION")),
    ] {
        assert!(head.lines().any(|line| line == field), "{field}\n{head}");
    }
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["type"], "bounced");
    assert_eq!(body["recipient"], "ana@one.example");
    assert_eq!(body["class"], serde_json::Value::Null);
}

#[tokio::test]
async fn an_answer_means_what_the_table_says() {
    let s = Duration::from_secs;
    for (status, headers, expected) in [
        ("200 OK", "", None),
        ("202 Accepted", "", None),
        (
            "301 Moved",
            "Location: http://169.254.169.254/\r\n",
            Some(Ok(None)),
        ),
        ("400 Bad Request", "", Some(Ok(None))),
        ("401 Unauthorized", "", Some(Ok(None))),
        ("404 Not Found", "", Some(Ok(None))),
        ("410 Gone", "", Some(Err(()))),
        ("429 Slow Down", "Retry-After: 7\r\n", Some(Ok(Some(s(7))))),
        (
            "429 Slow Down",
            "X-RateLimit-Reset: 1795305660\r\n",
            Some(Ok(Some(s(60)))),
        ),
        ("500 Oops", "Retry-After: 7\r\n", Some(Ok(None))),
        (
            "503 Busy",
            "Retry-After: 90000\r\n",
            Some(Ok(Some(s(3600)))),
        ),
    ] {
        let (told, peer) = tell(answer(status, headers, "")).await;
        match (&told, expected) {
            (Ok(Told::Done(_)), None) => {}
            (Err(Untold::Later { after, .. }), Some(Ok(wait))) => {
                assert_eq!(*after, wait, "{status}")
            }
            (Err(Untold::Unusable { .. }), Some(Err(()))) => {}
            _ => panic!("{status}: {told:?}"),
        }
        assert_eq!(peer.texts().len(), 1, "{status}");
    }
}

#[tokio::test]
async fn a_peer_that_is_gone_or_cuts_the_line_is_told_later() {
    let (told, _peer) = tell(Act::Close).await;
    assert!(
        matches!(told, Err(Untold::Later { after: None, .. })),
        "{told:?}"
    );
    let outlet = outlet_to("http://127.0.0.1:9/", "allow_private = true");
    let told = outlet.tell(&event("bounced"), 1).await;
    assert!(
        matches!(told, Err(Untold::Later { after: None, .. })),
        "{told:?}"
    );
}

#[tokio::test]
async fn a_name_that_leads_inside_is_refused_when_connecting() {
    let peer = Responder::start(vec![answer("200 OK", "", "")]).await;
    // As a name would be that led outside when the configuration was read.
    let url = format!("https://localhost:{}/", peer.address.port());
    let outlet = WebhookOutlet {
        name: OutletName::kept("shop/webhook".to_owned()),
        credential: "shop".parse().unwrap(),
        url: url.parse().unwrap(),
        signer: Signer::new(sign::Key::read(&Secret::new(SECRET)).unwrap(), None),
        wish: with_owner(|owner| {
            Wish::read(owner, "at", &WebhookConfig::default(), &mut Vec::new())
        }),
        web: Web::new(Reach::Public).unwrap(),
        clock: SharedClock(clock()),
    };
    let told = outlet.tell(&event("bounced"), 1).await;
    let Err(Untold::Unusable { why }) = told else {
        panic!("{told:?}");
    };
    assert!(why.contains("allow_private"), "{why}");
    assert!(peer.texts().is_empty());
}

#[test]
fn what_is_not_named_is_not_told() {
    let outlet = outlet_to("https://shop.example/", "");
    for (kind, is_wanted) in [
        ("bounced", true),
        ("delivered", true),
        ("accepted", true),
        ("opened", false),
        ("clicked", false),
        ("list_member_uploaded", false),
    ] {
        assert_eq!(outlet.wants(&event(kind)), is_wanted, "{kind}");
    }
    let outlet = outlet_to("https://shop.example/", "events = ['other', 'clicked']");
    for (kind, is_wanted) in [
        ("list_member_uploaded", true),
        ("clicked", true),
        ("bounced", false),
    ] {
        assert_eq!(outlet.wants(&event(kind)), is_wanted, "{kind}");
    }
    let outlet = outlet_to("https://shop.example/", "streams = ['news']");
    assert!(!outlet.wants(&event("bounced")));
}

#[test]
fn a_webhook_s_name_is_of_its_url_alone() {
    let one = outlet_to("https://shop.example/a", "");
    assert_eq!(
        one.name(),
        outlet_to("https://shop.example/a", "streams = ['tx']").name()
    );
    assert_ne!(one.name(), outlet_to("https://shop.example/b", "").name());
    let name = one.name().as_str();
    assert!(
        name.starts_with("shop/webhook-") && name.len() == 21,
        "{name}"
    );
}

#[test]
fn every_fault_is_told_with_its_key() {
    let short = format!("whsec_{}", STANDARD.encode([1; 8]));
    let good = format!("url = 'https://shop.example/'\nsecret = '{SECRET}'");
    for (table, key, word) in [
        (format!("secret = '{SECRET}'"), "url", "missing"),
        (
            format!("url = 'https://10.0.0.1/'\nsecret = '{SECRET}'"),
            "url",
            "allow_private",
        ),
        (
            format!("url = 'http://shop.example/'\nsecret = '{SECRET}'"),
            "url",
            "allow_private",
        ),
        ("url = 'https://shop.example/'".into(), "secret", "missing"),
        (
            format!("url = 'https://shop.example/'\nsecret = '{short}'"),
            "secret",
            "whsec_",
        ),
        (
            format!("{good}\nsecret_next = 'x'"),
            "secret_next",
            "whsec_",
        ),
        (
            format!("{good}\nsecret_next_env = 'MALOTE_NOT_SET'"),
            "secret_next_env",
            "not set",
        ),
        (format!("{good}\nevents = []"), "events", "none"),
        (
            format!("{good}\nevents = ['bounce']"),
            "events[0]",
            "bounced",
        ),
        (
            format!("{good}\nstreams = ['tx', 'no']"),
            "streams[1]",
            "credentials.shop.streams",
        ),
    ] {
        let (outlets, faults) = build_from(&format!("[[webhooks]]\n{table}"));
        let path = format!("credentials.shop.webhooks[0].{key}");
        let found = faults
            .iter()
            .any(|f| f.path == path && f.message.contains(word));
        assert!(found && outlets.is_empty(), "{table}: {faults:?}");
    }
    let (outlets, faults) = build_from(&format!("[[webhooks]]\n{good}\n[[webhooks]]\n{good}"));
    assert_eq!(outlets.len(), 1);
    let last = faults.last().unwrap();
    assert_eq!(last.path, "credentials.shop.webhooks[1].url");
}

proptest! {
    #[test]
    fn every_status_has_a_meaning(status in 100_u16..1000) {
        let answer = Answer { status, headers: Default::default(), body: Default::default() };
        let is_told = outcome(&answer, None).is_ok();
        prop_assert_eq!(is_told, (200..300).contains(&status));
    }
}
