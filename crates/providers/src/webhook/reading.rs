//! What the readers of events have in common: bodies into entries, entries into events, and whose
//! fault a refusal is when a service and a remote server both say something.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use malote_core::address::EmailAddress;
use malote_core::event::{Blame, EventKind, ProviderEvent, raw_event};
use malote_core::provider::{REPLY_TEXT_BYTES_MAX, bounded};
use malote_core::webhook::{Unread, Webhook, WebhookRefusal};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::bounce::{Refusal, blame};

/// Longest word of an unknown kind of event.
const WORD_BYTES_MAX: usize = 64;
/// Most pairs of a form; no service sends a third of it.
const PAIRS_MAX: usize = 256;
/// Longest id of a service, as in receipts.
const ID_BYTES_MAX: usize = 256;

/// The entries of a JSON body: those of a list, or the one that it is.
///
/// # Errors
/// [`WebhookRefusal::Malformed`] for anything else.
pub(crate) fn json(body: &[u8]) -> Result<Vec<Value>, WebhookRefusal> {
    match serde_json::from_slice(body) {
        Ok(Value::Array(entries)) => Ok(entries),
        Ok(entry @ Value::Object(_)) => Ok(vec![entry]),
        Ok(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) | Err(_) => Err(
            WebhookRefusal::Malformed("neither an object nor a list in JSON"),
        ),
    }
}

/// The pairs of a query or form (WHATWG URL 5.1) as an object of texts; of a name that comes twice
/// the first counts, pairs over the bound do not.
pub(crate) fn form(octets: &[u8]) -> Value {
    let mut members = Map::new();
    for (name, value) in form_urlencoded::parse(octets).take(PAIRS_MAX) {
        members
            .entry(name)
            .or_insert_with(|| Value::String(value.into_owned()));
    }
    Value::Object(members)
}

/// Reads each entry. What cannot be read goes to [`Webhook::unreadable`]: asking for it again would
/// not help, and the others are good.
pub(crate) fn each(
    service: &str,
    entries: &[Value],
    read: impl Fn(&Value) -> Result<ProviderEvent, &'static str>,
) -> Webhook {
    let mut webhook = Webhook::default();
    for entry in entries {
        match read(entry) {
            Ok(mut event) => {
                event.raw = raw_event(entry.to_string().as_bytes());
                webhook.events.push(event);
            }
            Err(why) => webhook.unreadable.push(unread(service, why, entry)),
        }
    }
    webhook
}

/// An entry that is set aside.
pub(crate) fn unread(service: &str, why: &str, entry: &Value) -> Unread {
    let part = match entry {
        Value::String(text) => text.clone(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            entry.to_string()
        }
    };
    Unread::new(format!("{service}: {why}"), &part)
}

/// A member's text; empty if there is none.
pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A member's text or number; empty if it is neither.
pub(crate) fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => String::new(),
    }
}

/// The recipient; `None` where there is none.
///
/// # Errors
/// For anything that is there and no address.
pub(crate) fn address(value: &Value) -> Result<Option<EmailAddress>, &'static str> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) if text.is_empty() => Ok(None),
        Value::String(text) => match text.parse() {
            Ok(address) => Ok(Some(address)),
            Err(_) => Err("a recipient that is no address"),
        },
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            Err("a recipient that is no text")
        }
    }
}

/// An id as in receipts: visible ASCII.
pub(crate) fn plain_id(id: &str) -> Option<String> {
    let is_id = (1..=ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
    is_id.then(|| id.to_owned())
}

/// Seconds since 1970, as a number or its digits, with or without a fraction.
pub(crate) fn seconds(value: &Value) -> Option<Timestamp> {
    let seconds = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) if text.len() <= 32 => text.trim().parse().ok()?,
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
            return None;
        }
    };
    // Beyond that a double has no microseconds, and no event is from before 2008.
    if !(1.2e9..1e11).contains(&seconds) {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
    Timestamp::from_microsecond((seconds * 1e6) as i64).ok()
}

/// A time as RFC 3339 writes it.
pub(crate) fn iso(value: &Value) -> Option<Timestamp> {
    let text = value.as_str().filter(|text| text.len() <= 64)?;
    text.trim().parse().ok()
}

/// A time as RFC 3339 writes it, or without a zone, which then is UTC.
pub(crate) fn utc(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    if text.len() > 64 {
        return None;
    }
    text.parse().ok().or_else(|| {
        let civil: DateTime = text.parse().ok()?;
        let zoned = civil.to_zoned(TimeZone::UTC).ok()?;
        Some(zoned.timestamp())
    })
}

/// A service's own word for what happened.
pub(crate) fn other(word: &str) -> EventKind {
    EventKind::Other(bounded(word, WORD_BYTES_MAX))
}

/// The parts that say something, one behind the other, bounded as an event's detail.
pub(crate) fn detail(parts: &[&str]) -> String {
    let parts = parts.iter().map(|part| part.trim());
    let parts: Vec<&str> = parts.filter(|part| !part.is_empty()).collect();
    bounded(&parts.join(" "), REPLY_TEXT_BYTES_MAX)
}

/// A key for [`ProviderEvent::dedup_key`] of what makes an event that one, where the service gives
/// it no id of its own.
pub(crate) fn dedup_key(parts: &[&str]) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part.as_bytes());
    }
    digest.finalize()[..16]
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect()
}

/// Whose fault the words of a remote server say it is: `550 5.1.1 user unknown`, with or without
/// its codes.
pub(crate) fn said(words: &str) -> Option<Blame> {
    let codes = words.trim_start().get(..3);
    let code = codes.filter(|code| code.bytes().all(|b| b.is_ascii_digit()));
    let is_status = |word: &&str| {
        word.len() <= 11
            && word.split('.').count() == 3
            && word.bytes().all(|b| b.is_ascii_digit() || b == b'.')
    };
    let parts = |c: char| c.is_ascii_whitespace() || matches!(c, '-' | '#' | ';' | ':');
    let enhanced = words.split(parts).take(4).find(is_status);
    blame(Refusal {
        code: code.and_then(|code| code.parse().ok()),
        enhanced,
        text: words,
    })
}

/// Blame for a bounce that the service calls the address's own: the remote server's words win if
/// they say something else, since blocks are called bounces too and must suppress nobody.
pub(crate) fn gone(said: Option<Blame>) -> Blame {
    match said {
        None => Blame::Recipient,
        // What is known to say nothing is no word of the service's own either.
        Some(blame) => blame,
    }
}

/// Blame for a bounce that the service calls `own`: an address that it does not call gone is not
/// called gone here.
pub(crate) fn not_gone(said: Option<Blame>, own: Blame) -> Blame {
    match said {
        Some(Blame::Recipient | Blame::Unknown) | None => own,
        Some(blame) => blame,
    }
}

#[cfg(test)]
mod tests {
    use malote_core::webhook::UNREAD_BYTES_MAX;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_block_is_never_the_recipients_fault_whatever_the_service_calls_it() {
        for (words, if_gone, if_not) in [
            ("550 5.1.1 user unknown", Blame::Recipient, Blame::Policy),
            ("550-5.1.1 user unknown", Blame::Recipient, Blame::Policy),
            ("550 5.7.1 blocked", Blame::Reputation, Blame::Reputation),
            (
                "550 5.1.1 blocked by Spamhaus",
                Blame::Reputation,
                Blame::Reputation,
            ),
            ("552 5.2.2 full", Blame::MailboxFull, Blame::MailboxFull),
            (
                "550 5.4.1 Recipient address rejected: Access denied",
                Blame::Unknown,
                Blame::Policy,
            ),
            ("", Blame::Recipient, Blame::Policy),
            ("é€", Blame::Recipient, Blame::Policy),
        ] {
            assert_eq!(gone(said(words)), if_gone, "{words}");
            assert_eq!(not_gone(said(words), Blame::Policy), if_not, "{words}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_kept_with_its_reason_and_bounded() {
        let long = "é".repeat(UNREAD_BYTES_MAX);
        let entries = [json!({ "to": "a@x.test" }), json!("words"), json!(long)];
        let webhook = each("service", &entries, |_| Err("a reason"));
        let kept: Vec<String> = webhook.unreadable.iter().map(Unread::to_string).collect();
        let reason = "service: a reason";
        assert_eq!(kept[0], format!("{reason}: {{\"to\":\"a@x.test\"}}"));
        assert_eq!(kept[1], format!("{reason}: words"));
        assert_eq!(kept[2].len(), reason.len() + 2 + UNREAD_BYTES_MAX);
        assert!(webhook.unreadable.iter().all(|own| own.reason == reason));
    }

    #[test]
    fn times_are_read_as_numbers_as_digits_and_as_text() {
        let at: Timestamp = "2026-11-22T10:00:00Z".parse().unwrap();
        let s = at.as_second();
        for value in [json!(s), json!(s.to_string()), json!(format!("{s}.0"))] {
            assert_eq!(seconds(&value), Some(at), "{value}");
        }
        for value in [json!("1e99"), json!(-1), json!(0), json!(null), json!("x")] {
            assert_eq!(seconds(&value), None, "{value}");
        }
        assert_eq!(iso(&json!("2026-11-22T10:00:00Z")), Some(at));
        assert_eq!(iso(&json!("2026-11-22T08:00:00.0000000-02:00")), Some(at));
        assert_eq!(iso(&json!("yesterday")), None);
    }

    #[test]
    fn a_key_tells_parts_apart_that_join_to_the_same_text() {
        assert_eq!(dedup_key(&["a", "bc"]), dedup_key(&["a", "bc"]));
        assert_ne!(dedup_key(&["a", "bc"]), dedup_key(&["ab", "c"]));
    }

    #[test]
    fn a_form_is_an_object_of_its_first_values() {
        let read = form(b"to=a%40x.test&to=b&subject=a+b&empty=&bare");
        let expected = json!({ "to": "a@x.test", "subject": "a b", "empty": "", "bare": "" });
        assert_eq!(read, expected);
    }

    proptest! {
        #[test]
        fn no_octets_break_a_reader(octets in prop::collection::vec(any::<u8>(), 0..400)) {
            let members = form(&octets);
            prop_assert!(members.as_object().is_some_and(|m| m.len() <= PAIRS_MAX));
            let words = String::from_utf8_lossy(&octets);
            prop_assert_ne!(not_gone(said(&words), Blame::Unknown), Blame::Recipient);
            prop_assert!(json(&octets).is_err() || !octets.is_empty());
        }
    }
}
