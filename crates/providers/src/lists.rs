//! What the services' own suppression lists have in common: how they are asked, and what a bounce
//! on them means.

use async_trait::async_trait;
use jiff::Timestamp;
use malote_core::event::Blame;
use malote_core::provider::{Reply, SendError, Verdict};
use malote_core::service_list::{
    Added, Addition, LeftOut, ListManners, ListMeaning, ListPage, Reach, ServiceList,
};
use malote_core::suppression::SuppressionReason;
use serde::de::DeserializeOwned;

use crate::api::{HttpApi, Line};
use crate::http::{Answer, verdict_of_status};
use crate::webhook::reading::{gone, said};

/// A service whose own suppression list can be asked.
#[async_trait]
pub(crate) trait Listed: Send + Sync + 'static {
    /// See [`ServiceList::manners`].
    fn manners(&self) -> ListManners;

    /// See [`ServiceList::parts`].
    fn parts(&self, _reach: &Reach) -> Vec<String> {
        vec![String::new()]
    }

    /// See [`ServiceList::page`].
    async fn page(&self, line: Line<'_>, cursor: Option<&str>) -> Result<ListPage, SendError>;

    /// See [`ServiceList::add`]. Left out for a list that takes no additions.
    async fn add(&self, _line: Line<'_>, _additions: &[Addition]) -> Result<Added, SendError> {
        let why = self.manners().takes.err().unwrap_or_default();
        Err(SendError::new(Verdict::Transient, Reply::none(why)))
    }
}

#[async_trait]
impl<S: Listed> ServiceList for HttpApi<S> {
    fn manners(&self) -> ListManners {
        self.service.manners()
    }

    fn parts(&self, reach: &Reach) -> Vec<String> {
        self.service.parts(reach)
    }

    async fn page(&self, cursor: Option<&str>) -> Result<ListPage, SendError> {
        self.service.page(self.line(), cursor).await
    }

    async fn add(&self, additions: &[Addition]) -> Result<Added, SendError> {
        self.service.add(self.line(), additions).await
    }
}

/// What a bounce on a list means: the service calls the address gone, and the words of the server
/// that refused win if they say something else, as with the service's events.
pub(crate) fn bounced(words: &str) -> ListMeaning {
    let words = words.trim();
    let said = if words.is_empty() { None } else { said(words) };
    if gone(said) == Blame::Recipient {
        return ListMeaning::Suppressed(SuppressionReason::HardBounce);
    }
    ListMeaning::LeftOut(LeftOut::NotTheRecipient)
}

/// The answer to a question about a list.
///
/// # Errors
/// If it is not 200 with such a document.
pub(crate) fn read<T: DeserializeOwned>(answer: &Answer, now: Timestamp) -> Result<T, SendError> {
    done(answer, now)?;
    if !answer.is_whole {
        let text = "the answer was cut off, or is too long";
        return Err(transient(answer, text));
    }
    answer
        .json()
        .ok_or_else(|| transient(answer, "the service answered nonsense"))
}

/// Whether a list was changed or told.
///
/// # Errors
/// If the status says something else than success.
pub(crate) fn done(answer: &Answer, now: Timestamp) -> Result<(), SendError> {
    if (200..300).contains(&answer.status) {
        return Ok(());
    }
    let mut verdict = verdict_of_status(answer.status, true, answer.retry_after(now));
    // No mail is in doubt.
    if verdict == Verdict::Unknown {
        verdict = Verdict::Transient;
    }
    let reply = Reply::new(Some(answer.status), None, &answer.text());
    Err(SendError::new(verdict, reply))
}

/// An answer that is none, though its status is a good one.
pub(crate) fn transient(answer: &Answer, text: &str) -> SendError {
    SendError::new(
        Verdict::Transient,
        Reply::new(Some(answer.status), None, text),
    )
}

/// Which of a service's lists, and how far in it: `bounces:500`. The place is one of `lists`.
///
/// # Errors
/// If the cursor is none.
pub(crate) fn place_of<L>(
    cursor: Option<&str>,
    lists: &[(L, &str)],
) -> Result<(usize, usize), SendError> {
    let Some(cursor) = cursor else {
        return Ok((0, 0));
    };
    let (name, offset) = cursor.split_once(':').ok_or_else(bad_cursor)?;
    let place = lists.iter().position(|(_, own)| *own == name);
    place.zip(offset.parse().ok()).ok_or_else(bad_cursor)
}

/// How far in a service's only list.
///
/// # Errors
/// If the cursor is none.
pub(crate) fn offset_of(cursor: Option<&str>) -> Result<usize, SendError> {
    cursor.map_or(Ok(0), |cursor| cursor.parse().map_err(|_| bad_cursor()))
}

/// A cursor that we did not give out.
pub(crate) fn bad_cursor() -> SendError {
    let reply = Reply::none("the list goes on at a place that is none of its own");
    SendError::new(Verdict::Transient, reply)
}

/// The addresses alone.
pub(crate) fn addresses<'a>(additions: impl IntoIterator<Item = &'a Addition>) -> Vec<&'a str> {
    let additions = additions.into_iter();
    additions
        .map(|addition| addition.address.as_str())
        .collect()
}

/// What an addition's entry says of itself.
pub(crate) fn description(addition: &Addition) -> String {
    format!("malote: {}", addition.reason.as_str())
}

/// A JSON body.
pub(crate) fn body(value: &serde_json::Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_that_a_service_lists_as_a_bounce_suppresses_nobody() {
        let gone = ListMeaning::Suppressed(SuppressionReason::HardBounce);
        let other = ListMeaning::LeftOut(LeftOut::NotTheRecipient);
        for (words, meaning) in [
            ("", gone),
            ("550 5.1.1 user unknown", gone),
            ("550: 550 5.1.1 no such user", gone),
            ("550 5.7.1 blocked using Spamhaus", other),
            ("552 5.2.2 mailbox full", other),
            ("550 5.7.26 unauthenticated mail is refused", other),
        ] {
            assert_eq!(bounced(words), meaning, "{words}");
        }
    }

    #[test]
    fn what_fails_says_whether_to_wait_or_to_stop() {
        let now = Timestamp::UNIX_EPOCH;
        let answer = |status, body: &str| Answer {
            status,
            body: body.to_owned().into(),
            is_whole: true,
            ..Answer::default()
        };
        for (status, body, verdict) in [
            (429, "", Verdict::Throttled { after: None }),
            (401, "", Verdict::ProviderUnusable),
            (403, "{}", Verdict::ProviderUnusable),
            (500, "", Verdict::Transient),
            (502, "", Verdict::Transient),
            (200, "<html>", Verdict::Transient),
        ] {
            let told = read::<Vec<u8>>(&answer(status, body), now);
            assert_eq!(told.unwrap_err().verdict, verdict, "{status}");
        }
        assert_eq!(read::<Vec<u8>>(&answer(200, "[1]"), now).unwrap(), [1]);
        let cut = Answer {
            is_whole: false,
            ..answer(200, "[1]")
        };
        let told = read::<Vec<u8>>(&cut, now).unwrap_err();
        assert!(told.reply.text().contains("too long"), "{}", told.reply);
    }
}
