//! SES's events by SNS: topic, URLs, certificate, signature, in this order; events after.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use malote_core::clock::Clock;
use malote_core::fault::ConfigFault;
use malote_core::name::ProviderName;
use malote_core::secret::Secret;
use malote_core::webhook::{Webhook, WebhookParser, WebhookRefusal, WebhookRequest};

use super::certificate::{Certificates, PublicWeb, SignatureVersion, SigningCertificate, Web};
use super::events;
use super::sns::{Envelope, Kind, Topic};
use crate::WebhookConfig;
use crate::webhook::secret;

/// Largest answer to the confirmation of a subscription; its content does not matter.
const CONFIRMATION_BYTES_MAX: usize = 64 * 1024;
/// Most topics of one provider.
const TOPICS_MAX: usize = 64;

/// Reads `[providers.NAME.webhook]`; `None` if a fault is an error.
pub(crate) fn parser(
    name: &ProviderName,
    config: &WebhookConfig,
    clock: &Arc<dyn Clock>,
    faults: &mut Vec<ConfigFault>,
) -> Option<Arc<dyn WebhookParser>> {
    let table = format!("providers.{name}.webhook");
    let topics = topics(&table, config, faults);
    let pinned = pinned_certificate(&table, config, faults);
    let secret = match config.secret().is_given() {
        true => secret::required(name, config, faults).map(Some),
        false => Some(None),
    };
    if config.allow_sha1.is_none() {
        let message = "SHA-1 signatures are believed, since SNS makes them by default; set the \
                       topic's SignatureVersion to 2 and this to false";
        faults.push(ConfigFault::warning(format!("{table}.allow_sha1"), message));
    }
    let web: Arc<dyn Web> = match PublicWeb::new() {
        Ok(web) => Arc::new(web),
        Err(error) => {
            faults.push(ConfigFault::error(
                table,
                format!("TLS cannot be set up: {error}"),
            ));
            return None;
        }
    };
    Some(Arc::new(SnsWebhook {
        name: name.clone(),
        topics: topics?,
        allow_sha1: config.allow_sha1.unwrap_or(true),
        certificates: Certificates::new(pinned?, Arc::clone(&web)),
        web,
        clock: Arc::clone(clock),
        has_warned_of_sha1: AtomicBool::new(false),
        secret: secret?,
    }))
}

fn topics(
    table: &str,
    config: &WebhookConfig,
    faults: &mut Vec<ConfigFault>,
) -> Option<Vec<Topic>> {
    let path = format!("{table}.topic_arns");
    let mut fault = |message: String| {
        faults.push(ConfigFault::error(path.clone(), message));
        None
    };
    if config.topic_arns.is_empty() {
        return fault("is missing: anybody can own a topic, so name yours".to_owned());
    }
    if config.topic_arns.len() > TOPICS_MAX {
        return fault(format!("holds more than {TOPICS_MAX}"));
    }
    let mut topics = Vec::new();
    for arn in &config.topic_arns {
        let Some(topic) = Topic::parse(arn) else {
            return fault(format!(
                "{arn:?} is not a topic, as in \"arn:aws:sns:us-east-1:123456789012:malote\""
            ));
        };
        topics.push(topic);
    }
    Some(topics)
}

/// `Some(None)`: none is given, it is fetched.
fn pinned_certificate(
    table: &str,
    config: &WebhookConfig,
    faults: &mut Vec<ConfigFault>,
) -> Option<Option<SigningCertificate>> {
    let Some(file) = &config.certificate_file else {
        return Some(None);
    };
    let mut fault = |message: String| {
        let path = format!("{table}.certificate_file");
        faults.push(ConfigFault::error(path, message));
        None
    };
    let pem = match std::fs::read(file) {
        Ok(pem) => pem,
        Err(error) => return fault(format!("{} cannot be read: {error}", file.display())),
    };
    match SigningCertificate::read(&pem) {
        Ok(certificate) => Some(Some(certificate)),
        Err(what) => fault(format!("{}: {what}", file.display())),
    }
}

/// Verifies and reads what SNS posts.
pub(crate) struct SnsWebhook {
    pub(super) name: ProviderName,
    pub(super) topics: Vec<Topic>,
    pub(super) allow_sha1: bool,
    pub(super) certificates: Certificates,
    pub(super) web: Arc<dyn Web>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) has_warned_of_sha1: AtomicBool,
    /// What a post must carry before anything else of it is looked at.
    pub(super) secret: Option<Secret>,
}

#[async_trait]
impl WebhookParser for SnsWebhook {
    async fn parse(&self, request: &WebhookRequest) -> Result<Webhook, WebhookRefusal> {
        if let Some(secret) = &self.secret {
            secret::verify(secret, request)?;
        }
        let envelope = Envelope::read(request)?;
        let topic = self.permitted(&envelope)?;
        let version = self.version(&envelope)?;
        self.verify(&envelope, topic, version).await?;
        if version == SignatureVersion::One
            && !self.has_warned_of_sha1.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(provider = %self.name, "accepted a SHA-1 signature; set SignatureVersion 2 on the topic");
        }
        match envelope.kind {
            Kind::Notification => Ok(events::read(&envelope.message, &envelope.message_id)),
            Kind::SubscriptionConfirmation => self.confirm(&envelope).await,
            Kind::UnsubscribeConfirmation => {
                tracing::warn!(provider = %self.name, "SNS ended the subscription to the topic");
                Ok(Webhook::default())
            }
        }
    }
}

impl SnsWebhook {
    /// Topic and URLs, before anything is fetched.
    fn permitted(&self, envelope: &Envelope) -> Result<&Topic, WebhookRefusal> {
        let forbidden = |why| Err(WebhookRefusal::Forbidden(why));
        let ours = |topic: &&Topic| topic.arn() == envelope.topic_arn;
        let Some(topic) = self.topics.iter().find(ours) else {
            return forbidden("not a topic of the configuration");
        };
        if !topic.is_certificate_url(&envelope.signing_cert_url) {
            return forbidden("SigningCertURL is not SNS's in the topic's region");
        }
        if envelope.kind == Kind::SubscriptionConfirmation {
            let url = envelope.subscribe_url.as_deref().unwrap_or_default();
            let token = envelope.token.as_deref().unwrap_or_default();
            if !topic.is_subscribe_url(url, token) {
                return forbidden("SubscribeURL does not confirm this topic in its region");
            }
        }
        Ok(topic)
    }

    fn version(&self, envelope: &Envelope) -> Result<SignatureVersion, WebhookRefusal> {
        match envelope.signature_version.as_str() {
            "1" if self.allow_sha1 => Ok(SignatureVersion::One),
            "1" => Err(WebhookRefusal::Forbidden(
                "SHA-1 signatures are not allowed here",
            )),
            "2" => Ok(SignatureVersion::Two),
            _ => Err(WebhookRefusal::Forbidden("unknown signature version")),
        }
    }

    async fn verify(
        &self,
        envelope: &Envelope,
        topic: &Topic,
        version: SignatureVersion,
    ) -> Result<(), WebhookRefusal> {
        let unverified = WebhookRefusal::Unverified;
        let text = envelope
            .signed_text()
            .ok_or(unverified("a signed member is missing"))?;
        let signature = STANDARD
            .decode(&envelope.signature)
            .map_err(|_| unverified("the signature is not base64"))?;
        let certificate = self
            .certificates
            .of(&envelope.signing_cert_url, topic, self.clock.now())
            .await?;
        if certificate.has_signed(version, &text, &signature) {
            Ok(())
        } else {
            Err(unverified("the signature is wrong"))
        }
    }

    /// Visits the link, which subscribes us. SNS asks again if it does not see the visit.
    async fn confirm(&self, envelope: &Envelope) -> Result<Webhook, WebhookRefusal> {
        let url = envelope.subscribe_url.as_deref().unwrap_or_default();
        match self.web.get(url, CONFIRMATION_BYTES_MAX).await {
            Ok(_) => {
                tracing::info!(provider = %self.name, "subscribed to the SNS topic");
                Ok(Webhook::default())
            }
            Err(fault) => {
                tracing::warn!(provider = %self.name, error = %fault, "did not reach the confirmation of the SNS subscription");
                Err(WebhookRefusal::Unavailable(
                    "the subscription cannot be confirmed now",
                ))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use malote_core::clock::SystemClock;

    use super::*;

    #[test]
    fn who_says_nothing_of_sha_1_is_warned_of_it() {
        for (allow_sha1, warnings) in [
            (None, vec!["providers.ses.webhook.allow_sha1"]),
            (Some(true), vec![]),
            (Some(false), vec![]),
        ] {
            let config = WebhookConfig {
                topic_arns: vec!["arn:aws:sns:us-east-1:123456789012:malote".to_owned()],
                allow_sha1,
                ..WebhookConfig::default()
            };
            let name = ProviderName::try_from("ses").unwrap();
            let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
            let mut faults = Vec::new();
            assert!(parser(&name, &config, &clock, &mut faults).is_some());
            let paths: Vec<_> = faults.iter().map(|fault| fault.path.as_str()).collect();
            assert_eq!(paths, warnings, "{allow_sha1:?}");
        }
    }

    #[test]
    fn a_secret_may_be_wanted_besides_and_must_be_one() {
        for (secret, is_good) in [
            (None, true),
            (Some("0123456789abcdef"), true),
            (Some("0123456789abcde"), false),
        ] {
            let config = WebhookConfig {
                topic_arns: vec!["arn:aws:sns:us-east-1:123456789012:malote".to_owned()],
                secret: secret.map(Secret::new),
                ..WebhookConfig::default()
            };
            let name = ProviderName::try_from("ses").unwrap();
            let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
            let found = parser(&name, &config, &clock, &mut Vec::new());
            assert_eq!(found.is_some(), is_good, "{secret:?}");
        }
    }
}
