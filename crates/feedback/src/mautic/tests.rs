//! Mautic against a peer that answers as it does: which calls are made, and which way comes next.

mod checks;

use malote_core::clock::FixedClock;
use malote_core::event::Blame;
use serde_json::Value;

use super::*;
use crate::build_mautic;
use crate::web::responder::{Act, Responder, answer};
use crate::webhook::tests::event as any_event;

const CONTACT: &str = r#"{"total":"1","contacts":{"47":{"id":47,"doNotContact":[],
    "fields":{"all":{"email":"Ana+x@one.example"}}}}}"#;
const NOBODY: &str = r#"{"total":0,"contacts":[]}"#;

fn build_from(text: &str) -> (Option<Arc<dyn Outlet>>, Vec<ConfigFault>) {
    let table: MauticConfig = toml::from_str(text).unwrap();
    let clock: Arc<dyn Clock> = Arc::new(FixedClock("2026-11-22T00:00:00Z".parse().unwrap()));
    let owner = Owner {
        name: &"shop".try_into().unwrap(),
        streams: &["tx".try_into().unwrap()],
        at: "credentials.shop",
        clock: &clock,
    };
    let mut faults = Vec::new();
    let outlet = build_mautic(&owner, &table, &mut faults);
    (outlet, faults)
}

fn outlet(peer: &Responder, more: &str) -> Arc<dyn Outlet> {
    let login = if more.contains("client_id") {
        ""
    } else {
        "user = 'malote'\npassword = 'pw'\n"
    };
    let text = format!(
        "url = '{}'\nallow_private = true\n{login}{more}",
        peer.url()
    );
    let (outlet, faults) = build_from(&text);
    outlet.unwrap_or_else(|| panic!("{faults:?}"))
}

fn event(kind: &str) -> FeedEvent {
    FeedEvent {
        blame: (kind == "bounced").then_some(Blame::Recipient),
        recipient: "ana+x@one.example".into(),
        campaign: Some("12".into()),
        tracking_hash: Some("6563a1f2c4b7a123456789".into()),
        ..any_event(kind)
    }
}

fn ok(body: &str) -> Act {
    answer("200 OK", "", body)
}

/// The request lines so far, and the body of the last one.
fn calls(peer: &Responder) -> (Vec<String>, String) {
    let texts = peer.texts();
    let line = |text: &String| text.lines().next().unwrap_or_default().to_owned();
    let body = texts.last().and_then(|text| text.split_once("\r\n\r\n"));
    let body = body.map(|(_, body)| body.to_owned());
    (texts.iter().map(line).collect(), body.unwrap_or_default())
}

#[tokio::test]
async fn a_bounce_is_one_search_and_one_entry_with_the_e_mail_s_number() {
    let peer = Responder::start(vec![ok(CONTACT), ok("{\"contact\":{}}")]).await;
    let told = outlet(&peer, "").tell(&event("bounced"), 1).await;
    assert!(matches!(told, Ok(Told::Done(_))), "{told:?}");
    let (lines, body) = calls(&peer);
    assert_eq!(
        lines,
        [
            "GET /api/contacts?where%5B0%5D%5Bcol%5D=email&where%5B0%5D%5Bexpr%5D=in&\
             where%5B0%5D%5Bval%5D=ana%2Bx%40one.example&orderBy=id&start=0&limit=50 HTTP/1.1",
            "POST /api/contacts/47/dnc/email/add HTTP/1.1",
        ]
    );
    let body: Value = serde_json::from_str(&body).unwrap();
    let expected = serde_json::json!({
        "reason": 2, "channelId": 12, "comments": "malote: 550 5.1.1 no such user (ses)" });
    assert_eq!(body, expected);
    assert!(peer.texts()[0].contains("authorization: Basic bWFsb3RlOnB3\r\n"));
}

#[tokio::test]
async fn an_unsubscribe_replaces_a_bounce_by_coming_without_a_number() {
    let bounced = CONTACT.replace("[]", r#"[{"reason":2,"channel":"email","comments":"x"}]"#);
    let peer = Responder::start(vec![ok(&bounced), ok("{}")]).await;
    outlet(&peer, "")
        .tell(&event("complained"), 1)
        .await
        .unwrap();
    let body: Value = serde_json::from_str(&calls(&peer).1).unwrap();
    assert_eq!((&body["reason"], body.get("channelId")), (&1.into(), None));
}

#[tokio::test]
async fn who_is_not_there_or_marked_already_is_left_alone() {
    let marked = CONTACT.replace("[]", r#"[{"reason":1,"channel":"email"}]"#);
    let other = CONTACT.replace("Ana+x@", "bob@");
    for body in [NOBODY, &marked, &other] {
        let peer = Responder::start(vec![ok(body)]).await;
        let told = outlet(&peer, "").tell(&event("bounced"), 1).await;
        assert!(matches!(told, Ok(Told::Done(_))), "{told:?}");
        assert_eq!(peer.texts().len(), 1, "{body}");
    }
}

#[tokio::test]
async fn only_an_entry_of_ours_is_taken_back_after_another_look() {
    let entry =
        |comments: &str| format!(r#"[{{"reason":1,"channel":"email","comments":"{comments}"}}]"#);
    let (ours, by_hand) = (entry("malote: unsubscribed (ses)"), entry("by hand"));
    for (first, second, calls_made) in [
        (&ours, &ours, 3),
        (&ours, &by_hand, 2),
        (&by_hand, &ours, 1),
    ] {
        let seen = CONTACT.replace("[]", first);
        let again = format!(r#"{{"contact":{{"id":47,"doNotContact":{second}}}}}"#);
        let peer = Responder::start(vec![ok(&seen), ok(&again), ok("{}")]).await;
        outlet(&peer, "")
            .tell(&event("resubscribed"), 1)
            .await
            .unwrap();
        let (lines, _) = calls(&peer);
        assert_eq!(lines.len(), calls_made, "{lines:?}");
        if calls_made > 1 {
            assert_eq!(lines[1], "GET /api/contacts/47 HTTP/1.1");
        }
        if calls_made == 3 {
            assert_eq!(lines[2], "POST /api/contacts/47/dnc/email/remove HTTP/1.1");
        }
    }
}

#[tokio::test]
async fn a_complaint_takes_the_place_of_our_unsubscribe_so_that_no_resubscribe_takes_it_back() {
    let ours = r#"[{"reason":1,"channel":"email","comments":"malote: unsubscribed (ses)"}]"#;
    let seen = CONTACT.replace("[]", ours);
    let again = format!(r#"{{"contact":{{"id":47,"doNotContact":{ours}}}}}"#);
    let peer = Responder::start(vec![ok(&seen), ok(&again), ok("{}")]).await;
    let told = outlet(&peer, "").tell(&event("complained"), 1).await;
    assert!(matches!(told, Ok(Told::Done(_))), "{told:?}");
    let (lines, body) = calls(&peer);
    assert_eq!(
        lines[1..],
        [
            "GET /api/contacts/47 HTTP/1.1",
            "POST /api/contacts/47/dnc/email/remove HTTP/1.1",
            "POST /api/contacts/47/dnc/email/add HTTP/1.1",
        ]
    );
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (&body["reason"], &body["channelId"]),
        (&1.into(), &12.into())
    );
    let comment = body["comments"].as_str().unwrap();
    assert!(comment.starts_with("malote: complained"), "{comment}");
}

/// Contacts from this number on, marked already.
fn marked(from: usize, count: usize) -> Vec<Value> {
    let contact = |number: usize| {
        serde_json::json!({ "id": number, "fields": { "all": { "email": "ana+x@one.example" } },
            "doNotContact": [{ "reason": 2, "channel": "email" }] })
    };
    (from..from + count).map(contact).collect()
}

#[tokio::test]
async fn all_pages_are_read_in_both_shapes_also_behind_a_total_that_is_too_small() {
    let by_id = |list: &[Value]| -> serde_json::Map<String, Value> {
        let pair = |contact: &Value| (contact["id"].to_string(), contact.clone());
        list.iter().map(pair).collect()
    };
    let first = marked(1, 50);
    for total in [
        serde_json::json!("75"),
        serde_json::json!(75),
        serde_json::json!("50"),
    ] {
        let one = serde_json::json!({ "total": total, "contacts": by_id(&first) });
        let two = serde_json::json!({ "total": total, "contacts": marked(51, 25) });
        let peer = Responder::start(vec![ok(&one.to_string()), ok(&two.to_string())]).await;
        let told = outlet(&peer, "").tell(&event("bounced"), 1).await;
        let Ok(Told::Done(words)) = told else {
            panic!("{told:?}");
        };
        assert_eq!(words, "api: 0 contacts changed, 75 left as they were");
        let (lines, _) = calls(&peer);
        assert!(lines[0].contains("&start=0&") && lines[1].contains("&start=50&"));
        assert_eq!(lines.len(), 2, "{lines:?}");
    }
}

#[tokio::test]
async fn pages_have_an_end_and_who_answers_everybody_is_asked_once() {
    let full = serde_json::json!({ "total": "9999", "contacts": marked(1, 50) });
    let peer = Responder::start(vec![ok(&full.to_string())]).await;
    let quick = "requests_per_second = 100.0";
    let told = outlet(&peer, quick).tell(&event("bounced"), 1).await;
    let Ok(Told::Done(words)) = told else {
        panic!("{told:?}");
    };
    assert!(
        words.ends_with("there are more than 1000 of this address"),
        "{words}"
    );
    assert_eq!(peer.texts().len(), 20);

    let others = full.to_string().replace("ana+x@", "bob@");
    let peer = Responder::start(vec![ok(&others)]).await;
    outlet(&peer, quick)
        .tell(&event("bounced"), 1)
        .await
        .unwrap();
    assert_eq!(peer.texts().len(), 1);
}

#[tokio::test]
async fn who_waits_meanwhile_shares_the_next_search_and_gets_an_own_answer() {
    let found = serde_json::json!({ "total": 1, "contacts": marked(7, 1) });
    let refused = || answer("400 Bad Request", "", "{}");
    for (attempt, acts, searched) in [
        (1, vec![ok(NOBODY), ok(&found.to_string())], 2),
        // Together it is refused, alone one of them is.
        (
            1,
            vec![
                ok(NOBODY),
                refused(),
                refused(),
                ok(&found.to_string()),
                ok(NOBODY),
            ],
            5,
        ),
        // A second attempt is made alone.
        (2, vec![ok(&found.to_string())], 4),
    ] {
        let peer = Responder::start(acts).await;
        let outlet = outlet(&peer, "requests_per_second = 100.0");
        let recipients = [
            "first@one.example",
            "bad@one.example",
            "ana+x@one.example",
            "cy@one.example",
        ];
        let events = recipients.map(|recipient| FeedEvent {
            recipient: recipient.into(),
            ..event("bounced")
        });
        let [first, second, third, fourth] = &events;
        let told = tokio::join!(
            outlet.tell(first, attempt),
            outlet.tell(second, attempt),
            outlet.tell(third, attempt),
            outlet.tell(fourth, attempt)
        );
        let (lines, _) = calls(&peer);
        assert_eq!(lines.len(), searched, "{lines:?}");
        let is_marked = |told: &Result<Told, Untold>| matches!(told, Ok(Told::Done(words)) if words.contains("1 left"));
        assert!(is_marked(&told.2), "{told:?}");
        assert!(
            !is_marked(&told.0) && !is_marked(&told.1) && !is_marked(&told.3),
            "{told:?}"
        );
        assert_eq!(
            matches!(told.1, Err(Untold::Never { .. })),
            searched == 5,
            "{told:?}"
        );
        if attempt == 1 {
            assert!(
                lines[0].contains("val%5D=first%40one.example&"),
                "{lines:?}"
            );
            let shared = "val%5D=bad%40one.example%2Cana%2Bx%40one.example%2Ccy%40one.example&";
            assert!(lines[1].contains(shared), "{lines:?}");
        }
    }
}

#[tokio::test]
async fn a_token_is_kept_and_a_refused_one_renewed_once() {
    let token = |name: &str| ok(&format!(r#"{{"access_token":"{name}","expires_in":3600}}"#));
    let refused = || answer("401 Unauthorized", "", "{}");
    let login = "client_id = 'c'\nclient_secret = 's+1'";
    let acts = vec![token("A"), ok(CONTACT), refused(), token("B"), ok("{}")];
    let peer = Responder::start(acts).await;
    outlet(&peer, login)
        .tell(&event("bounced"), 1)
        .await
        .unwrap();
    let texts = peer.texts();
    assert!(texts[0].starts_with("POST /oauth/v2/token "));
    assert!(texts[0].ends_with("grant_type=client_credentials&client_id=c&client_secret=s%2B1"));
    let bearer = |index: usize, name: &str| texts[index].contains(&format!("Bearer {name}\r\n"));
    assert!(
        bearer(1, "A") && bearer(2, "A") && bearer(4, "B"),
        "{texts:?}"
    );

    let peer = Responder::start(vec![token("A"), refused(), token("B"), refused()]).await;
    let told = outlet(&peer, login).tell(&event("bounced"), 1).await;
    assert!(matches!(told, Err(Untold::Unusable { .. })), "{told:?}");
    assert_eq!(peer.texts().len(), 4);
}

#[tokio::test]
async fn a_closed_api_says_the_way_out_and_a_limit_its_wait() {
    let peer = Responder::start(vec![answer("403 Forbidden", "", "{}")]).await;
    let Err(Untold::Unusable { why }) = outlet(&peer, "").tell(&event("bounced"), 1).await else {
        panic!("not unusable");
    };
    assert!(
        why.contains("api_enabled") && why.contains("api_enable_basic_auth"),
        "{why}"
    );
    let peer = Responder::start(vec![answer("429 Slow", "Retry-After: 40\r\n", "{}")]).await;
    let told = outlet(&peer, "").tell(&event("bounced"), 1).await;
    let Err(Untold::Busy { after, .. }) = told else {
        panic!("{told:?}");
    };
    assert_eq!(after, Duration::from_secs(40));
}

#[tokio::test]
async fn a_failing_api_is_waited_for_before_the_next_way_is_taken() {
    let more = "sinks = ['api', 'one_click', 'dsn']\none_click_hosts = ['127.0.0.1']\n\
                dsn_to = 'b@m.example'\ndsn_provider = 'ses'";
    for (attempt, is_by_mail) in [(1, false), (4, false), (5, true)] {
        let peer = Responder::start(vec![answer("500 Oops", "", "")]).await;
        let told = outlet(&peer, more).tell(&event("bounced"), attempt).await;
        match (&told, is_by_mail) {
            (Ok(Told::ByMail(_)), true) | (Err(Untold::Later { .. }), false) => {}
            _ => panic!("{attempt}: {told:?}"),
        }
    }
    let peer = Responder::start(vec![answer("403 Forbidden", "", "{}"), ok("bye")]).await;
    let mut event = event("unsubscribed");
    event.one_click = Some(format!("{}/email/unsubscribe/6563", peer.url()));
    let told = outlet(&peer, more).tell(&event, 1).await;
    let Ok(Told::Done(words)) = told else {
        panic!("{told:?}");
    };
    assert!(
        words.starts_with("one_click: answered 200, since api: "),
        "{words}"
    );
    let (lines, body) = calls(&peer);
    assert_eq!(lines[1], "POST /email/unsubscribe/6563 HTTP/1.1");
    assert_eq!(body, "List-Unsubscribe=One-Click");
}

#[tokio::test]
async fn a_one_click_address_is_posted_to_on_named_hosts_only() {
    let peer = Responder::start(vec![answer("404 Not Found", "", "")]).await;
    let more = "sinks = ['one_click']\none_click_hosts = ['mautic.example']";
    let mut event = event("complained");
    for url in [None, Some(peer.url()), Some("ftp://mautic.example/".into())] {
        event.one_click = url;
        let told = outlet(&peer, more).tell(&event, 1).await;
        assert!(matches!(told, Err(Untold::Never { .. })), "{told:?}");
    }
    assert!(peer.texts().is_empty());
    let more = more.replace("mautic.example", "127.0.0.1");
    event.one_click = Some(peer.url());
    for (attempt, is_early) in [(1, true), (2, true), (3, false)] {
        let told = outlet(&peer, &more).tell(&event, attempt).await;
        match (&told, is_early) {
            (Err(Untold::Later { .. }), true) | (Err(Untold::Never { .. }), false) => {}
            _ => panic!("{attempt}: {told:?}"),
        }
    }
    assert!(calls(&peer).0.iter().all(|line| line.starts_with("POST ")));
}

#[tokio::test]
async fn the_callback_is_told_bounces_of_class_5() {
    let peer = Responder::start(vec![ok("ok")]).await;
    let outlet = outlet(&peer, "sinks = ['kumomta_callback']");
    outlet.tell(&event("bounced"), 1).await.unwrap();
    let (lines, body) = calls(&peer);
    assert_eq!(lines, ["POST /mailer/callback HTTP/1.1"]);
    let expected = serde_json::json!({
        "type": "Bounce", "recipient": "ana+x@one.example",
        "response": { "code": 550, "content": "550 5.1.1 no such user",
            "enhanced_code": { "class": 5, "subject": 1, "detail": 1 } } });
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap(), expected);
    let mut soft = event("bounced");
    soft.reply = "450 4.2.1 not now".into();
    let told = outlet.tell(&soft, 1).await;
    assert!(matches!(told, Err(Untold::Never { .. })), "{told:?}");
    assert!(!outlet.wants(&event("complained")));
}

#[test]
fn events_of_others_and_what_no_way_can_say_are_not_wanted() {
    let (outlet, _) =
        build_from("url = 'https://m.example'\nuser = 'u'\npassword = 'p'\nsinks = ['api']");
    let outlet = outlet.unwrap();
    assert!(outlet.wants(&event("bounced")) && outlet.wants(&event("resubscribed")));
    assert!(!outlet.wants(&event("deferred")) && !outlet.wants(&event("delivered")));
    let mut other = event("bounced");
    other.credential = "other".parse().unwrap();
    assert!(!outlet.wants(&other));
    assert_eq!(outlet.name().as_str(), "shop/mautic");
}

#[test]
fn every_fault_is_told_with_its_key() {
    let good = "url = 'https://m.example'\nuser = 'u'\npassword = 'p'\n";
    for (table, key) in [
        (String::new(), "url"),
        ("url = 'https://m.example'".into(), "user"),
        (
            "url = 'http://m.example'\nuser = 'u'\npassword = 'p'".into(),
            "url",
        ),
        (
            "url = 'https://m.example/?x'\nuser = 'u'\npassword = 'p'".into(),
            "url",
        ),
        ("url = 'https://m.example'\nuser = 'u'".into(), "password"),
        (
            "url = 'https://m.example'\nuser = 'a:b'\npassword = 'p'".into(),
            "user",
        ),
        (
            "url = 'https://m.example'\nclient_id = 'c'".into(),
            "client_secret",
        ),
        (format!("{good}client_id = 'c'"), "client_id"),
        (format!("{good}sinks = []"), "sinks"),
        (format!("{good}sinks = ['api', 'api']"), "sinks[1]"),
        (
            format!("{good}sinks = ['api', 'one_click']"),
            "one_click_hosts",
        ),
        (
            format!("{good}sinks = ['api', 'one_click']\none_click_hosts = ['https://m/']"),
            "one_click_hosts[0]",
        ),
        (
            format!("{good}sinks = ['dsn']\ndsn_provider = 'ses'"),
            "dsn_to",
        ),
        (
            format!("{good}sinks = ['dsn']\ndsn_to = 'a@m.example'"),
            "dsn_provider",
        ),
        (
            format!("{good}sinks = ['dsn']\ndsn_provider = 'ses'\ndsn_to = 'a+b@m.example'"),
            "dsn_to",
        ),
        (
            format!("{good}requests_per_second = 0.0"),
            "requests_per_second",
        ),
        (
            format!("{good}requests_per_second = nan"),
            "requests_per_second",
        ),
    ] {
        let (outlet, faults) = build_from(&table);
        let path = format!("credentials.shop.mautic.{key}");
        assert!(faults.iter().any(|f| f.path == path), "{table}: {faults:?}");
        assert!(outlet.is_none(), "{table}");
    }
    for (table, key) in [
        ("dsn_to = 'a@m.example'", "dsn_to"),
        (
            "sinks = ['api', 'one_click']\none_click_hosts = ['m.example', '[::1]']",
            "one_click_hosts[1]",
        ),
    ] {
        let (outlet, faults) = build_from(&format!("{good}{table}"));
        assert!(outlet.is_some());
        let is_meant = |f: &ConfigFault| f.path.ends_with(key) && f.severity == Severity::Warning;
        assert!(faults.iter().any(is_meant), "{table}: {faults:?}");
    }
}
