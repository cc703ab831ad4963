//! What a simulated service itself suppresses: the addresses that bounced, complained or
//! unsubscribed, and those that were put there.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::event::{EventKind, Report};

/// Entries kept; more are not taken.
const ENTRIES_MAX: usize = 1_000_000;

/// An address that the service suppresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suppressed {
    /// The address, or what stands in its place.
    pub address: String,
    /// Why.
    pub why: Why,
    /// What the far server said, or a note.
    #[serde(default)]
    pub reply: String,
    /// Which part of the list, where the service has parts: Postmark's message stream, SparkPost's
    /// type, Mailgun's tag. By default the service's own default.
    #[serde(default)]
    pub part: Option<String>,
    /// Since when; by default now.
    #[serde(default)]
    pub at: Option<Timestamp>,
}

impl Suppressed {
    /// An entry of no part and without words, from when it is put there.
    #[must_use]
    pub const fn new(address: String, why: Why) -> Self {
        Self {
            address,
            why,
            reply: String::new(),
            part: None,
            at: None,
        }
    }

    /// An id that is always the same, in the form of a UUID.
    pub(crate) fn id(&self) -> String {
        let key = format!("{:?} {:?} {}", self.why, self.part, self.address);
        let digest = Sha256::digest(key.to_ascii_lowercase());
        let hex: String = digest[..16].iter().map(|b| format!("{b:02x}")).collect();
        let (a, b, c, d, e) = (
            &hex[..8],
            &hex[8..12],
            &hex[12..16],
            &hex[16..20],
            &hex[20..],
        );
        format!("{a}-{b}-{c}-{d}-{e}")
    }
}

/// Why a service suppresses an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// Its server refused it for good.
    Bounced,
    /// Its server refused us, not the address (SendGrid).
    Blocked,
    /// It is no address that can be mailed (SendGrid).
    Invalid,
    /// Its owner called mail spam.
    Complained,
    /// Its owner unsubscribed.
    Unsubscribed,
    /// The service's customer said so.
    Manual,
    /// The service itself said so (SparkPost).
    Compliance,
}

/// Those that stop mail; SendGrid's blocks are only told.
const STOPPING: [Why; 6] = [
    Why::Bounced,
    Why::Invalid,
    Why::Complained,
    Why::Unsubscribed,
    Why::Manual,
    Why::Compliance,
];

/// Reason, part and address in lower case: the order in which lists are told.
type Place = (Why, String, String);

/// The list of one simulator.
#[derive(Default)]
pub(crate) struct SuppressedList {
    entries: Mutex<BTreeMap<Place, Suppressed>>,
}

impl SuppressedList {
    /// Puts an entry there, in place of one for the same reason; false if there is no room.
    pub(crate) fn put(&self, entry: Suppressed, now: Timestamp) -> bool {
        let place = (
            entry.why,
            entry.part.clone().unwrap_or_default(),
            entry.address.to_ascii_lowercase(),
        );
        let mut entries = self.lock();
        if entries.len() >= ENTRIES_MAX && !entries.contains_key(&place) {
            return false;
        }
        let at = Some(entry.at.unwrap_or(now));
        entries.insert(place, Suppressed { at, ..entry });
        true
    }

    /// What happened to mail makes an entry, as at the service.
    pub(crate) fn note(&self, report: &Report) {
        let why = match report.event {
            EventKind::Bounced => Why::Bounced,
            EventKind::Complained => Why::Complained,
            EventKind::Unsubscribed => Why::Unsubscribed,
            EventKind::Delivered
            | EventKind::Deferred
            | EventKind::Suppressed
            | EventKind::Subscription => return,
        };
        let entry = Suppressed {
            address: report.recipient.clone(),
            why,
            reply: report.reply().to_owned(),
            part: None,
            at: Some(report.at),
        };
        self.put(entry, report.at);
    }

    /// Why mail to this address is stopped by one of these parts, if it is.
    pub(crate) fn stops(&self, address: &str, parts: &[&str]) -> Option<Why> {
        let address = address.to_ascii_lowercase();
        let entries = self.lock();
        let is_there = |why: &Why, part: &str| {
            let place = (*why, part.to_owned(), address.clone());
            entries.contains_key(&place)
        };
        let mut whys = STOPPING.into_iter();
        whys.find(|why| parts.iter().any(|part| is_there(why, part)))
    }

    /// Those that are wanted, from the `skip`th on, at most `limit`; and whether there are more.
    pub(crate) fn page(
        &self,
        is_wanted: impl Fn(&Suppressed) -> bool,
        skip: usize,
        limit: usize,
    ) -> (Vec<Suppressed>, bool) {
        let entries = self.lock();
        let wanted = entries.values().filter(|entry| is_wanted(entry));
        let mut page: Vec<Suppressed> = wanted.skip(skip).take(limit + 1).cloned().collect();
        let has_more = page.len() > limit;
        page.truncate(limit);
        (page, has_more)
    }

    /// Those that are wanted behind the one of this id, at most `limit`; and whether there are more.
    /// Behind an unknown one there is nothing.
    pub(crate) fn page_after(
        &self,
        is_wanted: impl Fn(&Suppressed) -> bool,
        id: Option<&str>,
        limit: usize,
    ) -> (Vec<Suppressed>, bool) {
        let (wanted, _) = self.page(is_wanted, 0, ENTRIES_MAX);
        let mut wanted = wanted.into_iter();
        if let Some(id) = id {
            wanted.find(|entry| entry.id() == id);
        }
        let page: Vec<Suppressed> = wanted.by_ref().take(limit).collect();
        (page, wanted.next().is_some())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Place, Suppressed>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(address: &str, why: Why) -> Suppressed {
        Suppressed::new(address.to_owned(), why)
    }

    #[test]
    fn an_address_is_there_once_for_each_reason_and_pages_miss_none() {
        let (list, now) = (SuppressedList::default(), Timestamp::UNIX_EPOCH);
        for number in 0..5 {
            assert!(list.put(entry(&format!("{number}@x.test"), Why::Bounced), now));
        }
        assert!(list.put(entry("0@X.test", Why::Bounced), now));
        assert!(list.put(entry("0@x.test", Why::Complained), now));
        let bounced = |entry: &Suppressed| entry.why == Why::Bounced;
        let (first, has_more) = list.page(bounced, 0, 3);
        assert!(has_more && first.len() == 3);
        let (rest, has_more) = list.page(bounced, 3, 3);
        assert!(!has_more && rest.len() == 2);
        assert_eq!(rest[0].at, Some(now));
        let last = first.last().map(Suppressed::id);
        let (behind, has_more) = list.page_after(bounced, last.as_deref(), 3);
        assert!(behind == rest && !has_more);
        assert!(list.page_after(bounced, Some("elsewhere"), 3).0.is_empty());
    }
}
