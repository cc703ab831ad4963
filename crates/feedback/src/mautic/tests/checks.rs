//! What a check asks of each way, and what it only tells.

use super::*;

#[tokio::test]
async fn a_check_asks_for_one_contact_and_the_right_to_edit_it() {
    let own = ok(r#"{"id":"3","username":"malote"}"#);
    let rights = |value: &str| ok(&format!(r#"{{"lead:leads:editother":{value}}}"#));
    let none = || answer("404 Not Found", "", "");
    let denied = answer("403 Forbidden", "", "");
    for (answers, expected) in [
        (vec![own.clone(), rights("true")], Ok("; may edit them")),
        (vec![own.clone(), rights("false")], Err("view and edit")),
        (vec![own.clone(), none()], Ok("could not be asked")),
        (vec![own, denied], Ok("could not be asked")),
        (vec![none()], Ok("could not be asked")),
        (vec![ok("{}")], Ok("could not be asked")),
    ] {
        let asked = answers.len();
        let answers = std::iter::once(ok(CONTACT)).chain(answers).collect();
        let peer = Responder::start(answers).await;
        let found = outlet(&peer, "").check().await;
        match (&found, expected) {
            (Ok(found), Ok(end)) => assert!(found.words.ends_with(end), "{found:?}"),
            (Err(Untold::Unusable { why }), Err(part)) => assert!(why.contains(part), "{why}"),
            _ => panic!("{found:?}, not {expected:?}"),
        }
        let lines = [
            "GET /api/contacts?limit=1 HTTP/1.1",
            "GET /api/users/self HTTP/1.1",
            "POST /api/users/3/permissioncheck HTTP/1.1",
        ];
        assert_eq!(calls(&peer).0, lines[..=asked]);
    }
}

#[tokio::test]
async fn a_check_tells_the_switch_to_turn_on() {
    let off = r#"{"errors":[{"message":"API disabled","code":403,"type":"api_disabled"}]}"#;
    let peer = Responder::start(vec![answer("403 Forbidden", "", off)]).await;
    let refused = outlet(&peer, "").check().await;
    let Err(Untold::Unusable { why }) = refused else {
        panic!("{refused:?}");
    };
    assert!(why.contains("API enabled"), "{why}");
    let peer = Responder::start(vec![answer("200 OK", "", "<html>")]).await;
    assert!(matches!(
        outlet(&peer, "").check().await,
        Err(Untold::Later { .. })
    ));
}

#[tokio::test]
async fn a_way_that_cannot_be_asked_is_connected_to_and_nothing_is_posted() {
    let peer = Responder::start(vec![Act::Close]).await;
    for more in [
        "sinks = ['one_click']\none_click_hosts = ['127.0.0.1']",
        "sinks = ['kumomta_callback']",
    ] {
        let found = outlet(&peer, more).check().await.unwrap();
        assert!(
            found.words.contains(": 127.0.0.1 takes connections"),
            "{found:?}"
        );
        assert_eq!(found.unasked, None);
    }
    assert!(peer.texts().iter().all(String::is_empty));
    let nobody = "url = 'http://127.0.0.1:9'\nallow_private = true\nsinks = ";
    for (sinks, kind) in [
        ("['kumomta_callback']", "kumomta_callback: "),
        (
            "['one_click']\none_click_hosts = ['127.0.0.1']",
            "one_click: 127.0.0.1: ",
        ),
    ] {
        let (outlet, faults) = build_from(&format!("{nobody}{sinks}"));
        let found = outlet.unwrap_or_else(|| panic!("{faults:?}")).check().await;
        let Err(Untold::Later { why, .. }) = found else {
            panic!("{found:?}");
        };
        assert!(why.starts_with(kind) && why.contains("connecting"), "{why}");
    }
}

#[tokio::test]
async fn a_mailbox_is_not_asked_and_that_is_told_with_what_to_look_at() {
    let peer = Responder::start(vec![ok(CONTACT), answer("404 Not Found", "", "")]).await;
    let dsn = "dsn_to = 'b@m.example'\ndsn_provider = 'ses'\nsinks = ";
    for (sinks, is_asked) in [("['dsn']", false), ("['api', 'dsn']", true)] {
        let found = outlet(&peer, &format!("{dsn}{sinks}"))
            .check()
            .await
            .unwrap();
        assert_eq!(found.words.is_empty(), !is_asked, "{found:?}");
        let unasked = found.unasked.unwrap();
        assert!(unasked.what.starts_with("dsn: "), "{unasked:?}");
        assert!(unasked.way_out.contains("b@m.example"), "{unasked:?}");
    }
}
