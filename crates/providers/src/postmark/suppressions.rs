//! Postmark's lists, one for each message stream (developer documentation, "Suppressions API").
//! A list is told as a whole; by its days it is told in parts that fit our bound.

use std::time::Duration;

use async_trait::async_trait;
use http::Method;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use malote_core::name::{PoolName, TargetName};
use malote_core::provider::{SendError, bounded};
use malote_core::service_list::{
    Added, Addition, LeftOut, ListEntry, ListManners, ListMeaning, ListPage, Reach, Taking,
};
use malote_core::suppression::SuppressionReason;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Postmark;
use super::classify::unwell;
use crate::api::Line;
use crate::http::Answer;
use crate::lists::{self, Listed, bad_cursor};

/// Addresses of one addition.
const BATCH_MAX: usize = 50;
/// The stream of pools that name none; every server has it.
const DEFAULT_STREAM: &str = "outbound";
/// Before the service was.
const FIRST_DAY: Date = jiff::civil::date(2009, 1, 1);
/// Octets kept of what the service says of an address.
const WHY_BYTES_MAX: usize = 200;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Dump {
    suppressions: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[derive(Default)]
struct Entry {
    email_address: String,
    suppression_reason: String,
    origin: String,
    created_at: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Done {
    suppressions: Vec<Outcome>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Outcome {
    status: String,
    message: Option<String>,
}

/// Some days of one stream's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    /// Which stream, in the order of [`Postmark::streams`].
    stream: usize,
    from: Date,
    /// The last day.
    to: Date,
}

#[async_trait]
impl Listed for Postmark {
    fn manners(&self) -> ListManners {
        ListManners {
            tells: "of each message stream that pools name, and `outbound`",
            pause: Duration::ZERO,
            takes: Ok(Taking {
                batch_max: BATCH_MAX,
                spares_transactional: true,
                becomes: "a ManualSuppression, whatever the reason: in every message stream if it is \
                          global, else in those of the stream's pools",
            }),
        }
    }

    /// A campaign's pools that name no message stream share the default one, which transactional
    /// mail may use: nothing is put there for campaigns alone.
    fn parts(&self, reach: &Reach) -> Vec<String> {
        let mut streams = self.streams();
        if let Reach::Campaigns(pools) = reach {
            let named: Vec<&String> = pools
                .iter()
                .filter_map(|pool| self.settings.streams.get(pool))
                .collect();
            streams.retain(|stream| named.contains(&stream));
        }
        streams
    }

    async fn page(&self, line: Line<'_>, cursor: Option<&str>) -> Result<ListPage, SendError> {
        let streams = self.streams();
        let last_day = last_day(line.now);
        let place = match cursor {
            None => Place::whole(0, last_day),
            Some(cursor) => cursor.parse().map_err(|()| bad_cursor())?,
        };
        let stream = streams.get(place.stream).ok_or_else(bad_cursor)?;
        let path = format!("/message-streams/{stream}/suppressions/dump");
        let mut call = self.call(Method::GET, &path, None);
        let query = format!("fromdate={}&todate={}", place.from, place.to);
        call.url.set_query(Some(&query));
        let answer = line.ask(call).await?;
        if let Some(next) = place.half().filter(|_| is_too_long(&answer)) {
            return Ok(ListPage {
                entries: Vec::new(),
                next: Some(next.to_string()),
            });
        }
        let dump: Dump = self.told(&answer, line)?;
        let pools = self.pools_of(stream);
        let entries = dump.suppressions.into_iter();
        let next = place.next(last_day).or_else(|| {
            let stream = place.stream + 1;
            (stream < streams.len()).then(|| Place::whole(stream, last_day))
        });
        Ok(ListPage {
            entries: entries.map(|entry| of(entry, stream, &pools)).collect(),
            next: next.map(|next| next.to_string()),
        })
    }

    async fn add(&self, line: Line<'_>, additions: &[Addition]) -> Result<Added, SendError> {
        let mut added = Added::default();
        for stream in self.streams() {
            let meant = |addition: &&Addition| self.parts(&addition.reach).contains(&stream);
            let meant = additions.iter().filter(meant);
            let meant: Vec<Value> = meant
                .map(|addition| json!({ "EmailAddress": addition.address.as_str() }))
                .collect();
            if meant.is_empty() {
                continue;
            }
            let path = format!("/message-streams/{stream}/suppressions");
            let body = lists::body(&json!({ "Suppressions": meant }));
            let answer = line.ask(self.call(Method::POST, &path, Some(body))).await?;
            let done: Done = self.told(&answer, line)?;
            let is_refused = |outcome: &&Outcome| outcome.status == "Failed";
            let mut refused = done.suppressions.iter().filter(is_refused).peekable();
            if let Some(first) = refused.peek() {
                let said = first.message.as_deref().unwrap_or("refused");
                added.why = Some(bounded(said, WHY_BYTES_MAX));
            }
            added.refused = added.refused.max(refused.count() as u64);
        }
        Ok(added)
    }
}

impl Postmark {
    /// The message streams that mail may leave by, each once.
    fn streams(&self) -> Vec<String> {
        let mut streams = vec![DEFAULT_STREAM.to_owned()];
        for stream in self.settings.streams.values() {
            if !streams.contains(stream) {
                streams.push(stream.clone());
            }
        }
        streams
    }

    /// The pools that use a message stream, as far as they are known.
    fn pools_of(&self, stream: &str) -> Vec<PoolName> {
        let named = self.settings.streams.iter();
        let named = named.filter(|(_, own)| *own == stream);
        let mut pools: Vec<PoolName> = named.map(|(pool, _)| pool.clone()).collect();
        let default = TargetName::default_pool();
        if stream == DEFAULT_STREAM && !self.settings.streams.contains_key(&default) {
            pools.push(default);
        }
        pools
    }

    /// What an answer tells; most refusals come as 422 with a code of the service's own.
    fn told<T: serde::de::DeserializeOwned>(
        &self,
        answer: &Answer,
        line: Line<'_>,
    ) -> Result<T, SendError> {
        match answer.status {
            200 | 429 => lists::read(answer, line.now),
            _ => Err(unwell(answer, line.now)),
        }
    }
}

/// Tomorrow by UTC: the service's days are of another zone, and begin at most a day earlier.
fn last_day(now: Timestamp) -> Date {
    let today = now.to_zoned(TimeZone::UTC).date();
    today.saturating_add(Span::new().days(1))
}

fn is_too_long(answer: &Answer) -> bool {
    answer.status == 200 && !answer.is_whole
}

impl Place {
    const fn whole(stream: usize, to: Date) -> Self {
        Self {
            stream,
            from: FIRST_DAY,
            to,
        }
    }

    fn days(self) -> i64 {
        i64::from((self.to - self.from).get_days())
    }

    /// The first half of its days; `None` of a single day.
    fn half(self) -> Option<Self> {
        let days = self.days();
        (days > 0).then(|| Self {
            to: self.from.saturating_add(Span::new().days(days / 2)),
            ..self
        })
    }

    /// The days that follow, twice as many; `None` behind the last.
    fn next(self, last_day: Date) -> Option<Self> {
        let from = self.to.saturating_add(Span::new().days(1));
        let days = (self.days() + 1).saturating_mul(2) - 1;
        let to = from.saturating_add(Span::new().days(days)).min(last_day);
        (from <= last_day).then_some(Self { from, to, ..self })
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}", self.stream, self.from, self.to)
    }
}

impl std::str::FromStr for Place {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split('/');
        let mut part = || parts.next().ok_or(());
        let place = Self {
            stream: part()?.parse().map_err(drop)?,
            from: part()?.parse().map_err(drop)?,
            to: part()?.parse().map_err(drop)?,
        };
        let is_good = place.from <= place.to && place.from >= FIRST_DAY;
        if is_good { Ok(place) } else { Err(()) }
    }
}

fn of(entry: Entry, stream: &str, pools: &[PoolName]) -> ListEntry {
    let reason = (entry.suppression_reason.as_str(), entry.origin.as_str());
    let meaning = match reason {
        ("HardBounce", _) => ListMeaning::Suppressed(SuppressionReason::HardBounce),
        ("SpamComplaint", _) => ListMeaning::Suppressed(SuppressionReason::Complaint),
        ("ManualSuppression", "Recipient") => {
            ListMeaning::Suppressed(SuppressionReason::Unsubscribe)
        }
        ("ManualSuppression", _) => ListMeaning::Suppressed(SuppressionReason::Manual),
        (_, _) => ListMeaning::LeftOut(LeftOut::Unknown),
    };
    ListEntry {
        address: entry.email_address,
        meaning,
        at: entry.created_at.parse().ok(),
        detail: String::new(),
        pools: pools.to_vec(),
        part: stream.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_is_too_long_is_read_day_by_day_and_no_day_is_missed() {
        let last = jiff::civil::date(2026, 11, 29);
        let mut place = Place::whole(0, last);
        while let Some(half) = place.half() {
            place = half;
        }
        assert_eq!((place.from, place.to), (FIRST_DAY, FIRST_DAY));
        let mut seen = place;
        let mut pages = 1;
        while let Some(next) = seen.next(last) {
            assert_eq!(next.from, seen.to.saturating_add(Span::new().days(1)));
            assert!(next.to <= last && next.from <= next.to);
            (seen, pages) = (next, pages + 1);
        }
        assert_eq!(seen.to, last);
        assert!(pages < 20, "{pages}");
        assert_eq!(seen.to_string().parse(), Ok(seen));
        for wrong in [
            "",
            "0",
            "0/2026-01-02/2026-01-01",
            "x/2026-01-01/2026-01-02",
        ] {
            assert!(wrong.parse::<Place>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn who_asked_tells_an_unsubscribe_from_an_entry_by_hand() {
        let read = |reason: &str, origin: &str| {
            let entry = Entry {
                suppression_reason: reason.to_owned(),
                origin: origin.to_owned(),
                created_at: "2019-12-17T08:58:33-05:00".to_owned(),
                ..Entry::default()
            };
            of(entry, "news", &[])
        };
        for (reason, origin, meaning) in [
            ("HardBounce", "Recipient", SuppressionReason::HardBounce),
            ("SpamComplaint", "Recipient", SuppressionReason::Complaint),
            (
                "ManualSuppression",
                "Recipient",
                SuppressionReason::Unsubscribe,
            ),
            ("ManualSuppression", "Customer", SuppressionReason::Manual),
        ] {
            let entry = read(reason, origin);
            assert_eq!(entry.meaning, ListMeaning::Suppressed(meaning), "{reason}");
            assert_eq!(entry.at.unwrap().to_string(), "2019-12-17T13:58:33Z");
        }
        let strange = read("Mood", "Admin").meaning;
        assert_eq!(strange, ListMeaning::LeftOut(LeftOut::Unknown));
    }
}
