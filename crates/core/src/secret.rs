//! Secrets: never printed, never serialised.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Deserializer};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::fault::ConfigFault;

/// A password, key or token. `Debug` prints `***`; there is no `Display` and no `Serialize`.
/// The memory is wiped when the last copy goes.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Keeps `text` as a secret.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The secret itself, for the one call that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether `candidate` is this secret. Both are hashed first, so the time tells neither
    /// content nor length.
    #[must_use]
    pub fn matches(&self, candidate: &[u8]) -> bool {
        let ours = Sha256::digest(self.0.as_bytes());
        let theirs = Sha256::digest(candidate);
        ours.ct_eq(&theirs).into()
    }
}

/// From a string, so that a literal in a configuration is a secret from the first moment.
impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from).map(Self::new)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Why a secret could not be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretFault {
    /// More than one of literal, `_env` and `_file` was given.
    #[error("give only one of {field}, {field}_env and {field}_file")]
    Ambiguous {
        /// The key without suffix.
        field: String,
    },
    /// The environment variable is not set, or is empty.
    #[error("{field}_env names the environment variable {variable}, which is not set")]
    VariableMissing {
        /// The key without suffix.
        field: String,
        /// The variable.
        variable: String,
    },
    /// The file could not be read.
    #[error("{field}_file: {path} cannot be read")]
    FileUnreadable {
        /// The key without suffix.
        field: String,
        /// The file.
        path: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// A secret as configuration gives it: a literal, the name of an environment variable, or a file
/// (one trailing line end is dropped).
#[derive(Debug, Clone, Default)]
pub struct SecretSource<'a> {
    /// The key without suffix, for messages: `api_key`.
    pub field: &'a str,
    /// `api_key = "..."`.
    pub literal: Option<&'a str>,
    /// `api_key_env = "NAME"`.
    pub env: Option<&'a str>,
    /// `api_key_file = "path"`.
    pub file: Option<&'a Path>,
}

impl SecretSource<'_> {
    /// Whether one of the three forms is given.
    #[must_use]
    pub const fn is_given(&self) -> bool {
        self.literal.is_some() || self.env.is_some() || self.file.is_some()
    }

    /// Fetches the secret; `None` if none of the three forms was given.
    ///
    /// # Errors
    /// If two forms are given, the variable is missing or empty, or the file is unreadable.
    pub fn resolve(&self) -> Result<Option<Secret>, SecretFault> {
        let field = self.field.to_owned();
        match (self.literal, self.env, self.file) {
            (None, None, None) => Ok(None),
            (Some(text), None, None) => Ok(Some(Secret::new(text))),
            (None, Some(variable), None) => match std::env::var(variable) {
                Ok(text) if !text.is_empty() => Ok(Some(Secret::new(text))),
                Ok(_) | Err(_) => Err(SecretFault::VariableMissing {
                    field,
                    variable: variable.to_owned(),
                }),
            },
            (None, None, Some(path)) => {
                let text = std::fs::read_to_string(path).map_err(|source| {
                    SecretFault::FileUnreadable {
                        field,
                        path: path.display().to_string(),
                        source,
                    }
                })?;
                let text = text.strip_suffix('\n').unwrap_or(&text);
                Ok(Some(Secret::new(text.strip_suffix('\r').unwrap_or(text))))
            }
            _ => Err(SecretFault::Ambiguous { field }),
        }
    }
}

/// Fetches a secret of the table `at`. Says what is wrong with it, and warns of one that stands in
/// the configuration itself.
pub fn fetch(at: &str, source: &SecretSource<'_>, faults: &mut Vec<ConfigFault>) -> Option<Secret> {
    let secret = fetch_open(at, source, faults)?;
    if source.literal.is_some() {
        let field = source.field;
        let message = format!("a secret in the file: better {field}_env or {field}_file");
        faults.push(ConfigFault::warning(format!("{at}.{field}"), message));
    }
    Some(secret)
}

/// [`fetch`] for what may stand in the configuration itself: a public key.
pub fn fetch_open(
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
            faults.push(ConfigFault::caused(path, &fault));
            None
        }
    }
}

/// [`fetch`] for one that must be there.
pub fn fetch_required(
    at: &str,
    source: &SecretSource<'_>,
    faults: &mut Vec<ConfigFault>,
) -> Option<Secret> {
    is_given(at, source, faults)
        .then(|| fetch(at, source, faults))
        .flatten()
}

/// Whether there is such a key; a fault if there is not.
pub fn is_given(at: &str, source: &SecretSource<'_>, faults: &mut Vec<ConfigFault>) -> bool {
    let field = source.field;
    let is_given = source.is_given();
    if !is_given {
        let message = format!("is missing: give {field}, {field}_env or {field}_file");
        faults.push(ConfigFault::error(format!("{at}.{field}"), message));
    }
    is_given
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_never_shows_a_secret() {
        assert_eq!(
            format!("{:?}", Some(Secret::new("S3cr3tMarker"))),
            "Some(***)"
        );
    }

    #[test]
    fn only_the_same_text_matches() {
        let secret = Secret::new("abc");
        assert!(secret.matches(b"abc"));
        assert!(!secret.matches(b"abcd") && !secret.matches(b""));
    }

    #[test]
    fn two_sources_for_one_secret_are_refused() {
        let source = SecretSource {
            field: "api_key",
            literal: Some("x"),
            env: Some("Y"),
            file: None,
        };
        assert!(matches!(
            source.resolve(),
            Err(SecretFault::Ambiguous { .. })
        ));
    }
}
