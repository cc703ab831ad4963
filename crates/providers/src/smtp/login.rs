//! Who logs in and with what proof: a password, AWS keys that one is derived from, or OAuth 2.0.

use std::sync::Arc;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use malote_core::clock::Clock;
use malote_core::fault::{ConfigFault, Severity};
use malote_core::secret::{Secret, SecretSource};

use super::config::SmtpConfig;
use super::dialect::{Host, User};
use super::oauth::Tokens;
use crate::settings;

/// Who logs in.
#[derive(Debug, Clone)]
pub(crate) struct Login {
    pub(crate) user: String,
    pub(crate) proof: Proof,
}

/// How one proves who one is.
#[derive(Debug, Clone)]
pub(crate) enum Proof {
    /// AUTH PLAIN or LOGIN.
    Password(Secret),
    /// AUTH XOAUTH2 or OAUTHBEARER.
    Token(Arc<Tokens>),
}

impl SmtpConfig {
    /// The login of the table at `at`, if it has one.
    pub(super) fn login(
        &self,
        at: &str,
        clock: &Arc<dyn Clock>,
        errors: &mut Vec<ConfigFault>,
        warnings: &mut Vec<ConfigFault>,
    ) -> Option<Login> {
        let mut said = Vec::new();
        let login = self.checked_login(at, clock, &mut said);
        for fault in said {
            match fault.severity {
                Severity::Error => errors.push(fault),
                Severity::Warning => warnings.push(fault),
            }
        }
        login
    }

    fn checked_login(
        &self,
        at: &str,
        clock: &Arc<dyn Clock>,
        faults: &mut Vec<ConfigFault>,
    ) -> Option<Login> {
        let password = SecretSource {
            field: "password",
            literal: self.password.as_ref().map(Secret::expose),
            env: self.password_env.as_deref(),
            file: self.password_file.as_deref(),
        };
        let keys = SecretSource {
            field: "secret_access_key",
            literal: self.secret_access_key.as_ref().map(Secret::expose),
            env: self.secret_access_key_env.as_deref(),
            file: self.secret_access_key_file.as_deref(),
        };
        let has_keys = self.access_key_id.is_some() || keys.is_given();
        let keys_name = match self.access_key_id {
            Some(_) => "access_key_id",
            None => "secret_access_key",
        };
        let ways = [
            (password.is_given(), "password"),
            (has_keys, keys_name),
            (self.oauth2.is_some(), "oauth2"),
        ];
        let mut ways = ways.iter().filter(|(is_given, _)| *is_given);
        if let (Some((_, first)), Some((_, second))) = (ways.next(), ways.next()) {
            let message = format!("give only one of {first} and {second}");
            faults.push(ConfigFault::error(format!("{at}.{second}"), message));
            return None;
        }
        if has_keys {
            return self.login_by_keys(at, &keys, faults);
        }
        if let Some(oauth2) = &self.oauth2 {
            return self.login_by_token(at, oauth2.tokens(at, clock, faults), faults);
        }
        self.login_by_password(at, &password, faults)
    }

    fn login_by_password(
        &self,
        at: &str,
        source: &SecretSource<'_>,
        faults: &mut Vec<ConfigFault>,
    ) -> Option<Login> {
        let faults_before = faults.len();
        let password = settings::secret(at, source, faults);
        let is_missing = faults.len() == faults_before;
        let mut error = |key: &str, message: &str| {
            faults.push(ConfigFault::error(format!("{at}.{key}"), message));
        };
        let user = match &password {
            Some(password) => self.user_for(password),
            None => self.user.clone(),
        };
        match (user, password) {
            (Some(user), Some(password)) => {
                // RFC 4616 separates the two by NUL.
                if user.is_empty() || user.contains('\0') || password.expose().contains('\0') {
                    error("user", "user and password must not be empty or hold a NUL");
                }
                let proof = Proof::Password(password);
                Some(Login { user, proof })
            }
            (Some(_), None) if is_missing => {
                error(
                    "password",
                    "a user needs a password, password_env or password_file, or oauth2",
                );
                None
            }
            (None, Some(_)) => {
                error("user", "a password needs a user");
                None
            }
            (Some(_) | None, None) => None,
        }
    }

    fn login_by_keys(
        &self,
        at: &str,
        source: &SecretSource<'_>,
        faults: &mut Vec<ConfigFault>,
    ) -> Option<Login> {
        let faults_before = faults.len();
        let secret = settings::secret(at, source, faults);
        let is_missing = faults.len() == faults_before && secret.is_none();
        let mut error = |key: &str, message: &str| {
            faults.push(ConfigFault::error(format!("{at}.{key}"), message));
            None
        };
        if self.dialect().host != Host::Aws {
            return error("access_key_id", "belongs to preset \"ses\"");
        }
        if self.user.is_some() {
            return error(
                "user",
                "the access key id is the user: give only one of them",
            );
        }
        let Some(region) = &self.region else {
            return error(
                "region",
                "is missing: the password is derived for one region",
            );
        };
        if is_missing {
            return error(
                "access_key_id",
                "needs secret_access_key, secret_access_key_env or secret_access_key_file",
            );
        }
        match &self.access_key_id {
            None => error("access_key_id", "is missing beside the secret"),
            Some(id) if id.is_empty() || !id.bytes().all(|b| b.is_ascii_alphanumeric()) => {
                error("access_key_id", "is not an access key id")
            }
            Some(id) => Some(Login {
                user: id.clone(),
                proof: Proof::Password(ses_password(&secret?, region)),
            }),
        }
    }

    fn login_by_token(
        &self,
        at: &str,
        tokens: Option<Tokens>,
        faults: &mut Vec<ConfigFault>,
    ) -> Option<Login> {
        // Ctrl-A separates the parts of the answer (RFC 7628 3.1).
        let is_user = |user: &&String| !user.is_empty() && !user.contains(char::is_control);
        let Some(user) = self.user.as_ref().filter(is_user) else {
            let message = "oauth2 needs the user whose mailbox it is";
            faults.push(ConfigFault::error(format!("{at}.user"), message));
            return None;
        };
        Some(Login {
            user: user.clone(),
            proof: Proof::Token(Arc::new(tokens?)),
        })
    }

    /// Who logs in with this password.
    pub(super) fn user_for(&self, password: &Secret) -> Option<String> {
        match (&self.user, self.dialect().user) {
            (Some(user), _) => Some(user.clone()),
            (None, User::Given) => None,
            (None, User::Fixed(user)) => Some(user.to_owned()),
            (None, User::Token) => Some(password.expose().to_owned()),
        }
    }
}

/// The SMTP password of a secret access key in one region (SES developer guide, "Obtaining Amazon
/// SES SMTP credentials"): a signature of version 4 of fixed parts.
fn ses_password(secret: &Secret, region: &str) -> Secret {
    let sign = |key: &[u8], part: &str| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        hmac::sign(&key, part.as_bytes())
    };
    let mut signature = sign(format!("AWS4{}", secret.expose()).as_bytes(), "11111111");
    for part in [region, "ses", "aws4_request", "SendRawEmail"] {
        signature = sign(signature.as_ref(), part);
    }
    let versioned = [&[4], signature.as_ref()].concat();
    Secret::new(STANDARD.encode(versioned))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::tests::clock;

    #[test]
    fn the_ses_password_is_derived_as_amazon_says() {
        let secret = Secret::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
        for (region, password) in [
            ("us-east-1", "BLBM/9hSUELfq8Gw+rU1YcBjkOxGbhT2XG763xVLGWL9"),
            ("sa-east-1", "BMaY55NZ29oKHOmwPeGZOue+QPW4b9Vwt4rVGhRfAK+4"),
            ("eu-west-1", "BMW5RDrXmmVs0lV7GpI4oLkHXpZ4stDsk6q91z1g38Pk"),
        ] {
            assert_eq!(ses_password(&secret, region).expose(), password, "{region}");
        }
    }

    fn login(table: &str) -> (Option<Login>, Vec<String>) {
        let table: SmtpConfig = toml::from_str(table).unwrap();
        let (mut errors, mut warnings) = (Vec::new(), Vec::new());
        let login = table.login("t", &clock(), &mut errors, &mut warnings);
        (login, errors.into_iter().map(|f| f.path).collect())
    }

    fn password(login: &Login) -> &str {
        match &login.proof {
            Proof::Password(password) => password.expose(),
            Proof::Token(_) => panic!("no password"),
        }
    }

    #[test]
    fn presets_know_who_logs_in() {
        for (table, user, secret) in [
            ("preset = 'sendgrid'\npassword = 'k'", "apikey", "k"),
            ("preset = 'postmark'\npassword = 'k'", "k", "k"),
            (
                "preset = 'sparkpost'\npassword = 'k'\nuser = 'SMTP_Injection:X-MSYS-SUBACCOUNT=123'",
                "SMTP_Injection:X-MSYS-SUBACCOUNT=123",
                "k",
            ),
            (
                "preset = 'ses'\nuser = 'AKIA1'\npassword = 'k'",
                "AKIA1",
                "k",
            ),
            (
                "preset = 'ses'\nregion = 'us-east-1'\naccess_key_id = 'AKIA1'\n\
                 secret_access_key = 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY'",
                "AKIA1",
                "BLBM/9hSUELfq8Gw+rU1YcBjkOxGbhT2XG763xVLGWL9",
            ),
        ] {
            let (login, errors) = login(table);
            assert_eq!(errors, Vec::<String>::new(), "{table}");
            let login = login.unwrap();
            assert_eq!(
                (login.user.as_str(), password(&login)),
                (user, secret),
                "{table}"
            );
        }
    }

    #[test]
    fn logins_that_cannot_be_are_told_with_their_key() {
        let oauth2 = "oauth2 = { token_url = 'https://id.example/token', client_id = 'c', refresh_token = 'r' }";
        for (table, path) in [
            ("preset = 'smtp2go'\npassword = 'k'", "t.user"),
            ("user = 'u'", "t.password"),
            (
                "preset = 'ses'\naccess_key_id = 'A'\nsecret_access_key = 's'",
                "t.region",
            ),
            (
                "preset = 'ses'\nregion = 'us-east-1'\naccess_key_id = 'A'",
                "t.access_key_id",
            ),
            (
                "preset = 'ses'\nregion = 'us-east-1'\nsecret_access_key = 's'",
                "t.access_key_id",
            ),
            (
                "preset = 'ses'\nregion = 'us-east-1'\naccess_key_id = 'A B'\nsecret_access_key = 's'",
                "t.access_key_id",
            ),
            (
                "preset = 'ses'\nregion = 'us-east-1'\nuser = 'u'\naccess_key_id = 'A'\nsecret_access_key = 's'",
                "t.user",
            ),
            (
                "access_key_id = 'A'\nsecret_access_key = 's'\nregion = 'us-east-1'",
                "t.access_key_id",
            ),
            (
                "preset = 'ses'\npassword = 'p'\naccess_key_id = 'A'",
                "t.access_key_id",
            ),
            (
                "preset = 'ses'\npassword = 'p'\nsecret_access_key = 's'",
                "t.secret_access_key",
            ),
            (&format!("user = 'u'\npassword = 'p'\n{oauth2}"), "t.oauth2"),
            (oauth2, "t.user"),
            (&format!("user = \"u\\u0001\"\n{oauth2}"), "t.user"),
        ] {
            let (login, errors) = login(table);
            assert!(login.is_none(), "{table}");
            assert_eq!(errors, [path], "{table}");
        }
    }
}
