//! Webhooks: what a service reports about a message it took, signed as the service signs it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use jiff::Timestamp;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, RsaKeySize};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::behaviour::Happening;
use crate::config::Kind;
use crate::loopback::{PostError, post};
use crate::mailbox::Taken;
use crate::sandbox::Sandbox;
use crate::suppressed::Why;
use crate::{
    brevo, elasticemail, mailgun, mailjet, mailtrap, postal, postmark, resend, sendgrid, ses,
    smtp2go, sparkpost,
};

/// What is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// The far server took it.
    Delivered,
    /// The far server asked to come back later.
    Deferred,
    /// The far server refused it for good.
    Bounced,
    /// The recipient called it spam.
    Complained,
    /// The recipient wants no more.
    Unsubscribed,
    /// The service sent nothing: the address is on its own list.
    Suppressed,
    /// SES: the answer to a new subscription.
    Subscription,
}

/// The body of `POST /_sandbox/event`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EventRequest {
    /// Where to post; an address of this machine.
    url: String,
    /// What is reported.
    event: EventKind,
    /// The message's id as it was answered; by default the newest one taken.
    message: Option<String>,
    /// Of whom; by default the message's first recipient.
    recipient: Option<String>,
    /// The far server's reply; by default one that fits the event.
    reply: Option<String>,
    /// Whether to spoil the signature.
    #[serde(default)]
    forged: bool,
}

/// What a webhook says.
#[derive(Clone)]
pub(crate) struct Report {
    /// What happened.
    pub(crate) event: EventKind,
    /// To which message.
    pub(crate) taken: Taken,
    /// To which of its recipients.
    pub(crate) recipient: String,
    /// When.
    pub(crate) at: Timestamp,
    /// A number that no other report has.
    pub(crate) serial: u64,
    /// Whether to spoil the signature.
    pub(crate) forged: bool,
    /// What put the address on the service's list, where that is why nothing was sent.
    pub(crate) stopped_by: Why,
    reply: Option<String>,
}

impl Report {
    /// What happened to this recipient of a message, now.
    pub(crate) fn new(
        sandbox: &Sandbox,
        happening: &Happening,
        taken: Taken,
        recipient: String,
    ) -> Self {
        Self {
            event: happening.event,
            taken,
            recipient,
            at: (sandbox.config().clock)(),
            serial: sandbox.mailbox().next_serial(),
            forged: false,
            stopped_by: Why::Bounced,
            reply: happening.reply.clone(),
        }
    }

    /// The far server's reply.
    pub(crate) fn reply(&self) -> &str {
        let usual = match self.event {
            EventKind::Delivered => "250 2.0.0 OK",
            EventKind::Deferred => "451 4.7.1 try again later",
            EventKind::Bounced => "550 5.1.1 user unknown",
            EventKind::Complained
            | EventKind::Unsubscribed
            | EventKind::Suppressed
            | EventKind::Subscription => "",
        };
        self.reply.as_deref().unwrap_or(usual)
    }
}

/// One webhook, ready to be posted.
#[derive(Debug)]
pub(crate) struct Webhook {
    /// Header fields besides Host and Content-Length.
    pub(crate) headers: Vec<(String, String)>,
    /// The body.
    pub(crate) body: String,
}

impl Webhook {
    pub(crate) fn new(body: String) -> Self {
        Self {
            headers: Vec::new(),
            body,
        }
    }

    /// One with a JSON body.
    pub(crate) fn json(body: &serde_json::Value) -> Self {
        Self::new(body.to_string()).header("Content-Type", "application/json")
    }

    /// The same with the login of the webhook's URL, where a service signs nothing: the password is
    /// the account's secret for webhooks, or its letters in wrong order if it shall be forged.
    pub(crate) fn logged_in(self, sandbox: &Sandbox, report: &Report) -> Self {
        let secret = &sandbox.config().account.webhook_secret;
        let secret: String = match report.forged {
            true => secret.chars().rev().collect(),
            false => secret.clone(),
        };
        let login = STANDARD.encode(format!("sandbox:{secret}"));
        self.header("Authorization", &format!("Basic {login}"))
    }

    /// The same with one more field.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// Why no webhook was sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EmitError {
    #[error("an SMTP server reports by mail, not by webhook")]
    NoWebhooks,
    #[error("the service reports nothing of the kind")]
    NotReported,
    #[error("no such message was taken")]
    NoSuchMessage,
    #[error("no signing key could be made")]
    NoKey,
    #[error(transparent)]
    Post(#[from] PostError),
}

/// What a service signs its webhooks with, where that is a key pair.
pub(crate) struct Signer {
    pub(crate) key: KeyPair,
    /// Its certificate.
    pub(crate) certificate_pem: String,
    /// Its public half, PEM (SubjectPublicKeyInfo).
    pub(crate) public_key_pem: String,
}

impl Signer {
    /// A new RSA key of 2,048 bits that signs with SHA-256, with a certificate of its own.
    pub(crate) fn rsa() -> Result<Self, rcgen::Error> {
        Self::of(KeyPair::generate_rsa_for(
            &PKCS_RSA_SHA256,
            RsaKeySize::_2048,
        )?)
    }

    /// A new ECDSA key on P-256 that signs with SHA-256.
    pub(crate) fn ecdsa() -> Result<Self, rcgen::Error> {
        Self::of(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?)
    }

    fn of(key: KeyPair) -> Result<Self, rcgen::Error> {
        let params = CertificateParams::new(vec!["sns.amazonaws.com".to_owned()])?;
        Ok(Self {
            certificate_pem: params.self_signed(&key)?.pem(),
            public_key_pem: key.public_key_pem(),
            key,
        })
    }
}

/// Posts what reports this; answers the receiver's status for the last of it, or for the first that
/// it refused.
pub(crate) async fn emit(sandbox: &Sandbox, request: &EventRequest) -> Result<u16, EmitError> {
    let mut status = 0;
    for webhook in webhooks(sandbox, &report(sandbox, request)?)? {
        status = post(&request.url, &webhook.headers, &webhook.body).await?;
        if !(200..300).contains(&status) {
            break;
        }
    }
    Ok(status)
}

/// The webhooks that report this, at least one, in the service's own form and order. What stops mail
/// to the recipient is on the service's list from now on.
pub(crate) fn webhooks(sandbox: &Sandbox, report: &Report) -> Result<Vec<Webhook>, EmitError> {
    sandbox.suppressed().note(report);
    let mut webhooks = vec![webhook(sandbox, report)?];
    if sandbox.kind() == Kind::Postmark {
        webhooks.extend(postmark::change(sandbox, report));
    }
    Ok(webhooks)
}

fn webhook(sandbox: &Sandbox, report: &Report) -> Result<Webhook, EmitError> {
    match sandbox.kind() {
        Kind::Ses => ses::webhook(sandbox, report),
        Kind::Mailgun => Ok(mailgun::webhook(sandbox, report)),
        Kind::Elasticemail => Ok(elasticemail::webhook(report)),
        Kind::Mailtrap => Ok(mailtrap::webhook(sandbox, report)),
        Kind::Smtp2go => Ok(smtp2go::webhook(sandbox, report)),
        Kind::Postal => postal::webhook(sandbox, report),
        Kind::Postmark => postmark::webhook(sandbox, report),
        Kind::Mailjet => mailjet::webhook(sandbox, report),
        Kind::Sparkpost => Ok(sparkpost::webhook(sandbox, report)),
        Kind::Brevo => brevo::webhook(sandbox, report),
        Kind::Sendgrid => sendgrid::webhook(sandbox, report),
        Kind::Resend => resend::webhook(sandbox, report),
        Kind::Smtp => Err(EmitError::NoWebhooks),
    }
}

/// The message that is reported on, and the recipient.
fn report(sandbox: &Sandbox, request: &EventRequest) -> Result<Report, EmitError> {
    let taken = match &request.message {
        Some(id) => sandbox.mailbox().by_id(id),
        None => sandbox.mailbox().newest(),
    };
    let is_about_no_message = request.event == EventKind::Subscription;
    let taken = match taken {
        None if is_about_no_message => Taken::nothing(),
        taken => taken.ok_or(EmitError::NoSuchMessage)?,
    };
    let first = taken.recipients.first().cloned();
    let recipient = request.recipient.clone().or(first);
    let recipient = match recipient {
        None if is_about_no_message => String::new(),
        recipient => recipient.ok_or(EmitError::NoSuchMessage)?,
    };
    Ok(Report {
        event: request.event,
        recipient,
        at: (sandbox.config().clock)(),
        serial: sandbox.mailbox().next_serial(),
        forged: request.forged,
        stopped_by: Why::Bounced,
        reply: request.reply.clone(),
        taken,
    })
}

/// HMAC-SHA256 in lower-case hexadecimal digits.
#[expect(clippy::expect_used, reason = "HMAC takes a key of any length")]
pub(crate) fn hex_hmac(key: &str, message: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("any length will do");
    mac.update(message.as_bytes());
    let digest = mac.finalize().into_bytes();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hmac_is_the_one_of_rfc_4231() {
        let digest = hex_hmac("Jefe", "what do ya want for nothing?");
        assert_eq!(
            digest,
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }
}
