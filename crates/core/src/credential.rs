//! Who may submit, and what.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::address::EmailAddress;
use crate::name::{CredentialName, StreamName};
use crate::secret::Secret;

/// A checked `[credentials.NAME]` table.
#[derive(Debug, Clone)]
pub struct Credential {
    /// Its name.
    pub name: CredentialName,
    /// The key that an app presents as `Authorization: Bearer KEY`.
    pub api_key: Option<Secret>,
    /// The SMTP login, both or neither.
    pub smtp_login: Option<SmtpLogin>,
    /// The streams it may use; never empty.
    pub streams: Vec<StreamName>,
    /// The stream of mail that nothing else classifies.
    pub default_stream: Option<StreamName>,
    /// Domains it may put in From; empty means any. `example.com` means that domain and its
    /// subdomains.
    pub from_domains: Vec<String>,
    /// What happens, over SMTP, to mail with a From outside `from_domains`. HTTP always refuses.
    pub on_foreign_from: OnForeignFrom,
    /// What happens, over SMTP, to a recipient address that cannot exist.
    pub bad_recipients: BadRecipients,
    /// Who is told when a delivery fails for good.
    pub on_final_failure: OnFinalFailure,
    /// Whether provider control headers (`X-SES-*`, `X-Mailgun-*`, ...) may pass.
    pub provider_headers: bool,
    /// Whether the `Received` field names the client's address.
    pub received: ReceivedDetail,
    /// Whether raw UTF-8 in header fields is taken without SMTPUTF8.
    pub lenient_headers: bool,
}

/// An SMTP user and password.
#[derive(Debug, Clone)]
pub struct SmtpLogin {
    /// The user name.
    pub user: String,
    /// The password.
    pub password: Secret,
}

/// What happens to a From that the credential may not use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OnForeignFrom {
    /// Refused with 550 5.7.1.
    Reject,
    /// From becomes this address, Reply-To keeps the original.
    Rewrite(EmailAddress),
}

/// What happens to a recipient address that cannot exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BadRecipients {
    /// RCPT is refused.
    #[default]
    Refuse,
    /// RCPT gets 250 and the address the event `bounced`; nothing is sent to it.
    Report,
}

/// Who is told when a delivery fails for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFinalFailure {
    /// MAIL FROM gets a delivery status notification (RFC 3464).
    Dsn,
    /// The event on the timeline is enough.
    Event,
}

/// How much the added `Received` field says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReceivedDetail {
    /// Without the client's address.
    #[default]
    Brief,
    /// With the client's address and greeting.
    Full,
}

impl Credential {
    /// Whether it may use `stream`.
    #[must_use]
    pub fn may_use(&self, stream: &StreamName) -> bool {
        self.streams.contains(stream)
    }

    /// Whether it may put `domain` (lower-case A-labels) in From.
    #[must_use]
    pub fn may_send_from(&self, domain: &str) -> bool {
        self.from_domains.is_empty()
            || self.from_domains.iter().any(|own| {
                domain == own
                    || domain
                        .strip_suffix(own.as_str())
                        .is_some_and(|s| s.ends_with('.'))
            })
    }
}

/// All credentials of one configuration, with constant-time look-ups.
#[derive(Debug, Default)]
pub struct Credentials {
    all: BTreeMap<CredentialName, Arc<Credential>>,
}

impl Credentials {
    /// Takes the checked credentials of a configuration.
    #[must_use]
    pub fn new(all: impl IntoIterator<Item = Credential>) -> Self {
        Self {
            all: all
                .into_iter()
                .map(|c| (c.name.clone(), Arc::new(c)))
                .collect(),
        }
    }

    /// The credential of this name.
    #[must_use]
    pub fn get(&self, name: &CredentialName) -> Option<&Arc<Credential>> {
        self.all.get(name)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Credential>> {
        self.all.values()
    }

    /// The credential whose API key this is. Every key is compared, so time tells nothing.
    #[must_use]
    pub fn by_api_key(&self, key: &str) -> Option<Arc<Credential>> {
        let mut found = None;
        for credential in self.all.values() {
            if credential
                .api_key
                .as_ref()
                .is_some_and(|own| own.matches(key.as_bytes()))
            {
                found = Some(Arc::clone(credential));
            }
        }
        found
    }

    /// The credential of this SMTP login. Unknown users cost the same work as known ones.
    #[must_use]
    pub fn by_smtp_login(&self, user: &str, password: &[u8]) -> Option<Arc<Credential>> {
        let user = Sha256::digest(user.as_bytes());
        let mut found = None;
        for credential in self.all.values() {
            let Some(login) = &credential.smtp_login else {
                continue;
            };
            let is_user: bool = user.ct_eq(&Sha256::digest(login.user.as_bytes())).into();
            let is_password = login.password.matches(password);
            if is_user & is_password {
                found = Some(Arc::clone(credential));
            }
        }
        found
    }

    /// Whose SMTP user this is, whatever the password: for the log of a login that was refused. Takes
    /// the same time for any user.
    #[must_use]
    pub fn of_smtp_user(&self, user: &str) -> Option<&CredentialName> {
        let user = Sha256::digest(user.as_bytes());
        let mut found = None;
        for credential in self.all.values() {
            if let Some(login) = &credential.smtp_login
                && bool::from(user.ct_eq(&Sha256::digest(login.user.as_bytes())))
            {
                found = Some(&credential.name);
            }
        }
        found
    }
}

/// The credentials in force, replaced as a whole on reload.
pub type CredentialsInForce = Arc<ArcSwap<Credentials>>;

/// The admin token in force, replaced on reload; empty if operators need none.
pub type OperatorInForce = Arc<ArcSwapOption<Secret>>;

#[cfg(test)]
mod tests {
    use super::*;

    fn shop() -> Credential {
        Credential {
            name: "shop".try_into().unwrap(),
            api_key: Some(Secret::new("mk_test_shop")),
            smtp_login: Some(SmtpLogin {
                user: "shop".into(),
                password: Secret::new("pw"),
            }),
            streams: vec!["transactional".try_into().unwrap()],
            default_stream: None,
            from_domains: vec!["shop.example".into()],
            on_foreign_from: OnForeignFrom::Reject,
            bad_recipients: BadRecipients::Refuse,
            on_final_failure: OnFinalFailure::Event,
            provider_headers: false,
            received: ReceivedDetail::Brief,
            lenient_headers: false,
        }
    }

    #[test]
    fn subdomain_matches_but_lookalike_does_not() {
        let shop = shop();
        assert!(shop.may_send_from("shop.example") && shop.may_send_from("news.shop.example"));
        assert!(!shop.may_send_from("evilshop.example") && !shop.may_send_from("example"));
    }

    #[test]
    fn only_the_right_key_or_login_is_found() {
        let all = Credentials::new([shop()]);
        assert!(all.by_api_key("mk_test_shop").is_some());
        assert!(all.by_api_key("mk_test_shoq").is_none());
        assert!(all.by_smtp_login("shop", b"pw").is_some());
        assert!(all.by_smtp_login("shop", b"no").is_none());
        assert!(all.by_smtp_login("nobody", b"pw").is_none());
        assert_eq!(
            all.of_smtp_user("shop").map(CredentialName::as_str),
            Some("shop")
        );
        assert_eq!(all.of_smtp_user("nobody"), None);
    }
}
