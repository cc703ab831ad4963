//! How breakers are written into the store, and read again.

use malote_core::name::{MailboxProvider, TargetName};

use crate::breaker::Breaker;

/// A breaker as the store keeps it; `None` if it is at rest.
pub(super) fn kept(breaker: &Breaker) -> Option<String> {
    if breaker.is_at_rest() {
        return None;
    }
    serde_json::to_string(breaker).ok()
}

/// What a kept breaker is about.
pub(super) enum Kept {
    /// `target:PROVIDER/POOL`.
    Target(TargetName),
    /// `reputation:PROVIDER/POOL:MAILBOX_PROVIDER`.
    Reputation((TargetName, MailboxProvider)),
    /// `told:PROVIDER/POOL:MAILBOX_PROVIDER`.
    Told((TargetName, MailboxProvider)),
}

impl Kept {
    pub(super) fn read(key: &str) -> Option<Self> {
        let (kind, rest) = key.split_once(':')?;
        match kind {
            "target" => target(rest).map(Self::Target),
            "reputation" => at_mailbox_provider(rest).map(Self::Reputation),
            "told" => at_mailbox_provider(rest).map(Self::Told),
            _ => None,
        }
    }
}

fn at_mailbox_provider(text: &str) -> Option<(TargetName, MailboxProvider)> {
    let (name, mailbox) = text.split_once(':')?;
    Some((target(name)?, mailbox.parse().ok()?))
}

fn target(text: &str) -> Option<TargetName> {
    let (provider, pool) = text.split_once('/')?;
    let (provider, pool) = (provider.parse().ok()?, pool.parse().ok()?);
    Some(TargetName { provider, pool })
}
