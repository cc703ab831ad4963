//! `[unsubscribe]`: the links that the gateway puts into campaigns' mail and serves itself.

use std::path::PathBuf;
use std::time::Duration;

use malote_core::fault::ConfigFault;
use malote_core::secret::{Secret, SecretSource, fetch, fetch_required};
use malote_core::ticket::{TICKET_SECRET_BYTES_MIN, TicketKeys};
use malote_delivery::UnsubscribeLinks;
use serde::Deserialize;

use super::raw::RawConfig;

/// The table's path.
const AT: &str = "unsubscribe";
/// Octets of `base_url` at most, so that a field of the header stays well under a line's bound.
const BASE_URL_BYTES_MAX: usize = 200;
/// Laws (CAN-SPAM among them) want a link to work for so long after the mail was sent.
const KEPT_MIN: Duration = Duration::from_secs(30 * 86_400);

/// `[unsubscribe]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UnsubscribeConfig {
    /// What stands in front of `/u/TICKET`; https, at most 200 octets.
    pub base_url: String,
    /// What the links are signed with, at least 16 octets.
    pub secret: Option<Secret>,
    /// The environment variable that holds it.
    pub secret_env: Option<String>,
    /// The file that holds it.
    pub secret_file: Option<PathBuf>,
    /// What they were signed with before: still recognised.
    pub secret_previous: Option<Secret>,
    /// The environment variable that holds it.
    pub secret_previous_env: Option<String>,
    /// The file that holds it.
    pub secret_previous_file: Option<PathBuf>,
}

/// The links, if there is such a table; what is wrong with it is noted.
pub(super) fn build(raw: &RawConfig, faults: &mut Vec<ConfigFault>) -> Option<UnsubscribeLinks> {
    let table = raw.unsubscribe.as_ref()?;
    let current = SecretSource {
        field: "secret",
        literal: table.secret.as_ref().map(Secret::expose),
        env: table.secret_env.as_deref(),
        file: table.secret_file.as_deref(),
    };
    let previous = SecretSource {
        field: "secret_previous",
        literal: table.secret_previous.as_ref().map(Secret::expose),
        env: table.secret_previous_env.as_deref(),
        file: table.secret_previous_file.as_deref(),
    };
    let current = fetch_required(AT, &current, faults);
    let previous = fetch(AT, &previous, faults);
    for (key, secret) in [("secret", &current), ("secret_previous", &previous)] {
        let bytes = secret.as_ref().map(|secret| secret.expose().len());
        if bytes.is_some_and(|bytes| bytes < TICKET_SECRET_BYTES_MIN) {
            let message = format!("must have at least {TICKET_SECRET_BYTES_MIN} octets");
            faults.push(ConfigFault::error(format!("{AT}.{key}"), message));
        }
    }
    check_place(raw, &table.base_url, faults);
    Some(UnsubscribeLinks {
        base_url: table.base_url.trim_end_matches('/').to_owned(),
        keys: TicketKeys::new(current?, previous.into_iter().collect()),
    })
}

/// That a link leads to a page, and for long enough.
fn check_place(raw: &RawConfig, base_url: &str, faults: &mut Vec<ConfigFault>) {
    let key = format!("{AT}.base_url");
    let is_url = reqwest::Url::parse(base_url).is_ok_and(|url| {
        url.scheme() == "https"
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none()
    });
    let is_plain = base_url
        .bytes()
        .all(|b| b.is_ascii_graphic() && !b"<>,\"".contains(&b));
    if !is_url || !is_plain {
        let message = "is not an https URL without query, such as \"https://mail.shop.example\"; \
                       one click works over https only (RFC 8058 3.1)";
        faults.push(ConfigFault::error(key, message));
    } else if base_url.len() > BASE_URL_BYTES_MAX {
        let message = format!("is longer than {BASE_URL_BYTES_MAX} octets");
        faults.push(ConfigFault::error(key, message));
    }
    if raw.http.is_none() {
        let message = "nobody serves the page behind the links: give [http]";
        faults.push(ConfigFault::error(AT, message));
    }
    if raw.retention.messages.0 < KEPT_MIN {
        let message = "under 30d: unsubscribe links stop working when their message goes";
        faults.push(ConfigFault::warning("retention.messages", message));
    }
}
