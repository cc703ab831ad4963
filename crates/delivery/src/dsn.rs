//! Delivery status notifications (RFC 3464): what a sender is told of a final failure.
//!
//! Mautic reads these by some 120 patterns, first over `Diagnostic-Code` and then over the raw text
//! of the whole report, and stops all mail to the address when one fits. So its reports say
//! `User unknown` where the address is at fault and words that fit no pattern otherwise; what the
//! server really said stands in the human part, encoded.

mod cause;

#[cfg(test)]
mod tests;

use bytes::{BufMut as _, Bytes, BytesMut};
use jiff::Timestamp;
use lettre::message::Body;
use lettre::message::header::ContentTransferEncoding;
use malote_core::address::EmailAddress;
use malote_core::event::State;
use malote_core::id::MessageId;
use malote_core::provider::Reply;
use malote_store::MessageRecord;

use self::cause::Cause;
use crate::header::{self, Header, put_field};

/// Largest message given back whole (`RET=FULL`); of a larger one only the header is, as RFC 3461
/// 4.3 allows.
const RETURNED_BYTES_MAX: usize = 256 * 1024;

/// Most of a header section given back.
const RETURNED_HEADER_BYTES_MAX: usize = 32 * 1024;

/// A final failure to be told of.
pub struct DsnInput<'a> {
    /// The id of the notification itself.
    pub id: MessageId,
    /// Now.
    pub now: Timestamp,
    /// Our name.
    pub reporting_mta: &'a str,
    /// The message that failed.
    pub record: &'a MessageRecord,
    /// Its body; empty once retention has dropped it.
    pub body: &'a Bytes,
    /// The recipient that failed, as the client wrote it if it is no address.
    pub recipient: &'a str,
    /// `ORCPT=` as the client gave it.
    pub orcpt: Option<&'a str>,
    /// `Bounced` or `Expired`.
    pub state: State,
    /// What was said of it last.
    pub reply: Option<&'a Reply>,
}

/// A notification ready to be queued.
pub struct Dsn {
    /// The address in its From.
    pub from: EmailAddress,
    /// Its Message-ID with angle brackets.
    pub message_id: String,
    /// The message, CRLF line ends.
    pub body: Bytes,
}

/// Composes the notification, to be sent with a null reverse-path; `None` if the message had no
/// sender to be told.
#[must_use]
pub fn compose(input: &DsnInput<'_>) -> Option<Dsn> {
    let to = input.record.mail_from.as_ref()?;
    // The domain of the message's own From: the one that the providers let this sender use.
    let domain = input.record.from.domain();
    let from = EmailAddress::parse(&format!("mailer-daemon@{domain}")).ok()?;
    let message_id = header::message_id(input.id, domain);
    let cause = Cause::of(input.state, input.reply);
    let returned = Returned::of(input);
    let boundary = format!("malote-{}", input.id.simple());

    let mut out = BytesMut::with_capacity(4096 + input.body.len().min(RETURNED_BYTES_MAX));
    let sender = format!("Mail Delivery System <{from}>");
    let report = format!("multipart/report; report-type=delivery-status; boundary=\"{boundary}\"");
    for (name, value) in [
        ("From", sender.as_str()),
        ("To", to.as_str()),
        ("Subject", "Delivery failed: mail returned to sender"),
        ("Date", &header::date(input.now)),
        ("Message-ID", &message_id),
        // RFC 3834 5: no responder answers it.
        ("Auto-Submitted", "auto-replied"),
        ("MIME-Version", "1.0"),
        ("Content-Type", &report),
        ("Content-Transfer-Encoding", returned.encoding()),
    ] {
        put_field(&mut out, name, value);
    }
    put_part(&mut out, &boundary, "text/plain; charset=utf-8", "base64");
    out.put_slice(&base64(human_text(input, cause)));
    put_part(&mut out, &boundary, "message/delivery-status", "7bit");
    put_status(&mut out, input, cause);
    returned.put(&mut out, &boundary);
    out.put_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    Some(Dsn {
        from,
        message_id,
        body: out.freeze(),
    })
}

/// Opens a part. The line end in front belongs to the boundary (RFC 2046 5.1.1).
fn put_part(out: &mut BytesMut, boundary: &str, content_type: &str, encoding: &str) {
    out.put_slice(format!("\r\n--{boundary}\r\n").as_bytes());
    put_field(out, "Content-Type", content_type);
    put_field(out, "Content-Transfer-Encoding", encoding);
    out.put_slice(b"\r\n");
}

fn base64(text: String) -> Vec<u8> {
    // Base64 takes any text, so there is no other outcome.
    let body = Body::new_with_encoding(text, ContentTransferEncoding::Base64);
    body.map(Body::into_vec).unwrap_or_default()
}

fn human_text(input: &DsnInput<'_>, cause: Cause) -> String {
    let record = input.record;
    let mut text = format!(
        "This is the mail gateway at {}.\n\n\
         Your message could not be delivered to the address below and will not be\n\
         sent again.\n\n  {}\n  {}\n",
        input.reporting_mta,
        input.recipient,
        cause.explained(),
    );
    if let Some(reply) = input.reply.filter(|reply| !reply.to_string().is_empty()) {
        let mut reply = reply.to_string();
        if is_read_by_mautic(record) {
            // Its last patterns, over the text as people see it, want an address beside the words.
            reply = reply.replace('@', " at ");
        }
        text.push_str(&format!("  The last answer was: {reply}\n"));
    }
    text.push_str(&format!(
        "\nYour message: {}\nTaken by the gateway: {}\n",
        malote_core::provider::bounded(&record.message_id_header, 256),
        header::date(record.accepted_at),
    ));
    text
}

/// The part that programs read (RFC 3464 2).
fn put_status(out: &mut BytesMut, input: &DsnInput<'_>, cause: Cause) {
    let record = input.record;
    put_field(
        out,
        "Reporting-MTA",
        &format!("dns; {}", input.reporting_mta),
    );
    if let Some(envid) = record.dsn.envid.as_deref().and_then(decode_xtext) {
        put_field(out, "Original-Envelope-Id", &envid);
    }
    put_field(out, "Arrival-Date", &header::date(record.accepted_at));
    out.put_slice(b"\r\n");
    if let Some(orcpt) = input.orcpt.and_then(decode_xtext) {
        put_field(out, "Original-Recipient", &orcpt);
    }
    let recipient = final_recipient(input.recipient);
    put_field(out, "Final-Recipient", &recipient);
    put_field(out, "Action", "failed");
    put_field(out, "Status", &cause.status(input.reply));
    let diagnostic = if is_read_by_mautic(record) {
        cause.canonical(input.reply)
    } else {
        cause.diagnostic(input.reply)
    };
    put_field(out, "Diagnostic-Code", &ascii(&diagnostic));
    put_field(out, "Last-Attempt-Date", &header::date(input.now));
}

/// Mautic marks the addresses that its bounce mailbox hears of: `local+bounce_HASH@domain`, and
/// `local+bounce@domain` for system mail.
fn is_read_by_mautic(record: &MessageRecord) -> bool {
    let is_marked = |from: &EmailAddress| from.local_part().contains("+bounce");
    record.tracking_hash.is_some() || record.mail_from.as_ref().is_some_and(is_marked)
}

/// `rfc822; ` or, for what is not ASCII, `utf-8; ` in its seven-bit form (RFC 6533 3).
fn final_recipient(address: &str) -> String {
    if address.is_ascii() {
        return format!("rfc822; {address}");
    }
    let mut text = String::from("utf-8; ");
    for c in address.chars() {
        if c.is_ascii_graphic() && !matches!(c, '+' | '=' | '\\') {
            text.push(c);
        } else {
            text.push_str(&format!("\\x{{{:X}}}", u32::from(c)));
        }
    }
    text
}

/// Decodes xtext (RFC 3461 4); `None` if it is none, or holds what no header field may.
fn decode_xtext(text: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'+' {
            decoded.push(byte);
            continue;
        }
        let digit = |b: Option<u8>| char::from(b?).to_digit(16);
        let (high, low) = (digit(bytes.next())?, digit(bytes.next())?);
        decoded.push(u8::try_from(high * 16 + low).ok()?);
    }
    let is_visible = decoded.iter().all(|b| b.is_ascii_graphic() || *b == b' ');
    let text = String::from_utf8(decoded).ok()?;
    (is_visible && (1..=500).contains(&text.len())).then_some(text)
}

/// A status part is seven-bit (RFC 3464 2.1).
fn ascii(text: &str) -> String {
    let visible = |c: char| if c.is_ascii() { c } else { '?' };
    text.chars().map(visible).collect()
}

/// What is given back of the failed message.
enum Returned<'a> {
    /// All of it, since the client asked for it.
    Message(&'a Bytes),
    /// Its header. As text and not as a message, which Mautic would take for the status part.
    Header(String),
    /// Retention has dropped it.
    Nothing,
}

impl<'a> Returned<'a> {
    fn of(input: &DsnInput<'a>) -> Self {
        let body = input.body;
        if body.is_empty() {
            return Self::Nothing;
        }
        if input.record.dsn.ret_full && body.len() <= RETURNED_BYTES_MAX {
            return Self::Message(body);
        }
        let header = Header::parse(body).ok();
        let section = header.as_ref().map_or(&[][..], Header::section);
        let section = &section[..section.len().min(RETURNED_HEADER_BYTES_MAX)];
        Self::Header(String::from_utf8_lossy(section).into_owned())
    }

    /// The whole notification's encoding is that of its widest part (RFC 2045 6.4).
    fn encoding(&self) -> &'static str {
        match self {
            Self::Message(message) if !message.is_ascii() => "8bit",
            Self::Message(_) | Self::Header(_) | Self::Nothing => "7bit",
        }
    }

    fn put(&self, out: &mut BytesMut, boundary: &str) {
        match self {
            Self::Message(message) => {
                put_part(out, boundary, "message/rfc822", self.encoding());
                out.put_slice(message);
            }
            Self::Header(section) => {
                let content_type = "text/rfc822-headers; charset=utf-8";
                put_part(out, boundary, content_type, "base64");
                out.put_slice(&base64(section.clone()));
            }
            Self::Nothing => {}
        }
    }
}
