//! Names that operators give to things in the configuration, parsed once.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Longest name, in octets. Names become metric labels and file names, so they stay short.
pub const NAME_BYTES_MAX: usize = 64;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a name: use 1 to 64 of a-z, 0-9, '-' and '_', starting with a letter or digit"
)]
pub struct NameFault(pub String);

fn is_name(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    (1..=NAME_BYTES_MAX).contains(&text.len())
        && text.bytes().all(allowed)
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<&str> for $name {
            type Error = NameFault;

            fn try_from(text: &str) -> Result<Self, NameFault> {
                if is_name(text) { Ok(Self(text.into())) } else { Err(NameFault(text.to_owned())) }
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameFault;

            fn try_from(text: String) -> Result<Self, NameFault> {
                Self::try_from(text.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = NameFault;

            fn from_str(text: &str) -> Result<Self, NameFault> {
                Self::try_from(text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )+};
}

names! {
    /// Who submits: an API key or an SMTP login (`[credentials.NAME]`).
    CredentialName,
    /// A class of mail with its own lane, route and policies (`[streams.NAME]`).
    StreamName,
    /// Targets and a strategy (`[routes.NAME]`).
    RouteName,
    /// A configured account at a service (`[providers.NAME]`).
    ProviderName,
    /// A set of sending IPs at a provider (`[providers.X.pools.NAME]`).
    PoolName,
    /// Who runs a recipient's mailbox: `google`, `microsoft`, ... or `other`.
    MailboxProvider,
}

/// A provider and one of its pools: where an attempt can go. Metrics, breakers and limits are
/// kept per target. No pool named in the configuration means the pool `default`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TargetName {
    /// The provider.
    pub provider: ProviderName,
    /// The pool; [`TargetName::DEFAULT_POOL`] where none is named.
    pub pool: PoolName,
}

impl TargetName {
    /// The pool that is meant where a target names none.
    pub const DEFAULT_POOL: &'static str = "default";

    /// The pool that is meant where a target names none.
    #[must_use]
    pub fn default_pool() -> PoolName {
        PoolName(Self::DEFAULT_POOL.into())
    }
}

impl MailboxProvider {
    /// The mailbox provider of every domain that no table entry and no MX names.
    #[must_use]
    pub fn other() -> Self {
        Self("other".into())
    }
}

impl fmt::Display for TargetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.provider, self.pool)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_lower_case_letters_digits_hyphen_and_underscore() {
        for good in ["ses", "ses-main", "a_1", "9", &"x".repeat(64)] {
            assert!(ProviderName::try_from(good).is_ok(), "{good}");
        }
        for bad in ["", "SES main", "-a", "a/b", "é", &"x".repeat(65)] {
            assert!(ProviderName::try_from(bad).is_err(), "{bad}");
        }
    }
}
