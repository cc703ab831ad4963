//! Resend's webhooks: the signature of Svix, which posts them for the service, first; events after.

use std::sync::Arc;

use async_trait::async_trait;
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use malote_core::clock::Clock;
use malote_core::fault::ConfigFault;
use malote_core::name::ProviderName;
use malote_core::secret::Secret;
use malote_core::webhook::{Webhook, WebhookParser, WebhookRefusal, WebhookRequest};

use super::events;
use crate::mailgun::seconds;
use crate::{WebhookConfig, settings};

/// How old a signature may be, and how far the service's clock ahead of ours: each post, repeated
/// ones too, is signed anew (Svix, "Verifying webhooks manually").
const TOLERANCE: SignedDuration = SignedDuration::from_mins(5);
/// Ids have about 30 characters; each is kept as long as its event.
const ID_BYTES_MAX: usize = 256;
/// Signatures of one post that are looked at: one for each secret while secrets are changed.
const SIGNATURES_MAX: usize = 8;

/// Reads `[providers.NAME.webhook]`; `None` if a fault is an error.
pub(crate) fn parser(
    name: &ProviderName,
    config: &WebhookConfig,
    clock: &Arc<dyn Clock>,
    faults: &mut Vec<ConfigFault>,
) -> Option<Arc<dyn WebhookParser>> {
    let table = format!("providers.{name}.webhook");
    let secret = settings::required_secret(&table, &config.secret(), faults)?;
    match key(&secret) {
        Ok(key) => Some(Arc::new(ResendWebhook {
            key,
            clock: Arc::clone(clock),
        })),
        Err(message) => {
            faults.push(ConfigFault::error(format!("{table}.secret"), message));
            None
        }
    }
}

/// Verifies and reads what Resend posts.
struct ResendWebhook {
    key: hmac::Key,
    clock: Arc<dyn Clock>,
}

#[async_trait]
impl WebhookParser for ResendWebhook {
    async fn parse(&self, request: &WebhookRequest) -> Result<Webhook, WebhookRefusal> {
        let id = verify(request, &self.key, self.clock.now())?;
        events::read(&request.body, id)
    }
}

/// The key in a secret, `whsec_` and Base64.
fn key(secret: &Secret) -> Result<hmac::Key, &'static str> {
    const FORM: &str = "is not a signing secret, as in \"whsec_\" and Base64 behind it";
    let text = secret.expose().trim();
    let octets = text.strip_prefix("whsec_").ok_or(FORM)?;
    let octets = STANDARD.decode(octets).map_err(|_| FORM)?;
    if octets.is_empty() {
        return Err(FORM);
    }
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &octets))
}

/// Verifies a post; gives the id under which the service repeats it.
///
/// # Errors
/// [`WebhookRefusal::Unverified`], whatever is wrong.
fn verify<'r>(
    request: &'r WebhookRequest,
    key: &hmac::Key,
    now: Timestamp,
) -> Result<&'r str, WebhookRefusal> {
    let unverified = WebhookRefusal::Unverified;
    let field = |name| request.header(name).ok_or(unverified("not signed"));
    let (id, timestamp) = (field("svix-id")?, field("svix-timestamp")?);
    let signatures = field("svix-signature")?;
    let is_id = (1..=ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
    if !is_id {
        return Err(unverified("not an id"));
    }
    let signed_at = seconds(timestamp).ok_or(unverified("not a timestamp"))?;
    let signed = [
        id.as_bytes(),
        b".",
        timestamp.as_bytes(),
        b".",
        &request.body,
    ]
    .concat();
    let is_ours = |signature: &str| {
        let Some(digest) = signature.strip_prefix("v1,") else {
            return false;
        };
        let digest = STANDARD.decode(digest).unwrap_or_default();
        hmac::verify(key, &signed, &digest).is_ok()
    };
    let mut signatures = signatures.split(' ').take(SIGNATURES_MAX);
    if !signatures.any(is_ours) {
        return Err(unverified("the signature is wrong"));
    }
    if now.duration_since(signed_at).abs() > TOLERANCE {
        return Err(unverified("the signature is not of this time"));
    }
    Ok(id)
}
