//! Where the keys come from: configuration, environment, shared credentials file, container,
//! instance; in the order of the AWS tools, the first that has any wins.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use malote_core::secret::Secret;
use reqwest::{Client, Url};

use super::config::{GivenKeys, SesConfig, Settings};
use super::metadata::{self, ContainerSource, MetadataFault};
use super::profile;
use super::sign::Keys;
use crate::http::client_builder;
use crate::single_flight::{Kept, NoValue, SingleFlight};

/// Temporary keys are renewed this long before they expire; until then a failing renewal leaves
/// the old ones in use. AWS hands out new ones at least five minutes before the end.
const RENEW_BEFORE: SignedDuration = SignedDuration::from_mins(5);
/// Keys of a file may be rotated under us; it is read again this often.
const FILE_RENEW_EVERY: SignedDuration = SignedDuration::from_mins(1);
/// How long keys without an expiry of their own are believed.
const KEPT_MAX: SignedDuration = SignedDuration::from_hours(24);
/// Longest connect to a metadata service: it is on this host or the next hop.
const METADATA_CONNECT_WAIT_MAX: Duration = Duration::from_secs(1);

/// What the environment says of credentials, read once.
#[derive(Debug, Clone, Default)]
pub(crate) struct Environment {
    pub keys: Option<Keys>,
    pub profile: Option<String>,
    pub credentials_file: Option<PathBuf>,
    pub container: Option<ContainerSource>,
    pub is_instance_metadata_off: bool,
}

impl Environment {
    /// Reads it. `value` looks a variable up; empty ones count as absent.
    pub(crate) fn read(value: impl Fn(&str) -> Option<String>) -> Self {
        let value = |name: &str| value(name).filter(|text| !text.is_empty());
        let keys = match (value("AWS_ACCESS_KEY_ID"), value("AWS_SECRET_ACCESS_KEY")) {
            (Some(access_key_id), Some(secret)) => Some(Keys {
                access_key_id,
                secret_access_key: Secret::new(secret),
                session_token: value("AWS_SESSION_TOKEN").map(Secret::new),
            }),
            _ => None,
        };
        let home = value("HOME").map(|home| PathBuf::from(home).join(".aws/credentials"));
        let file = value("AWS_SHARED_CREDENTIALS_FILE").map(PathBuf::from);
        Self {
            keys,
            profile: value("AWS_PROFILE"),
            credentials_file: file.or(home),
            container: ContainerSource::read(&value),
            is_instance_metadata_off: value("AWS_EC2_METADATA_DISABLED")
                .is_some_and(|text| text.eq_ignore_ascii_case("true")),
        }
    }
}

/// A place to look for keys in.
#[derive(Debug, Clone)]
enum Source {
    Fixed(Keys),
    File { path: PathBuf, profile: String },
    Container(ContainerSource),
    Instance(Url),
}

/// Why there are no keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoKeys {
    /// No place has any.
    #[error("no AWS credentials found")]
    None,
    /// The place that should have them cannot be read.
    #[error("AWS credentials cannot be read: {0}")]
    Unreadable(String),
    /// Another call is asking for them and takes too long.
    #[error("AWS credentials are still being fetched")]
    Busy,
}

/// The keys, fetched where they are and kept until they are due.
#[derive(Debug)]
pub(crate) struct Credentials {
    sources: Vec<Source>,
    client: Client,
    cache: SingleFlight<Keys>,
}

impl Credentials {
    /// Decides where to look. Connects to nothing.
    ///
    /// # Errors
    /// If TLS cannot be set up on this machine.
    pub(crate) fn new(
        config: &SesConfig,
        settings: &Settings,
        environment: &Environment,
    ) -> Result<Self, reqwest::Error> {
        let client = client_builder()
            .connect_timeout(METADATA_CONNECT_WAIT_MAX)
            .build()?;
        Ok(Self {
            sources: sources(config, settings, environment),
            client,
            cache: SingleFlight::new(),
        })
    }

    /// The keys to sign with at `now`.
    ///
    /// # Errors
    /// [`NoKeys`].
    pub(crate) async fn keys(&self, now: Timestamp) -> Result<Arc<Keys>, NoKeys> {
        let keys = self.cache.get("", now, self.look_up(now)).await;
        keys.map_err(|fault| match fault {
            NoValue::Failed(fault) => fault,
            NoValue::Busy => NoKeys::Busy,
        })
    }

    /// The service refused the keys: look again next time.
    pub(crate) fn forget(&self) {
        self.cache.forget();
    }

    async fn look_up(&self, now: Timestamp) -> Result<Kept<Keys>, NoKeys> {
        let mut fault = NoKeys::None;
        for source in &self.sources {
            match self.look_in(source, now).await {
                Ok(Some(kept)) => return Ok(kept),
                Ok(None) => {}
                Err(unreadable) => fault = NoKeys::Unreadable(unreadable),
            }
        }
        Err(fault)
    }

    async fn look_in(&self, source: &Source, now: Timestamp) -> Result<Option<Kept<Keys>>, String> {
        match source {
            Source::Fixed(keys) => Ok(Some(kept(keys.clone(), now, KEPT_MAX))),
            Source::File { path, profile } => {
                let text = match tokio::fs::read_to_string(path).await {
                    Ok(text) => text,
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
                    Err(error) => return Err(format!("shared credentials file: {error}")),
                };
                let keys = profile::keys(&text, profile);
                Ok(keys.map(|keys| kept(keys, now, FILE_RENEW_EVERY)))
            }
            Source::Container(container) => {
                let fetched = metadata::from_container(&self.client, container).await;
                temporary(fetched, now)
            }
            Source::Instance(endpoint) => {
                let fetched = metadata::from_instance(&self.client, endpoint).await;
                temporary(fetched, now)
            }
        }
    }
}

fn temporary(
    fetched: Result<metadata::Fetched, MetadataFault>,
    now: Timestamp,
) -> Result<Option<Kept<Keys>>, String> {
    let fetched = match fetched {
        Ok(fetched) => fetched,
        Err(MetadataFault::Absent) => return Ok(None),
        Err(MetadataFault::Unreadable(what)) => return Err(what),
    };
    let Some(expires_at) = fetched.expires_at else {
        return Ok(Some(kept(fetched.keys, now, KEPT_MAX)));
    };
    if expires_at <= now {
        return Err("the metadata service gives expired keys".to_owned());
    }
    let renew_at = expires_at
        .checked_sub(RENEW_BEFORE)
        .unwrap_or(Timestamp::MIN);
    Ok(Some(Kept {
        value: Arc::new(fetched.keys),
        renew_at,
        until: expires_at,
    }))
}

fn kept(keys: Keys, now: Timestamp, renew_every: SignedDuration) -> Kept<Keys> {
    let after = |span| now.checked_add(span).unwrap_or(Timestamp::MAX);
    Kept {
        value: Arc::new(keys),
        renew_at: after(renew_every),
        until: after(KEPT_MAX),
    }
}

fn sources(config: &SesConfig, settings: &Settings, environment: &Environment) -> Vec<Source> {
    if let Some(given) = &settings.keys {
        return vec![Source::Fixed(given.into())];
    }
    let file = Source::File {
        path: config
            .credentials_file
            .clone()
            .or_else(|| environment.credentials_file.clone())
            .unwrap_or_default(),
        profile: config
            .profile
            .clone()
            .or_else(|| environment.profile.clone())
            .unwrap_or_else(|| "default".to_owned()),
    };
    if config.profile.is_some() || config.credentials_file.is_some() {
        return vec![file];
    }
    let mut sources = Vec::new();
    sources.extend(environment.keys.clone().map(Source::Fixed));
    sources.push(file);
    sources.extend(environment.container.clone().map(Source::Container));
    if !environment.is_instance_metadata_off {
        let endpoint = settings.metadata_endpoint.clone();
        let endpoint = endpoint.or_else(|| metadata::INSTANCE_ENDPOINT.parse().ok());
        sources.extend(endpoint.map(Source::Instance));
    }
    sources
}

impl From<&GivenKeys> for Keys {
    fn from(given: &GivenKeys) -> Self {
        Self {
            access_key_id: given.access_key_id.clone(),
            secret_access_key: given.secret_access_key.clone(),
            session_token: given.session_token.clone(),
        }
    }
}
