//! `[providers.NAME.postmark]`, read and checked.

use std::collections::BTreeMap;
use std::path::PathBuf;

use malote_core::fault::ConfigFault;
use malote_core::name::PoolName;
use malote_core::secret::{Secret, SecretSource};
use reqwest::Url;
use serde::Deserialize;

use crate::ProviderConfig;
use crate::settings::{self, Transport};

const ENDPOINT: &str = "https://api.postmarkapp.com";
/// The stream of a message that names none.
const DEFAULT_STREAM: &str = "outbound";
/// The token with which every call is checked and none is sent (developer documentation,
/// "Authentication").
const TEST_TOKEN: &str = "POSTMARK_API_TEST";

/// `[providers.NAME.postmark]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PostmarkConfig {
    /// The API token of the server (Postmark's word for a set of streams). One of the three forms
    /// is required.
    pub server_token: Option<Secret>,
    /// The environment variable that holds the token.
    pub server_token_env: Option<String>,
    /// The file that holds the token.
    pub server_token_file: Option<PathBuf>,
    /// `"smtp"` (default) or `"api"`.
    pub transport: Transport,
    /// Where the service is, if not at its own address: `https://host` for the API,
    /// `smtp://host:port` for SMTP. Without TLS to near addresses only. By SMTP a broadcast stream is
    /// taken at `smtp://smtp-broadcasts.postmarkapp.com` only.
    pub endpoint: Option<String>,
}

/// A checked table.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub server_token: Secret,
    pub endpoint: Url,
    /// Message stream by pool; a pool that is missing here uses the server's `outbound`.
    pub streams: BTreeMap<PoolName, String>,
}

impl PostmarkConfig {
    /// Checks the table for the API at `at` (`providers.NAME`); `None` if a fault is an error.
    pub(crate) fn check(
        &self,
        at: &str,
        config: &ProviderConfig,
        faults: &mut Vec<ConfigFault>,
    ) -> Option<Settings> {
        let server_token = self.token(at, faults);
        let endpoint = self.endpoint.as_deref().unwrap_or(ENDPOINT);
        let endpoint = settings::endpoint(&format!("{at}.postmark.endpoint"), endpoint, faults);
        let streams = streams(at, config, faults);
        Some(Settings {
            server_token: server_token?,
            endpoint: endpoint?,
            streams: streams?,
        })
    }

    /// The server's token; it becomes a header field's value, so it is one visible word.
    pub(crate) fn token(&self, at: &str, faults: &mut Vec<ConfigFault>) -> Option<Secret> {
        let at = format!("{at}.postmark");
        let source = SecretSource {
            field: "server_token",
            literal: self.server_token.as_ref().map(Secret::expose),
            env: self.server_token_env.as_deref(),
            file: self.server_token_file.as_deref(),
        };
        let token = settings::required_secret(&at, &source, faults)?;
        let path = format!("{at}.server_token");
        if !token.expose().bytes().all(|b| b.is_ascii_graphic()) {
            let message = "is not a token: it holds a space or a character outside ASCII";
            faults.push(ConfigFault::error(path, message));
            return None;
        }
        if token.matches(TEST_TOKEN.as_bytes()) {
            let message = "is the test token: Postmark checks all mail and sends none";
            faults.push(ConfigFault::warning(path, message));
        }
        Some(token)
    }
}

/// The pools' message streams; `None` if one of them cannot be a stream's id (error codes 1227
/// and 1233).
pub(crate) fn streams(
    at: &str,
    config: &ProviderConfig,
    faults: &mut Vec<ConfigFault>,
) -> Option<BTreeMap<PoolName, String>> {
    let mut streams = BTreeMap::new();
    let mut is_good = true;
    for (pool, table) in &config.pools {
        let Some(id) = &table.message_stream else {
            continue;
        };
        if is_stream_id(id) {
            streams.insert(pool.clone(), id.clone());
        } else {
            let path = format!("{at}.pools.{pool}.message_stream");
            let message = "is not a message stream's id: use 1 to 30 of a-z, 0-9, '-' and '_', \
                           starting with a letter";
            faults.push(ConfigFault::error(path, message));
            is_good = false;
        }
    }
    is_good.then_some(streams)
}

/// Warns of streams that the transactional host does not take if they are broadcast ones (support
/// article 811): an id does not tell which they are, so an endpoint that is written settles it.
pub(crate) fn warn_of_host(
    at: &str,
    streams: &BTreeMap<PoolName, String>,
    faults: &mut Vec<ConfigFault>,
) {
    for (pool, _) in streams.iter().filter(|(_, id)| *id != DEFAULT_STREAM) {
        let path = format!("{at}.pools.{pool}.message_stream");
        let message = "is sent to smtp.postmarkapp.com, which is for transactional streams: give \
                       postmark.endpoint = \"smtp://smtp-broadcasts.postmarkapp.com\" if it is a \
                       broadcast one, \"smtp://smtp.postmarkapp.com\" if not";
        faults.push(ConfigFault::warning(path, message));
    }
}

/// Whether an SMTP endpoint is one of Postmark's own hosts.
pub(crate) fn is_own_host(endpoint: &str) -> bool {
    let url = endpoint.parse::<Url>().ok();
    let host = url.as_ref().and_then(Url::host_str);
    host.is_some_and(|host| host.to_ascii_lowercase().ends_with(".postmarkapp.com"))
}

fn is_stream_id(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    (1..=30).contains(&text.len())
        && text.bytes().all(allowed)
        && text.starts_with(|c: char| c.is_ascii_lowercase())
}
