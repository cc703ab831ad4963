//! How a service's events find their delivery: our ids as the service's metadata, and back.
//!
//! A call may carry several deliveries, while its metadata belongs to the call. So the metadata
//! holds the message's id and, per recipient, its position with a short hash of its address; an
//! event about an address finds its position by the same hash. Letters, digits, `-` and `_` only,
//! which every service takes.

use malote_core::address::EmailAddress;
use malote_core::id::{DeliveryId, MessageId};
use malote_core::provider::Outgoing;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// The name under which the message's id travels: 32 hex digits.
pub(crate) const MESSAGE: &str = "malote-message";
/// The name under which the recipients travel.
pub(crate) const RECIPIENTS: &str = "malote-to";

/// The recipients of a call as `position-hash` joined by `_`, in as many values as needed to keep
/// each within `bytes_max`.
pub(crate) fn recipients(outgoing: &Outgoing, bytes_max: usize) -> Vec<String> {
    let mut values = vec![String::new()];
    for recipient in &outgoing.recipients {
        let entry = format!("{}-{}", recipient.delivery.index, hash(&recipient.address));
        let is_full = values
            .last()
            .is_some_and(|value| !value.is_empty() && value.len() + 1 + entry.len() > bytes_max);
        if is_full {
            values.push(String::new());
        }
        if let Some(value) = values.last_mut() {
            if !value.is_empty() {
                value.push('_');
            }
            value.push_str(&entry);
        }
    }
    values
}

/// Who can read a value of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readers {
    /// The service alone: it takes the value out again.
    Service,
    /// The message's recipients too. One must not learn of another, so the values name recipients
    /// only if there is one.
    Recipients,
}

impl Readers {
    /// Whether they may see who the recipients of the call are.
    pub(crate) const fn may_see_recipients(self, outgoing: &Outgoing) -> bool {
        match self {
            Self::Service => true,
            Self::Recipients => outgoing.recipients.len() == 1,
        }
    }
}

/// Both ids as one value, for services that have room for one: the message's id, `.` and the
/// recipients of the call. Without the recipients where they are too many for `bytes_max` or not
/// for all readers.
pub(crate) fn as_one(outgoing: &Outgoing, readers: Readers, bytes_max: usize) -> String {
    let message = outgoing.message.simple();
    let room = bytes_max.saturating_sub(message.len() + 1);
    match recipients(outgoing, room).as_slice() {
        [all] if all.len() <= room && readers.may_see_recipients(outgoing) => {
            format!("{message}.{all}")
        }
        _ => message,
    }
}

/// The delivery of metadata that came back as it was sent: the members [`MESSAGE`] and those whose
/// names begin with [`RECIPIENTS`]. Others do not matter.
pub(crate) fn of_members(members: &Value, address: Option<&EmailAddress>) -> Option<DeliveryId> {
    let members = members.as_object()?;
    let message = members.get(MESSAGE)?.as_str()?;
    let ours = members
        .iter()
        .filter(|(name, _)| name.starts_with(RECIPIENTS))
        .filter_map(|(_, value)| value.as_str());
    delivery(message, ours, address)
}

/// The delivery of one value as [`as_one`] writes it. `None` if it names no recipients.
pub(crate) fn of_one(value: &str, address: Option<&EmailAddress>) -> Option<DeliveryId> {
    let (message, recipients) = value.trim().split_once('.')?;
    delivery(message, [recipients].into_iter(), address)
}

/// The delivery that an event is about. Without an address it must be the only one of its call.
pub(crate) fn delivery<'a>(
    message: &str,
    recipients: impl Iterator<Item = &'a str>,
    address: Option<&EmailAddress>,
) -> Option<DeliveryId> {
    let message: MessageId = message.parse().ok()?;
    let wanted = address.map(hash);
    let mut found = None;
    for entry in recipients.flat_map(|value| value.split('_')).take(1000) {
        let (index, entry_hash) = entry.split_once('-')?;
        if wanted.as_deref().is_some_and(|wanted| wanted != entry_hash) {
            continue;
        }
        let index = index.parse().ok()?;
        if found.replace(DeliveryId { message, index }).is_some() {
            return None;
        }
    }
    found
}

fn hash(address: &EmailAddress) -> String {
    let digest = Sha256::digest(address.key().as_bytes());
    digest[..4].iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use malote_core::message::DsnParameters;
    use malote_core::name::{PoolName, StreamName};
    use malote_core::provider::OutgoingRecipient;
    use malote_core::stream::{Class, WritePace};

    use super::*;

    /// A small message to these addresses, for the adapters' tests.
    pub(crate) fn outgoing(addresses: &[&str]) -> Outgoing {
        let message = MessageId::from_bytes([7; 16]);
        let recipients = addresses
            .iter()
            .enumerate()
            .map(|(index, address)| OutgoingRecipient {
                delivery: DeliveryId {
                    message,
                    index: u16::try_from(index).unwrap(),
                },
                address: address.parse().unwrap(),
                notify: None,
                orcpt: None,
            });
        Outgoing {
            message,
            recipients: recipients.collect(),
            mail_from: Some("bounce@shop.example".parse().unwrap()),
            body: "From: a@shop.example\r\nTo: x@dest.example\r\n\r\nhi\r\n".into(),
            pool: PoolName::try_from("tx").unwrap(),
            stream: StreamName::try_from("transactional").unwrap(),
            class: Class::Transactional,
            tags: vec!["welcome".into()],
            metadata: BTreeMap::from([("order".into(), "42".into())]),
            tracking: malote_core::tracking::Tracking::default(),
            dsn: DsnParameters::default(),
            write_pace: WritePace::default(),
            reply_wait_max: Duration::from_secs(1),
        }
    }

    #[test]
    fn an_event_finds_its_delivery_by_address() {
        let sent = outgoing(&["a@x.test", "B@x.test", "c@x.test"]);
        let values = recipients(&sent, 24);
        assert!(values.len() > 1 && values.iter().all(|v| v.len() <= 24));
        let find = |address: Option<&str>| {
            let address = address.map(|a| a.parse().unwrap());
            let values = values.iter().map(String::as_str);
            delivery(&sent.message.simple(), values, address.as_ref()).map(|d| d.index)
        };
        assert_eq!(find(Some("b@X.test")), Some(1));
        assert_eq!(find(Some("d@x.test")), None);
        assert_eq!(find(None), None, "three deliveries, no address");
    }

    #[test]
    fn one_value_names_recipients_only_to_those_who_may_know_them() {
        let (one, two) = (outgoing(&["a@x.test"]), outgoing(&["a@x.test", "b@x.test"]));
        let message = one.message.simple();
        let named = |outgoing: &Outgoing| {
            let entries = recipients(outgoing, 100).remove(0);
            format!("{message}.{entries}")
        };
        for (outgoing, readers, bytes_max, expected) in [
            (&one, Readers::Service, 255, named(&one)),
            (&one, Readers::Recipients, 255, named(&one)),
            (&two, Readers::Service, 255, named(&two)),
            (&two, Readers::Recipients, 255, message.clone()),
            (&two, Readers::Service, 50, message.clone()),
            (&one, Readers::Service, 32, message.clone()),
        ] {
            assert_eq!(
                as_one(outgoing, readers, bytes_max),
                expected,
                "{readers:?} {bytes_max}"
            );
        }
    }

    #[test]
    fn the_only_delivery_is_found_without_an_address_but_never_by_a_foreign_one() {
        let sent = outgoing(&["a@x.test"]);
        let values = recipients(&sent, 250);
        let find = |address: Option<&EmailAddress>| {
            delivery(
                &sent.message.simple(),
                values.iter().map(String::as_str),
                address,
            )
        };
        assert_eq!(find(None).map(|d| d.index), Some(0));
        assert_eq!(find(Some(&"z@x.test".parse().unwrap())), None);
    }

    #[test]
    fn what_was_sent_as_one_value_or_as_members_is_read_back() {
        let sent = outgoing(&["a@x.test", "b@x.test"]);
        let b = "b@x.test".parse().unwrap();
        let expected = DeliveryId {
            message: sent.message,
            index: 1,
        };
        let one = as_one(&sent, Readers::Service, 255);
        assert_eq!(of_one(&one, Some(&b)), Some(expected));
        let unnamed = as_one(&sent, Readers::Recipients, 255);
        assert_eq!(of_one(&unnamed, Some(&b)), None);
        let members = serde_json::json!({
            MESSAGE: sent.message.simple(),
            "malote-to-0": recipients(&sent, 20)[0],
            "malote-to-1": recipients(&sent, 20)[1],
            "order": 42,
        });
        assert_eq!(of_members(&members, Some(&b)), Some(expected));
        assert_eq!(of_members(&Value::Null, Some(&b)), None);
    }

    #[test]
    fn nonsense_is_no_delivery() {
        let id = MessageId::from_bytes([7; 16]).simple();
        for (message, value) in [("x", "0-00"), (&*id, "99999-00"), (&*id, ""), (&*id, "_-_")] {
            assert_eq!(
                delivery(message, [value].into_iter(), None),
                None,
                "{value}"
            );
        }
    }
}
