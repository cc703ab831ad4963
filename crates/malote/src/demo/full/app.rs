//! An app that is told of events by webhooks: it checks each signature (Standard Webhooks 1) and
//! notes what it takes, in order.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use malote_core::clock::{Clock, SystemClock};
use serde_json::Value;
use sha2::Sha256;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// The key that app and gateway share.
pub(super) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// How old or new a signature may be, in seconds: what the scheme's libraries allow.
const AGE_MAX_S: u64 = 300;
/// Most events that are noted: far more than the demo can make.
const TAKEN_MAX: usize = 100_000;

/// One event that the app took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Notice {
    /// `webhook-id`.
    pub(super) id: String,
    /// The message that it is about.
    pub(super) message: String,
}

/// What the app has seen.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// What it took, in order.
    pub(super) taken: Vec<Notice>,
    /// Requests whose signature was not good.
    pub(super) unsigned: usize,
    /// Requests that it failed to take.
    pub(super) failed: usize,
}

/// A running app; it ends when dropped.
pub(super) struct App {
    /// Where it listens.
    pub(super) address: SocketAddr,
    desk: Arc<Desk>,
    served: JoinHandle<()>,
}

struct Desk {
    clock: SystemClock,
    seen: Mutex<Seen>,
}

impl Drop for App {
    fn drop(&mut self) {
        self.served.abort();
    }
}

impl App {
    /// Starts one that fails at its first request and then works.
    pub(super) async fn open() -> anyhow::Result<Self> {
        let desk = Arc::new(Desk {
            clock: SystemClock::start(),
            seen: Mutex::default(),
        });
        let router = Router::new()
            .route("/events", post(take))
            .with_state(Arc::clone(&desk));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let served = tokio::spawn(async move {
            // It ends with its listener only.
            axum::serve(listener, router).await.ok();
        });
        Ok(Self {
            address,
            desk,
            served,
        })
    }

    /// What it has seen so far.
    pub(super) fn seen(&self) -> Seen {
        lock(&self.desk.seen).clone()
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn take(State(desk): State<Arc<Desk>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let now_s = desk.clock.now().as_second();
    let is_good = is_signed(&headers, &body, now_s);
    let mut seen = lock(&desk.seen);
    if !is_good {
        seen.unsigned += 1;
        return StatusCode::UNAUTHORIZED;
    }
    if seen.failed == 0 {
        seen.failed += 1;
        return StatusCode::INTERNAL_SERVER_ERROR;
    }
    let event: Value = serde_json::from_slice(&body).unwrap_or_default();
    let notice = Notice {
        id: text(&headers, "webhook-id").to_owned(),
        message: event["message_id"].as_str().unwrap_or_default().to_owned(),
    };
    if seen.taken.len() < TAKEN_MAX {
        seen.taken.push(notice);
    }
    StatusCode::NO_CONTENT
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default()
}

/// Whether one of the signatures is that of HMAC-SHA256 over `ID.TIMESTAMP.BODY`, and fresh.
fn is_signed(headers: &HeaderMap, body: &[u8], now_s: i64) -> bool {
    let (id, at) = (
        text(headers, "webhook-id"),
        text(headers, "webhook-timestamp"),
    );
    let is_fresh = at
        .parse::<i64>()
        .is_ok_and(|at_s| now_s.abs_diff(at_s) <= AGE_MAX_S);
    let key = SECRET
        .strip_prefix("whsec_")
        .and_then(|key| STANDARD.decode(key).ok());
    let (Some(key), true) = (key, is_fresh && !id.is_empty()) else {
        return false;
    };
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&key) else {
        return false;
    };
    mac.update(format!("{id}.{at}.").as_bytes());
    mac.update(body);
    text(headers, "webhook-signature").split(' ').any(|one| {
        let octets = one
            .strip_prefix("v1,")
            .and_then(|code| STANDARD.decode(code).ok());
        octets.is_some_and(|octets| mac.clone().verify_slice(&octets).is_ok())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the scheme's own libraries.
    #[test]
    fn the_scheme_s_example_is_believed_and_nothing_else() {
        let signature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        let body = b"{\"test\": 2432232314}";
        let check = |signature: &str, body: &[u8], now_s| {
            let mut headers = HeaderMap::new();
            let id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
            for (name, value) in [
                ("webhook-id", id),
                ("webhook-timestamp", "1614265330"),
                ("webhook-signature", signature),
            ] {
                headers.insert(name, value.parse().unwrap());
            }
            is_signed(&headers, body, now_s)
        };
        let now_s = 1_614_265_330;
        assert!(check(signature, body, now_s));
        assert!(check(&format!("v1,AAAA {signature}"), body, now_s + 300));
        for (signature, body, now_s) in [
            (signature, &b"{\"test\": 2432232315}"[..], now_s),
            (signature, body, now_s + 301),
            (signature, body, now_s - 301),
            ("v1,AAAA", body, now_s),
            (
                "v2,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
                body,
                now_s,
            ),
            ("", body, now_s),
        ] {
            assert!(!check(signature, body, now_s), "{signature} {now_s}");
        }
    }
}
