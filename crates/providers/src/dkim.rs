//! DKIM (RFC 6376): the keys of sender domains, and an adapter that signs before it sends, for mail
//! that no service signs.

mod canon;
mod key;
mod sign;

use std::collections::BTreeMap;
use std::path::PathBuf;

use malote_core::address::parse_domain;
use malote_core::fault::ConfigFault;
use malote_core::secret::{Secret, SecretSource, fetch_required};
use serde::Deserialize;

use key::Key;
pub use sign::signing;

/// Keys of one domain at most: each is a signature on every message.
const KEYS_MAX: usize = 4;

/// `[dkim."DOMAIN"]`: what signs mail whose From is of the domain or of one below it that has no
/// table of its own.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DkimConfig {
    /// Under which name the public key is published, at `SELECTOR._domainkey.DOMAIN`.
    pub selector: Option<String>,
    /// The private key in PEM: RSA of 2048 to 8192 bits, or Ed25519.
    pub key: Option<Secret>,
    /// The environment variable that holds the key.
    pub key_env: Option<String>,
    /// The file that holds the key.
    pub key_file: Option<PathBuf>,
    /// Keys besides this one, such as Ed25519 beside RSA; each signs every message. At most four
    /// in all.
    pub keys: Vec<DkimKeyConfig>,
}

/// One entry of `keys`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DkimKeyConfig {
    /// As in [`DkimConfig`].
    pub selector: String,
    /// As in [`DkimConfig`].
    pub key: Option<Secret>,
    /// As in [`DkimConfig`].
    pub key_env: Option<String>,
    /// As in [`DkimConfig`].
    pub key_file: Option<PathBuf>,
}

/// The keys of every domain that has some.
#[derive(Default)]
pub struct DkimKeys(BTreeMap<String, Vec<Key>>);

/// What is to be published of a key (RFC 6376 3.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DkimRecord {
    /// Its name, without a dot at its end.
    pub name: String,
    /// The text of its TXT record.
    pub value: String,
}

impl DkimKeys {
    /// Reads the tables. Faults are noted with full paths (`dkim."example.com".selector`).
    #[must_use]
    pub fn build(tables: &BTreeMap<String, DkimConfig>, faults: &mut Vec<ConfigFault>) -> Self {
        let mut domains = BTreeMap::new();
        for (name, table) in tables {
            let at = format!("dkim.\"{name}\"");
            let Ok(domain) = parse_domain(name) else {
                let message = "is not the name of a domain, as in [dkim.\"example.com\"]";
                faults.push(ConfigFault::error(at, message));
                continue;
            };
            let keys = table.keys(&at, faults);
            if domains.insert(domain, keys).is_some() {
                let message = "is the same domain as another table's";
                faults.push(ConfigFault::error(at, message));
            }
        }
        Self(domains)
    }

    /// Whether no domain has a key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether mail from this domain is signed.
    #[must_use]
    pub fn covers(&self, domain: &str) -> bool {
        self.of(domain).is_some()
    }

    /// The domain in whose name mail from this one is signed: itself, or the nearest one above it
    /// that has keys.
    #[must_use]
    pub fn signer(&self, domain: &str) -> Option<&str> {
        self.of(domain).map(|(signer, _)| signer)
    }

    /// What is to be published of a domain's keys; empty for a domain that has none of its own.
    #[must_use]
    pub fn records(&self, domain: &str) -> Vec<DkimRecord> {
        let keys = self.0.get(domain).into_iter().flatten();
        keys.map(|key| DkimRecord {
            name: format!("{}._domainkey.{domain}", key.selector),
            value: key.record(),
        })
        .collect()
    }

    /// The domains with keys.
    pub fn domains(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The keys of a domain, or of the nearest one above it: its signature is aligned with From all
    /// the same, unless the domain's DMARC policy says strict (RFC 7489 3.1.1).
    fn of(&self, domain: &str) -> Option<(&str, &[Key])> {
        let mut name = domain;
        loop {
            if let Some((own, keys)) = self.0.get_key_value(name) {
                return Some((own, keys));
            }
            (_, name) = name.split_once('.')?;
        }
    }
}

impl DkimConfig {
    fn keys(&self, at: &str, faults: &mut Vec<ConfigFault>) -> Vec<Key> {
        let mut keys = Vec::new();
        let mut tables: Vec<(String, DkimKeyConfig)> = Vec::new();
        let has_own = self.selector.is_some()
            || self.key.is_some()
            || self.key_env.is_some()
            || self.key_file.is_some();
        if has_own || self.keys.is_empty() {
            let own = DkimKeyConfig {
                selector: self.selector.clone().unwrap_or_default(),
                key: self.key.clone(),
                key_env: self.key_env.clone(),
                key_file: self.key_file.clone(),
            };
            tables.push((at.to_owned(), own));
        }
        let more = self.keys.iter().enumerate();
        tables.extend(more.map(|(index, key)| (format!("{at}.keys[{index}]"), key.clone())));
        if tables.len() > KEYS_MAX {
            let message = format!("at most {KEYS_MAX} keys sign a message");
            faults.push(ConfigFault::error(format!("{at}.keys"), message));
        }
        let mut selectors: Vec<&str> = Vec::new();
        for (at, table) in &tables {
            if selectors.contains(&table.selector.as_str()) {
                let message = "is another key's selector, too: each key has its own";
                faults.push(ConfigFault::error(format!("{at}.selector"), message));
            }
            selectors.push(&table.selector);
            keys.extend(table.read(at, faults));
        }
        keys
    }
}

impl DkimKeyConfig {
    fn read(&self, at: &str, faults: &mut Vec<ConfigFault>) -> Option<Key> {
        let is_selector = is_selector(&self.selector);
        if !is_selector {
            let message = "must be given: the name under which the public key is published, as in \
                           \"m1\" for m1._domainkey; letters, digits, - and dots, at most 63";
            faults.push(ConfigFault::error(format!("{at}.selector"), message));
        }
        let source = SecretSource {
            field: "key",
            literal: self.key.as_ref().map(Secret::expose),
            env: self.key_env.as_deref(),
            file: self.key_file.as_deref(),
        };
        let pem = fetch_required(at, &source, faults)?;
        match Key::read(&self.selector, pem.expose()) {
            Ok(key) => {
                faults.extend(
                    key.weakness()
                        .map(|message| ConfigFault::warning(format!("{at}.selector"), message)),
                );
                is_selector.then_some(key)
            }
            Err(message) => {
                let suffix = match (&self.key_env, &self.key_file) {
                    (Some(_), _) => "_env",
                    (_, Some(_)) => "_file",
                    (None, None) => "",
                };
                faults.push(ConfigFault::error(format!("{at}.key{suffix}"), message));
                None
            }
        }
    }
}

/// RFC 6376 3.1: sub-domains, separated by dots.
fn is_selector(text: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|octet| octet.is_ascii_alphanumeric() || octet == b'-')
    };
    text.len() <= 63 && text.split('.').all(is_label)
}

#[cfg(test)]
mod tests;
