//! Temporary keys from the container credentials endpoint (ECS, EKS) and from the instance
//! metadata service, version 2 only: version 1 has no session and is reachable through any SSRF.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderName};
use http::{HeaderValue, Method};
use jiff::Timestamp;
use malote_core::secret::Secret;
use reqwest::{Client, Request, Url};
use serde::Deserialize;

use super::sign::Keys;
use crate::http::{FetchFault, fetch, sensitive};
use crate::settings::join;

/// The instance metadata service (EC2 user guide, "Use IMDSv2").
pub(crate) const INSTANCE_ENDPOINT: &str = "http://169.254.169.254";
/// The host of `AWS_CONTAINER_CREDENTIALS_RELATIVE_URI`.
const CONTAINER_ENDPOINT: &str = "http://169.254.170.2";
/// Hosts that `AWS_CONTAINER_CREDENTIALS_FULL_URI` may name without TLS, beside loopback: ECS and
/// the EKS Pod Identity agent (IPv4, IPv6).
const CONTAINER_HOSTS: [&str; 3] = ["169.254.170.2", "169.254.170.23", "[fd00:ec2::23]"];
const DOCUMENT_BYTES_MAX: usize = 64 * 1024;
const WAIT_MAX: Duration = Duration::from_secs(2);
/// Life of a session with the instance metadata service; one look-up takes two requests.
const SESSION_TTL_S: &str = "60";

/// Keys and the end of their life.
#[derive(Debug)]
pub(crate) struct Fetched {
    /// The keys.
    pub keys: Keys,
    /// When they expire; `None` if the service does not say.
    pub expires_at: Option<Timestamp>,
}

/// Why no keys came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum MetadataFault {
    /// There is no such service here, or it has no keys.
    Absent,
    /// There is one, and it cannot be understood.
    Unreadable(String),
}

/// Where a container gets its keys.
#[derive(Debug, Clone)]
pub(crate) struct ContainerSource {
    url: Url,
    token: ContainerToken,
}

#[derive(Debug, Clone)]
enum ContainerToken {
    None,
    Text(Secret),
    /// Rotated by the platform, so read each time.
    File(PathBuf),
}

impl ContainerSource {
    /// From the variables that the platform sets; `None` if there are none, or the host is not one
    /// that credentials may be asked of.
    pub(crate) fn read(value: &impl Fn(&str) -> Option<String>) -> Option<Self> {
        let url = match value("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") {
            Some(path) if path.starts_with('/') => {
                format!("{CONTAINER_ENDPOINT}{path}").parse().ok()?
            }
            Some(_) => return None,
            None => value("AWS_CONTAINER_CREDENTIALS_FULL_URI")?.parse().ok()?,
        };
        let token = match (
            value("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"),
            value("AWS_CONTAINER_AUTHORIZATION_TOKEN"),
        ) {
            (Some(path), _) => ContainerToken::File(path.into()),
            (None, Some(text)) => ContainerToken::Text(Secret::new(text)),
            (None, None) => ContainerToken::None,
        };
        may_be_asked(&url).then_some(Self { url, token })
    }
}

fn may_be_asked(url: &Url) -> bool {
    let Some(host) = url.host_str() else {
        return false;
    };
    let is_loopback = host == "localhost"
        || host
            .trim_matches(['[', ']'])
            .parse::<IpAddr>()
            .is_ok_and(|ip| ip.is_loopback());
    match url.scheme() {
        "https" => true,
        "http" => is_loopback || CONTAINER_HOSTS.contains(&host),
        _ => false,
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct KeysDocument {
    access_key_id: String,
    secret_access_key: String,
    token: Option<String>,
    expiration: Option<Timestamp>,
}

/// Asks the container's endpoint.
///
/// # Errors
/// [`MetadataFault`].
pub(crate) async fn from_container(
    client: &Client,
    source: &ContainerSource,
) -> Result<Fetched, MetadataFault> {
    let token = match &source.token {
        ContainerToken::None => None,
        ContainerToken::Text(secret) => Some(secret.clone()),
        ContainerToken::File(path) => match tokio::fs::read_to_string(path).await {
            Ok(text) => Some(Secret::new(text.trim_end())),
            Err(error) => return Err(unreadable("container authorization token", &error)),
        },
    };
    let mut request = Request::new(Method::GET, source.url.clone());
    if let Some(token) = token {
        let value = sensitive(token.expose());
        let value = value.ok_or_else(|| unreadable("container authorization token", &"no text"))?;
        request.headers_mut().insert(AUTHORIZATION, value);
    }
    let document = fetch(client, request, DOCUMENT_BYTES_MAX, WAIT_MAX).await;
    read(document.map_err(|fault| unreadable("container credentials", &fault))?)
}

/// Asks the instance metadata service: a session, the role's name, the role's keys.
///
/// # Errors
/// [`MetadataFault`]; no answer at all means that this is no instance.
pub(crate) async fn from_instance(
    client: &Client,
    endpoint: &Url,
) -> Result<Fetched, MetadataFault> {
    let mut open = Request::new(Method::PUT, join(endpoint, "/latest/api/token"));
    open.headers_mut().insert(
        HeaderName::from_static("x-aws-ec2-metadata-token-ttl-seconds"),
        HeaderValue::from_static(SESSION_TTL_S),
    );
    let session = match fetch(client, open, 1024, WAIT_MAX).await {
        Ok(session) => session,
        Err(FetchFault::Unreachable(_)) => return Err(MetadataFault::Absent),
        Err(fault) => return Err(unreadable("instance metadata session", &fault)),
    };
    let session = text_of(&session).and_then(|text| sensitive(&text));
    let session = session.ok_or_else(|| unreadable("instance metadata session", &"no token"))?;
    let get = |path: String| {
        let mut request = Request::new(Method::GET, join(endpoint, &path));
        let name = HeaderName::from_static("x-aws-ec2-metadata-token");
        request.headers_mut().insert(name, session.clone());
        fetch(client, request, DOCUMENT_BYTES_MAX, WAIT_MAX)
    };
    let roles = "/latest/meta-data/iam/security-credentials/";
    let role = match get(roles.to_owned()).await {
        Ok(role) => role,
        Err(FetchFault::Status(404)) => return Err(MetadataFault::Absent),
        Err(fault) => return Err(unreadable("instance role", &fault)),
    };
    let role = text_of(&role).filter(|role| is_role(role));
    let role = role.ok_or_else(|| unreadable("instance role", &"not a role's name"))?;
    let document = get(format!("{roles}{role}")).await;
    read(document.map_err(|fault| unreadable("instance credentials", &fault))?)
}

/// IAM role names: letters, digits and `+=,.@_-` (IAM user guide, "IAM identifiers").
fn is_role(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"+=,.@_-".contains(&b);
    (1..=128).contains(&text.len()) && text.bytes().all(allowed) && text != "." && text != ".."
}

fn text_of(body: &Bytes) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    text.lines().next().map(|line| line.trim().to_owned())
}

fn read(document: Bytes) -> Result<Fetched, MetadataFault> {
    // What the document holds stays out of the message: it may be a key.
    let document: KeysDocument = serde_json::from_slice(&document)
        .map_err(|_| unreadable("credentials document", &"not in the known shape"))?;
    Ok(Fetched {
        keys: Keys {
            access_key_id: document.access_key_id,
            secret_access_key: Secret::new(document.secret_access_key),
            session_token: document.token.map(Secret::new),
        },
        expires_at: document.expiration,
    })
}

fn unreadable(what: &str, why: &impl std::fmt::Display) -> MetadataFault {
    MetadataFault::Unreadable(format!("{what}: {why}"))
}
