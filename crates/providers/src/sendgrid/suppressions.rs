//! SendGrid's lists: bounces, spam reports, invalid emails and global unsubscribes (API reference,
//! "Suppressions"). Blocks are a fifth one and never read: they are about us, not the recipient.

use std::time::Duration;

use async_trait::async_trait;
use http::Method;
use jiff::Timestamp;
use malote_core::provider::SendError;
use malote_core::service_list::{
    Added, Addition, ListEntry, ListManners, ListMeaning, ListPage, Taking,
};
use malote_core::suppression::SuppressionReason;
use serde::Deserialize;
use serde_json::json;

use super::send::Sendgrid;
use crate::api::Line;
use crate::lists::{self, Listed, bounced, place_of};

/// Entries of a page: the service's default, and the most that it gives.
const PAGE: usize = 500;
/// Addresses of one addition; the service names no bound.
const BATCH_MAX: usize = 500;

/// Which list, in the order of reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum List {
    Bounces,
    SpamReports,
    InvalidEmails,
    Unsubscribes,
}

const LISTS: [(List, &str); 4] = [
    (List::Bounces, "bounces"),
    (List::SpamReports, "spam_reports"),
    (List::InvalidEmails, "invalid_emails"),
    (List::Unsubscribes, "unsubscribes"),
];

/// One entry of any of them.
#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    email: String,
    #[serde(default)]
    created: Option<i64>,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    status: Option<String>,
}

#[async_trait]
impl Listed for Sendgrid {
    fn manners(&self) -> ListManners {
        ListManners {
            tells: "bounces, spam reports, invalid emails, global unsubscribes; blocks are left out",
            pause: Duration::ZERO,
            takes: Ok(Taking {
                batch_max: BATCH_MAX,
                spares_transactional: false,
                becomes: "a global unsubscribe, whatever the reason: the other lists take no entries",
            }),
        }
    }

    async fn page(&self, line: Line<'_>, cursor: Option<&str>) -> Result<ListPage, SendError> {
        let (place, offset) = place_of(cursor, &LISTS)?;
        let (list, name) = LISTS[place];
        let path = format!("/v3/suppression/{name}");
        let query = format!("limit={PAGE}&offset={offset}");
        let answer = line.ask_page(self.get(&path, Some(&query))).await?;
        let entries: Vec<Entry> = lists::read(&answer, line.now)?;
        let next = match entries.len() {
            0..PAGE => (place + 1 < LISTS.len()).then(|| format!("{}:0", LISTS[place + 1].1)),
            count => Some(format!("{name}:{}", offset + count)),
        };
        Ok(ListPage {
            entries: entries.into_iter().map(|entry| of(list, entry)).collect(),
            next,
        })
    }

    async fn add(&self, line: Line<'_>, additions: &[Addition]) -> Result<Added, SendError> {
        let body = lists::body(&json!({ "recipient_emails": lists::addresses(additions) }));
        let call = self.call(Method::POST, "/v3/asm/suppressions/global", Some(body));
        let answer = line.ask(call).await?;
        lists::done(&answer, line.now)?;
        Ok(Added::default())
    }
}

fn of(list: List, entry: Entry) -> ListEntry {
    let (status, reason) = (
        entry.status.unwrap_or_default(),
        entry.reason.unwrap_or_default(),
    );
    let words = match reason.contains(&status) {
        true => reason,
        false => format!("{status} {reason}"),
    };
    let meaning = match list {
        List::Bounces => bounced(&words),
        List::SpamReports => ListMeaning::Suppressed(SuppressionReason::Complaint),
        List::InvalidEmails => ListMeaning::Suppressed(SuppressionReason::HardBounce),
        List::Unsubscribes => ListMeaning::Suppressed(SuppressionReason::Unsubscribe),
    };
    ListEntry {
        address: entry.email,
        meaning,
        at: entry.created.and_then(|at| Timestamp::from_second(at).ok()),
        detail: words,
        pools: Vec::new(),
        part: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use malote_core::service_list::LeftOut;

    use super::*;

    #[test]
    fn only_places_of_the_service_s_lists_are_gone_to() {
        assert_eq!(place_of(None, &LISTS).unwrap(), (0, 0));
        assert_eq!(
            place_of(Some("unsubscribes:1000"), &LISTS).unwrap(),
            (3, 1000)
        );
        for wrong in ["", "bounces", "blocks:0", "bounces:-1", "bounces:x"] {
            assert!(place_of(Some(wrong), &LISTS).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_bounce_is_read_by_its_words_and_the_rest_by_its_list() {
        let read = |list, text: &str| of(list, serde_json::from_str(text).unwrap());
        let gone = r#"{"created":1443651125,"email":"a@x.test","reason":"550 5.1.1 The email account that you tried to reach does not exist.","status":"5.1.1"}"#;
        let entry = read(List::Bounces, gone);
        assert_eq!(
            entry.meaning,
            ListMeaning::Suppressed(SuppressionReason::HardBounce)
        );
        assert_eq!(entry.at.unwrap().as_second(), 1_443_651_125);
        let blocked = r#"{"email":"a@x.test","reason":"blocked using spamhaus","status":"5.7.1"}"#;
        assert_eq!(
            read(List::Bounces, blocked).meaning,
            ListMeaning::LeftOut(LeftOut::NotTheRecipient)
        );
        assert_eq!(
            read(List::SpamReports, "{}").meaning,
            ListMeaning::Suppressed(SuppressionReason::Complaint)
        );
    }
}
