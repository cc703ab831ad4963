//! Reports for the mailbox that Mautic reads (its cron job `mautic:email:fetch`): a delivery status
//! notification (RFC 3464) for a bounce, a complaint report in ARF (RFC 5965) for the rest.
//!
//! Mautic finds the contact by the hash in To, else by the address in the report, and takes a bounce
//! as final only for words that its patterns know. So the part that programs read holds a phrase
//! that it knows and nothing of what the server said, which stands in the part for people, encoded
//! so that no pattern reads it. No part of the report is a message: Mautic would take the last one
//! for the report itself.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use jiff::tz::TimeZone;
use malote_core::address::EmailAddress;
use malote_core::event::EventKind;
use malote_core::feed::FeedEvent;
use malote_core::name::ProviderName;
use malote_core::outlet::OutletMail;
use malote_core::provider::bounded;

use super::miss::Miss;
use super::saying::{Saying, codes, spoken};

/// Where reports go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mailbox {
    /// The address without a mark; no `+` in it.
    pub to: EmailAddress,
    /// The provider that carries them.
    pub provider: ProviderName,
}

/// Characters of an encoded line (RFC 2045 6.8).
const BASE64_LINE_MAX: usize = 76;

/// The report about an event.
///
/// # Errors
/// [`Miss::Refused`] for a recipient that no report can name.
pub(crate) fn compose(
    mailbox: &Mailbox,
    saying: Saying,
    event: &FeedEvent,
    now: Timestamp,
) -> Result<OutletMail, Miss> {
    let refused = |why: &str| Miss::Refused(why.to_owned());
    let recipient = EmailAddress::parse(&event.recipient)
        .ok()
        .filter(|address| !address.needs_smtputf8())
        .ok_or_else(|| refused("a report can only name an address of ASCII"))?;
    let domain = mailbox.to.domain();
    let from = EmailAddress::parse(&format!("mailer-daemon@{domain}"))
        .map_err(|_| refused("dsn_to has no domain to report from"))?;
    let mark = match saying {
        Saying::Bounced => "bounce",
        Saying::Complained | Saying::Unsubscribed => "unsubscribe",
        Saying::Resubscribed => return Err(refused("no report says that mail is wanted again")),
    };
    let (kind, parts) = match saying {
        Saying::Bounced => ("delivery-status", bounce_parts(event, &recipient, domain)),
        Saying::Complained | Saying::Unsubscribed | Saying::Resubscribed => {
            ("feedback-report", abuse_parts(saying, event, &recipient))
        }
    };
    let boundary = format!("malote-{}", event.id);
    let to = marked(&mailbox.to, mark, event.tracking_hash.as_deref());
    let body = message(&Frame {
        from: &from,
        to: &to,
        kind,
        boundary: &boundary,
        message_id: &format!("<{}.{mark}@{domain}>", event.id),
        date: &date(now),
        parts: &parts,
    });
    Ok(OutletMail {
        to,
        from,
        body,
        provider: mailbox.provider.clone(),
    })
}

/// `local+bounce_HASH@domain`, as Mautic marks its own return paths; without a hash, or with one
/// that does not fit, `local+bounce@domain`.
fn marked(to: &EmailAddress, mark: &str, hash: Option<&str>) -> EmailAddress {
    let is_hash = |hash: &&str| hash.bytes().all(|b| b.is_ascii_alphanumeric());
    let (local, domain) = (to.local_part(), to.domain());
    let with_hash = hash
        .filter(is_hash)
        .and_then(|hash| EmailAddress::parse(&format!("{local}+{mark}_{hash}@{domain}")).ok());
    with_hash
        .or_else(|| EmailAddress::parse(&format!("{local}+{mark}@{domain}")).ok())
        .unwrap_or_else(|| to.clone())
}

/// A part's type and encoding, and its text.
type Part = (&'static str, &'static str, String);

fn bounce_parts(event: &FeedEvent, recipient: &EmailAddress, domain: &str) -> Vec<Part> {
    let is_suppressed = event.kind == EventKind::Suppressed;
    let fact = if is_suppressed {
        "suppressed"
    } else {
        "bounced"
    };
    let (code, enhanced) = codes(spoken(event));
    let code = code.filter(|code| *code >= 500).unwrap_or(550);
    // The canonical words stand with the number of their class alone: of the others Mautic takes
    // some for a soft bounce.
    let status = enhanced
        .filter(|[class, ..]| *class == 5)
        .unwrap_or([5, 0, 0]);
    let [class, subject, detail] = status;
    let report = format!(
        "Reporting-MTA: dns; {domain}\r\n\
         \r\n\
         Final-Recipient: rfc822; {recipient}\r\n\
         Action: failed\r\n\
         Status: {class}.{subject}.{detail}\r\n\
         Diagnostic-Code: smtp; 550 5.0.0 User unknown (malote: {fact})\r\n"
    );
    let why = said(event);
    let human = format!(
        "This is the mail gateway malote.\n\nThe address below takes no mail ({fact}, {code}) and \
         is not written to again.\n\n  {recipient}\n{why}"
    );
    vec![
        ("text/plain; charset=utf-8", "base64", encoded(&human)),
        ("message/delivery-status", "7bit", report),
    ]
}

fn abuse_parts(saying: Saying, event: &FeedEvent, recipient: &EmailAddress) -> Vec<Part> {
    let fact = match saying {
        Saying::Complained => "called a message spam",
        Saying::Unsubscribed | Saying::Bounced | Saying::Resubscribed => "unsubscribed",
    };
    // The only type that Mautic acts upon; what really happened stands in the part for people.
    let report = format!(
        "Feedback-Type: abuse\r\n\
         User-Agent: malote/{}\r\n\
         Version: 1\r\n\
         Original-Rcpt-To: {recipient}\r\n",
        env!("CARGO_PKG_VERSION")
    );
    let email_id = super::email_id(event).map(|id| format!("X-EMAIL-ID: {id}\r\n"));
    let header = format!("To: {recipient}\r\n{}", email_id.unwrap_or_default());
    let why = said(event);
    let human = format!(
        "This is the mail gateway malote.\n\nThe recipient below {fact} and wants no more \
         mail.\n\n  {recipient}\n{why}"
    );
    vec![
        ("text/plain; charset=utf-8", "base64", encoded(&human)),
        ("message/feedback-report", "7bit", report),
        ("text/rfc822-headers", "7bit", header),
    ]
}

/// What was really said. Mautic's last patterns want an address beside the words.
fn said(event: &FeedEvent) -> String {
    let reply = bounded(spoken(event), 512).replace('@', " at ");
    if reply.is_empty() {
        return reply;
    }
    format!("  {reply}\n")
}

fn encoded(text: &str) -> String {
    let encoded = STANDARD.encode(text.replace('\n', "\r\n"));
    let mut lines = String::with_capacity(encoded.len() + encoded.len() / 32);
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at(rest.len().min(BASE64_LINE_MAX));
        lines.push_str(line);
        lines.push_str("\r\n");
        rest = more;
    }
    lines
}

fn date(now: Timestamp) -> String {
    let zoned = now.to_zoned(TimeZone::UTC);
    rfc2822::to_string(&zoned).unwrap_or_default()
}

/// What a report is put together of.
struct Frame<'a> {
    from: &'a EmailAddress,
    to: &'a EmailAddress,
    kind: &'a str,
    boundary: &'a str,
    message_id: &'a str,
    date: &'a str,
    parts: &'a [Part],
}

fn message(frame: &Frame<'_>) -> Bytes {
    let Frame {
        from,
        to,
        kind,
        boundary,
        message_id,
        date,
        parts,
    } = frame;
    // RFC 3834 5: no responder answers it.
    let mut text = format!(
        "From: Mail Delivery System <{from}>\r\n\
         To: {to}\r\n\
         Subject: Report of the mail gateway\r\n\
         Date: {date}\r\n\
         Message-ID: {message_id}\r\n\
         Auto-Submitted: auto-replied\r\n\
         MIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type={kind};\r\n boundary=\"{boundary}\"\r\n\
         \r\n"
    );
    for (content_type, encoding, part) in *parts {
        text.push_str(&format!(
            "--{boundary}\r\nContent-Type: {content_type}\r\n\
             Content-Transfer-Encoding: {encoding}\r\n\r\n{part}\r\n"
        ));
    }
    text.push_str(&format!("--{boundary}--\r\n"));
    text.into()
}

#[cfg(test)]
mod tests {
    use mail_parser::{MessageParser, MimeHeaders};
    use proptest::prelude::*;

    use super::*;
    use crate::webhook::tests::event;

    fn mailbox() -> Mailbox {
        Mailbox {
            to: "bounces@mautic.example".parse().unwrap(),
            provider: "ses".parse().unwrap(),
        }
    }

    fn report(saying: Saying, event: &FeedEvent) -> OutletMail {
        let now = "2026-11-22T00:00:00Z".parse().unwrap();
        compose(&mailbox(), saying, event, now).unwrap()
    }

    fn bounce() -> FeedEvent {
        let mut event = event("bounced");
        event.tracking_hash = Some("6563a1f2c4b7a123456789".into());
        event.campaign = Some("12".into());
        event.reply = "552 5.2.2 <ana@one.example>: mailbox full, over quota".into();
        event
    }

    #[test]
    fn a_bounce_is_a_report_that_mautic_takes_as_final() {
        let mail = report(Saying::Bounced, &bounce());
        assert_eq!(
            mail.to.as_str(),
            "bounces+bounce_6563a1f2c4b7a123456789@mautic.example"
        );
        let text = String::from_utf8(mail.body.to_vec()).unwrap();
        assert!(
            text.contains(
                "\r\nDiagnostic-Code: smtp; 550 5.0.0 User unknown (malote: bounced)\r\n"
            )
        );
        assert!(text.contains("\r\nFinal-Recipient: rfc822; ana@one.example\r\n"));
        assert!(text.contains("\r\nAction: failed\r\n") && text.contains("\r\nStatus: 5.2.2\r\n"));
        assert!(!text.contains("full") && !text.contains("quota"), "{text}");
        let parsed = MessageParser::default().parse(&mail.body[..]).unwrap();
        assert_eq!(
            parsed.attachment_count() + parsed.text_body_count(),
            2,
            "{text}"
        );
        let human = parsed.body_text(0).unwrap();
        assert!(
            human.contains("552 5.2.2 <ana at one.example>: mailbox full"),
            "{human}"
        );
        let kind = parsed.content_type().unwrap();
        assert_eq!(kind.attribute("report-type"), Some("delivery-status"));
    }

    #[test]
    fn a_complaint_is_an_abuse_report_about_the_recipient() {
        for saying in [Saying::Complained, Saying::Unsubscribed] {
            let mail = report(saying, &bounce());
            let text = String::from_utf8(mail.body.to_vec()).unwrap();
            assert!(mail.to.as_str().starts_with("bounces+unsubscribe_6563a1"));
            assert!(text.contains("\r\nFeedback-Type: abuse\r\n"));
            assert!(text.contains("\r\nOriginal-Rcpt-To: ana@one.example\r\n"));
            assert!(!text.contains("message/rfc822"));
        }
    }

    #[test]
    fn without_a_hash_the_address_in_the_report_counts() {
        let mut event = bounce();
        for hash in [None, Some("a_b"), Some("x@y"), Some("\r\nBcc: x")] {
            event.tracking_hash = hash.map(ToOwned::to_owned);
            let to = report(Saying::Bounced, &event).to;
            assert_eq!(to.as_str(), "bounces+bounce@mautic.example");
        }
    }

    #[test]
    fn what_no_report_can_say_is_refused() {
        let now = Timestamp::UNIX_EPOCH;
        for (recipient, saying) in [
            ("joão@one.example", Saying::Bounced),
            ("nobody", Saying::Bounced),
            ("ana@one.example", Saying::Resubscribed),
        ] {
            let mut event = bounce();
            event.recipient = recipient.into();
            let refused = compose(&mailbox(), saying, &event, now);
            assert!(matches!(refused, Err(Miss::Refused(_))), "{recipient}");
        }
    }

    proptest! {
        #[test]
        fn no_reply_reaches_the_header_or_the_report(reply in "\\PC{0,80}(\r\n)?[^\u{0}]{0,80}") {
            let mut event = bounce();
            event.reply = reply;
            let body = report(Saying::Bounced, &event).body;
            prop_assert!(body.is_ascii());
            let text = String::from_utf8(body.to_vec()).unwrap();
            prop_assert!(text.split("\r\n").all(|line| line.len() <= 998 && !line.contains(['\r', '\n'])));
            prop_assert_eq!(text.matches("Diagnostic-Code:").count(), 1);
        }
    }
}
