//! What the HTTP adapters' tables have in common: secrets and endpoints.

use std::net::IpAddr;

use malote_core::fault::ConfigFault;
pub(crate) use malote_core::secret::{
    fetch as secret, fetch_open as open, fetch_required as required_secret, is_given,
};
use reqwest::Url;
use serde::Deserialize;

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
    use malote_core::secret::SecretSource;

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
