//! How scopes and switches are written in columns, the same in every engine.

use std::str::FromStr;

use jiff::SignedDuration;
use malote_core::address::EmailAddress;
use sha2::{Digest, Sha256};

use crate::address_key::AddressKey;
use crate::hash_filter::HashFilter;
use crate::{
    Return, SoftBounce, SuppressedAddress, Suppression, SuppressionReason, SuppressionScope, Switch,
};

/// Suppressions in one page of the list.
pub(crate) const SUPPRESSIONS_PAGE_MAX: u32 = 10_000;

/// How long units of a quota are remembered: longer than any window.
pub(crate) const QUOTAS_KEPT: SignedDuration = SignedDuration::from_hours(4 * 24);
/// How long soft bounces are remembered: longer than any window that counts them.
pub(crate) const SOFT_BOUNCES_KEPT: SignedDuration = SignedDuration::from_hours(90 * 24);

/// The text of a scope: a stream's name, or nothing for the global one.
pub(crate) fn scope_text(scope: &SuppressionScope) -> &str {
    match scope {
        SuppressionScope::Global => "",
        SuppressionScope::Stream(stream) => stream.as_str(),
    }
}

/// The scope of a text, if it is one of ours.
pub(crate) fn scope(text: &str) -> Option<SuppressionScope> {
    match text {
        "" => Some(SuppressionScope::Global),
        stream => Some(SuppressionScope::Stream(stream.parse().ok()?)),
    }
}

/// Under what a suppression is kept.
pub(crate) fn suppression_hash(
    key: &AddressKey,
    address: &SuppressedAddress,
    scope: &SuppressionScope,
) -> [u8; 16] {
    match address {
        SuppressedAddress::Known(address) => key.hash(scope_text(scope), &address.key()),
        SuppressedAddress::Erased(hash) => *hash,
    }
}

/// Under what an address's soft bounces are counted.
pub(crate) fn soft_bounce_hash(key: &AddressKey, address: &EmailAddress) -> [u8; 16] {
    key.hash(" soft", &address.key())
}

/// By what a soft bounce is told from others of its address.
pub(crate) fn soft_bounce_event(bounce: &SoftBounce) -> [u8; 16] {
    let mut short = [0; 16];
    short.copy_from_slice(&Sha256::digest(&bounce.event)[..16]);
    short
}

/// What is kept of somebody's return: an entry that stood for no time. A later unsubscribe takes its
/// place, an earlier one does not.
pub(crate) fn returned(one: &Return) -> Suppression {
    Suppression {
        address: one.address.clone(),
        scope: one.scope.clone(),
        reason: SuppressionReason::Unsubscribe,
        detail: "wants it again".to_owned(),
        source: one.source.clone(),
        provider: None,
        credential: None,
        created_at: one.at,
        expires_at: Some(one.at),
    }
}

/// Whether any of these addresses may be suppressed; `false` is certain.
pub(crate) fn may_stop(
    filter: &HashFilter,
    key: &AddressKey,
    addresses: &[EmailAddress],
    scopes: &[SuppressionScope],
) -> bool {
    addresses.iter().any(|address| {
        let address_key = address.key();
        let mut scopes = scopes.iter().map(scope_text);
        scopes.any(|scope| filter.may_hold(&key.hash(scope, &address_key)))
    })
}

const STREAM_PAUSED: &str = "stream_paused";
const PROVIDER_PAUSED: &str = "provider_paused";
const PROVIDER_DRAINED: &str = "provider_drained";

/// Kind and name of a switch.
pub(crate) fn switch_words(switch: &Switch) -> [&str; 2] {
    match switch {
        Switch::StreamPaused(name) => [STREAM_PAUSED, name.as_str()],
        Switch::ProviderPaused(name) => [PROVIDER_PAUSED, name.as_str()],
        Switch::ProviderDrained(name) => [PROVIDER_DRAINED, name.as_str()],
    }
}

/// The switch of a kind and a name, if it is one of ours.
pub(crate) fn switch(kind: &str, name: &str) -> Option<Switch> {
    fn named<T: FromStr>(name: &str, of: fn(T) -> Switch) -> Option<Switch> {
        name.parse().ok().map(of)
    }
    match kind {
        STREAM_PAUSED => named(name, Switch::StreamPaused),
        PROVIDER_PAUSED => named(name, Switch::ProviderPaused),
        PROVIDER_DRAINED => named(name, Switch::ProviderDrained),
        _ => None,
    }
}
