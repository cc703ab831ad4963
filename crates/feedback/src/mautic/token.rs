//! Who we are at Mautic's API: a user, or a client whose tokens are fetched and kept.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method};
use jiff::{SignedDuration, Timestamp};
use malote_core::secret::Secret;
use reqwest::{Request, Url};
use serde::Deserialize;
use tokio::sync::Mutex;

use super::miss::Miss;
use crate::web::{Answer, Web};

/// A token is renewed this long before its end.
const RENEWAL_AHEAD: SignedDuration = SignedDuration::from_secs(60);
/// Longest that a token is kept, whatever the answer says.
const KEPT_MAX_S: i64 = 86_400;

/// How calls are authorised.
pub(crate) enum Login {
    /// HTTP Basic with a Mautic user.
    Basic(HeaderValue),
    /// OAuth 2 client credentials (RFC 6749 4.4).
    Client {
        /// The client.
        id: String,
        /// Its secret.
        secret: Secret,
        /// The token in use.
        token: Mutex<Option<Token>>,
    },
}

/// A token in use.
pub(crate) struct Token {
    value: HeaderValue,
    renew_at: Timestamp,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login(***)")
    }
}

#[derive(Deserialize)]
struct Granted {
    access_token: Secret,
    #[serde(default)]
    expires_in: Option<i64>,
}

impl Login {
    /// With a user and a password. `None` if they cannot stand in a header.
    pub(crate) fn basic(user: &str, password: &Secret) -> Option<Self> {
        let pair = Secret::new(format!("{user}:{}", password.expose()));
        let value = format!("Basic {}", STANDARD.encode(pair.expose()));
        Some(Self::Basic(sensitive(&value)?))
    }

    /// With a client and its secret.
    pub(crate) fn client(id: String, secret: Secret) -> Self {
        Self::Client {
            id,
            secret,
            token: Mutex::new(None),
        }
    }

    /// The value of `Authorization`; of a client a token, fetched if none is kept. One fetch at a
    /// time: who comes meanwhile takes its token.
    ///
    /// # Errors
    /// If the service gives none.
    pub(crate) async fn authorization(
        &self,
        (web, base): (&Web, &Url),
        now: Timestamp,
    ) -> Result<HeaderValue, Miss> {
        let (id, secret, token) = match self {
            Self::Basic(value) => return Ok(value.clone()),
            Self::Client { id, secret, token } => (id, secret, token),
        };
        let mut kept = token.lock().await;
        if let Some(token) = kept.as_ref().filter(|token| now < token.renew_at) {
            return Ok(token.value.clone());
        }
        *kept = None;
        let request = grant_request(base, id, secret);
        let answer = web.call(request).await?;
        let token = granted(&answer, now)?;
        let value = token.value.clone();
        *kept = Some(token);
        Ok(value)
    }

    /// Drops a token that was refused, unless another is in its place already. Whether another
    /// call makes sense.
    pub(crate) async fn drop_refused(&self, refused: &HeaderValue) -> bool {
        match self {
            Self::Basic(_) => false,
            Self::Client { token, .. } => {
                let mut kept = token.lock().await;
                if kept.as_ref().is_some_and(|token| token.value == *refused) {
                    *kept = None;
                }
                true
            }
        }
    }
}

fn grant_request(base: &Url, id: &str, secret: &Secret) -> Request {
    let mut form = Url::clone(base);
    form.set_query(None);
    form.query_pairs_mut()
        .append_pair("grant_type", "client_credentials")
        .append_pair("client_id", id)
        .append_pair("client_secret", secret.expose());
    let body = form.query().unwrap_or_default().to_owned();
    let mut request = Request::new(Method::POST, super::api::under(base, "/oauth/v2/token"));
    let value = HeaderValue::from_static("application/x-www-form-urlencoded");
    request.headers_mut().insert(CONTENT_TYPE, value);
    *request.body_mut() = Some(body.into());
    request
}

fn granted(answer: &Answer, now: Timestamp) -> Result<Token, Miss> {
    let status = answer.status;
    match status {
        200 => {}
        429 | 500..=599 => {
            let why = format!("/oauth/v2/token answered {status}");
            return Err(Miss::for_now(status, answer.wait_asked(now), why));
        }
        _ => {
            return Err(Miss::Closed(format!(
                "/oauth/v2/token answered {status}: check client_id and client_secret, and that \
                 api_enabled is on in Mautic"
            )));
        }
    }
    let no_token = || Miss::Later {
        after: None,
        why: "/oauth/v2/token answered without a token".to_owned(),
    };
    let granted: Granted = serde_json::from_slice(&answer.body).map_err(|_| no_token())?;
    let value = format!("Bearer {}", granted.access_token.expose());
    let lasts_s = granted.expires_in.unwrap_or(0).clamp(0, KEPT_MAX_S);
    let renew_at = now.checked_add(SignedDuration::from_secs(lasts_s) - RENEWAL_AHEAD);
    Ok(Token {
        value: sensitive(&value).ok_or_else(no_token)?,
        renew_at: renew_at.unwrap_or(now),
    })
}

fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}
