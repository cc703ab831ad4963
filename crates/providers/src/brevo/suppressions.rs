//! Brevo's blocked contacts, who get no transactional mail (API reference, "Get the list of blocked
//! or unsubscribed transactional contacts"). The API takes them off and puts none there.

use std::time::Duration;

use async_trait::async_trait;
use http::Method;
use malote_core::provider::SendError;
use malote_core::service_list::{LeftOut, ListEntry, ListManners, ListMeaning, ListPage};
use malote_core::suppression::SuppressionReason;
use serde::Deserialize;

use super::account::read;
use super::send::Brevo;
use crate::api::Line;
use crate::lists::{Listed, offset_of};

/// Entries of a page, the most that the service gives.
const PAGE: usize = 100;

#[derive(Deserialize)]
struct Page {
    /// Left out of an empty answer.
    #[serde(default)]
    contacts: Vec<Contact>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Contact {
    #[serde(default)]
    email: String,
    #[serde(default)]
    reason: Reason,
    #[serde(default)]
    blocked_at: Option<String>,
}

#[derive(Deserialize, Default)]
struct Reason {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

#[async_trait]
impl Listed for Brevo {
    fn manners(&self) -> ListManners {
        ListManners {
            tells: "contacts who are blocked for transactional mail, by whichever sender",
            pause: Duration::ZERO,
            takes: Err("Brevo's API blocks no contact for transactional mail, it only unblocks"),
        }
    }

    async fn page(&self, line: Line<'_>, cursor: Option<&str>) -> Result<ListPage, SendError> {
        let offset = offset_of(cursor)?;
        let mut call = self.call(Method::GET, "/smtp/blockedContacts", None);
        // The oldest first: who is blocked meanwhile moves no page.
        let query = format!("limit={PAGE}&offset={offset}&sort=asc");
        call.url.set_query(Some(&query));
        let page: Page = read(&line.ask(call).await?, line.now)?;
        let count = page.contacts.len();
        Ok(ListPage {
            entries: page.contacts.into_iter().map(of).collect(),
            next: (count >= PAGE).then(|| (offset + count).to_string()),
        })
    }
}

/// An unsubscribe is from one of the account's senders, and which streams those are is not told.
fn of(contact: Contact) -> ListEntry {
    let meaning = match contact.reason.code.as_str() {
        "hardBounce" => ListMeaning::Suppressed(SuppressionReason::HardBounce),
        "contactFlaggedAsSpam" => ListMeaning::Suppressed(SuppressionReason::Complaint),
        "unsubscribedViaMA" | "unsubscribedViaEmail" | "unsubscribedViaApi" => {
            ListMeaning::Suppressed(SuppressionReason::Unsubscribe)
        }
        "adminBlocked" => ListMeaning::Suppressed(SuppressionReason::Manual),
        _ => ListMeaning::LeftOut(LeftOut::Unknown),
    };
    ListEntry {
        address: contact.email,
        meaning,
        at: contact.blocked_at.and_then(|at| at.parse().ok()),
        detail: contact.reason.message,
        pools: Vec::new(),
        part: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_a_reason_and_a_new_one_is_none() {
        let known = ListMeaning::Suppressed;
        for (code, meaning) in [
            ("hardBounce", known(SuppressionReason::HardBounce)),
            ("contactFlaggedAsSpam", known(SuppressionReason::Complaint)),
            ("unsubscribedViaMA", known(SuppressionReason::Unsubscribe)),
            (
                "unsubscribedViaEmail",
                known(SuppressionReason::Unsubscribe),
            ),
            ("unsubscribedViaApi", known(SuppressionReason::Unsubscribe)),
            ("adminBlocked", known(SuppressionReason::Manual)),
            ("tomorrow", ListMeaning::LeftOut(LeftOut::Unknown)),
        ] {
            let text = format!(
                r#"{{"email":"a@x.test","senderEmail":"b@x.test","reason":{{"code":"{code}",
                    "message":"why"}},"blockedAt":"2017-05-01T12:30:00Z"}}"#
            );
            let entry = of(serde_json::from_str(&text).unwrap());
            assert_eq!(entry.meaning, meaning, "{code}");
            assert_eq!(entry.at.unwrap().to_string(), "2017-05-01T12:30:00Z");
        }
        let empty: Page = serde_json::from_str("{}").unwrap();
        assert!(empty.contacts.is_empty());
    }
}
