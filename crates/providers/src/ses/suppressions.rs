//! The account's suppression list (API reference, ListSuppressedDestinations and
//! PutSuppressedDestination). Bounces on it are hard ones, so they need no reading.

use std::time::Duration;

use async_trait::async_trait;
use http::Method;
use jiff::Timestamp;
use malote_core::provider::{SendError, Verdict};
use malote_core::service_list::{
    Added, Addition, LeftOut, ListEntry, ListManners, ListMeaning, ListPage, ServiceList, Taking,
};
use malote_core::suppression::SuppressionReason;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::json;

use super::classify::{Sent, classify};
use super::send::Ses;
use crate::http::Answer;
use crate::lists;

const PATH: &str = "/v2/email/suppression/addresses";
/// Entries of a page that are asked for. The reference names no bound: a token leads on.
const PAGE: usize = 1_000;
/// What is not sending may be asked once a second (developer guide, "Service quotas").
const PAUSE: Duration = Duration::from_secs(1);
/// What a signature's query leaves as it is (Signature Version 4, canonical query string).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Page {
    #[serde(default)]
    suppressed_destination_summaries: Vec<Summary>,
    #[serde(default)]
    next_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Summary {
    #[serde(default)]
    email_address: String,
    #[serde(default)]
    reason: String,
    /// Seconds with a fraction.
    #[serde(default)]
    last_update_time: Option<f64>,
}

#[async_trait]
impl ServiceList for Ses {
    fn manners(&self) -> ListManners {
        ListManners {
            tells: "bounces and complaints of the account in its region",
            pause: PAUSE,
            takes: Ok(Taking {
                batch_max: 1,
                spares_transactional: false,
                becomes: "a bounce, or a complaint where it is not one; an address a second",
            }),
        }
    }

    async fn page(&self, cursor: Option<&str>) -> Result<ListPage, SendError> {
        let mut query = format!("PageSize={PAGE}");
        if let Some(token) = cursor {
            query = format!("NextToken={}&{query}", utf8_percent_encode(token, ENCODED));
        }
        let answer = self.call_for(Method::GET, PATH, Some(query), Vec::new());
        let answer = self.succeeded(answer.await?)?;
        let page: Page = lists::read(&answer, self.clock.now())?;
        Ok(ListPage {
            entries: page
                .suppressed_destination_summaries
                .into_iter()
                .map(of)
                .collect(),
            next: page.next_token.filter(|token| !token.is_empty()),
        })
    }

    async fn add(&self, additions: &[Addition]) -> Result<Added, SendError> {
        for addition in additions {
            let reason = match addition.reason {
                SuppressionReason::HardBounce | SuppressionReason::MailboxFull => "BOUNCE",
                SuppressionReason::Complaint
                | SuppressionReason::Unsubscribe
                | SuppressionReason::Manual => "COMPLAINT",
            };
            let body = json!({ "EmailAddress": addition.address.as_str(), "Reason": reason });
            let answer = self.call_for(Method::PUT, PATH, None, lists::body(&body));
            self.succeeded(answer.await?)?;
        }
        Ok(Added::default())
    }
}

impl Ses {
    /// The answer, unless it is a refusal.
    fn succeeded(&self, answer: Answer) -> Result<Answer, SendError> {
        if answer.status == 200 {
            return Ok(answer);
        }
        match classify(&answer, Sent::default(), self.clock.now()) {
            Err(mut error) => {
                // No mail is in doubt.
                if error.verdict == Verdict::Unknown {
                    error.verdict = Verdict::Transient;
                }
                Err(error)
            }
            Ok(_) => Ok(answer),
        }
    }
}

fn of(summary: Summary) -> ListEntry {
    let meaning = match summary.reason.as_str() {
        "BOUNCE" => ListMeaning::Suppressed(SuppressionReason::HardBounce),
        "COMPLAINT" => ListMeaning::Suppressed(SuppressionReason::Complaint),
        _ => ListMeaning::LeftOut(LeftOut::Unknown),
    };
    let time = summary.last_update_time;
    ListEntry {
        address: summary.email_address,
        meaning,
        at: time.and_then(seconds),
        detail: String::new(),
        pools: Vec::new(),
        part: String::new(),
    }
}

fn seconds(time: f64) -> Option<Timestamp> {
    if !(0.0..1e11).contains(&time) {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
    Timestamp::from_millisecond((time * 1e3) as i64).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_reasons_are_read_and_strange_ones_are_no_suppression() {
        let read = |text: &str| of(serde_json::from_str(text).unwrap());
        let entry = read(
            r#"{"EmailAddress":"a@x.test","Reason":"BOUNCE","LastUpdateTime":1586552585.077}"#,
        );
        assert_eq!(
            entry.meaning,
            ListMeaning::Suppressed(SuppressionReason::HardBounce)
        );
        assert_eq!(entry.at.unwrap().to_string(), "2020-04-10T21:03:05.077Z");
        let strange = read(r#"{"Reason":"MOOD","LastUpdateTime":1e300}"#);
        assert_eq!(strange.meaning, ListMeaning::LeftOut(LeftOut::Unknown));
        assert_eq!(strange.at, None);
    }
}
