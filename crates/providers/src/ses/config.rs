//! `[providers.NAME.ses]`, read and checked.

use std::collections::BTreeMap;
use std::path::PathBuf;

use malote_core::fault::ConfigFault;
use malote_core::name::PoolName;
use malote_core::secret::{Secret, SecretSource};
use reqwest::Url;
use serde::Deserialize;

use crate::ProviderConfig;
use crate::settings;

/// `[providers.NAME.ses]`. Without keys here, they are looked for as AWS tools do: environment,
/// shared credentials file, container (ECS, EKS), instance (IMDSv2).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SesConfig {
    /// The AWS region, as in `"sa-east-1"`. Required.
    pub region: Option<String>,
    /// Where the API is, if not at `https://email.{region}.amazonaws.com`: FIPS, VPC endpoints and
    /// tests. `http` to near addresses only.
    pub endpoint: Option<String>,
    /// The access key id; then the secret key is required too.
    pub access_key_id: Option<String>,
    /// The secret access key.
    pub secret_access_key: Option<Secret>,
    /// The environment variable that holds the secret access key.
    pub secret_access_key_env: Option<String>,
    /// The file that holds the secret access key.
    pub secret_access_key_file: Option<PathBuf>,
    /// The session token that belongs to temporary keys.
    pub session_token: Option<Secret>,
    /// The environment variable that holds the session token.
    pub session_token_env: Option<String>,
    /// The file that holds the session token.
    pub session_token_file: Option<PathBuf>,
    /// The profile in the shared credentials file; default `AWS_PROFILE`, else `"default"`. If
    /// given, the environment's keys are not looked at.
    pub profile: Option<String>,
    /// The shared credentials file; default `AWS_SHARED_CREDENTIALS_FILE`, else
    /// `~/.aws/credentials`. If given, the environment's keys are not looked at.
    pub credentials_file: Option<PathBuf>,
    /// Where the instance metadata service is, if not at `http://169.254.169.254`.
    pub metadata_endpoint: Option<String>,
}

/// Keys that stand in the configuration.
#[derive(Debug, Clone)]
pub(crate) struct GivenKeys {
    pub access_key_id: String,
    pub secret_access_key: Secret,
    pub session_token: Option<Secret>,
}

/// A checked table.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub region: String,
    pub endpoint: Url,
    pub keys: Option<GivenKeys>,
    pub metadata_endpoint: Option<Url>,
    /// Configuration set by pool; a pool that is missing here uses the account's default.
    pub configuration_sets: BTreeMap<PoolName, String>,
}

impl SesConfig {
    /// Checks the table at `at` (`providers.NAME`); `None` if a fault is an error.
    pub(crate) fn check(
        &self,
        at: &str,
        config: &ProviderConfig,
        faults: &mut Vec<ConfigFault>,
    ) -> Option<Settings> {
        let table = format!("{at}.ses");
        let region = self.checked_region(&table, faults);
        let keys = self.given_keys(&table, faults);
        let configuration_sets = configuration_sets(at, config, faults);
        let metadata_endpoint = match &self.metadata_endpoint {
            Some(text) => {
                let path = format!("{table}.metadata_endpoint");
                Some(settings::endpoint(&path, text, faults)?)
            }
            None => None,
        };
        let region = region?;
        let endpoint = match &self.endpoint {
            Some(text) => text.clone(),
            None => format!("https://email.{region}.{}", dns_suffix(&region)),
        };
        let endpoint = settings::endpoint(&format!("{table}.endpoint"), &endpoint, faults)?;
        Some(Settings {
            region,
            endpoint,
            keys: keys?,
            metadata_endpoint,
            configuration_sets: configuration_sets?,
        })
    }

    fn checked_region(&self, table: &str, faults: &mut Vec<ConfigFault>) -> Option<String> {
        let path = format!("{table}.region");
        match &self.region {
            Some(region) if is_region(region) => Some(region.clone()),
            Some(_) => {
                faults.push(ConfigFault::error(
                    path,
                    "is not a region, as in \"us-east-1\"",
                ));
                None
            }
            None => {
                faults.push(ConfigFault::error(
                    path,
                    "is missing, as in region = \"us-east-1\"",
                ));
                None
            }
        }
    }

    /// `Some(None)`: no keys here, they are looked for elsewhere.
    fn given_keys(&self, table: &str, faults: &mut Vec<ConfigFault>) -> Option<Option<GivenKeys>> {
        let errors_before = faults.len();
        let secret = settings::secret(
            table,
            &SecretSource {
                field: "secret_access_key",
                literal: self.secret_access_key.as_ref().map(Secret::expose),
                env: self.secret_access_key_env.as_deref(),
                file: self.secret_access_key_file.as_deref(),
            },
            faults,
        );
        let session_token = settings::secret(
            table,
            &SecretSource {
                field: "session_token",
                literal: self.session_token.as_ref().map(Secret::expose),
                env: self.session_token_env.as_deref(),
                file: self.session_token_file.as_deref(),
            },
            faults,
        );
        let has_error = |faults: &[ConfigFault]| {
            let mut new = faults[errors_before..].iter();
            new.any(|fault| fault.severity == malote_core::fault::Severity::Error)
        };
        if has_error(faults) {
            return None;
        }
        match (&self.access_key_id, secret) {
            (None, None) if session_token.is_none() => Some(None),
            (Some(id), Some(secret_access_key)) if is_key_id(id) => Some(Some(GivenKeys {
                access_key_id: id.clone(),
                secret_access_key,
                session_token,
            })),
            (Some(_), Some(_)) => {
                let path = format!("{table}.access_key_id");
                faults.push(ConfigFault::error(path, "is not an access key id"));
                None
            }
            (Some(_), None) => {
                let message =
                    "needs secret_access_key, secret_access_key_env or secret_access_key_file";
                faults.push(ConfigFault::error(
                    format!("{table}.access_key_id"),
                    message,
                ));
                None
            }
            (None, _) => {
                let path = format!("{table}.access_key_id");
                faults.push(ConfigFault::error(path, "is missing beside the secret"));
                None
            }
        }
    }
}

/// The domain that a region's endpoints are in: China has its own.
pub(crate) fn dns_suffix(region: &str) -> &'static str {
    if region.starts_with("cn-") {
        "amazonaws.com.cn"
    } else {
        "amazonaws.com"
    }
}

/// Whether the text has the form of a region: it becomes part of host names.
pub(crate) fn is_region(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (3..=32).contains(&text.len())
        && text.bytes().all(allowed)
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.ends_with(|c: char| c.is_ascii_digit())
}

fn is_key_id(text: &str) -> bool {
    (4..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn configuration_sets(
    at: &str,
    config: &ProviderConfig,
    faults: &mut Vec<ConfigFault>,
) -> Option<BTreeMap<PoolName, String>> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    let mut sets = BTreeMap::new();
    let mut is_good = true;
    for (pool, table) in &config.pools {
        let Some(set) = &table.configuration_set else {
            continue;
        };
        if (1..=64).contains(&set.len()) && set.bytes().all(allowed) {
            sets.insert(pool.clone(), set.clone());
        } else {
            let path = format!("{at}.pools.{pool}.configuration_set");
            let message = "must be 1 to 64 letters, digits, '-' and '_'";
            faults.push(ConfigFault::error(path, message));
            is_good = false;
        }
    }
    is_good.then_some(sets)
}
