//! A shop with several clients that hand mail to whichever gateway answers, and note what each has
//! acknowledged.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// Clients, and how long each rests after a message that was taken.
const CLIENTS: u64 = 8;
const REST: Duration = Duration::from_millis(80);
/// How long one that was not answered, or told to come back, rests before it goes to the next.
const REST_AFTER_REFUSAL: Duration = Duration::from_millis(20);
/// How long one answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// What the shop knows.
#[derive(Default)]
struct Book {
    /// Recipients whose mail was acknowledged.
    acknowledged: Mutex<BTreeSet<String>>,
    /// Acknowledged by each gateway.
    by_gateway: Vec<AtomicU64>,
    /// Messages that were handed to a second gateway, under the same key.
    again: AtomicU64,
}

/// A shop at work; its clients end when dropped.
pub(super) struct Shop {
    book: Arc<Book>,
    closing: CancellationToken,
    clients: JoinSet<()>,
}

impl Shop {
    /// Opens one that knows these gateways.
    pub(super) fn open(doors: &[SocketAddr]) -> anyhow::Result<Self> {
        let book = Arc::new(Book {
            by_gateway: doors.iter().map(|_| AtomicU64::new(0)).collect(),
            ..Book::default()
        });
        let closing = CancellationToken::new();
        let http = reqwest::Client::builder().no_proxy().timeout(ANSWER_MAX);
        let http = http.build()?;
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            let client = Client {
                number,
                doors: doors.to_vec(),
                http: http.clone(),
                book: Arc::clone(&book),
                closing: closing.clone(),
            };
            clients.spawn(client.run());
        }
        Ok(Self {
            book,
            closing,
            clients,
        })
    }

    /// Takes no more orders, and waits until every client has its answer.
    pub(super) async fn close(&mut self) {
        self.closing.cancel();
        while self.clients.join_next().await.is_some() {}
    }

    /// Recipients whose mail was acknowledged.
    pub(super) fn acknowledged(&self) -> BTreeSet<String> {
        let acknowledged = self.book.acknowledged.lock();
        acknowledged.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Messages that this gateway has acknowledged.
    pub(super) fn acknowledged_by(&self, gateway: usize) -> u64 {
        let count = self.book.by_gateway.get(gateway);
        count.map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// Messages that were handed to a second gateway.
    pub(super) fn again(&self) -> u64 {
        self.book.again.load(Ordering::Relaxed)
    }
}

struct Client {
    number: u64,
    doors: Vec<SocketAddr>,
    http: reqwest::Client,
    book: Arc<Book>,
    closing: CancellationToken,
}

impl Client {
    async fn run(self) {
        let gateways = self.doors.len();
        let mut turn = usize::try_from(self.number).unwrap_or(0);
        for order in 0_u64.. {
            if self.closing.is_cancelled() {
                return;
            }
            let recipient = format!("customer{}n{order}@dest.example", self.number);
            let mut is_again = false;
            while !self.hand_in(turn % gateways, &recipient).await {
                if self.closing.is_cancelled() {
                    return;
                }
                self.book
                    .again
                    .fetch_add(u64::from(!is_again), Ordering::Relaxed);
                is_again = true;
                turn += 1;
                sleep(REST_AFTER_REFUSAL).await;
            }
            turn += 1;
            sleep(REST).await;
        }
    }

    /// Whether the gateway has acknowledged it. Every gateway knows the keys of all, so that it may
    /// be tried elsewhere and is still sent once.
    async fn hand_in(&self, gateway: usize, recipient: &str) -> bool {
        let Some(door) = self.doors.get(gateway) else {
            return false;
        };
        let message = json!({
            "from": "accounts@shop.example",
            "to": [recipient],
            "subject": "Reset your password",
            "text": "Follow the link within an hour.",
        });
        let request = self.http.post(format!("http://{door}/v1/messages"));
        let request = request
            .bearer_auth("demo-shop-api-key")
            .header("Idempotency-Key", recipient);
        let answer = request.json(&message).send().await;
        let is_taken = answer
            .is_ok_and(|answer| matches!(answer.status(), StatusCode::ACCEPTED | StatusCode::OK));
        if is_taken {
            let acknowledged = self.book.acknowledged.lock();
            acknowledged
                .unwrap_or_else(PoisonError::into_inner)
                .insert(recipient.to_owned());
            if let Some(count) = self.book.by_gateway.get(gateway) {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
        is_taken
    }
}
