//! Elastic Email's lists: bounces, complaints, unsubscribes (API v4, "Suppressions").

use std::time::Duration;

use async_trait::async_trait;
use http::Method;
use malote_core::provider::{SendError, Verdict};
use malote_core::service_list::{
    Added, Addition, ListEntry, ListManners, ListMeaning, ListPage, Taking,
};
use malote_core::suppression::SuppressionReason;
use serde::Deserialize;
use serde_json::json;

use super::classify::is_about_key;
use super::service::{ElasticEmail, failed};
use crate::api::Line;
use crate::http::Answer;
use crate::lists::{self, Listed, bounced, place_of};
use crate::webhook::reading::utc;

/// Entries of a page; the service names no bound.
const PAGE: usize = 1_000;
/// Addresses of one addition ("Limited to 1000 per request").
const BATCH_MAX: usize = 1_000;

/// Which list, in the order of reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum List {
    Bounces,
    Complaints,
    Unsubscribes,
}

const LISTS: [(List, &str); 3] = [
    (List::Bounces, "bounces"),
    (List::Complaints, "complaints"),
    (List::Unsubscribes, "unsubscribes"),
];

impl List {
    const fn of(reason: SuppressionReason) -> Self {
        match reason {
            SuppressionReason::HardBounce | SuppressionReason::MailboxFull => Self::Bounces,
            SuppressionReason::Complaint => Self::Complaints,
            SuppressionReason::Unsubscribe | SuppressionReason::Manual => Self::Unsubscribes,
        }
    }
}

/// One entry of any of them (`Suppression`).
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    #[serde(default)]
    email: String,
    #[serde(default)]
    friendly_error_message: Option<String>,
    #[serde(default)]
    error_code: Option<i64>,
    #[serde(default)]
    date_updated: Option<String>,
}

#[async_trait]
impl Listed for ElasticEmail {
    fn manners(&self) -> ListManners {
        ListManners {
            tells: "bounces, complaints, unsubscribes of the account",
            pause: Duration::ZERO,
            takes: Ok(Taking {
                batch_max: BATCH_MAX,
                spares_transactional: false,
                becomes: "a bounce, a complaint or an unsubscribe of the account, by its reason",
            }),
        }
    }

    /// A list ends with an empty page: a shorter one may be the service's own bound.
    async fn page(&self, line: Line<'_>, cursor: Option<&str>) -> Result<ListPage, SendError> {
        let (place, offset) = place_of(cursor, &LISTS)?;
        let (list, name) = LISTS[place];
        let path = format!("/v4/suppressions/{name}");
        let mut call = self.call(Method::GET, &path, None);
        let query = format!("limit={PAGE}&offset={offset}");
        call.url.set_query(Some(&query));
        let answer = line.ask_page(call).await?;
        refuse_key(&answer)?;
        let entries: Vec<Entry> = lists::read(&answer, line.now)?;
        let next = match entries.len() {
            0 => LISTS.get(place + 1).map(|(_, name)| format!("{name}:0")),
            count => Some(format!("{name}:{}", offset + count)),
        };
        Ok(ListPage {
            entries: entries.into_iter().map(|entry| of(list, entry)).collect(),
            next,
        })
    }

    async fn add(&self, line: Line<'_>, additions: &[Addition]) -> Result<Added, SendError> {
        for (list, name) in LISTS {
            let own = additions.iter();
            let own = own.filter(|addition| List::of(addition.reason) == list);
            let addresses = lists::addresses(own);
            if addresses.is_empty() {
                continue;
            }
            let path = format!("/v4/suppressions/{name}");
            let body = lists::body(&json!(addresses));
            let answer = line.ask(self.call(Method::POST, &path, Some(body))).await?;
            refuse_key(&answer)?;
            lists::done(&answer, line.now)?;
        }
        Ok(Added::default())
    }
}

/// A key that may not, or is none, is a bad request here.
fn refuse_key(answer: &Answer) -> Result<(), SendError> {
    match answer.status == 400 && is_about_key(&answer.text()) {
        true => Err(failed(answer, Verdict::ProviderUnusable)),
        false => Ok(()),
    }
}

fn of(list: List, entry: Entry) -> ListEntry {
    let words = entry.friendly_error_message.unwrap_or_default();
    let code = entry.error_code.filter(|code| (400..600).contains(code));
    let words = match code {
        Some(code) if !words.starts_with(&code.to_string()) => format!("{code} {words}"),
        Some(_) | None => words,
    };
    let meaning = match list {
        List::Bounces => bounced(&words),
        List::Complaints => ListMeaning::Suppressed(SuppressionReason::Complaint),
        List::Unsubscribes => ListMeaning::Suppressed(SuppressionReason::Unsubscribe),
    };
    ListEntry {
        address: entry.email,
        meaning,
        at: entry.date_updated.as_deref().and_then(utc),
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
    fn a_bounce_means_what_its_code_and_words_say() {
        let gone = ListMeaning::Suppressed(SuppressionReason::HardBounce);
        let other = ListMeaning::LeftOut(LeftOut::NotTheRecipient);
        for (code, words, meaning, detail) in [
            ("550", "5.1.1 user unknown", gone, "550 5.1.1 user unknown"),
            ("550", "550 5.1.1 no user", gone, "550 5.1.1 no user"),
            (
                "554",
                "5.7.1 listed by Spamhaus",
                other,
                "554 5.7.1 listed by Spamhaus",
            ),
            ("0", "", gone, ""),
            ("null", "", gone, ""),
        ] {
            let text = format!(
                r#"{{"Email":"a@x.test","FriendlyErrorMessage":"{words}","ErrorCode":{code},
                    "DateUpdated":"2026-01-02T03:04:05"}}"#
            );
            let entry = of(List::Bounces, serde_json::from_str(&text).unwrap());
            assert_eq!(entry.meaning, meaning, "{code} {words}");
            assert_eq!(entry.detail, detail);
            assert_eq!(entry.at.unwrap().to_string(), "2026-01-02T03:04:05Z");
        }
    }
}
