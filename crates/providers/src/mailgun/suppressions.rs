//! Mailgun's lists of a domain: bounces, complaints, unsubscribes (API reference, "Suppressions").

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::Method;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use malote_core::provider::SendError;
use malote_core::service_list::{
    Added, Addition, LeftOut, ListEntry, ListManners, ListMeaning, ListPage, ServiceList, Taking,
};
use malote_core::suppression::SuppressionReason;
use malote_core::web::http_date;
use reqwest::Url;
use serde::Deserialize;
use serde_json::{Value, json};

use super::send::Mailgun;
use crate::lists::{self, bad_cursor, bounced};
use crate::settings::join;

/// Entries of a page; the service gives up to 1,000, which with long replies could be over our
/// bound.
const PAGE: usize = 500;
/// Entries of one addition ("up to 1000").
const BATCH_MAX: usize = 1_000;

/// Which list, in the order of reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum List {
    Bounces,
    Complaints,
    Unsubscribes,
}

impl List {
    const ALL: [Self; 3] = [Self::Bounces, Self::Complaints, Self::Unsubscribes];

    const fn name(self) -> &'static str {
        match self {
            Self::Bounces => "bounces",
            Self::Complaints => "complaints",
            Self::Unsubscribes => "unsubscribes",
        }
    }

    const fn next(self) -> Option<Self> {
        match self {
            Self::Bounces => Some(Self::Complaints),
            Self::Complaints => Some(Self::Unsubscribes),
            Self::Unsubscribes => None,
        }
    }

    const fn of(reason: SuppressionReason) -> Self {
        match reason {
            SuppressionReason::HardBounce | SuppressionReason::MailboxFull => Self::Bounces,
            SuppressionReason::Complaint => Self::Complaints,
            SuppressionReason::Unsubscribe | SuppressionReason::Manual => Self::Unsubscribes,
        }
    }
}

#[derive(Deserialize)]
struct Page {
    items: Vec<Item>,
    #[serde(default)]
    paging: Paging,
}

#[derive(Deserialize, Default)]
struct Paging {
    #[serde(default)]
    next: Option<String>,
}

#[derive(Deserialize)]
struct Item {
    #[serde(default)]
    address: String,
    #[serde(default)]
    code: Value,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    tags: Option<Vec<String>>,
    #[serde(default)]
    created_at: Option<String>,
}

#[derive(Deserialize)]
struct Done {
    /// Proves that it is the service's answer: a wrong path is answered 200, too.
    #[serde(rename = "message")]
    _message: String,
}

#[async_trait]
impl ServiceList for Mailgun {
    fn manners(&self) -> ListManners {
        ListManners {
            tells: "bounces, complaints, unsubscribes of the domain",
            pause: Duration::ZERO,
            takes: Ok(Taking {
                batch_max: BATCH_MAX,
                spares_transactional: false,
                becomes: "a bounce, a complaint or an unsubscribe of the domain, by its reason",
            }),
        }
    }

    async fn page(&self, cursor: Option<&str>) -> Result<ListPage, SendError> {
        let (list, url) = match cursor {
            None => (List::Bounces, self.first_page(List::Bounces)),
            Some(cursor) => self.place_of(cursor).ok_or_else(bad_cursor)?,
        };
        let mut call = self.call(
            Method::GET,
            &self.path_of(list),
            HeaderMap::new(),
            Vec::new(),
        );
        let here = url.query().map(str::to_owned);
        call.url = url;
        let answer = self.ask(call).await?;
        let page: Page = lists::read(&answer, self.clock.now())?;
        // The service names a next page on the last one, too; that one is empty.
        let next = match page.paging.next.filter(|_| !page.items.is_empty()) {
            Some(next) => {
                let next = next.parse::<Url>().map_err(|_| bad_cursor())?;
                (next.query().map(str::to_owned) != here).then_some((list, next))
            }
            None => None,
        };
        let next = next.or_else(|| list.next().map(|list| (list, self.first_page(list))));
        Ok(ListPage {
            entries: page.items.into_iter().map(|item| of(list, item)).collect(),
            next: next.map(|(_, url)| url.to_string()),
        })
    }

    async fn add(&self, additions: &[Addition]) -> Result<Added, SendError> {
        for list in List::ALL {
            let own = additions.iter();
            let own = own.filter(|addition| List::of(addition.reason) == list);
            let items: Vec<Value> = own.map(|addition| item_of(list, addition)).collect();
            if items.is_empty() {
                continue;
            }
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            let body = vec![Bytes::from(lists::body(&items.into()))];
            let call = self.call(Method::POST, &self.path_of(list), headers, body);
            let answer = self.ask(call).await?;
            lists::read::<Done>(&answer, self.clock.now())?;
        }
        Ok(Added::default())
    }
}

impl Mailgun {
    fn path_of(&self, list: List) -> String {
        format!("/v3/{}/{}", self.settings.domain, list.name())
    }

    fn first_page(&self, list: List) -> Url {
        let mut url = join(&self.settings.endpoint, &self.path_of(list));
        url.set_query(Some(&format!("limit={PAGE}")));
        url
    }

    /// The place that the service names for the next page, if it is one of ours: the key goes
    /// nowhere else.
    fn place_of(&self, cursor: &str) -> Option<(List, Url)> {
        let url: Url = cursor.parse().ok()?;
        let mut lists = List::ALL.into_iter();
        let list = lists.find(|list| {
            let own = join(&self.settings.endpoint, &self.path_of(*list));
            own.origin() == url.origin() && own.path() == url.path()
        });
        list.map(|list| (list, url))
    }
}

fn item_of(list: List, addition: &Addition) -> Value {
    let address = addition.address.as_str();
    match list {
        List::Bounces => json!({
            "address": address,
            "code": "550",
            "error": "550 5.1.1 user unknown, told by malote",
        }),
        List::Complaints => json!({ "address": address }),
        List::Unsubscribes => json!({ "address": address, "tags": ["*"] }),
    }
}

fn of(list: List, item: Item) -> ListEntry {
    let code = match &item.code {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => String::new(),
    };
    let error = item.error.unwrap_or_default();
    let words = match error.is_empty() || error.contains(&code) {
        true => error,
        false => format!("{code} {error}"),
    };
    let is_of_all = |tags: &Vec<String>| tags.is_empty() || tags.iter().any(|tag| tag == "*");
    let meaning = match list {
        List::Bounces => bounced(&words),
        List::Complaints => ListMeaning::Suppressed(SuppressionReason::Complaint),
        List::Unsubscribes if item.tags.as_ref().is_none_or(is_of_all) => {
            ListMeaning::Suppressed(SuppressionReason::Unsubscribe)
        }
        List::Unsubscribes => ListMeaning::LeftOut(LeftOut::OneList),
    };
    ListEntry {
        address: item.address,
        meaning,
        at: item.created_at.as_deref().and_then(http_date),
        detail: words,
        pools: Vec::new(),
        part: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unsubscribe_of_a_tag_is_left_out_and_a_block_suppresses_nobody() {
        let read = |list, text: &str| of(list, serde_json::from_str(text).unwrap());
        let all = ListMeaning::Suppressed(SuppressionReason::Unsubscribe);
        let one = ListMeaning::LeftOut(LeftOut::OneList);
        for (tags, meaning) in [
            (r#"["*"]"#, all),
            ("[]", all),
            ("null", all),
            (r#"["offers"]"#, one),
        ] {
            let text = format!(r#"{{"address":"a@x.test","tags":{tags}}}"#);
            assert_eq!(read(List::Unsubscribes, &text).meaning, meaning, "{tags}");
        }
        let gone = r#"{"address":"a@x.test","code":"550","error":"No such mailbox","created_at":"Fri, 18 Oct 2024 18:28:14 UTC"}"#;
        let entry = read(List::Bounces, gone);
        assert_eq!(
            entry.meaning,
            ListMeaning::Suppressed(SuppressionReason::HardBounce)
        );
        assert_eq!(entry.detail, "550 No such mailbox");
        assert_eq!(entry.at.unwrap().to_string(), "2024-10-18T18:28:14Z");
        let blocked =
            r#"{"address":"a@x.test","code":550,"error":"550 5.7.1 blocked, see Spamhaus"}"#;
        assert_eq!(
            read(List::Bounces, blocked).meaning,
            ListMeaning::LeftOut(LeftOut::NotTheRecipient)
        );
    }
}
