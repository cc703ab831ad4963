//! Mailtrap's list of an account (developer documentation, "Suppressions"): each entry is of one
//! domain and stream, or of any.

use std::time::Duration;

use async_trait::async_trait;
use malote_core::provider::SendError;
use malote_core::service_list::{LeftOut, ListEntry, ListManners, ListMeaning, ListPage};
use malote_core::suppression::SuppressionReason;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::service::Mailtrap;
use crate::api::Line;
use crate::lists::{self, Listed, bounced};

const PATH: &str = "/api/suppressions";
/// Entries of a page, which is as long as the service wants.
const PAGE: usize = 1_000;
/// "10 requests per minute per account".
const PAUSE: Duration = Duration::from_secs(6);

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    id: String,
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    email: String,
    #[serde(default)]
    created_at: Option<String>,
    #[serde(default)]
    message_esp_response: Option<String>,
}

#[async_trait]
impl Listed for Mailtrap {
    fn manners(&self) -> ListManners {
        ListManners {
            tells: "hard bounces, spam complaints, unsubscriptions and imported entries of all \
                    domains and both streams",
            pause: PAUSE,
            takes: Err(
                "Mailtrap's API adds an address for one domain and one stream a call, ten calls a \
                 minute, so that a list would take days",
            ),
        }
    }

    async fn page(&self, line: Line<'_>, cursor: Option<&str>) -> Result<ListPage, SendError> {
        let mut call = self.call(&self.settings.account_endpoint, PATH, None);
        let query =
            cursor.map(|id| format!("last_id={}", utf8_percent_encode(id, NON_ALPHANUMERIC)));
        call.url.set_query(query.as_deref());
        let answer = line.ask_page(call).await?;
        let entries: Vec<Entry> = lists::read(&answer, line.now)?;
        let last = entries.last().map(|entry| entry.id.clone());
        let next = last.filter(|_| entries.len() >= PAGE);
        Ok(ListPage {
            entries: entries.into_iter().map(of).collect(),
            next,
        })
    }
}

fn of(entry: Entry) -> ListEntry {
    let words = entry.message_esp_response.unwrap_or_default();
    let suppressed = ListMeaning::Suppressed;
    let meaning = match entry.kind.as_str() {
        "hard bounce" => bounced(&words),
        "spam complaint" => suppressed(SuppressionReason::Complaint),
        "unsubscription" => suppressed(SuppressionReason::Unsubscribe),
        "manual import" => suppressed(SuppressionReason::Manual),
        _ => ListMeaning::LeftOut(LeftOut::Unknown),
    };
    ListEntry {
        address: entry.email,
        meaning,
        at: entry.created_at.and_then(|at| at.parse().ok()),
        detail: words,
        pools: Vec::new(),
        part: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_a_meaning_and_the_server_s_words_decide_of_a_bounce() {
        let known = ListMeaning::Suppressed;
        let left_out = ListMeaning::LeftOut;
        for (kind, words, meaning) in [
            ("hard bounce", "null", known(SuppressionReason::HardBounce)),
            (
                "hard bounce",
                "\"550 5.7.1 listed by Spamhaus\"",
                left_out(LeftOut::NotTheRecipient),
            ),
            (
                "spam complaint",
                "null",
                known(SuppressionReason::Complaint),
            ),
            (
                "unsubscription",
                "null",
                known(SuppressionReason::Unsubscribe),
            ),
            ("manual import", "null", known(SuppressionReason::Manual)),
            ("mood", "null", left_out(LeftOut::Unknown)),
        ] {
            let text = format!(
                r#"{{"id":"64d71bf3-1276-417b-86e1-8e66f138acfe","type":"{kind}",
                    "email":"a@x.test","sending_stream":"any","domain_name":null,
                    "created_at":"2025-01-15T10:30:00Z","message_esp_response":{words}}}"#
            );
            let entry = of(serde_json::from_str(&text).unwrap());
            assert_eq!(entry.meaning, meaning, "{kind} {words}");
            assert_eq!(entry.at.unwrap().to_string(), "2025-01-15T10:30:00Z");
        }
    }
}
