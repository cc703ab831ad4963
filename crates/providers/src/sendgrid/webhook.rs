//! SendGrid's event webhook: the signature over timestamp and body first, events after.

use std::sync::Arc;

use async_trait::async_trait;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ParsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use malote_core::clock::Clock;
use malote_core::fault::ConfigFault;
use malote_core::name::ProviderName;
use malote_core::webhook::{Webhook, WebhookParser, WebhookRefusal, WebhookRequest};

use super::events;
use crate::WebhookConfig;
use crate::webhook::public_key;

/// "Event Webhook Security Features": Base64 of ECDSA (P-256, SHA-256) in DER.
const SIGNATURE: &str = "x-twilio-email-event-webhook-signature";
/// Seconds since 1970, signed in front of the body.
const TIMESTAMP: &str = "x-twilio-email-event-webhook-timestamp";
/// Oldest signature, and how far the service's clock may be ahead of ours.
const AGE_MAX: SignedDuration = SignedDuration::from_secs(300);
/// Longest signature in Base64: two numbers of 33 octets in DER have 72.
const SIGNATURE_BYTES_MAX: usize = 128;

/// Reads `[providers.NAME.webhook]`; `None` if a fault is an error.
pub(crate) fn parser(
    name: &ProviderName,
    config: &WebhookConfig,
    clock: &Arc<dyn Clock>,
    faults: &mut Vec<ConfigFault>,
) -> Option<Arc<dyn WebhookParser>> {
    let table = format!("providers.{name}.webhook");
    let read = |octets: &[u8]| ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, octets).ok();
    let wanted = ("an ECDSA public key on P-256", read);
    let key = public_key(&table, config, faults, wanted)?;
    Some(Arc::new(SendgridWebhook {
        key,
        clock: Arc::clone(clock),
    }))
}

/// Verifies and reads what SendGrid posts.
struct SendgridWebhook {
    key: ParsedPublicKey,
    clock: Arc<dyn Clock>,
}

#[async_trait]
impl WebhookParser for SendgridWebhook {
    async fn parse(&self, request: &WebhookRequest) -> Result<Webhook, WebhookRefusal> {
        verify(request, &self.key, self.clock.now())?;
        events::read(&request.body)
    }
}

/// Verifies the raw octets. A signature whose second number is the other one of its two is as good
/// as its own, as about half of the service's are; a repeat has no effect, by the events' ids.
///
/// # Errors
/// [`WebhookRefusal::Unverified`], whatever is wrong.
pub(super) fn verify(
    request: &WebhookRequest,
    key: &ParsedPublicKey,
    now: Timestamp,
) -> Result<(), WebhookRefusal> {
    let unverified = WebhookRefusal::Unverified;
    let header = |name| request.header(name).ok_or(unverified("no signature"));
    let (signature, timestamp) = (header(SIGNATURE)?, header(TIMESTAMP)?);
    let signed_at = whole_seconds(timestamp).ok_or(unverified("not a timestamp"))?;
    let signature = Some(signature).filter(|text| text.len() <= SIGNATURE_BYTES_MAX);
    let signature = signature.and_then(|text| STANDARD.decode(text).ok());
    let signature = signature.ok_or(unverified("not a signature"))?;
    let message = [timestamp.as_bytes(), &request.body].concat();
    key.verify_sig(&message, &signature)
        .map_err(|_| unverified("the signature is wrong"))?;
    let age = now.duration_since(signed_at);
    if age > AGE_MAX || age < -AGE_MAX {
        return Err(unverified("the signature is not of this time"));
    }
    Ok(())
}

/// Digits only.
fn whole_seconds(text: &str) -> Option<Timestamp> {
    let is_number = (1..=12).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    if !is_number {
        return None;
    }
    Timestamp::from_second(text.parse().ok()?).ok()
}
