//! SES's events (event publishing and identity feedback alike) as events of ours.

use bytes::Bytes;
use jiff::Timestamp;
use malote_core::address::EmailAddress;
use malote_core::event::{Blame, EventKind, ProviderEvent, raw_event};
use malote_core::id::DeliveryId;
use malote_core::provider::{REPLY_TEXT_BYTES_MAX, bounded};
use malote_core::webhook::{Unread, Webhook};
use serde_json::Value;

use crate::bounce::{Refusal, blame};
use crate::correlation;

/// Recipients of one event that are read; a message has at most 50.
const RECIPIENTS_MAX: usize = 100;
const WORD_BYTES_MAX: usize = 64;

/// What an event says of one recipient.
struct Fact<'a> {
    kind: EventKind,
    blame: Option<Blame>,
    /// The address; `None` where SES does not say whose event it is.
    address: Option<&'a str>,
    detail: String,
}

impl<'a> Fact<'a> {
    fn new(kind: EventKind, address: &'a str) -> Self {
        Self {
            kind,
            blame: None,
            address: Some(address),
            detail: String::new(),
        }
    }
}

/// Reads the `Message` of a believed notification. What cannot be read goes to
/// [`Webhook::unreadable`]: asking for it again would not help.
pub(crate) fn read(message: &str, message_id: &str) -> Webhook {
    let mut webhook = Webhook::default();
    let unread = |why: &str| Unread::new(format!("ses: {why}"), message);
    // SES announces itself on a new topic in plain words.
    if message.starts_with("Successfully validated SNS topic") {
        return webhook;
    }
    let Ok(event) = serde_json::from_str::<Value>(message) else {
        webhook.unreadable.push(unread("not an event of SES"));
        return webhook;
    };
    let Some(word) = event["eventType"]
        .as_str()
        .or(event["notificationType"].as_str())
    else {
        webhook.unreadable.push(unread("an event without its type"));
        return webhook;
    };
    let (facts, at) = facts(word, &event);
    if word == "AmazonSnsSubscriptionSucceeded" {
        return webhook;
    }
    let Some(at) = time(at).or_else(|| time(&event["mail"]["timestamp"])) else {
        webhook.unreadable.push(unread("an event without its time"));
        return webhook;
    };
    for (n, fact) in facts.into_iter().take(RECIPIENTS_MAX).enumerate() {
        match provider_event(&event, fact, at) {
            Ok(mut made) => {
                made.dedup_key = format!("{message_id}#{n}");
                made.raw = raw_event(message.as_bytes());
                webhook.events.push(made);
            }
            Err(why) => webhook.unreadable.push(unread(why)),
        }
    }
    webhook
}

fn provider_event(
    event: &Value,
    fact: Fact<'_>,
    at: Timestamp,
) -> Result<ProviderEvent, &'static str> {
    let recipient = match fact.address {
        Some(text) => Some(address(text).ok_or("a recipient that is no address")?),
        None => None,
    };
    Ok(ProviderEvent {
        dedup_key: String::new(),
        at,
        kind: fact.kind,
        blame: fact.blame,
        delivery: delivery(&event["mail"]["tags"], recipient.as_ref()),
        provider_message_id: event["mail"]["messageId"].as_str().and_then(plain_id),
        recipient,
        detail: bounded(&fact.detail, REPLY_TEXT_BYTES_MAX),
        raw: Bytes::new(),
    })
}

fn time(value: &Value) -> Option<Timestamp> {
    value.as_str().filter(|text| text.len() <= 64)?.parse().ok()
}

fn plain_id(id: &str) -> Option<String> {
    let is_id = (1..=256).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
    is_id.then(|| id.to_owned())
}

/// `a@b` or `Name <a@b>`: SES repeats what the message says.
fn address(text: &str) -> Option<EmailAddress> {
    let inner = match (text.rfind('<'), text.strip_suffix('>')) {
        (Some(open), Some(inner)) => &inner[open + 1..],
        _ => text,
    };
    inner.parse().ok()
}

/// Tags exist in event publishing only; each has a list of values.
fn delivery(tags: &Value, recipient: Option<&EmailAddress>) -> Option<DeliveryId> {
    let tags = tags.as_object()?;
    let message = tags.get(correlation::MESSAGE)?[0].as_str()?;
    let recipients = tags
        .iter()
        .filter(|(name, _)| name.starts_with(correlation::RECIPIENTS))
        .filter_map(|(_, values)| values[0].as_str());
    correlation::delivery(message, recipients, recipient)
}

/// The facts of an event and where its time stands. The object's name is the type's in lower
/// camel case.
fn facts<'a>(word: &str, event: &'a Value) -> (Vec<Fact<'a>>, &'a Value) {
    let mail = &event["mail"];
    match word {
        "Send" => (of_all(mail, &EventKind::Sent, None), &mail["timestamp"]),
        "Delivery" => delivered(&event["delivery"]),
        "DeliveryDelay" => delayed(&event["deliveryDelay"]),
        "Bounce" => bounced(&event["bounce"]),
        "Complaint" => complained(&event["complaint"]),
        "Reject" => {
            let mut facts = of_all(mail, &EventKind::Rejected, Some(Blame::Content));
            for fact in &mut facts {
                fact.detail = text(&event["reject"]["reason"]);
            }
            (facts, &mail["timestamp"])
        }
        "Open" => (
            vec![of_one(mail, EventKind::Opened, "")],
            &event["open"]["timestamp"],
        ),
        "Click" => {
            let link = text(&event["click"]["link"]);
            let fact = of_one(mail, EventKind::Clicked, &link);
            (vec![fact], &event["click"]["timestamp"])
        }
        "Subscription" => {
            let change = &event["subscription"];
            let kind = match leaves(change) {
                true => EventKind::Unsubscribed,
                false => EventKind::Other("subscription".to_owned()),
            };
            let list = text(&change["contactList"]);
            (vec![of_one(mail, kind, &list)], &change["timestamp"])
        }
        other => {
            let kind = EventKind::Other(bounded(other, WORD_BYTES_MAX));
            (vec![of_one(mail, kind, "")], &mail["timestamp"])
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn of_all<'a>(mail: &'a Value, kind: &EventKind, blame: Option<Blame>) -> Vec<Fact<'a>> {
    let destination = list(&mail["destination"]).iter();
    let fact = |address: &'a Value| Fact {
        blame,
        ..Fact::new(kind.clone(), address.as_str().unwrap_or_default())
    };
    destination.map(fact).collect()
}

/// Opens and clicks name no recipient: it is known only if the message had one.
fn of_one<'a>(mail: &'a Value, kind: EventKind, detail: &str) -> Fact<'a> {
    let address = match list(&mail["destination"]) {
        [only] => only.as_str(),
        _ => None,
    };
    Fact {
        kind,
        blame: None,
        address,
        detail: detail.to_owned(),
    }
}

fn delivered(delivery: &Value) -> (Vec<Fact<'_>>, &Value) {
    let facts = list(&delivery["recipients"]).iter().map(|address| Fact {
        detail: text(&delivery["smtpResponse"]),
        ..Fact::new(EventKind::Delivered, address.as_str().unwrap_or_default())
    });
    (facts.collect(), &delivery["timestamp"])
}

fn delayed(delay: &Value) -> (Vec<Fact<'_>>, &Value) {
    let kind = text(&delay["delayType"]);
    let facts = list(&delay["delayedRecipients"])
        .iter()
        .map(|recipient| Fact {
            detail: format!("{kind} {}", server_words(recipient))
                .trim()
                .to_owned(),
            ..Fact::new(EventKind::Deferred, address_of(recipient))
        });
    (facts.collect(), &delay["timestamp"])
}

fn address_of(recipient: &Value) -> &str {
    recipient["emailAddress"].as_str().unwrap_or_default()
}

fn server_words(recipient: &Value) -> String {
    let words = format!(
        "{} {}",
        text(&recipient["status"]),
        text(&recipient["diagnosticCode"])
    );
    words.trim().to_owned()
}

fn bounced(bounce: &Value) -> (Vec<Fact<'_>>, &Value) {
    let kind = bounce["bounceType"].as_str().unwrap_or_default();
    let sub_kind = bounce["bounceSubType"].as_str().unwrap_or_default();
    let facts = list(&bounce["bouncedRecipients"]).iter().map(|recipient| {
        let (event_kind, blame) = blame_of(kind, sub_kind, recipient);
        Fact {
            blame,
            detail: format!("{kind}/{sub_kind} {}", server_words(recipient))
                .trim()
                .to_owned(),
            ..Fact::new(event_kind, address_of(recipient))
        }
    });
    (facts.collect(), &bounce["timestamp"])
}

/// SES's own sorting, corrected by the server's words: its permanent bounces include blocks, which
/// say nothing of the mailbox. Transient ones are final too: SES has stopped trying.
fn blame_of(kind: &str, sub_kind: &str, recipient: &Value) -> (EventKind, Option<Blame>) {
    let diagnostic = text(&recipient["diagnosticCode"]);
    let said = blame(Refusal {
        code: None,
        enhanced: recipient["status"].as_str(),
        text: &diagnostic,
    });
    let found = match (kind, sub_kind) {
        (_, "Suppressed" | "OnAccountSuppressionList") => return (EventKind::Suppressed, None),
        ("Permanent", _) => match said {
            Some(blame) => blame,
            // Without the server's words SES's own finding stands; words that nobody knows are doubt.
            None if diagnostic.is_empty() || sub_kind == "NoEmail" => Blame::Recipient,
            None => Blame::Unknown,
        },
        ("Transient", "MailboxFull") => Blame::MailboxFull,
        ("Transient", "MessageTooLarge" | "ContentRejected" | "AttachmentRejected") => {
            Blame::Content
        }
        // A mailbox that SES does not call gone is not called gone here.
        (_, _) => match said {
            Some(Blame::MailboxFull) => Blame::MailboxFull,
            Some(Blame::Reputation) => Blame::Reputation,
            Some(Blame::Content) => Blame::Content,
            Some(blame @ (Blame::SenderAuth | Blame::Rate | Blame::Policy)) => blame,
            Some(Blame::Recipient | Blame::Infrastructure | Blame::Unknown) | None => {
                Blame::Unknown
            }
        },
    };
    (EventKind::Bounced, Some(found))
}

/// Receivers hide who complained; the list is everybody who may have. `not-spam` takes mail out of
/// the spam folder.
fn complained(complaint: &Value) -> (Vec<Fact<'_>>, &Value) {
    let feedback = complaint["complaintFeedbackType"]
        .as_str()
        .unwrap_or_default();
    let is_suppressed = complaint["complaintSubType"].as_str() == Some("OnAccountSuppressionList");
    let kind = match feedback {
        _ if is_suppressed => EventKind::Suppressed,
        "not-spam" => EventKind::Other("not_spam".to_owned()),
        _ => EventKind::Complained,
    };
    let facts = list(&complaint["complainedRecipients"])
        .iter()
        .map(|recipient| Fact {
            detail: feedback.to_owned(),
            ..Fact::new(kind.clone(), address_of(recipient))
        });
    let at = if complaint["timestamp"].is_null() {
        &complaint["arrivalDate"]
    } else {
        &complaint["timestamp"]
    };
    (facts.collect(), at)
}

/// Whether a change of preferences leaves the list, or every topic of it that it names.
fn leaves(change: &Value) -> bool {
    let new = &change["newTopicPreferences"];
    let topics = list(&new["topicSubscriptionStatus"]);
    let is_out = |topic: &Value| topic["subscriptionStatus"].as_str() == Some("OptOut");
    new["unsubscribeAll"].as_bool() == Some(true) || !topics.is_empty() && topics.iter().all(is_out)
}
