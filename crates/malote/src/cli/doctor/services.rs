//! What services want to find in the DNS of a sender domain: `services.toml`, typed.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The table as it is written.
const TEXT: &str = include_str!("services.toml");

/// All services by kind or preset.
pub(super) type Services = BTreeMap<String, Service>;

/// One service.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Service {
    pub(super) title: String,
    pub(super) mail_from: MailFrom,
    pub(super) spf: Option<String>,
    pub(super) selectors: Vec<String>,
    #[serde(default)]
    pub(super) also: Vec<String>,
    #[serde(default)]
    pub(super) record: Option<KeyRecord>,
    #[serde(default)]
    pub(super) return_path: Option<ReturnPath>,
    pub(super) console: String,
    /// Where it is documented; shown with every way out.
    pub(super) source: String,
}

/// Whose domain MAIL FROM has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum MailFrom {
    /// As the gateway was given it.
    Client,
    /// The service's, unless a return path of one's own is set up.
    Service,
    /// The domain that the provider's table names.
    Account,
}

/// What stands under a selector that all customers share.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyRecord {
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) value: Option<String>,
}

/// A name below the domain that makes MAIL FROM the customer's own.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReturnPath {
    pub(super) label: String,
    pub(super) target: String,
}

/// Reads the table.
///
/// # Errors
/// Never, as a test reads it.
pub(super) fn read() -> Result<Services, toml::de::Error> {
    toml::from_str(TEXT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_and_preset_that_sends_has_its_row() {
        let services = read().unwrap();
        for kind in malote_providers::config::KINDS {
            assert!(kind == "capture" || services.contains_key(kind), "{kind}");
        }
        for preset in malote_providers::documented_names() {
            assert!(services.contains_key(preset), "{preset}");
        }
    }

    #[test]
    fn every_row_can_be_followed_up() {
        for (name, service) in read().unwrap() {
            let is_source = service.source.starts_with("https://") || service.source == "RFC 6376";
            assert!(is_source && !service.console.is_empty(), "{name}");
            assert_eq!(
                service.selectors.is_empty(),
                service.record.is_none(),
                "{name}"
            );
        }
    }
}
