//! `[[credentials.NAME.webhooks]]`, checked.

use std::path::PathBuf;

use malote_core::event::EventKind;
use malote_core::fault::ConfigFault;
use malote_core::name::StreamName;
use malote_core::secret::{Secret, SecretSource, fetch, fetch_required};
use serde::Deserialize;

use super::sign::{Key, Signer};
use crate::Owner;

/// One `[[credentials.NAME.webhooks]]` table.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebhookConfig {
    /// Where events are posted to, at most 2,048 octets; https, or http with `allow_private`.
    pub url: String,
    /// The key that signs: `whsec_` and 24 to 64 octets in base64.
    pub secret: Option<Secret>,
    /// The environment variable that holds the key.
    pub secret_env: Option<String>,
    /// The file that holds the key.
    pub secret_file: Option<PathBuf>,
    /// A second key that signs as well while the app changes from one to the other.
    pub secret_next: Option<Secret>,
    /// The environment variable that holds the second key.
    pub secret_next_env: Option<String>,
    /// The file that holds the second key.
    pub secret_next_file: Option<PathBuf>,
    /// The types of events that are told; default all but `opened`, `clicked` and `other`.
    pub events: Option<Vec<String>>,
    /// The streams whose events are told; default all.
    pub streams: Vec<StreamName>,
    /// Whether the URL may be http or lead to a private address; default false.
    pub allow_private: Option<bool>,
}

/// The types of events that a webhook may name; `other` stands for a service's own words.
const EVENTS: [&str; 21] = [
    "accepted",
    "sent",
    "delivered",
    "deferred",
    "failed_over",
    "bounced",
    "complained",
    "unsubscribed",
    "resubscribed",
    "opened",
    "clicked",
    "suppressed",
    "rejected",
    "held",
    "released",
    "expired",
    "cancelled",
    "unknown",
    "resend_risk",
    "quarantined",
    "other",
];

/// Told only when named: by far the most events, and made by programs more often than by people.
const ONLY_WHEN_NAMED: [&str; 3] = ["opened", "clicked", "other"];

/// What of the feed a webhook is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wish {
    events: Vec<&'static str>,
    /// Empty is every stream.
    streams: Vec<StreamName>,
}

impl Wish {
    /// Whether this event is wanted.
    pub(super) fn covers(&self, kind: &EventKind, stream: &StreamName) -> bool {
        let is_of_stream = self.streams.is_empty() || self.streams.contains(stream);
        is_of_stream && self.events.contains(&kind.label())
    }

    /// Reads `events` and `streams`; what is wrong with them is noted.
    pub(super) fn read(
        owner: &Owner<'_>,
        at: &str,
        table: &WebhookConfig,
        faults: &mut Vec<ConfigFault>,
    ) -> Self {
        for (index, stream) in table.streams.iter().enumerate() {
            if !owner.streams.contains(stream) {
                let path = format!("{at}.streams[{index}]");
                let message = format!("{stream} is not one of {}.streams", owner.at);
                faults.push(ConfigFault::error(path, message));
            }
        }
        let streams = table.streams.clone();
        let Some(named) = &table.events else {
            let of_default = |word: &&str| !ONLY_WHEN_NAMED.contains(word);
            let events = EVENTS.into_iter().filter(of_default).collect();
            return Self { events, streams };
        };
        if named.is_empty() {
            let message = "names none: leave it out, or name some, as in [\"bounced\"]";
            faults.push(ConfigFault::error(format!("{at}.events"), message));
        }
        let mut events = Vec::new();
        for (index, word) in named.iter().enumerate() {
            match EVENTS.into_iter().find(|known| known == word) {
                Some(known) => events.push(known),
                None => {
                    let known = EVENTS.join(", ");
                    let message = format!("{word:?} is not a type of event: use {known}");
                    let path = format!("{at}.events[{index}]");
                    faults.push(ConfigFault::error(path, message));
                }
            }
        }
        Self { events, streams }
    }
}

/// Fetches the keys of the table `at`. `None` if one is missing or wrong.
pub(super) fn signer(
    at: &str,
    table: &WebhookConfig,
    faults: &mut Vec<ConfigFault>,
) -> Option<Signer> {
    let secret = SecretSource {
        field: "secret",
        literal: table.secret.as_ref().map(Secret::expose),
        env: table.secret_env.as_deref(),
        file: table.secret_file.as_deref(),
    };
    let next = SecretSource {
        field: "secret_next",
        literal: table.secret_next.as_ref().map(Secret::expose),
        env: table.secret_next_env.as_deref(),
        file: table.secret_next_file.as_deref(),
    };
    let is_rotating = next.literal.is_some() || next.env.is_some() || next.file.is_some();
    let secret = fetch_required(at, &secret, faults);
    let next = fetch(at, &next, faults);
    let mut key = |field: &str, secret: Option<Secret>| {
        let key = Key::read(&secret?);
        if let Err(fault) = &key {
            faults.push(ConfigFault::error(
                format!("{at}.{field}"),
                fault.to_string(),
            ));
        }
        key.ok()
    };
    let (key, next) = (key("secret", secret), key("secret_next", next));
    if is_rotating && next.is_none() {
        return None;
    }
    Some(Signer::new(key?, next))
}
