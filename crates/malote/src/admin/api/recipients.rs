//! What an erasure is answered with.

use malote_core::suppression::SuppressedAddress;
use malote_delivery::ErasedRecipient;
use serde::{Deserialize, Serialize};

/// What was erased, or would be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ErasedBody {
    /// What stands for the address in deliveries from now on.
    pub(crate) hash: SuppressedAddress,
    /// Deliveries that were taken back before they left.
    pub(crate) cancelled: u64,
    /// Deliveries that say the hash.
    pub(crate) deliveries: u64,
    /// Deliveries on their way at this moment: repeat the request for them.
    pub(crate) under_way: u64,
    /// Bodies dropped at once.
    pub(crate) bodies: u64,
    /// Bodies that go as soon as their other recipients are settled.
    pub(crate) bodies_later: u64,
    /// Texts in which the address was replaced.
    pub(crate) texts: u64,
    /// Events of services that were dropped.
    pub(crate) raw_events: u64,
    /// Suppressions that keep a hash only.
    pub(crate) suppressions: u64,
}

impl From<ErasedRecipient> for ErasedBody {
    fn from(erased: ErasedRecipient) -> Self {
        let mail = erased.mail;
        Self {
            hash: SuppressedAddress::Erased(erased.hash),
            cancelled: erased.cancelled,
            deliveries: mail.deliveries,
            under_way: mail.under_way,
            bodies: mail.bodies,
            bodies_later: mail.bodies_later,
            texts: mail.texts,
            raw_events: mail.raw_events,
            suppressions: erased.suppressions,
        }
    }
}
