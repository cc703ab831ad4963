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

/// Reads `target:PROVIDER/POOL` or `reputation:PROVIDER/POOL:MAILBOX_PROVIDER`.
pub(super) fn breaker_key(key: &str) -> Option<(TargetName, Option<MailboxProvider>)> {
    let (kind, rest) = key.split_once(':')?;
    let (target, mailbox) = match kind {
        "target" => (rest, None),
        "reputation" => {
            let (target, mailbox) = rest.split_once(':')?;
            (target, Some(mailbox.parse().ok()?))
        }
        _ => return None,
    };
    let (provider, pool) = target.split_once('/')?;
    let (provider, pool) = (provider.parse().ok()?, pool.parse().ok()?);
    Some((TargetName { provider, pool }, mailbox))
}
