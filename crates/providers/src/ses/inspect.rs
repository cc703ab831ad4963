//! What mail through the account would fail on: an account that is still in the sandbox,
//! configuration sets that are missing or paused, sender domains that are not verified.

use std::borrow::Cow;
use std::time::Duration;

use jiff::Timestamp;
use malote_core::provider::{About, Finding, Reply, SendError, Verdict, bounded};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::classify::{Sent, SesError, classify};
use super::send::{ACCOUNT_PATH, Ses};
use crate::http::Answer;

/// Most sender domains that one inspection asks about.
pub(super) const SENDERS_MAX: usize = 100;
/// All calls but those that send may be made once a second (developer guide, "Service quotas").
const PAUSE: Duration = Duration::from_millis(1_100);
/// How often a call that came too soon is made.
const TRIES_MAX: u32 = 4;

/// `GetAccount`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AccountDocument {
    production_access_enabled: Option<bool>,
    enforcement_status: Option<String>,
}

/// `GetEmailIdentity`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Identity {
    verified_for_sending_status: Option<bool>,
    verification_status: Option<String>,
    pub(super) dkim_attributes: Option<DkimAttributes>,
    pub(super) mail_from_attributes: Option<MailFromAttributes>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DkimAttributes {
    /// `AWS_SES...` for Easy DKIM, `EXTERNAL` where the customer brought a key.
    pub(super) signing_attributes_origin: Option<String>,
    /// Where Easy DKIM's keys are, if not at `dkim.amazonses.com`.
    pub(super) signing_hosted_zone: Option<String>,
    #[serde(default)]
    pub(super) tokens: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct MailFromAttributes {
    pub(super) mail_from_domain: Option<String>,
}

/// `GetConfigurationSet`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ConfigurationSet {
    sending_options: Option<SendingOptions>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SendingOptions {
    sending_enabled: Option<bool>,
}

/// What the service tells of one thing.
pub(super) enum Told<T> {
    Yes(T),
    NotThere,
    /// The keys may not ask, or the endpoint does not know the call (emulators).
    Nothing,
}

pub(super) async fn inspect(ses: &Ses, senders: &[String]) -> Result<Vec<Finding>, SendError> {
    let mut findings = Vec::new();
    if let Told::Yes(account) = ask(ses, ACCOUNT_PATH.into()).await? {
        findings.extend(of_account(&account));
    }
    for (pool, set) in &ses.settings.configuration_sets {
        let path = format!("/v2/email/configuration-sets/{set}");
        if let Some(fault) = fault_of_set(set, &ask(ses, path.into()).await?) {
            let about = About::Pool(pool.clone());
            findings.push(Finding { about, text: fault });
        }
    }
    for sender in senders.iter().take(SENDERS_MAX) {
        if let Some(text) = fault_of_sender(ses, sender).await? {
            let about = About::Sender(sender.clone());
            findings.push(Finding { about, text });
        }
    }
    Ok(findings)
}

/// Asks, and again after a pause if that was too soon.
async fn ask<T: DeserializeOwned>(
    ses: &Ses,
    path: Cow<'static, str>,
) -> Result<Told<T>, SendError> {
    let mut tries = 1;
    loop {
        let answer = ses.ask(path.clone()).await?;
        match read(&answer, ses.clock.now()) {
            Err(error)
                if matches!(error.verdict, Verdict::Throttled { .. }) && tries < TRIES_MAX =>
            {
                tries += 1;
                tokio::time::sleep(PAUSE).await;
            }
            told => return told,
        }
    }
}

fn read<T: DeserializeOwned>(answer: &Answer, now: Timestamp) -> Result<Told<T>, SendError> {
    if answer.status == 200 {
        return answer.json().map(Told::Yes).ok_or_else(nonsense);
    }
    let error = SesError::read(answer);
    if error.code == "NotFoundException" {
        return Ok(Told::NotThere);
    }
    if error.code.starts_with("AccessDenied") || matches!(answer.status, 404 | 405 | 501) {
        return Ok(Told::Nothing);
    }
    let Err(mut error) = classify(answer, Sent::default(), now) else {
        return Err(nonsense());
    };
    // No mail is in doubt.
    if error.verdict == Verdict::Unknown {
        error.verdict = Verdict::Transient;
    }
    Err(error)
}

fn nonsense() -> SendError {
    let reply = Reply::new(Some(200), None, "the service answered nonsense");
    SendError::new(Verdict::Transient, reply)
}

fn of_account(account: &AccountDocument) -> Vec<Finding> {
    let is_sandboxed = account.production_access_enabled == Some(false);
    let is_on_probation = account.enforcement_status.as_deref() == Some("PROBATION");
    let sandbox = "the account is in the sandbox and may mail verified addresses only: request \
                   production access";
    let probation = "the account is on probation and can be stopped: look into its reputation";
    let texts = [(is_sandboxed, sandbox), (is_on_probation, probation)];
    let found = texts.into_iter().filter(|(is_so, _)| *is_so);
    found
        .map(|(_, text)| Finding {
            about: About::Account,
            text: text.to_owned(),
        })
        .collect()
}

fn fault_of_set(name: &str, told: &Told<ConfigurationSet>) -> Option<String> {
    match told {
        Told::NotThere => Some(format!(
            "there is no configuration set {name} in this region: create it, or correct \
             configuration_set"
        )),
        Told::Yes(set) => {
            let options = set.sending_options.as_ref();
            let is_paused = options.and_then(|options| options.sending_enabled) == Some(false);
            is_paused.then(|| format!("sending by the configuration set {name} is paused"))
        }
        Told::Nothing => None,
    }
}

/// A domain is verified with all below it (developer guide, "Verifying a domain identity"), so
/// those above are asked for, too.
async fn fault_of_sender(ses: &Ses, sender: &str) -> Result<Option<String>, SendError> {
    Ok(match identity_of(ses, sender).await? {
        Told::Nothing => None,
        Told::Yes((domain, identity)) => identity.fault(domain),
        Told::NotThere => Some(format!(
            "{sender} is no identity of the account in this region: verify the domain, unless \
             single addresses of it are verified"
        )),
    })
}

/// The identity that a sender domain belongs to, with its name.
pub(super) async fn identity_of<'a>(
    ses: &Ses,
    sender: &'a str,
) -> Result<Told<(&'a str, Identity)>, SendError> {
    let mut domain = sender;
    loop {
        let path = format!("/v2/email/identities/{domain}");
        match ask::<Identity>(ses, path.into()).await? {
            Told::Nothing => return Ok(Told::Nothing),
            Told::Yes(identity) => return Ok(Told::Yes((domain, identity))),
            Told::NotThere => {}
        }
        match domain.split_once('.') {
            Some((_, above)) if above.contains('.') => domain = above,
            Some(_) | None => return Ok(Told::NotThere),
        }
    }
}

impl Identity {
    fn fault(&self, domain: &str) -> Option<String> {
        if self.verified_for_sending_status != Some(false) {
            return None;
        }
        let status = self.verification_status.as_deref().unwrap_or("unknown");
        Some(format!(
            "{domain} is not verified (status {}): set its DNS records",
            bounded(status, 32)
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, error_type: &str, body: &str) -> Answer {
        let mut answer = Answer {
            status,
            is_whole: true,
            ..Answer::default()
        };
        answer.body = body.to_owned().into();
        if !error_type.is_empty() {
            let name = "x-amzn-errortype";
            answer.headers.insert(name, error_type.parse().unwrap());
        }
        answer
    }

    fn set(answer: &Answer) -> Result<Option<String>, Verdict> {
        let told = read(answer, "2026-11-22T00:00:00Z".parse().unwrap());
        let told = told.map_err(|error| error.verdict)?;
        Ok(fault_of_set("news", &told))
    }

    #[test]
    fn a_set_that_is_missing_or_paused_is_found() {
        let on = r#"{"ConfigurationSetName":"news","SendingOptions":{"SendingEnabled":true}}"#;
        assert_eq!(set(&answer(200, "", on)), Ok(None));
        assert_eq!(set(&answer(200, "", "{}")), Ok(None));
        let paused = set(&answer(200, "", &on.replace("true", "false")));
        assert!(paused.unwrap().unwrap().contains("paused"));
        let missing = set(&answer(404, "NotFoundException", "{}"));
        assert!(missing.unwrap().unwrap().contains("no configuration set"));
    }

    #[test]
    fn who_may_not_ask_finds_nothing_and_what_fails_is_told() {
        let denied = "AccessDeniedException";
        assert_eq!(set(&answer(403, denied, "{}")), Ok(None));
        assert_eq!(set(&answer(404, "", "<html>")), Ok(None));
        for (status, code, verdict) in [
            (200, "", Verdict::Transient),
            (500, "InternalServiceError", Verdict::Transient),
            (403, "SignatureDoesNotMatch", Verdict::ProviderUnusable),
        ] {
            assert_eq!(set(&answer(status, code, "nonsense")), Err(verdict));
        }
    }

    #[test]
    fn an_unverified_identity_says_how_far_it_is() {
        let identity: Identity = serde_json::from_str(
            r#"{"VerifiedForSendingStatus":false,"VerificationStatus":"PENDING"}"#,
        )
        .unwrap();
        assert!(identity.fault("x.test").unwrap().contains("PENDING"));
        let verified: Identity =
            serde_json::from_str(r#"{"VerifiedForSendingStatus":true}"#).unwrap();
        assert_eq!(verified.fault("x.test"), None);
    }

    #[test]
    fn a_sandboxed_account_is_found() {
        let read = |text| of_account(&serde_json::from_str(text).unwrap());
        let sandboxed =
            read(r#"{"ProductionAccessEnabled":false,"EnforcementStatus":"PROBATION"}"#);
        assert_eq!(sandboxed.len(), 2);
        let good = r#"{"ProductionAccessEnabled":true,"EnforcementStatus":"HEALTHY"}"#;
        assert!(read(good).is_empty() && read("{}").is_empty());
    }
}
