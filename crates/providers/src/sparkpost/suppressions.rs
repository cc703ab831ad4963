//! SparkPost's list, one for transactional mail and one for the rest (API reference, "Suppression
//! List"): read by cursor, added to in bulk.

use std::time::Duration;

use async_trait::async_trait;
use http::Method;
use malote_core::provider::SendError;
use malote_core::service_list::{
    Added, Addition, LeftOut, ListEntry, ListManners, ListMeaning, ListPage, Reach, Taking,
};
use malote_core::suppression::SuppressionReason;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Url;
use serde::Deserialize;
use serde_json::{Value, json};

use super::send::Sparkpost;
use crate::api::Line;
use crate::lists::{self, Listed, bounced};

/// Entries of a page: the service's default; with more an answer could be over our bound.
const PAGE: usize = 1_000;
/// Addresses of one addition, each up to twice; the service takes 10,000 entries.
const BATCH_MAX: usize = 1_000;
/// The bulk call's and the search's path.
const PATH: &str = "/suppression-list/";

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    results: Vec<Entry>,
    #[serde(default)]
    links: Vec<Link>,
}

#[derive(Deserialize)]
struct Link {
    #[serde(default)]
    href: String,
    #[serde(default)]
    rel: String,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    recipient: String,
    #[serde(default)]
    source: String,
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    created: Option<String>,
    #[serde(default)]
    list_id: Option<String>,
    #[serde(default)]
    subaccount_id: Value,
}

#[async_trait]
impl Listed for Sparkpost {
    fn manners(&self) -> ListManners {
        ListManners {
            tells: "transactional and non_transactional entries",
            pause: Duration::ZERO,
            takes: Ok(Taking {
                batch_max: BATCH_MAX,
                spares_transactional: true,
                becomes: "an entry of source \"Manually Added\": of both types if it is global, else \
                          non_transactional",
            }),
        }
    }

    fn parts(&self, reach: &Reach) -> Vec<String> {
        types_of(reach)
            .iter()
            .map(|kind| (*kind).to_owned())
            .collect()
    }

    async fn page(&self, line: Line<'_>, cursor: Option<&str>) -> Result<ListPage, SendError> {
        let cursor = utf8_percent_encode(cursor.unwrap_or("initial"), NON_ALPHANUMERIC);
        let mut call = self.call(Method::GET, PATH, None);
        let query = format!("cursor={cursor}&per_page={PAGE}");
        call.url.set_query(Some(&query));
        let answer = line.ask_page(call).await?;
        let page: Page = lists::read(&answer, line.now)?;
        let own = self.subaccount();
        let entries = page.results.into_iter().map(|entry| of(entry, own));
        Ok(ListPage {
            entries: entries.collect(),
            next: next(&page.links),
        })
    }

    async fn add(&self, line: Line<'_>, additions: &[Addition]) -> Result<Added, SendError> {
        let recipients: Vec<Value> = additions.iter().flat_map(entries_of).collect();
        let body = lists::body(&json!({ "recipients": recipients }));
        let answer = line.ask(self.call(Method::PUT, PATH, Some(body))).await?;
        lists::done(&answer, line.now)?;
        Ok(Added::default())
    }
}

const fn types_of(reach: &Reach) -> &'static [&'static str] {
    match reach {
        Reach::Everything => &["transactional", "non_transactional"],
        Reach::Campaigns(_) => &["non_transactional"],
    }
}

fn entries_of(addition: &Addition) -> Vec<Value> {
    let description = lists::description(addition);
    let entry = |kind: &&str| {
        json!({
            "recipient": addition.address.as_str(),
            "type": kind,
            "description": description,
        })
    };
    types_of(&addition.reach).iter().map(entry).collect()
}

/// The cursor of the next page. The rest of the link is not followed: who answers does not say
/// where our key goes.
fn next(links: &[Link]) -> Option<String> {
    let link = links.iter().find(|link| link.rel == "next")?;
    let base: Url = "https://service.invalid".parse().ok()?;
    let url = base.join(&link.href).ok()?;
    let mut pairs = url.query_pairs();
    let cursor = pairs.find(|(name, _)| name == "cursor")?.1.into_owned();
    Some(cursor).filter(|cursor| !cursor.is_empty())
}

fn of(entry: Entry, subaccount: Option<u32>) -> ListEntry {
    let words = entry.description.unwrap_or_default();
    let suppressed = ListMeaning::Suppressed;
    let meaning = match entry.source.as_str() {
        _ if is_of_another(&entry.subaccount_id, subaccount) => {
            ListMeaning::LeftOut(LeftOut::Elsewhere)
        }
        _ if entry.list_id.is_some() => ListMeaning::LeftOut(LeftOut::OneList),
        "Spam Complaint" => suppressed(SuppressionReason::Complaint),
        "List Unsubscribe" | "Unsubscribe Link" => suppressed(SuppressionReason::Unsubscribe),
        "Bounce Rule" => bounced(&words),
        "Manually Added" => suppressed(SuppressionReason::Manual),
        "Compliance" => ListMeaning::LeftOut(LeftOut::ByTheService),
        _ => ListMeaning::LeftOut(LeftOut::Unknown),
    };
    ListEntry {
        address: entry.recipient,
        meaning,
        at: entry.created.and_then(|at| at.parse().ok()),
        detail: words,
        pools: Vec::new(),
        part: entry.kind,
    }
}

/// A search without a subaccount finds those of all of them. The number comes as a text or a number.
fn is_of_another(id: &Value, own: Option<u32>) -> bool {
    let id = match id {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.as_u64(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    id.is_some_and(|id| id != 0 && own.is_none_or(|own| u64::from(own) != id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_a_cursor_and_never_another_host() {
        let links = |href: &str| {
            vec![Link {
                href: href.to_owned(),
                rel: "next".to_owned(),
            }]
        };
        for (href, cursor) in [
            (
                "/api/v1/suppression-list?cursor=WzE%3D&per_page=1000",
                Some("WzE="),
            ),
            ("https://evil.example/steal?cursor=x", Some("x")),
            ("/api/v1/suppression-list?per_page=10", None),
            ("::::", None),
        ] {
            assert_eq!(next(&links(href)).as_deref(), cursor, "{href}");
        }
        assert_eq!(next(&[]), None);
    }

    #[test]
    fn the_source_says_what_an_entry_means() {
        let read = |text: &str, own| {
            let entry = of(serde_json::from_str(text).unwrap(), own);
            entry.meaning
        };
        for (source, meaning) in [
            (
                "Spam Complaint",
                ListMeaning::Suppressed(SuppressionReason::Complaint),
            ),
            (
                "List Unsubscribe",
                ListMeaning::Suppressed(SuppressionReason::Unsubscribe),
            ),
            (
                "Manually Added",
                ListMeaning::Suppressed(SuppressionReason::Manual),
            ),
            ("Compliance", ListMeaning::LeftOut(LeftOut::ByTheService)),
            ("Tomorrow", ListMeaning::LeftOut(LeftOut::Unknown)),
        ] {
            assert_eq!(
                read(&format!(r#"{{"source":"{source}"}}"#), None),
                meaning,
                "{source}"
            );
        }
        let of_146 = r#"{"source":"Bounce Rule","subaccount_id":"146"}"#;
        assert_eq!(read(of_146, None), ListMeaning::LeftOut(LeftOut::Elsewhere));
        assert_eq!(
            read(of_146, Some(146)),
            ListMeaning::Suppressed(SuppressionReason::HardBounce)
        );
        let of_list = r#"{"source":"Unsubscribe Link","list_id":"news"}"#;
        assert_eq!(read(of_list, None), ListMeaning::LeftOut(LeftOut::OneList));
    }
}
