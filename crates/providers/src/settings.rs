//! What the HTTP adapters' tables have in common: secrets and endpoints.

use std::net::IpAddr;

use malote_core::fault::ConfigFault;
use malote_core::secret::{Secret, SecretFault, SecretSource};
use reqwest::Url;
use serde::Deserialize;

/// Fetches a secret of the table `at`. Says what is wrong with it, and warns of one that stands in
/// the configuration itself.
pub(crate) fn secret(
    at: &str,
    source: &SecretSource<'_>,
    faults: &mut Vec<ConfigFault>,
) -> Option<Secret> {
    let secret = open(at, source, faults)?;
    if source.literal.is_some() {
        let field = source.field;
        let message = format!("a secret in the file: better {field}_env or {field}_file");
        faults.push(ConfigFault::warning(format!("{at}.{field}"), message));
    }
    Some(secret)
}

/// [`secret`] of what may stand in the configuration itself: a public key.
pub(crate) fn open(
    at: &str,
    source: &SecretSource<'_>,
    faults: &mut Vec<ConfigFault>,
) -> Option<Secret> {
    let field = source.field;
    match source.resolve() {
        Ok(Some(secret)) if secret.expose().is_empty() => {
            faults.push(ConfigFault::error(format!("{at}.{field}"), "is empty"));
            None
        }
        Ok(found) => found,
        Err(fault) => {
            let suffix = match &fault {
                SecretFault::Ambiguous { .. } => "",
                SecretFault::VariableMissing { .. } => "_env",
                SecretFault::FileUnreadable { .. } => "_file",
            };
            let path = format!("{at}.{field}{suffix}");
            faults.push(ConfigFault::error(path, fault.to_string()));
            None
        }
    }
}

/// [`secret`] that must be there.
pub(crate) fn required_secret(
    at: &str,
    source: &SecretSource<'_>,
    faults: &mut Vec<ConfigFault>,
) -> Option<Secret> {
    is_given(at, source, faults)
        .then(|| secret(at, source, faults))
        .flatten()
}

/// Whether there is such a key; a fault if there is not.
pub(crate) fn is_given(at: &str, source: &SecretSource<'_>, faults: &mut Vec<ConfigFault>) -> bool {
    let field = source.field;
    let is_given = source.literal.is_some() || source.env.is_some() || source.file.is_some();
    if !is_given {
        let message = format!("is missing: give {field}, {field}_env or {field}_file");
        faults.push(ConfigFault::error(format!("{at}.{field}"), message));
    }
    is_given
}

/// How a service without a call for raw MIME is sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// By SMTP, octet for octet.
    #[default]
    Smtp,
    /// By its HTTP API, the message taken apart into fields.
    Api,
}

/// Reads the endpoint at `path`: an `https` URL without query or user; `http` only to this
/// machine, a private address or a host name without a dot (a container's), since mail and
/// credentials would travel in clear.
pub(crate) fn endpoint(path: &str, text: &str, faults: &mut Vec<ConfigFault>) -> Option<Url> {
    let mut fault = |message: &str| {
        faults.push(ConfigFault::error(path, message));
        None
    };
    let Ok(url) = text.parse::<Url>() else {
        return fault("is not a URL, as in \"https://host.example\"");
    };
    let Some(host) = url.host_str() else {
        return fault("has no host");
    };
    let is_bare = url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    if !is_bare {
        return fault("must be scheme, host, port and path only");
    }
    match url.scheme() {
        "https" => Some(url),
        "http" if is_near(host) => Some(url),
        "http" => fault("http is for loopback and private addresses only; use https"),
        _ => fault("must begin with https://"),
    }
}

fn is_near(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(v4)) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
        Ok(IpAddr::V6(v6)) => v6.is_loopback() || v6.is_unique_local(),
        Err(_) => !host.contains('.'),
    }
}

/// The endpoint's URL with `path` (which begins with `/`) behind its own.
pub(crate) fn join(endpoint: &Url, path: &str) -> Url {
    let mut url = endpoint.clone();
    let joined = format!("{}{path}", endpoint.path().trim_end_matches('/'));
    url.set_path(&joined);
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_reaches_near_hosts_only() {
        for good in [
            "https://email.us-east-1.amazonaws.com",
            "http://127.0.0.1:18501",
            "http://[::1]:1",
            "http://10.0.0.5/base/",
            "http://moto:5000",
            "http://localhost",
        ] {
            let mut faults = Vec::new();
            assert!(
                endpoint("p", good, &mut faults).is_some(),
                "{good} {faults:?}"
            );
        }
        for bad in [
            "http://api.mailgun.net",
            "http://192.0.2.1",
            "ftp://127.0.0.1",
            "https://u:p@host.example",
            "https://host.example/?x",
            "host.example",
            "",
        ] {
            let mut faults = Vec::new();
            assert!(endpoint("p", bad, &mut faults).is_none(), "{bad}");
            assert_eq!(faults.len(), 1, "{bad}");
        }
    }

    #[test]
    fn paths_are_put_behind_the_endpoints_own() {
        let url = |text: &str| text.parse::<Url>().unwrap();
        assert_eq!(join(&url("http://a"), "/v3/x").as_str(), "http://a/v3/x");
        assert_eq!(
            join(&url("http://a/b/"), "/v3/x").as_str(),
            "http://a/b/v3/x"
        );
    }

    #[test]
    fn a_literal_secret_warns_and_a_missing_variable_is_an_error() {
        let literal = SecretSource {
            field: "key",
            literal: Some("k"),
            env: None,
            file: None,
        };
        let mut faults = Vec::new();
        assert!(secret("t", &literal, &mut faults).is_some());
        assert_eq!(faults[0].severity, malote_core::fault::Severity::Warning);

        let missing = SecretSource {
            field: "key",
            literal: None,
            env: Some("MALOTE_NO_SUCH_VARIABLE"),
            file: None,
        };
        let mut faults = Vec::new();
        assert!(secret("t", &missing, &mut faults).is_none());
        assert_eq!(faults[0].path, "t.key_env");
    }
}
