//! Whether a campaign's message lets its reader leave (RFC 2369, RFC 8058), and the fields that the
//! gateway adds where nothing does: pure.
//!
//! The fields are of one recipient and the body is one for all, so they are added only to messages
//! to one recipient, as mailers send campaigns. They are added before anybody behind us signs.

use bytes::Bytes;
use jiff::Timestamp;
use malote_core::id::MessageId;
use malote_core::message::Submission;
use malote_core::stream::{Class, Stream};

use crate::header::Header;
use crate::intake::is_internal;
use crate::policy::Policy;
use crate::prepare::Prepared;

/// What intake makes of a message's List-Unsubscribe.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Offer {
    /// Whether fields are to be added.
    pub(crate) is_added: bool,
    /// What the timeline says of it.
    pub(crate) note: &'static str,
}

/// What the gateway does for a reader who wants to leave: campaigns' mail only, and not its own.
pub(crate) fn offer(
    policy: &Policy,
    stream: &Stream,
    submission: &Submission,
    prepared: &Prepared,
) -> Offer {
    let is_meant = policy.unsubscribe.is_some()
        && stream.class == Class::Campaign
        && !is_internal(submission.channel);
    let recipients = submission.recipients.len() + submission.impossible.len();
    match is_meant {
        true => prepared.unsubscribe_offer(recipients),
        false => Offer::default(),
    }
}

/// The message as it will leave, with the fields if they are to be added.
pub(crate) fn finish(
    policy: &Policy,
    prepared: Prepared,
    offer: &Offer,
    (id, now): (MessageId, Timestamp),
) -> Bytes {
    let value = offer.is_added.then(|| policy.list_unsubscribe(id));
    let prepared = match value.flatten() {
        Some(value) => prepared.with_unsubscribe(value),
        None => prepared,
    };
    prepared.finish(id, now, &policy.bounds.hostname)
}

/// Looks at the header of a campaign's message to this many recipients. `one_click` is the
/// address at which its own fields take that.
pub(crate) fn judge(header: &Header, recipients: usize, one_click: Option<&str>) -> Offer {
    let leave = |note| Offer {
        is_added: false,
        note,
    };
    if header.has("List-Unsubscribe") {
        return match one_click {
            Some(_) => leave(""),
            None => leave("its List-Unsubscribe takes no one click (RFC 8058)"),
        };
    }
    if recipients != 1 {
        return leave("no List-Unsubscribe: a link is of one recipient, and this goes to several");
    }
    let signed = signed_fields(header);
    let names_it = |fields: &String| {
        let mut names = fields.split(':');
        names.any(|name| name.trim().eq_ignore_ascii_case("List-Unsubscribe"))
    };
    match (signed.is_empty(), signed.iter().any(names_it)) {
        (true, _) => Offer {
            is_added: true,
            note: "List-Unsubscribe added",
        },
        // RFC 6376 5.4: a field that is named and not there must not be added.
        (false, true) => leave("no List-Unsubscribe: its DKIM signature forbids to add one"),
        (false, false) => Offer {
            is_added: true,
            note: "List-Unsubscribe added; its DKIM signature does not cover it (RFC 8058 4)",
        },
    }
}

/// The `h=` of each DKIM signature (RFC 6376 3.5), white space taken out.
fn signed_fields(header: &Header) -> Vec<String> {
    let signatures = header.all("DKIM-Signature");
    let tag = |signature: String| {
        let compact: String = signature.split_whitespace().collect();
        let mut tags = compact.split(';');
        let fields = tags.find_map(|tag| tag.strip_prefix("h="));
        fields.unwrap_or_default().to_owned()
    };
    signatures
        .map(|field| tag(field.value().into_owned()))
        .collect()
}

/// The value of List-Unsubscribe: the link first, as RFC 8058 3.1 asks for one.
pub(crate) fn field(link: &str, mailto: Option<&str>) -> String {
    match mailto {
        Some(address) => format!("<{link}>, <mailto:{address}?subject=unsubscribe>"),
        None => format!("<{link}>"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(fields: &str, recipients: usize, one_click: Option<&str>) -> (bool, &'static str) {
        let text = format!("From: a@shop.example\n{fields}\nhi\n").replace('\n', "\r\n");
        let header = Header::parse(&Bytes::from(text)).unwrap();
        let offer = judge(&header, recipients, one_click);
        (offer.is_added, offer.note)
    }

    #[test]
    fn fields_are_added_only_where_none_are_and_none_are_forbidden() {
        let own = "List-Unsubscribe: <https://mautic.example/u/1>\n";
        assert_eq!(
            judged(own, 1, Some("https://mautic.example/u/1")),
            (false, "")
        );
        let (is_added, note) = judged(own, 1, None);
        assert!(!is_added && note.contains("no one click"), "{note}");
        assert_eq!(judged("", 1, None), (true, "List-Unsubscribe added"));
        let (is_added, note) = judged("", 2, None);
        assert!(!is_added && note.contains("several"), "{note}");
        let open =
            "DKIM-Signature: v=1; a=rsa-sha256; d=shop.example;\n\th=From:\n\t Subject; b=x\n";
        let (is_added, note) = judged(open, 1, None);
        assert!(is_added && note.contains("does not cover"), "{note}");
        let closed = "DKIM-Signature: v=1; h=From : List-\n unsubscribe:Subject; b=x\n";
        let (is_added, note) = judged(closed, 1, None);
        assert!(!is_added && note.contains("forbids"), "{note}");
    }

    #[test]
    fn the_link_stands_in_front_of_the_address() {
        assert_eq!(
            field("https://u.example/u/t", None),
            "<https://u.example/u/t>"
        );
        assert_eq!(
            field("https://u.example/u/t", Some("u+t@b.example")),
            "<https://u.example/u/t>, <mailto:u+t@b.example?subject=unsubscribe>"
        );
    }
}
