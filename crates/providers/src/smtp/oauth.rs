//! `oauth2 = { ... }`: access tokens of a mailbox (RFC 6749), fetched ahead of their end by one
//! caller for all.

mod config;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap};
use http::{HeaderValue, Method};
use jiff::{SignedDuration, Timestamp};
use malote_core::clock::Clock;
use malote_core::provider::{Reply, SendError, Verdict};
use malote_core::secret::Secret;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Client, Url};
use serde::Deserialize;
use tokio::time::timeout;

use crate::echo;
use crate::http::{Answer, Call, Patience, exchange};
use crate::single_flight::{Kept, NoValue, SingleFlight};

pub(super) use config::OAuth2Config;

/// Longest wait for a token; [`SingleFlight`] asks for less than 12 s.
const FETCH_WAIT_MAX: Duration = Duration::from_secs(10);
/// Longest access token: with the rest of the line and base64 it stays below the 12288 octets of
/// RFC 4954 4.
const TOKEN_BYTES_MAX: usize = 8192;
/// How long a token is good for whose answer does not say (RFC 6749 5.1 only recommends it).
const LIFE_UNSAID: SignedDuration = SignedDuration::from_mins(5);
/// How long a token is believed to be good for at most.
const LIFE_MAX: SignedDuration = SignedDuration::from_hours(24);
/// A token is renewed so long before its end, so that a token endpoint may be down for a while.
const RENEW_BEFORE: SignedDuration = SignedDuration::from_mins(5);
/// A token is not used so shortly before its end: logging in takes a moment.
const END_BEFORE: SignedDuration = SignedDuration::from_secs(30);

/// The access tokens of one mailbox.
pub(crate) struct Tokens {
    client: Client,
    clock: Arc<dyn Clock>,
    url: Url,
    client_id: String,
    client_secret: Option<Secret>,
    grant: Granted,
    scope: Option<String>,
    cache: SingleFlight<Secret>,
    /// Counts up with each token that was refused; tokens are kept by it.
    generation: AtomicU64,
}

/// What the token is asked for with.
enum Granted {
    /// The refresh token, or the one that the service gave in its place last.
    RefreshToken(Mutex<Secret>),
    /// The client's own credentials.
    ClientCredentials,
}

/// An access token.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    pub(crate) text: Arc<Secret>,
    generation: u64,
}

/// RFC 6749 5.1.
#[derive(Deserialize)]
struct Granting {
    access_token: Secret,
    expires_in: Option<serde_json::Value>,
    refresh_token: Option<Secret>,
}

/// RFC 6749 5.2.
#[derive(Deserialize)]
struct Refusal {
    error: String,
    error_description: Option<String>,
}

impl Tokens {
    /// A token that is good for now.
    ///
    /// # Errors
    /// [`Verdict::ProviderUnusable`] if the service refuses to give one, [`Verdict::Transient`] if
    /// it does not answer.
    pub(crate) async fn get(&self) -> Result<Token, SendError> {
        let generation = self.generation.load(Ordering::Acquire);
        let now = self.clock.now();
        let fetch = self.fetch(now);
        let text = self.cache.get(&generation.to_string(), now, fetch).await;
        match text {
            Ok(text) => Ok(Token { text, generation }),
            Err(NoValue::Failed(error)) => Err(error),
            Err(NoValue::Busy) => Err(transient("the token endpoint takes too long")),
        }
    }

    /// The server did not take this token: the next one is a new one, fetched once however many
    /// connections were refused with it.
    pub(crate) fn refused(&self, token: &Token) {
        let (old, new) = (token.generation, token.generation + 1);
        // Whoever was first has counted it up already.
        let counted =
            self.generation
                .compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire);
        if counted.is_ok() {
            tracing::debug!("an access token was refused before its end");
        }
    }

    async fn fetch(&self, now: Timestamp) -> Result<Kept<Secret>, SendError> {
        let mut headers = HeaderMap::new();
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(CONTENT_TYPE, form);
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let call = Call {
            method: Method::POST,
            url: self.url.clone(),
            headers,
            body: vec![self.form()],
        };
        let answer = timeout(
            FETCH_WAIT_MAX,
            exchange(&self.client, call, Patience::SHORT),
        )
        .await;
        match answer {
            Ok(Ok(answer)) => self.read(&answer, now),
            // Whether the endpoint had the request does not matter: a token is no message.
            Ok(Err(lost)) => {
                let reply = Reply::none(&format!("the token endpoint: {lost}"));
                let error = lost.of_question();
                Err(SendError { reply, ..error })
            }
            Err(_) => Err(transient("the token endpoint did not answer in time")),
        }
    }

    /// RFC 6749 6 and 4.4.2, with the client's credentials in the body (2.3.1).
    fn form(&self) -> Bytes {
        let mut form = String::new();
        let mut add = |name: &str, value: &str| {
            let separator = if form.is_empty() { "" } else { "&" };
            let value = utf8_percent_encode(value, NON_ALPHANUMERIC);
            form.push_str(&format!("{separator}{name}={value}"));
        };
        match &self.grant {
            Granted::RefreshToken(token) => {
                add("grant_type", "refresh_token");
                add("refresh_token", lock(token).expose());
            }
            Granted::ClientCredentials => add("grant_type", "client_credentials"),
        }
        add("client_id", &self.client_id);
        if let Some(secret) = &self.client_secret {
            add("client_secret", secret.expose());
        }
        if let Some(scope) = &self.scope {
            add("scope", scope);
        }
        form.into()
    }

    fn read(&self, answer: &Answer, now: Timestamp) -> Result<Kept<Secret>, SendError> {
        if answer.status != 200 {
            return Err(self.refusal(answer));
        }
        let granting: Option<Granting> = answer.json();
        let is_token = |token: &Secret| {
            let token = token.expose();
            (1..=TOKEN_BYTES_MAX).contains(&token.len())
                && token.bytes().all(|b| b.is_ascii_graphic())
        };
        let granting = granting.filter(|granting| is_token(&granting.access_token));
        let Some(granting) = granting else {
            // What it did answer is not shown: it could be a token.
            return Err(transient("the token endpoint's answer has no usable token"));
        };
        let renewed = granting
            .refresh_token
            .filter(|new| !new.expose().is_empty());
        if let (Granted::RefreshToken(kept), Some(new)) = (&self.grant, renewed) {
            *lock(kept) = new;
        }
        let life = life(granting.expires_in.as_ref());
        let at = |after: SignedDuration| now.checked_add(after).unwrap_or(now);
        Ok(Kept {
            value: Arc::new(granting.access_token),
            renew_at: at((life - RENEW_BEFORE).max(life / 2)),
            until: at((life - END_BEFORE).max(life / 2)),
        })
    }

    /// RFC 6749 5.2: what the service says of grant and client a human must mend.
    fn refusal(&self, answer: &Answer) -> SendError {
        let status = answer.status;
        let refusal: Option<Refusal> = answer.json();
        let Some(refusal) = refusal.filter(|_| (400..500).contains(&status) && status != 429)
        else {
            return transient(&format!("the token endpoint answered {status}"));
        };
        let description = refusal.error_description.unwrap_or_default();
        let text = format!("{} {description}", refusal.error);
        let reply = Reply::new(Some(status), None, &self.without_secrets(text.trim()));
        let verdict = match refusal.error.as_str() {
            "temporarily_unavailable" | "server_error" | "slow_down" => Verdict::Transient,
            _ => Verdict::ProviderUnusable,
        };
        SendError::new(verdict, reply)
    }

    fn without_secrets(&self, text: &str) -> String {
        let granted = match &self.grant {
            Granted::RefreshToken(token) => Some(lock(token).clone()),
            Granted::ClientCredentials => None,
        };
        echo::masked_text(text, self.client_secret.iter().chain(&granted))
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens")
            .field("url", &self.url.as_str())
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}

fn lock(secret: &Mutex<Secret>) -> std::sync::MutexGuard<'_, Secret> {
    secret.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `expires_in` in seconds; some services write it as a string.
fn life(expires_in: Option<&serde_json::Value>) -> SignedDuration {
    let seconds = expires_in.and_then(|value| match value.as_str() {
        Some(text) => text.parse().ok(),
        None => value.as_i64(),
    });
    let life = seconds.map_or(LIFE_UNSAID, SignedDuration::from_secs);
    life.clamp(SignedDuration::ZERO, LIFE_MAX)
}

fn transient(what: &str) -> SendError {
    SendError::new(Verdict::Transient, Reply::none(what))
}
