//! A Mautic as far as the search for a contact and its do-not-contact list go, which notes what it
//! is asked.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Most requests that are noted: far more than the demo can make.
const ASKED_MAX: usize = 10_000;

/// One request, as far as it tells what Mautic was told.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Asked {
    /// Who has this address? One search may ask for several.
    Search(String),
    /// This contact's address must not be written to: reason 1 unsubscribed, 2 bounced, and the
    /// e-mail that it counts for.
    Add {
        /// The contact's address.
        address: String,
        /// As Mautic numbers them.
        reason: i64,
        /// The e-mail's number.
        email: Option<u64>,
    },
    /// Anything else.
    Other(String),
}

/// A running Mautic; it ends when dropped.
pub(super) struct Mautic {
    /// Where it listens.
    pub(super) address: SocketAddr,
    state: Shared,
    served: JoinHandle<()>,
}

type Shared = Arc<Mutex<Office>>;

#[derive(Default)]
struct Office {
    /// Addresses; a contact's number is its place, from 1.
    contacts: Vec<String>,
    /// The entries of do-not-contact lists: reason, e-mail and comment by address.
    entries: BTreeMap<String, (i64, Option<u64>, String)>,
    asked: Vec<Asked>,
}

impl Drop for Mautic {
    fn drop(&mut self) {
        self.served.abort();
    }
}

impl Mautic {
    /// Starts one that has these contacts.
    pub(super) async fn open(contacts: Vec<String>) -> anyhow::Result<Self> {
        let state: Shared = Arc::new(Mutex::new(Office {
            contacts,
            ..Office::default()
        }));
        let router = Router::new()
            .route("/api/contacts", get(search))
            .route("/api/contacts/{id}/dnc/email/add", post(add))
            .fallback(other)
            .with_state(Arc::clone(&state));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let served = tokio::spawn(async move {
            // It ends with its listener only.
            axum::serve(listener, router).await.ok();
        });
        Ok(Self {
            address,
            state,
            served,
        })
    }

    /// Every request so far, in order.
    pub(super) fn asked(&self) -> Vec<Asked> {
        lock(&self.state).asked.clone()
    }

    /// The reason, the e-mail and the comment of every entry, by address.
    pub(super) fn entries(&self) -> BTreeMap<String, (i64, Option<u64>, String)> {
        lock(&self.state).entries.clone()
    }
}

fn lock(state: &Shared) -> MutexGuard<'_, Office> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Office {
    fn note(&mut self, asked: Asked) {
        if self.asked.len() < ASKED_MAX {
            self.asked.push(asked);
        }
    }

    fn contact(&self, number: usize) -> Option<(String, Value)> {
        let address = self.contacts.get(number.checked_sub(1)?)?;
        let entries: Vec<Value> = self
            .entries
            .get(address)
            .iter()
            .map(|(reason, email, comment)| {
                json!({ "id": 1, "channel": "email", "reason": reason, "channelId": email,
                    "comments": comment })
            })
            .collect();
        let shown = json!({ "id": number, "doNotContact": entries,
            "fields": { "all": { "email": address } } });
        Some((address.clone(), shown))
    }
}

fn is_known(headers: &HeaderMap) -> bool {
    let login = format!("Basic {}", STANDARD.encode("malote:api-password"));
    headers
        .get(header::AUTHORIZATION)
        .is_some_and(|value| value.as_bytes() == login.as_bytes())
}

fn error(status: StatusCode, message: &str) -> Response {
    let error = json!({ "code": status.as_u16(), "message": message });
    (status, Json(json!({ "errors": [error] }))).into_response()
}

async fn search(
    State(state): State<Shared>,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let mut office = lock(&state);
    let value = |key: &str| query.get(key).map(String::as_str).unwrap_or_default();
    let is_exact = value("where[0][col]") == "email" && value("where[0][expr]") == "in";
    if !is_known(&headers) || !is_exact {
        office.note(Asked::Other("a search by something else".to_owned()));
        return error(StatusCode::UNAUTHORIZED, "access_denied");
    }
    let mut found = Map::new();
    for wanted in value("where[0][val]").split(',') {
        office.note(Asked::Search(wanted.to_owned()));
        let place = office.contacts.iter().position(|own| *own == wanted);
        let contact = place.and_then(|place| Some((place + 1, office.contact(place + 1)?.1)));
        found.extend(contact.map(|(number, shown)| (number.to_string(), shown)));
    }
    // PHP's empty list is an array, its total a text now and a number then.
    Json(match found.len() {
        0 => json!({ "total": 0, "contacts": [] }),
        total => json!({ "total": total.to_string(), "contacts": found }),
    })
    .into_response()
}

async fn add(
    State(state): State<Shared>,
    Path(number): Path<usize>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    let mut office = lock(&state);
    let Some((address, _)) = office.contact(number).filter(|_| is_known(&headers)) else {
        office.note(Asked::Other(format!("an entry for contact {number}")));
        return error(StatusCode::NOT_FOUND, "Item was not found.");
    };
    let (reason, email) = (
        body["reason"].as_i64().unwrap_or(0),
        body["channelId"].as_u64(),
    );
    office.note(Asked::Add {
        address: address.clone(),
        reason,
        email,
    });
    let comment = body["comments"].as_str().unwrap_or_default().to_owned();
    let entry = (reason, email, comment);
    office.entries.entry(address).or_insert(entry);
    let shown = office.contact(number).map(|(_, shown)| shown);
    Json(json!({ "contact": shown })).into_response()
}

async fn other(State(state): State<Shared>, request: axum::extract::Request) -> Response {
    let words = format!("{} {}", request.method(), request.uri().path());
    lock(&state).note(Asked::Other(words));
    error(StatusCode::NOT_FOUND, "Not found")
}
