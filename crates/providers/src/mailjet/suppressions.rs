//! Mailjet's exclusion list: contacts who get no campaigns made there (REST API, `contact`). What
//! the service blocks after bounces and complaints is told by events alone.

use std::time::Duration;

use async_trait::async_trait;
use malote_core::provider::SendError;
use malote_core::service_list::{ListEntry, ListManners, ListMeaning, ListPage};
use malote_core::suppression::SuppressionReason;
use serde::Deserialize;

use super::Mailjet;
use super::account::{ROWS_MAX, Rows};
use super::classify::unwell;
use crate::api::Line;
use crate::lists::{self, Listed, offset_of};
use crate::webhook::reading::utc;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Contact {
    #[serde(default)]
    email: String,
    #[serde(default)]
    is_spam_complaining: bool,
    /// Empty where it never changed.
    #[serde(default)]
    exclusion_from_campaigns_updated_at: Option<String>,
}

#[async_trait]
impl Listed for Mailjet {
    fn manners(&self) -> ListManners {
        ListManners {
            tells: "contacts excluded from campaigns; the service's blocks after bounces and \
                    complaints are told by no call",
            pause: Duration::ZERO,
            takes: Err(
                "Mailjet's API has no call that blocks an address for mail sent through its Send \
                 API: its exclusion list stops campaigns made there",
            ),
        }
    }

    async fn page(&self, line: Line<'_>, cursor: Option<&str>) -> Result<ListPage, SendError> {
        let offset = offset_of(cursor)?;
        let mut call = self.question("/v3/REST/contact", ROWS_MAX);
        let query =
            format!("IsExcludedFromCampaigns=true&Limit={ROWS_MAX}&Offset={offset}&Sort=ID");
        call.url.set_query(Some(&query));
        let answer = line.ask_page(call).await?;
        let rows: Rows<Contact> = match answer.status {
            200 => lists::read(&answer, line.now)?,
            _ => return Err(unwell(&answer, line.now)),
        };
        let count = rows.data.len();
        Ok(ListPage {
            entries: rows.data.into_iter().map(of).collect(),
            next: (count >= ROWS_MAX).then(|| (offset + count).to_string()),
        })
    }
}

/// Who excluded a contact, it or the account's owner, is not told.
fn of(contact: Contact) -> ListEntry {
    let reason = match contact.is_spam_complaining {
        true => SuppressionReason::Complaint,
        false => SuppressionReason::Manual,
    };
    let at = contact.exclusion_from_campaigns_updated_at;
    ListEntry {
        address: contact.email,
        meaning: ListMeaning::Suppressed(reason),
        at: at.as_deref().and_then(utc),
        detail: String::new(),
        pools: Vec::new(),
        part: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excluded_contact_is_one_by_hand_unless_it_complained() {
        for (is_complaining, at, reason, time) in [
            (
                false,
                "2026-01-02T03:04:05Z",
                SuppressionReason::Manual,
                true,
            ),
            (true, "", SuppressionReason::Complaint, false),
        ] {
            let text = format!(
                r#"{{"Email":"a@x.test","IsExcludedFromCampaigns":true,"ID":1,
                    "IsSpamComplaining":{is_complaining},
                    "ExclusionFromCampaignsUpdatedAt":"{at}"}}"#
            );
            let entry = of(serde_json::from_str(&text).unwrap());
            assert_eq!(entry.meaning, ListMeaning::Suppressed(reason));
            assert_eq!(entry.at.is_some(), time);
        }
    }
}
