//! `[providers.NAME.smtp] oauth2 = { ... }`, read and checked.

use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use malote_core::clock::Clock;
use malote_core::fault::{ConfigFault, Severity};
use malote_core::secret::{Secret, SecretSource};
use serde::Deserialize;

use super::{Granted, Tokens};
use crate::http::client_builder;
use crate::settings;
use crate::single_flight::SingleFlight;

/// How the gateway gets access tokens for AUTH XOAUTH2 (or OAUTHBEARER, RFC 7628), which Microsoft
/// 365 and Google Workspace want in place of a password.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OAuth2Config {
    /// The token endpoint, such as
    /// `"https://login.microsoftonline.com/TENANT/oauth2/v2.0/token"` or
    /// `"https://oauth2.googleapis.com/token"`. `http` to near addresses only. Required.
    pub token_url: String,
    /// The client as it is registered with the service. Required.
    pub client_id: String,
    /// The client's secret. Required for `client_credentials`; with a refresh token only if the
    /// client was given one.
    pub client_secret: Option<Secret>,
    /// The environment variable that holds the client's secret.
    pub client_secret_env: Option<String>,
    /// The file that holds the client's secret.
    pub client_secret_file: Option<PathBuf>,
    /// What tokens are asked for with: `"refresh_token"` (default) or `"client_credentials"`.
    pub grant: Grant,
    /// The refresh token that the mailbox's owner consented to. One that the service gives in its
    /// place is used until the gateway ends or reads its configuration anew: then it is this one
    /// again, which has to be good still.
    pub refresh_token: Option<Secret>,
    /// The environment variable that holds the refresh token.
    pub refresh_token_env: Option<String>,
    /// The file that holds the refresh token.
    pub refresh_token_file: Option<PathBuf>,
    /// What is asked for, such as `"https://outlook.office365.com/.default"` with
    /// `client_credentials`. Default nothing, so what the consent covered.
    pub scope: Option<String>,
}

/// What tokens are asked for with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grant {
    /// A refresh token (RFC 6749 6).
    #[default]
    RefreshToken,
    /// The client's own credentials (RFC 6749 4.4).
    ClientCredentials,
}

impl OAuth2Config {
    /// Checks the table `{at}.oauth2`; `None` if it has an error.
    pub(in crate::smtp) fn tokens(
        &self,
        at: &str,
        clock: &Arc<dyn Clock>,
        faults: &mut Vec<ConfigFault>,
    ) -> Option<Tokens> {
        let at = format!("{at}.oauth2");
        let faults_before = faults.len();
        let url = if self.token_url.is_empty() {
            let path = format!("{at}.token_url");
            faults.push(ConfigFault::error(path, "is required"));
            None
        } else {
            settings::endpoint(&format!("{at}.token_url"), &self.token_url, faults)
        };
        let client_secret = SecretSource {
            field: "client_secret",
            literal: self.client_secret.as_ref().map(Secret::expose),
            env: self.client_secret_env.as_deref(),
            file: self.client_secret_file.as_deref(),
        };
        let client_secret = settings::secret(&at, &client_secret, faults);
        let refresh_token = SecretSource {
            field: "refresh_token",
            literal: self.refresh_token.as_ref().map(Secret::expose),
            env: self.refresh_token_env.as_deref(),
            file: self.refresh_token_file.as_deref(),
        };
        let refresh_token = settings::secret(&at, &refresh_token, faults);
        let is_error = |fault: &ConfigFault| fault.severity == Severity::Error;
        if !faults[faults_before..].iter().any(is_error) {
            let error = self.missing(client_secret.is_some(), refresh_token.is_some());
            faults.extend(
                error.map(|(key, message)| ConfigFault::error(format!("{at}.{key}"), message)),
            );
        }
        let client = match client_builder().build() {
            Ok(client) => client,
            Err(error) => {
                let message = format!("TLS cannot be set up: {error}");
                faults.push(ConfigFault::error(at, message));
                return None;
            }
        };
        if faults[faults_before..].iter().any(is_error) {
            return None;
        }
        let grant = match self.grant {
            Grant::RefreshToken => Granted::RefreshToken(Mutex::new(refresh_token?)),
            Grant::ClientCredentials => Granted::ClientCredentials,
        };
        Some(Tokens {
            client,
            clock: Arc::clone(clock),
            url: url?,
            client_id: self.client_id.clone(),
            client_secret,
            grant,
            scope: self.scope.clone(),
            cache: SingleFlight::new(),
            generation: AtomicU64::new(0),
        })
    }

    /// What is missing or too much, with its key.
    fn missing(
        &self,
        has_client_secret: bool,
        has_refresh_token: bool,
    ) -> Option<(&'static str, &'static str)> {
        let error = match (self.grant, has_client_secret, has_refresh_token) {
            _ if self.client_id.is_empty() => ("client_id", "is required"),
            (Grant::RefreshToken, _, false) => (
                "refresh_token",
                "is missing: give refresh_token, refresh_token_env or refresh_token_file, or grant = \"client_credentials\"",
            ),
            (Grant::ClientCredentials, false, _) => (
                "client_secret",
                "is missing: client_credentials needs client_secret, client_secret_env or client_secret_file",
            ),
            (Grant::ClientCredentials, true, true) => (
                "refresh_token",
                "is not used with grant = \"client_credentials\"",
            ),
            (Grant::RefreshToken, _, true) | (Grant::ClientCredentials, true, false) => {
                return None;
            }
        };
        Some(error)
    }
}
