//! What is learnt without sending mail.

use malote_core::provider::{About, Verdict};

use super::provider;
use crate::http::responder::{Act, Responder, answer};

fn account(status: &str, more: &str) -> Act {
    let body = format!(
        r#"{{"results":{{"customer_id":1,"status":"{status}","status_reason_category":"NONPAYMENT",
        "usage":{{"day":{{"used":22003,"limit":50000}},"month":{{"used":122596,"limit":1500000}}}}{more}}}}}"#
    );
    answer("200 OK", "", &body)
}

#[tokio::test]
async fn rate_and_quota_are_learnt_from_the_account() {
    let peer = Responder::start(vec![account("active", "")]).await;
    let provider = provider(&peer.url(), "subaccount = 5");
    let account = provider.check().await.unwrap();
    assert_eq!(account.per_day, Some(50_000));
    assert_eq!(account.sent_last_day, Some(22_003));
    assert_eq!(account.note, "");
    assert!(provider.account_poll_every().is_some());
    let request = peer.texts().remove(0);
    assert!(
        request.starts_with("GET /api/v1/account?include=usage HTTP/1.1\r\n"),
        "{request}"
    );
    assert!(!request.to_lowercase().contains("subaccount"), "{request}");
}

#[tokio::test]
async fn a_check_tells_keys_and_accounts_apart() {
    let refused = |status, text: &str| {
        let body = format!(r#"{{"errors":[{{"message":"{text}"}}]}}"#);
        answer(status, "", &body)
    };
    let forbidden = refused("403 Forbidden", "Forbidden.");
    let lacking = refused("422 Unprocessable", "required field is missing");
    let spent = r#"{"results":{"status":"active","usage":{"month":{"used":9,"limit":9}}}}"#;
    for (what, acts, expected) in [
        ("active", vec![account("active", "")], Ok("")),
        (
            "suspended",
            vec![account("suspended", "")],
            Err(Verdict::ProviderUnusable),
        ),
        (
            "pending",
            vec![account("pending", "")],
            Ok("the account is pending NONPAYMENT"),
        ),
        (
            "month spent",
            vec![answer("200 OK", "", spent)],
            Ok("the month's 9 are sent"),
        ),
        (
            "sending key",
            vec![forbidden.clone(), lacking],
            Ok("the key may send only: rate and quota are not known"),
        ),
        ("no key", vec![forbidden], Err(Verdict::ProviderUnusable)),
        (
            "bad key",
            vec![refused("401 Unauthorized", "Unauthorized.")],
            Err(Verdict::ProviderUnusable),
        ),
        (
            "too often",
            vec![refused("429 Slow", "Too many requests")],
            Err(Verdict::Throttled { after: None }),
        ),
        (
            "down",
            vec![answer("500 Oops", "", "")],
            Err(Verdict::Transient),
        ),
        (
            "nonsense",
            vec![answer("200 OK", "", "hi")],
            Err(Verdict::Transient),
        ),
        ("cut", vec![Act::Close], Err(Verdict::Transient)),
    ] {
        let peer = Responder::start(acts).await;
        let checked = provider(&peer.url(), "").check().await;
        let checked = checked.map(|account| account.note);
        let checked = checked.map_err(|error| error.verdict);
        assert_eq!(checked, expected.map(str::to_owned), "{what}");
    }
}

#[tokio::test]
async fn missing_pools_unverified_senders_and_an_ending_account_are_found() {
    let ends = r#","pending_cancellation":{"effective_date":"2026-12-01T00:00:00Z"}"#;
    let pools = r#"{"results":[{"id":"slow","name":"Slow"},{"id":"default","name":"x"}]}"#;
    let domain = |status: &str| {
        let body = format!(r#"{{"results":{{"status":{status}}}}}"#);
        answer("200 OK", "", &body)
    };
    let verified = r#"{"ownership_verified":true,"compliance_status":"valid"}"#;
    let unverified = r#"{"ownership_verified":false,"compliance_status":"valid"}"#;
    let blocked = r#"{"ownership_verified":true,"compliance_status":"blocked"}"#;
    let missing = r#"{"errors":[{"message":"resource not found","code":"1600"}]}"#;
    let acts = vec![
        account("active", ends),
        answer("200 OK", "", pools),
        domain(verified),
        domain(unverified),
        domain(blocked),
        answer("404 None", "", missing),
    ];
    let peer = Responder::start(acts).await;
    let senders = ["ok.example", "new.example", "bad.example", "none.example"].map(str::to_owned);
    let provider = provider(&peer.url(), "subaccount = 5");
    let findings = provider.inspect(&senders).await.unwrap();
    let about: Vec<_> = findings.iter().map(|finding| &finding.about).collect();
    let sender = |domain: &str| About::Sender(domain.to_owned());
    assert_eq!(
        about,
        [
            &About::Account,
            &About::Pool("tx".try_into().unwrap()),
            &sender("new.example"),
            &sender("bad.example"),
            &sender("none.example"),
        ]
    );
    assert!(findings[1].text.contains("fast"), "{findings:?}");
    let requests = peer.texts();
    assert!(requests[1].starts_with("GET /api/v1/ip-pools HTTP"));
    assert!(requests[3].starts_with("GET /api/v1/sending-domains/new.example HTTP"));
    assert!(requests[3].to_lowercase().contains("x-msys-subaccount: 5"));
}

#[tokio::test]
async fn a_key_that_may_only_send_finds_nothing() {
    let peer = Responder::start(vec![answer("403 Forbidden", "", "{}")]).await;
    let found = provider(&peer.url(), "")
        .inspect(&["x.example".to_owned()])
        .await;
    assert_eq!(found.unwrap(), []);
}
