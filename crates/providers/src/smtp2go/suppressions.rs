//! SMTP2GO's list of an account (OpenAPI description, `suppression/view` and `suppression/add`). It
//! holds domains, too, which are no addresses.

use std::time::Duration;

use async_trait::async_trait;
use malote_core::provider::{Fault, Reply, SendError, Verdict};
use malote_core::service_list::{
    Added, Addition, LeftOut, ListEntry, ListManners, ListMeaning, ListPage, Taking,
};
use malote_core::suppression::SuppressionReason;
use serde::Deserialize;
use serde_json::{Value, json};

use super::account::{self, Told};
use super::classify::Document;
use super::service::Smtp2go;
use crate::api::Line;
use crate::http::Answer;
use crate::lists::{self, Listed, bounced};
use crate::webhook::reading::utc;

/// Before the service was: unasked it tells a month.
const FIRST_DAY: &str = "2000-01-01T00:00:00Z";

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    continue_token: Option<String>,
    results: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    email_address: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    block_description: Option<String>,
    #[serde(default)]
    timestamp: Option<String>,
}

#[derive(Deserialize)]
struct Done {
    added: bool,
}

#[async_trait]
impl Listed for Smtp2go {
    fn manners(&self) -> ListManners {
        ListManners {
            tells: "bounces, spam complaints, unsubscribes and manual entries of the account; \
                    domains, and what compliance put there, are left out",
            pause: Duration::ZERO,
            takes: Ok(Taking {
                batch_max: 1,
                spares_transactional: false,
                becomes: "a manual entry with the reason in its description, one a call",
            }),
        }
    }

    async fn page(&self, line: Line<'_>, cursor: Option<&str>) -> Result<ListPage, SendError> {
        let mut question = json!({
            "start_date": FIRST_DAY,
            "end_date": line.now.to_string(),
            "sort": "asc",
        });
        if let Some(token) = cursor {
            question["continue_token"] = token.into();
        }
        let page: Page = self.told(line, "/v3/suppression/view", &question).await?;
        let token = page.continue_token.filter(|token| !token.is_empty());
        // A token beside nothing would be asked for ever.
        let next = token.filter(|_| !page.results.is_empty());
        Ok(ListPage {
            entries: page.results.into_iter().map(of).collect(),
            next,
        })
    }

    async fn add(&self, line: Line<'_>, additions: &[Addition]) -> Result<Added, SendError> {
        let mut added = Added::default();
        for addition in additions {
            let entry = json!({
                "email_address": addition.address.as_str(),
                "block_description": lists::description(addition),
            });
            let done: Done = self.told(line, "/v3/suppression/add", &entry).await?;
            if !done.added {
                added.refused += 1;
                added.why = Some("not added".to_owned());
            }
        }
        Ok(added)
    }
}

impl Smtp2go {
    /// What an answer tells of the list.
    async fn told<T: serde::de::DeserializeOwned>(
        &self,
        line: Line<'_>,
        path: &str,
        question: &Value,
    ) -> Result<T, SendError> {
        let call = self.call(path, lists::body(question));
        let answer = line.ask_page(call).await?;
        let why = match account::read(&answer, line.now) {
            Ok(Told::Yes(told)) => return Ok(told),
            Ok(Told::NotAllowed) => "the key may not call it",
            Ok(Told::NotThere) => "the endpoint has no such call",
            Err(error) => return Err(by_payload(&answer, error)),
        };
        let reply = Reply::new(Some(answer.status), None, &format!("{path}: {why}"));
        Err(SendError::new(Verdict::ProviderUnusable, reply))
    }
}

/// One address that the service does not take is no fault of the key.
fn by_payload(answer: &Answer, error: SendError) -> SendError {
    let document: Option<Document> = answer.json();
    match document.is_some_and(|document| document.is_bad_payload()) {
        true => SendError::new(Verdict::Rejected(Fault::MessageHere), error.reply),
        false => error,
    }
}

fn of(entry: Entry) -> ListEntry {
    let words = entry.block_description.unwrap_or_default();
    let suppressed = ListMeaning::Suppressed;
    let meaning = match entry.reason.as_str() {
        "bounce" => bounced(&words),
        "spam" => suppressed(SuppressionReason::Complaint),
        "unsubscribe" => suppressed(SuppressionReason::Unsubscribe),
        "manual" => suppressed(SuppressionReason::Manual),
        "compliance" => ListMeaning::LeftOut(LeftOut::ByTheService),
        _ => ListMeaning::LeftOut(LeftOut::Unknown),
    };
    ListEntry {
        address: entry.email_address,
        meaning,
        at: entry.timestamp.as_deref().and_then(utc),
        detail: words,
        pools: Vec::new(),
        part: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_a_meaning_and_both_forms_of_a_time_are_read() {
        let read = |reason: &str, words: &str, at: &str| {
            of(serde_json::from_value(json!({
                "complaint": "", "reason": reason, "block_description": words,
                "email_address": "a@x.test", "subject": null, "timestamp": at,
            }))
            .unwrap())
        };
        let known = ListMeaning::Suppressed;
        let left_out = ListMeaning::LeftOut;
        for (reason, words, meaning) in [
            (
                "manual",
                "no longer a customer",
                known(SuppressionReason::Manual),
            ),
            ("spam", "", known(SuppressionReason::Complaint)),
            ("unsubscribe", "", known(SuppressionReason::Unsubscribe)),
            ("bounce", "", known(SuppressionReason::HardBounce)),
            (
                "bounce",
                "550 5.7.1 listed by Spamhaus",
                left_out(LeftOut::NotTheRecipient),
            ),
            ("compliance", "", left_out(LeftOut::ByTheService)),
            ("mood", "", left_out(LeftOut::Unknown)),
        ] {
            let entry = read(reason, words, "2022-11-14 07:54:45");
            assert_eq!(entry.meaning, meaning, "{reason} {words}");
            assert_eq!(entry.at.unwrap().to_string(), "2022-11-14T07:54:45Z");
        }
        let entry = read("manual", "", "2018-08-21 11:10:55.457489+00:00");
        assert_eq!(entry.at.unwrap().to_string(), "2018-08-21T11:10:55.457489Z");
    }
}
