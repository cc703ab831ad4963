//! Suppressions over the API: who sees and changes what, pages, and what is refused.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use malote_core::address::EmailAddress;
use malote_core::ledger::LedgerFault;
use malote_core::suppression::{
    Put, Suppression, SuppressionPlace, SuppressionQuery, SuppressionReason, SuppressionScope,
    Suppressions,
};
use reqwest::Method;
use serde_json::{Value, json};

use super::fakes::{Gateway, NOW, problem};

const SHOP: &str = "mk_test_shop";
const NEWS: &str = "mk_test_news";
const OPERATOR: &str = "operators-secret";

/// Suppressions in memory, by address and scope.
#[derive(Default)]
pub(crate) struct FakeSuppressions {
    pub(crate) kept: Mutex<BTreeMap<SuppressionPlace, Suppression>>,
}

#[async_trait]
impl Suppressions for FakeSuppressions {
    async fn list(&self, query: &SuppressionQuery) -> Result<Vec<Suppression>, LedgerFault> {
        let kept = self.kept.lock().unwrap();
        let meant = kept.iter().filter(|(place, entry)| {
            query.after.as_ref().is_none_or(|after| *place > after)
                && query
                    .scope
                    .as_ref()
                    .is_none_or(|scope| entry.scope == *scope)
                && (query.owner.is_none() || entry.credential == query.owner)
        });
        let limit = query.limit as usize;
        Ok(meant.take(limit).map(|(_, entry)| entry.clone()).collect())
    }

    async fn entries_of(&self, address: &EmailAddress) -> Result<Vec<Suppression>, LedgerFault> {
        let kept = self.kept.lock().unwrap();
        let is_meant = |entry: &&Suppression| {
            let own = entry.address.known();
            own.is_some_and(|own| own.key() == address.key())
        };
        Ok(kept.values().filter(is_meant).cloned().collect())
    }

    async fn put(&self, entry: Suppression) -> Result<Put, LedgerFault> {
        if entry.scope.as_str() == "nowhere" {
            return Err(LedgerFault::NotFound);
        }
        if entry.scope.as_str() == "resets" {
            return Ok(Put::WithoutEffect);
        }
        let place = (entry.address.clone(), entry.scope.clone());
        let mut kept = self.kept.lock().unwrap();
        if let Some(stands) = kept.get(&place) {
            return Ok(Put::Stands(stands.clone()));
        }
        kept.insert(place, entry.clone());
        Ok(Put::Added(entry))
    }

    async fn lift(
        &self,
        address: &EmailAddress,
        scopes: &[SuppressionScope],
    ) -> Result<u64, LedgerFault> {
        let mut kept = self.kept.lock().unwrap();
        let before = kept.len();
        kept.retain(|(own, scope), _| {
            let is_meant = own.known().is_some_and(|own| own.key() == address.key());
            !(is_meant && scopes.contains(scope))
        });
        Ok((before - kept.len()) as u64)
    }
}

async fn ask(gateway: &Gateway, method: Method, path: &str, key: &str) -> reqwest::Response {
    let url = gateway.url(&format!("/v1/suppressions{path}"));
    let request = gateway.client.request(method, url).bearer_auth(key);
    request.send().await.unwrap()
}

async fn put(gateway: &Gateway, email: &str, body: Value, key: &str) -> reqwest::Response {
    let url = gateway.url(&format!("/v1/suppressions/{email}"));
    let request = gateway.client.put(url).bearer_auth(key).json(&body);
    request.send().await.unwrap()
}

fn keep(gateway: &Gateway, email: &str, scope: &str, owner: Option<&str>) {
    let entry = Suppression {
        address: email.parse().unwrap(),
        scope: scope.parse().unwrap(),
        reason: SuppressionReason::HardBounce,
        detail: "550 no such user".into(),
        source: "provider:ses".into(),
        provider: Some("ses".parse().unwrap()),
        credential: owner.map(|name| name.parse().unwrap()),
        created_at: NOW.parse().unwrap(),
        expires_at: None,
    };
    let place = (entry.address.clone(), entry.scope.clone());
    gateway
        .suppressions
        .kept
        .lock()
        .unwrap()
        .insert(place, entry);
}

#[tokio::test]
async fn an_app_puts_sees_and_lifts_in_its_own_stream_and_a_repeat_changes_nothing() {
    let gateway = Gateway::start().await;
    let body = json!({"scope": "transactional", "reason": "unsubscribe", "detail": "crm",
        "at": "2026-01-02T03:04:05Z"});
    let first = put(&gateway, "Ana%40dest.example", body.clone(), SHOP).await;
    assert_eq!(first.status(), 201);
    let first: Value = first.json().await.unwrap();
    let expected = json!({"email": "Ana@dest.example", "scope": "transactional",
        "reason": "unsubscribe", "source": "credential:shop", "detail": "crm",
        "at": "2026-01-02T03:04:05Z", "expires_at": null});
    assert_eq!(first, expected);
    let again = put(&gateway, "Ana@dest.example", body, SHOP).await;
    assert_eq!(again.status(), 200);
    assert_eq!(again.json::<Value>().await.unwrap(), expected);
    let shown = ask(&gateway, Method::GET, "/ana@DEST.example", SHOP).await;
    let shown: Value = shown.json().await.unwrap();
    assert_eq!(
        shown,
        json!({"suppressions": [expected], "next_cursor": null})
    );
    let lifted = ask(&gateway, Method::DELETE, "/ana@dest.example", SHOP).await;
    assert_eq!(lifted.json::<Value>().await.unwrap(), json!({"lifted": 1}));
    let gone = ask(&gateway, Method::DELETE, "/ana@dest.example", SHOP).await;
    assert_eq!(problem(gone).await.1, "not_found");
}

#[tokio::test]
async fn an_app_is_not_told_of_strangers_and_the_admin_token_of_everything() {
    let gateway = Gateway::start().await;
    keep(&gateway, "a@x.test", "global", Some("shop"));
    keep(&gateway, "b@x.test", "global", Some("news"));
    keep(&gateway, "c@x.test", "campaign", None);
    keep(&gateway, "d@x.test", "transactional", None);
    let listed = |key: &'static str| {
        let gateway = &gateway;
        async move {
            let page: Value = ask(gateway, Method::GET, "", key)
                .await
                .json()
                .await
                .unwrap();
            let entries = page["suppressions"].as_array().unwrap().iter();
            let emails = entries.map(|entry| entry["email"].as_str().unwrap()[..1].to_owned());
            emails.collect::<String>()
        }
    };
    assert_eq!(listed(SHOP).await, "a");
    assert_eq!(listed(NEWS).await, "b");
    assert_eq!(listed(OPERATOR).await, "abcd");
    for (email, key, status) in [
        ("a@x.test", SHOP, 200),
        ("a@x.test", NEWS, 404),
        ("b@x.test", SHOP, 404),
        ("c@x.test", SHOP, 404),
        ("c@x.test", NEWS, 404),
        ("d@x.test", SHOP, 404),
        ("b@x.test", OPERATOR, 200),
    ] {
        let answer = ask(&gateway, Method::GET, &format!("/{email}"), key).await;
        assert_eq!(answer.status(), status, "{email} {key}");
    }
    // To put over a stranger's is no way to see or to lift it.
    let body = json!({"scope": "transactional", "detail": "mine"});
    let stands = put(&gateway, "d@x.test", body, SHOP).await;
    assert_eq!(stands.status(), 200);
    let stands: Value = stands.json().await.unwrap();
    assert_eq!(
        (&stands["reason"], &stands["detail"]),
        (&json!("manual"), &json!("mine"))
    );
    keep(&gateway, "e@x.test", "transactional", Some("shop"));
    for email in ["d@x.test", "e@x.test"] {
        let lifted = ask(&gateway, Method::DELETE, &format!("/{email}"), SHOP).await;
        assert_eq!(problem(lifted).await.1, "not_found", "{email}");
    }
    // Its own mail caused it, and still it is not the app's to lift.
    let own = ask(&gateway, Method::DELETE, "/a@x.test", SHOP).await;
    assert_eq!(problem(own).await.1, "not_found");
    let named = ask(&gateway, Method::DELETE, "/a@x.test?scope=global", SHOP).await;
    let told = problem(named).await;
    assert_eq!(told, (403, "scope_not_allowed".into(), "/scope".into()));
    let lifted = ask(&gateway, Method::DELETE, "/a@x.test", OPERATOR).await;
    assert_eq!(lifted.status(), 200);
    assert_eq!(
        ask(&gateway, Method::GET, "", "mk_test_shoq")
            .await
            .status(),
        401
    );
}

#[tokio::test]
async fn a_list_is_read_page_by_page_and_by_scope() {
    let gateway = Gateway::start().await;
    for number in 0..7 {
        keep(
            &gateway,
            &format!("p{number}@x.test"),
            "transactional",
            Some("shop"),
        );
    }
    keep(&gateway, "q@x.test", "global", Some("shop"));
    let (mut cursor, mut sizes) = (String::new(), Vec::new());
    loop {
        let path = format!("?scope=transactional&limit=3{cursor}");
        let page: Value = ask(&gateway, Method::GET, &path, SHOP)
            .await
            .json()
            .await
            .unwrap();
        sizes.push(page["suppressions"].as_array().unwrap().len());
        let Some(next) = page["next_cursor"].as_str() else {
            break;
        };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(sizes, [3, 3, 1]);
    for (query, pointer) in [
        ("limit=0", "/limit"),
        ("limit=1001", "/limit"),
        ("cursor=x", "/cursor"),
        ("scope=No", "/scope"),
        ("owner=news", "/owner"),
    ] {
        let answer = ask(&gateway, Method::GET, &format!("?{query}"), SHOP).await;
        let told = problem(answer).await;
        assert_eq!(told, (400, "bad_query".into(), pointer.into()), "{query}");
    }
}

#[tokio::test]
async fn what_cannot_be_put_is_refused_with_the_field_s_name_and_nothing_is_kept() {
    let gateway = Gateway::start().await;
    for (email, body, key, word, pointer) in [
        (
            "ana",
            json!({"scope": "transactional"}),
            SHOP,
            "invalid_address",
            "/email",
        ),
        ("a@x.test", json!({}), SHOP, "missing_field", "/scope"),
        (
            "a@x.test",
            json!({"scope": "No!"}),
            SHOP,
            "invalid_value",
            "/scope",
        ),
        (
            "a@x.test",
            json!({"scope": "global"}),
            SHOP,
            "scope_not_allowed",
            "/scope",
        ),
        (
            "a@x.test",
            json!({"scope": "campaign"}),
            SHOP,
            "scope_not_allowed",
            "/scope",
        ),
        (
            "a@x.test",
            json!({"scope": "nowhere"}),
            OPERATOR,
            "invalid_value",
            "/scope",
        ),
        (
            "a@x.test",
            json!({"scope": "resets"}),
            OPERATOR,
            "invalid_value",
            "/scope",
        ),
    ] {
        let told = problem(put(&gateway, email, body, key).await).await;
        assert_eq!(
            (told.1.as_str(), told.2.as_str()),
            (word, pointer),
            "{told:?}"
        );
    }
    for (member, value, word) in [
        ("reason", "bored", "invalid_value"),
        ("at", "yesterday", "invalid_value"),
        ("source", "", "invalid_value"),
        ("source", "provider:ses", "invalid_value"),
        ("source", "credential:news", "invalid_value"),
        ("source", "crm", "invalid_value"),
        ("expires_at", "2001-01-01T00:00:00Z", "invalid_value"),
        ("colour", "red", "unknown_field"),
    ] {
        let body = json!({"scope": "transactional", member: value});
        let told = problem(put(&gateway, "a@x.test", body, SHOP).await).await;
        assert_eq!((told.1.as_str(), told.2), (word, format!("/{member}")));
    }
    let all = put(&gateway, "a@x.test", json!({"scope": "global"}), OPERATOR).await;
    assert_eq!(all.status(), 201);
    assert_eq!(gateway.suppressions.kept.lock().unwrap().len(), 1);
}

/// It would pass for a return to come, and refuse what the recipient says until then.
#[tokio::test]
async fn what_begins_later_or_ends_first_is_refused_and_a_clock_may_lead_by_a_minute() {
    let gateway = Gateway::start().await;
    let now: Timestamp = NOW.parse().unwrap();
    let after = |seconds| (now + SignedDuration::from_secs(seconds)).to_string();
    for (at, expires_at, pointer) in [
        ("2099-01-01T00:00:00Z".to_owned(), after(5), "/at"),
        (after(61), after(90), "/at"),
        (after(30), after(5), "/expires_at"),
    ] {
        let body = json!({"scope": "transactional", "reason": "unsubscribe", "at": at,
            "expires_at": expires_at});
        let told = problem(put(&gateway, "a@x.test", body, SHOP).await).await;
        let expected = (422, "invalid_value".to_owned(), pointer.to_owned());
        assert_eq!(told, expected, "{at} {expires_at}");
    }
    let ahead = json!({"scope": "global", "at": after(59)});
    let all = put(&gateway, "a@x.test", ahead, OPERATOR).await;
    assert_eq!(all.status(), 201);
    assert_eq!(all.json::<Value>().await.unwrap()["at"], after(0));
}
