//! Resend's list of a team (API reference, "List Suppressions" and "Add Suppressions"). What it
//! calls a bounce is a permanent one, so it needs no reading.

use std::time::Duration;

use async_trait::async_trait;
use http::Method;
use http::header::HeaderMap;
use malote_core::provider::SendError;
use malote_core::service_list::{
    Added, Addition, LeftOut, ListEntry, ListManners, ListMeaning, ListPage, Taking,
};
use malote_core::suppression::SuppressionReason;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::json;

use super::send::Resend;
use crate::api::Line;
use crate::lists::{self, Listed};

/// Entries of a page, the most that the service gives.
const PAGE: usize = 100;
/// Addresses of one addition ("between 1 and 100").
const BATCH_MAX: usize = 100;
/// A team may call twice a second ("Usage limits"), its mail included.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Deserialize)]
struct Page {
    data: Vec<Entry>,
    #[serde(default)]
    has_more: bool,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    id: String,
    #[serde(default)]
    email: String,
    #[serde(default)]
    origin: String,
    #[serde(default)]
    created_at: Option<String>,
}

#[async_trait]
impl Listed for Resend {
    fn manners(&self) -> ListManners {
        ListManners {
            tells: "bounces, complaints and manual entries of the team",
            pause: PAUSE,
            takes: Ok(Taking {
                batch_max: BATCH_MAX,
                spares_transactional: false,
                becomes: "an entry of origin \"manual\", whatever the reason",
            }),
        }
    }

    async fn page(&self, line: Line<'_>, cursor: Option<&str>) -> Result<ListPage, SendError> {
        let mut query = format!("limit={PAGE}");
        if let Some(id) = cursor {
            query = format!(
                "{query}&after={}",
                utf8_percent_encode(id, NON_ALPHANUMERIC)
            );
        }
        let answer = line.ask(self.get("/suppressions", Some(&query))).await?;
        let page: Page = lists::read(&answer, line.now)?;
        let last = page.data.last().map(|entry| entry.id.clone());
        Ok(ListPage {
            entries: page.data.into_iter().map(of).collect(),
            next: last.filter(|_| page.has_more),
        })
    }

    async fn add(&self, line: Line<'_>, additions: &[Addition]) -> Result<Added, SendError> {
        let body = lists::body(&json!({ "emails": lists::addresses(additions) }));
        let path = "/suppressions/batch/add";
        let call = self.call(Method::POST, path, HeaderMap::new(), Some(body));
        lists::done(&line.ask(call).await?, line.now)?;
        Ok(Added::default())
    }
}

fn of(entry: Entry) -> ListEntry {
    let meaning = match entry.origin.as_str() {
        "bounce" => ListMeaning::Suppressed(SuppressionReason::HardBounce),
        "complaint" => ListMeaning::Suppressed(SuppressionReason::Complaint),
        "manual" => ListMeaning::Suppressed(SuppressionReason::Manual),
        _ => ListMeaning::LeftOut(LeftOut::Unknown),
    };
    ListEntry {
        address: entry.email,
        meaning,
        at: entry.created_at.and_then(|at| at.parse().ok()),
        detail: String::new(),
        pools: Vec::new(),
        part: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_a_reason_and_a_strange_one_is_none() {
        let read = |text: &str| of(serde_json::from_str(text).unwrap());
        let entry = read(
            r#"{"id":"1","email":"a@x.test","origin":"complaint","source_id":null,
                "created_at":"2026-10-06T23:47:56.678Z"}"#,
        );
        let complaint = ListMeaning::Suppressed(SuppressionReason::Complaint);
        assert_eq!(entry.meaning, complaint);
        assert_eq!(entry.at.unwrap().to_string(), "2026-10-06T23:47:56.678Z");
        let strange = read(r#"{"origin":"mood","created_at":"yesterday"}"#);
        assert_eq!(strange.meaning, ListMeaning::LeftOut(LeftOut::Unknown));
        assert_eq!(strange.at, None);
    }
}
