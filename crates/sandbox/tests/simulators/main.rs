//! The simulators through their sockets: what each service checks, and each way to fail.

#![expect(
    clippy::too_many_lines,
    reason = "tables of refusals, one row behind the other"
)]
#![expect(
    clippy::unwrap_used,
    reason = "a test stops at the first surprise, its helpers too"
)]

mod brevo;
mod elasticemail;
mod events;
mod mailgun;
mod mailjet;
mod mailtrap;
mod postal;
mod postmark;
mod resend;
mod sendgrid;
mod ses;
mod smtp;
mod smtp2go;
mod sparkpost;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::HeaderMap;
use axum::routing::post;
use malote_sandbox::{Kind, Sandbox, SandboxConfig};
use tokio::net::TcpListener;
use tokio::sync::mpsc::unbounded_channel;
use tokio_util::sync::{CancellationToken, DropGuard};

/// A running simulator; it stops when dropped.
struct Running {
    sandbox: Sandbox,
    address: SocketAddr,
    _stop: DropGuard,
}

impl Running {
    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

/// The time in these tests.
fn now() -> jiff::Timestamp {
    "2026-01-02T03:04:05Z".parse().unwrap()
}

fn config() -> SandboxConfig {
    SandboxConfig::new(Arc::new(now))
}

async fn start(kind: Kind, config: SandboxConfig) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let sandbox = Sandbox::new(kind, config);
    let shutdown = CancellationToken::new();
    let (served, token) = (sandbox.clone(), shutdown.clone());
    tokio::spawn(async move { served.serve(listener, None, token).await });
    Running {
        sandbox,
        address,
        _stop: shutdown.drop_guard(),
    }
}

/// A client that gives up soon enough to see a hang, and late enough for a busy machine.
fn client() -> reqwest::Client {
    let timeout = Duration::from_secs(4);
    reqwest::Client::builder().timeout(timeout).build().unwrap()
}

const MESSAGE: &str = "From: s@example.com\r\nTo: a@example.net\r\nSubject: x\r\n\r\nhi\r\n";

/// Orders a webhook, its `url` filled in; answers what came: header fields and body.
async fn told(running: &Running, mut order: serde_json::Value) -> (HeaderMap, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (sender, mut seen) = unbounded_channel();
    let hook = |headers: HeaderMap, body: String| async move {
        sender.send((headers, body)).unwrap();
    };
    let app = Router::new().route("/hook", post(hook));
    let server = tokio::spawn(async move { axum::serve(listener, app).await });
    order["url"] = url.into();
    let request = client().post(running.url("/_sandbox/event")).json(&order);
    assert_eq!(request.send().await.unwrap().status(), 200);
    let came = seen.recv().await.unwrap();
    server.abort();
    came
}
