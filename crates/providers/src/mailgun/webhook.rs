//! Mailgun's webhooks: signature of timestamp and token first, events after.
//!
//! The signature does not cover the event. So an event is worth only as much as the message it
//! names: whoever applies it must have sent that message to that recipient by this provider.

use std::sync::Arc;

use async_trait::async_trait;
use aws_lc_rs::hmac;
use jiff::{SignedDuration, Timestamp};
use malote_core::clock::Clock;
use malote_core::fault::ConfigFault;
use malote_core::name::ProviderName;
use malote_core::secret::Secret;
use malote_core::webhook::{Webhook, WebhookParser, WebhookRefusal, WebhookRequest};
use serde::Deserialize;

use super::events;
use crate::WebhookConfig;
use crate::settings;

/// Oldest signature: retries span 8 h, and whether each is signed anew is not documented.
const AGE_MAX: SignedDuration = SignedDuration::from_hours(12);
/// How far the service's clock may be ahead of ours.
const AHEAD_MAX: SignedDuration = SignedDuration::from_mins(5);
/// Tokens have 50 characters; each is kept as long as its event.
const TOKEN_BYTES_MAX: usize = 128;

/// Reads `[providers.NAME.webhook]`; `None` if a fault is an error.
pub(crate) fn parser(
    name: &ProviderName,
    config: &WebhookConfig,
    clock: &Arc<dyn Clock>,
    faults: &mut Vec<ConfigFault>,
) -> Option<Arc<dyn WebhookParser>> {
    let table = format!("providers.{name}.webhook");
    let signing_key = settings::required_secret(&table, &config.signing_key(), faults)?;
    Some(Arc::new(MailgunWebhook {
        signing_key,
        clock: Arc::clone(clock),
    }))
}

/// Verifies and reads what Mailgun posts.
struct MailgunWebhook {
    signing_key: Secret,
    clock: Arc<dyn Clock>,
}

#[async_trait]
impl WebhookParser for MailgunWebhook {
    async fn parse(&self, request: &WebhookRequest) -> Result<Webhook, WebhookRefusal> {
        let token = verify(&request.body, &self.signing_key, self.clock.now())?;
        events::read(&request.body, &token)
    }
}

/// The outer object as far as it must be read before it is believed.
#[derive(Deserialize)]
struct Signed {
    signature: Signature,
}

#[derive(Deserialize)]
struct Signature {
    timestamp: String,
    token: String,
    signature: String,
}

/// Verifies a body; gives the token, which no two events share.
///
/// # Errors
/// [`WebhookRefusal::Unverified`], whatever is wrong.
pub(crate) fn verify(
    body: &[u8],
    signing_key: &Secret,
    now: Timestamp,
) -> Result<String, WebhookRefusal> {
    let unverified = WebhookRefusal::Unverified;
    let signed: Signed = serde_json::from_slice(body)
        .map_err(|_| unverified("no signature of timestamp and token"))?;
    let Signature {
        timestamp,
        token,
        signature,
    } = signed.signature;
    let is_token = (1..=TOKEN_BYTES_MAX).contains(&token.len())
        && token.bytes().all(|b| b.is_ascii_alphanumeric());
    if !is_token {
        return Err(unverified("not a token"));
    }
    let signed_at = seconds(&timestamp).ok_or(unverified("not a timestamp"))?;
    let expected = hex_32(&signature).ok_or(unverified("not a signature"))?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, signing_key.expose().as_bytes());
    let message = format!("{timestamp}{token}");
    hmac::verify(&key, message.as_bytes(), &expected)
        .map_err(|_| unverified("the signature is wrong"))?;
    let age = now.duration_since(signed_at);
    if age > AGE_MAX || age < -AHEAD_MAX {
        return Err(unverified("the signature is not of this time"));
    }
    Ok(token)
}

/// Whole seconds since 1970, digits only.
pub(crate) fn seconds(text: &str) -> Option<Timestamp> {
    let is_number = (1..=12).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    if !is_number {
        return None;
    }
    Timestamp::from_second(text.parse().ok()?).ok()
}

/// 64 lower-case hex digits.
pub(crate) fn hex_32(text: &str) -> Option<[u8; 32]> {
    let digits: &[u8; 64] = text.as_bytes().try_into().ok()?;
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Some(bytes)
}
