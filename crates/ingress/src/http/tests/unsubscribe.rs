//! The page behind unsubscribe links, as browsers and mailbox providers ask for it.

use std::sync::Mutex;

use async_trait::async_trait;
use malote_core::subscription::{Subscription, Subscriptions, Wish};
use malote_core::webhook::SinkUnavailable;
use reqwest::Response;

use super::fakes::Gateway;

/// One recipient, whose ticket is `good`; `broken` fails.
#[derive(Default)]
pub(crate) struct FakeSubscriptions {
    is_stopped: Mutex<bool>,
    asked: Mutex<Vec<Wish>>,
}

#[async_trait]
impl Subscriptions for FakeSubscriptions {
    async fn find(&self, ticket: &str) -> Result<Option<Subscription>, SinkUnavailable> {
        let is_stopped = *self.is_stopped.lock().unwrap();
        match ticket {
            "good" => Ok(Some(Subscription {
                sender_domain: "shop.example".to_owned(),
                is_stopped,
                can_resume: is_stopped,
            })),
            "broken" => Err(SinkUnavailable),
            _ => Ok(None),
        }
    }

    async fn ask(&self, ticket: &str, wish: Wish) -> Result<Option<Subscription>, SinkUnavailable> {
        if ticket == "good" {
            self.asked.lock().unwrap().push(wish);
            *self.is_stopped.lock().unwrap() = wish == Wish::Unsubscribe;
        }
        self.find(ticket).await
    }
}

async fn post(gateway: &Gateway, ticket: &str, form: &str) -> Response {
    let url = gateway.url(&format!("/u/{ticket}"));
    let request = gateway.client.post(url).body(form.to_owned());
    let form = "application/x-www-form-urlencoded";
    request.header("content-type", form).send().await.unwrap()
}

#[tokio::test]
async fn reading_the_page_never_acts_and_posting_does() {
    let gateway = Gateway::start().await;
    let url = gateway.url("/u/good");
    let head = gateway.client.head(&url).send().await.unwrap();
    assert_eq!(head.status(), 200);
    let page = gateway.client.get(&url).send().await.unwrap();
    assert_eq!(page.status(), 200);
    for (name, value) in [
        ("content-type", "text/html; charset=utf-8"),
        ("cache-control", "no-store"),
        ("referrer-policy", "no-referrer"),
        ("x-content-type-options", "nosniff"),
        ("content-language", "en"),
    ] {
        assert_eq!(page.headers()[name], value);
    }
    let policy = page.headers()["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none';"), "{policy}");
    let text = page.text().await.unwrap();
    assert!(
        text.contains("shop.example") && text.contains("<form method=\"post\">"),
        "{text}"
    );
    assert!(!text.contains("script") && !text.contains("http"), "{text}");
    assert!(gateway.subscriptions.asked.lock().unwrap().is_empty());

    let answer = post(&gateway, "good", "List-Unsubscribe=One-Click").await;
    assert_eq!(answer.status(), 200);
    let text = answer.text().await.unwrap();
    assert!(text.contains("Subscribe again"), "{text}");
    let answer = post(&gateway, "good", "Subscribe=Again").await;
    assert_eq!(answer.status(), 200);
    let asked = gateway.subscriptions.asked.lock().unwrap().clone();
    assert_eq!(asked, [Wish::Unsubscribe, Wish::Resubscribe]);
}

#[tokio::test]
async fn what_is_no_link_of_ours_or_no_form_changes_nothing() {
    let gateway = Gateway::start().await;
    for (ticket, form, status) in [
        ("bad", "List-Unsubscribe=One-Click", 404),
        ("good", "", 400),
        ("good", "unsubscribe=yes", 400),
        ("broken", "List-Unsubscribe=One-Click", 503),
        ("bad%0d%0a%ff", "List-Unsubscribe=One-Click", 400),
    ] {
        let answer = post(&gateway, ticket, form).await;
        assert_eq!(answer.status(), status, "{ticket} {form}");
    }
    let long = post(&gateway, "good", &"x".repeat(5_000)).await;
    assert_eq!(long.status(), 413);
    let shown = gateway.client.get(gateway.url("/u/bad")).send().await;
    assert_eq!(shown.unwrap().status(), 404);
    assert!(gateway.subscriptions.asked.lock().unwrap().is_empty());
}
