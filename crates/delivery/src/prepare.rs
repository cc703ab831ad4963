//! What intake makes of a submission's header before anything is kept: pure.

use bytes::Bytes;
use jiff::Timestamp;
use malote_core::address::EmailAddress;
use malote_core::credential::OnForeignFrom;
use malote_core::id::MessageId;
use malote_core::intake::Refusal;
use malote_core::message::{Channel, Submission, has_bare_cr_lf};
use malote_core::tracking::Tracking;

use crate::header::{self, Edits, Header, HeaderFault};
use crate::intake::is_internal;
use crate::list_unsubscribe::{self, Offer};

/// RFC 5321 6.3 asks for a limit of at least 100.
const RECEIVED_FIELDS_MAX: usize = 100;

/// Longest one-click address kept, in octets.
const ONE_CLICK_BYTES_MAX: usize = 2_048;

/// A submission whose header has been read and judged.
pub(crate) struct Prepared {
    /// The address that From will hold.
    pub(crate) from: EmailAddress,
    /// The header fields as the client sent them, for rules.
    pub(crate) headers: Vec<(String, String)>,
    /// Mautic's tracking hash.
    pub(crate) tracking_hash: Option<String>,
    /// Where List-Unsubscribe takes one-click posts.
    pub(crate) one_click: Option<String>,
    /// The client's `X-Malote-Idempotency-Key`.
    pub(crate) idempotency_key: Option<String>,
    /// The client's `X-Malote-Track-Opens` and `X-Malote-Track-Clicks`.
    pub(crate) tracking: Tracking,
    header: Header,
    edits: Edits,
    given_message_id: Option<String>,
    has_date: bool,
    size: u64,
}

/// Reads and judges the header.
///
/// # Errors
/// A [`Refusal`] if the message cannot be sent on, or not from this credential.
pub(crate) fn prepare(submission: &Submission) -> Result<Prepared, Refusal> {
    if has_bare_cr_lf(&submission.body) {
        return Err(Refusal::Malformed {
            enhanced: "5.6.11",
            reason: "the message holds a bare CR or LF: every line must end with CRLF".into(),
        });
    }
    let header = Header::parse(&submission.body).map_err(refused)?;
    if header.count("Received") > RECEIVED_FIELDS_MAX + received_by_us(submission.channel) {
        return Err(Refusal::Loop);
    }
    let mailbox = header.from_mailbox().map_err(refused)?;
    let mut edits = Edits::hygiene();
    if !submission.credential.provider_headers {
        edits = edits.without_provider_controls();
    }
    let mut from = mailbox.address.clone();
    let may_send = is_internal(submission.channel)
        || submission
            .credential
            .may_send_from(mailbox.address.domain());
    if !may_send {
        match (&submission.credential.on_foreign_from, submission.channel) {
            (OnForeignFrom::Rewrite(own), Channel::Smtp(_)) => {
                edits = edits.replace("From", mailbox.with_address(own));
                if !header.has("Reply-To") {
                    edits = edits.add("Reply-To", mailbox.to_string());
                }
                from = own.clone();
            }
            (OnForeignFrom::Reject | OnForeignFrom::Rewrite(_), _) => {
                let domain = mailbox.address.domain().to_owned();
                return Err(Refusal::FromNotAllowed { domain });
            }
        }
    }
    let headers = header
        .iter()
        .map(|(name, value)| (name.to_owned(), value.into_owned()));
    let headers: Vec<_> = headers.collect();
    let given_message_id = header.first("Message-ID").map(|id| id.trim().to_owned());
    let idempotency_key = header
        .first("X-Malote-Idempotency-Key")
        .map(|key| key.trim().to_owned());
    Ok(Prepared {
        from,
        tracking_hash: tracking_hash(submission, &header),
        one_click: one_click(&header),
        idempotency_key: idempotency_key.filter(|key| !key.is_empty()),
        headers,
        tracking: Tracking {
            opens: switch(&header, "X-Malote-Track-Opens")?,
            clicks: switch(&header, "X-Malote-Track-Clicks")?,
        },
        given_message_id: given_message_id.filter(|id| !id.is_empty()),
        has_date: header.has("Date"),
        size: submission.body.len() as u64,
        header,
        edits,
    })
}

impl Prepared {
    /// Octets as submitted.
    pub(crate) const fn size(&self) -> u64 {
        self.size
    }

    /// The Message-ID: the client's, or one made from our id.
    pub(crate) fn message_id(&self, id: MessageId, hostname: &str) -> String {
        self.given_message_id
            .clone()
            .unwrap_or_else(|| header::message_id(id, hostname))
    }

    /// Whether a campaign's reader can leave by what the message has, for this many recipients.
    pub(crate) fn unsubscribe_offer(&self, recipients: usize) -> Offer {
        list_unsubscribe::judge(&self.header, recipients, self.one_click.as_deref())
    }

    /// The same, with the fields of List-Unsubscribe (RFC 2369 3.2, RFC 8058 3.1).
    pub(crate) fn with_unsubscribe(mut self, value: String) -> Self {
        let one_click = "List-Unsubscribe=One-Click".to_owned();
        self.edits = self
            .edits
            .replace("List-Unsubscribe", value)
            .replace("List-Unsubscribe-Post", one_click);
        self
    }

    /// Adds a field that is not there.
    pub(crate) fn add_missing(&mut self, name: &'static str, value: String) {
        if !self.header.has(name) {
            self.edits = std::mem::take(&mut self.edits).add(name, value);
        }
    }

    /// The message as it will leave.
    pub(crate) fn finish(self, id: MessageId, now: Timestamp, hostname: &str) -> Bytes {
        let mut edits = self.edits;
        if !self.has_date {
            edits = edits.add("Date", header::date(now));
        }
        if self.given_message_id.is_none() {
            edits = edits.replace("Message-ID", header::message_id(id, hostname));
        }
        self.header.rewrite(&edits)
    }
}

/// Mautic's hash: from the Return-Path field, which survives where MAIL FROM loses it, else from
/// MAIL FROM.
fn tracking_hash(submission: &Submission, header: &Header) -> Option<String> {
    let return_path = header.first("Return-Path");
    let of_field = return_path.as_deref().and_then(header::mautic_hash);
    let mail_from = submission.mail_from.as_ref().map(EmailAddress::as_str);
    of_field
        .or_else(|| mail_from.and_then(header::mautic_hash))
        .map(str::to_owned)
}

/// The first https address of List-Unsubscribe (RFC 2369 3.2), if List-Unsubscribe-Post says that it
/// takes one-click posts (RFC 8058 3.1).
fn one_click(header: &Header) -> Option<String> {
    let post = header.first("List-Unsubscribe-Post")?;
    if !post
        .trim()
        .eq_ignore_ascii_case("List-Unsubscribe=One-Click")
    {
        return None;
    }
    let list = header.first("List-Unsubscribe")?;
    // A long address may be folded: within the brackets white space means nothing.
    let address = |part: &str| {
        let inside = part.split_once('>')?.0;
        let url: String = inside.split_ascii_whitespace().collect();
        let is_https = url.get(..8)?.eq_ignore_ascii_case("https://");
        (is_https && url.len() <= ONE_CLICK_BYTES_MAX).then_some(url)
    };
    list.split('<').skip(1).find_map(address)
}

/// A field that says `yes` or `no`. Anything else is refused: a switch that is about people's
/// privacy must not be passed over.
fn switch(header: &Header, name: &str) -> Result<Option<bool>, Refusal> {
    let Some(text) = header.first(name) else {
        return Ok(None);
    };
    let switch = Tracking::switch(&text);
    switch.map(Some).ok_or_else(|| Refusal::Malformed {
        enhanced: "5.6.0",
        reason: format!("{name} must be yes or no"),
    })
}

/// The trace field that SMTP ingress has put in front.
const fn received_by_us(channel: Channel) -> usize {
    match channel {
        Channel::Smtp(_) => 1,
        Channel::Http(_) | Channel::Internal => 0,
    }
}

fn refused(fault: HeaderFault) -> Refusal {
    match fault {
        HeaderFault::TooLarge | HeaderFault::TooManyFields => Refusal::TooLarge {
            reason: fault.to_string(),
        },
        HeaderFault::NotAField { .. }
        | HeaderFault::BadName { .. }
        | HeaderFault::BareCrLf
        | HeaderFault::Nul
        | HeaderFault::FromMissing
        | HeaderFault::FromRepeated
        | HeaderFault::FromMalformed => Refusal::Malformed {
            enhanced: fault.enhanced(),
            reason: fault.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use malote_core::credential::{BadRecipients, Credential, OnFinalFailure, ReceivedDetail};
    use malote_core::message::DsnParameters;

    use super::*;

    fn submission(body: &str, channel: Channel, on_foreign_from: OnForeignFrom) -> Submission {
        let credential = Credential {
            name: "mautic".try_into().unwrap(),
            api_key: None,
            smtp_login: None,
            streams: Vec::new(),
            default_stream: None,
            from_domains: vec!["own.example".into()],
            on_foreign_from,
            bad_recipients: BadRecipients::Refuse,
            on_final_failure: OnFinalFailure::Event,
            provider_headers: false,
            received: ReceivedDetail::Brief,
            lenient_headers: false,
        };
        Submission {
            credential: Arc::new(credential),
            channel,
            mail_from: None,
            recipients: Vec::new(),
            impossible: Vec::new(),
            body: Bytes::copy_from_slice(body.replace('\n', "\r\n").as_bytes()),
            stream: None,
            tags: Vec::new(),
            metadata: std::collections::BTreeMap::new(),
            send_at: None,
            idempotency: None,
            tracking: Tracking::default(),
            dsn: DsnParameters::default(),
        }
    }

    fn smtp() -> Channel {
        Channel::Smtp([127, 0, 0, 1].into())
    }

    fn finished(submission: &Submission) -> String {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let prepared = prepare(submission).unwrap_or_else(|refusal| panic!("{refusal}"));
        let body = prepared.finish(MessageId::new(now), now, "gw.example");
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[test]
    fn a_foreign_from_is_rewritten_for_smtp_and_reply_to_keeps_the_original() {
        let own = EmailAddress::parse("news@own.example").unwrap();
        let body = "From: Ana <ana@other.example>\nSubject: x\n\nhi\n";
        let rewritten = submission(body, smtp(), OnForeignFrom::Rewrite(own.clone()));
        let text = finished(&rewritten);
        assert!(text.contains("From: Ana <news@own.example>\r\n"), "{text}");
        assert!(
            text.contains("Reply-To: Ana <ana@other.example>\r\n"),
            "{text}"
        );
        for (channel, policy) in [
            (smtp(), OnForeignFrom::Reject),
            (
                Channel::Http([127, 0, 0, 1].into()),
                OnForeignFrom::Rewrite(own),
            ),
        ] {
            let refusal = prepare(&submission(body, channel, policy)).err();
            assert_eq!(
                refusal,
                Some(Refusal::FromNotAllowed {
                    domain: "other.example".into()
                })
            );
        }
    }

    #[test]
    fn what_must_not_leave_is_removed_and_what_is_missing_added() {
        let body = "From: a@own.example\nBcc: b@x\nX-Malote-Stream: s\nX-SES-CONFIGURATION-SET: p\n\
            Return-Path: <r+bounce_0123456789abc@own.example>\nX-EMAIL-ID: 7\n\nhi\n";
        let submission = submission(body, smtp(), OnForeignFrom::Reject);
        let prepared = prepare(&submission).unwrap_or_else(|refusal| panic!("{refusal}"));
        assert_eq!(prepared.tracking_hash.as_deref(), Some("0123456789abc"));
        let text = finished(&submission);
        for gone in ["Bcc", "X-Malote", "X-SES", "Return-Path"] {
            assert!(!text.contains(gone), "{gone} in {text}");
        }
        for there in ["X-EMAIL-ID: 7", "Date: ", "Message-ID: <", "\r\n\r\nhi\r\n"] {
            assert!(text.contains(there), "{there} not in {text}");
        }
    }

    #[test]
    fn a_one_click_address_is_kept_only_where_both_fields_say_so() {
        let post = "List-Unsubscribe-Post: List-Unsubscribe=One-Click\n";
        let long = format!(
            "List-Unsubscribe: <https://m.example/{}>\n",
            "u".repeat(2_048)
        );
        for (fields, wanted) in [
            (
                format!("List-Unsubscribe: <mailto:u@m.example>, <https://m.example/u/1>\n{post}"),
                Some("https://m.example/u/1"),
            ),
            (
                format!("{post}List-Unsubscribe: <HTTPS://m.example/u/\n 1?a,b>\n"),
                Some("HTTPS://m.example/u/1?a,b"),
            ),
            ("List-Unsubscribe: <https://m.example/u/1>\n".into(), None),
            (
                format!("List-Unsubscribe: <http://m.example/u/1>\n{post}"),
                None,
            ),
            (
                format!("List-Unsubscribe: https://m.example/u/1\n{post}"),
                None,
            ),
            (
                "List-Unsubscribe-Post: yes\nList-Unsubscribe: <https://m.example/1>\n".into(),
                None,
            ),
            (format!("{long}{post}"), None),
            (post.into(), None),
        ] {
            let body = format!("From: a@own.example\n{fields}\nhi\n");
            let submission = submission(&body, smtp(), OnForeignFrom::Reject);
            let prepared = prepare(&submission).unwrap_or_else(|refusal| panic!("{refusal}"));
            assert_eq!(prepared.one_click.as_deref(), wanted, "{fields}");
        }
    }

    #[test]
    fn the_tracking_fields_say_yes_or_no_and_never_leave() {
        let of = |opens, clicks| Tracking { opens, clicks };
        for (fields, expected) in [
            ("", Ok(of(None, None))),
            ("X-Malote-Track-Opens: no\n", Ok(of(Some(false), None))),
            (
                "x-malote-track-clicks:  YES \nX-Malote-Track-Opens: yes\n",
                Ok(of(Some(true), Some(true))),
            ),
            (
                "X-Malote-Track-Opens: off\n",
                Err("X-Malote-Track-Opens must be yes or no"),
            ),
            (
                "X-Malote-Track-Clicks:\n",
                Err("X-Malote-Track-Clicks must be yes or no"),
            ),
        ] {
            let body = format!("{fields}From: a@own.example\n\nhi\n");
            let submission = submission(&body, smtp(), OnForeignFrom::Reject);
            let tracking = prepare(&submission).map(|prepared| prepared.tracking);
            let expected = expected.map_err(|reason| Refusal::Malformed {
                enhanced: "5.6.0",
                reason: reason.to_owned(),
            });
            assert_eq!(tracking, expected, "{fields}");
            if tracking.is_ok() {
                assert!(!finished(&submission).to_lowercase().contains("x-malote"));
            }
        }
    }

    #[test]
    fn a_complete_message_leaves_byte_exact() {
        let body = "From: a@own.example\nDate: Sun, 22 Nov 2026 00:00:00 +0000\nMessage-ID: <1@own.example>\n\nhi\n";
        let submission = submission(body, smtp(), OnForeignFrom::Reject);
        assert_eq!(finished(&submission).as_bytes(), &submission.body[..]);
    }

    #[test]
    fn a_hundred_and_one_hops_are_a_loop() {
        let hops = "Received: by x; now\n".repeat(102);
        let body = format!("{hops}From: a@own.example\n\nhi\n");
        let refusal = prepare(&submission(&body, smtp(), OnForeignFrom::Reject)).err();
        assert_eq!(refusal, Some(Refusal::Loop));
    }
}
