//! `POST /v1/messages/raw`: a finished message, kept octet for octet, with its envelope in
//! header fields.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use jiff::Timestamp;
use malote_core::address::EmailAddress;
use malote_core::message::{DsnParameters, IdempotencyKey, Recipient, Submission};
use malote_core::tracking::Tracking;

use super::compose::{
    Hints, RECIPIENTS_MAX, check_metadata, check_tags, has_bare_line_end, parse_address,
    parse_send_at, parse_stream, without_repeats,
};
use super::messages::{AcceptedBody, accepted_response, channel, fingerprint, header_key};
use super::problem_rfc9457::{Faults, Problem, ProblemBody, ProblemKind};
use super::state::HttpState;
use super::{auth, body};

const RCPT: &str = "x-malote-rcpt";
const MAIL_FROM: &str = "x-malote-mail-from";
const STREAM: &str = "x-malote-stream";
const TAG: &str = "x-malote-tag";
const SEND_AT: &str = "x-malote-send-at";
const TRACK_OPENS: &str = "x-malote-track-opens";
const TRACK_CLICKS: &str = "x-malote-track-clicks";
const METADATA_PREFIX: &str = "x-malote-metadata-";

/// Send one finished message.
///
/// The message is kept octet for octet; it must have CRLF line ends only. The envelope is in
/// header fields; the message's own To and Cc are not looked at. Fields in UTF-8 are taken.
#[utoipa::path(
    post,
    path = "/v1/messages/raw",
    tag = "messages",
    params(
        ("X-Malote-Rcpt" = Vec<String>, Header, description =
            "a recipient; one address in each field, the field repeated, within the 128 fields \
             that a request may have"),
        ("X-Malote-Mail-From" = String, Header, description = "MAIL FROM; `<>` for none"),
        ("X-Malote-Stream" = Option<String>, Header, description = "the stream"),
        ("X-Malote-Tag" = Option<Vec<String>>, Header, description = "a tag, repeatable"),
        ("X-Malote-Metadata-{name}" = Option<String>, Header, description =
            "metadata, one pair in each field; names become lower case"),
        ("X-Malote-Track-Opens" = Option<String>, Header, description =
            "`yes` or `no`; else the stream decides, at last the service's own settings"),
        ("X-Malote-Track-Clicks" = Option<String>, Header, description = "`yes` or `no`, as for opens"),
        ("X-Malote-Send-At" = Option<String>, Header, description = "when to send (RFC 3339)"),
        ("Idempotency-Key" = Option<String>, Header, description =
            "1 to 255 visible ASCII characters"),
    ),
    request_body(content = String, content_type = "message/rfc822"),
    responses(
        (status = 202, body = AcceptedBody, description = "the message is on disk"),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json",
            description = "refused, nothing was kept"),
        (status = "5XX", body = ProblemBody, content_type = "application/problem+json",
            description = "no custody taken, try again after Retry-After"),
    ),
    security(("api_key" = []))
)]
pub(crate) async fn send_raw(
    State(state): State<Arc<HttpState>>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, content) = request.into_parts();
    let credential = auth::caller(&state, &parts)?;
    state.expect_open()?;
    let key = header_key(&parts.headers)?;
    let envelope = RawEnvelope::read(&parts.headers, state.ports.clock.now())?;
    let rules = body::BodyRules {
        bytes_max: state.config.raw_body_max.0,
        media_type: Some("message/rfc822"),
        sender: body::Sender::Known,
    };
    let received = body::read(&state, &parts.headers, content, rules).await?;
    check_octets(&received.bytes)?;
    let idempotency = key.map(|key| IdempotencyKey {
        key,
        fingerprint: Some(fingerprint(&[
            parts.uri.path().as_bytes(),
            envelope.canonical(&parts.headers).as_bytes(),
            &received.bytes,
        ])),
    });
    let submission = Submission {
        channel: channel(&state, &parts),
        credential,
        mail_from: envelope.mail_from,
        recipients: envelope
            .recipients
            .into_iter()
            .map(Recipient::new)
            .collect(),
        impossible: Vec::new(),
        body: received.bytes,
        stream: envelope.hints.stream,
        tags: envelope.hints.tags,
        metadata: envelope.hints.metadata,
        tracking: envelope.hints.tracking,
        send_at: envelope.hints.send_at,
        idempotency,
        dsn: DsnParameters::default(),
    };
    let accepted = state.ports.intake.accept(submission).await?;
    drop(received.share);
    Ok(accepted_response(&accepted))
}

/// What no message may hold, whatever it means.
fn check_octets(message: &[u8]) -> Result<(), Problem> {
    if has_bare_line_end(message) {
        return Err(Problem::new(
            ProblemKind::BareLineEnd,
            "the message holds a CR without LF or an LF without CR; write every line end as CRLF",
        ));
    }
    // RFC 5322 2.1: characters are 1 to 127; what servers make of a NUL differs.
    if memchr::memchr(0, message).is_some() {
        let text = "the message holds a NUL";
        return Err(Problem::new(ProblemKind::MalformedMessage, text));
    }
    Ok(())
}

/// Envelope and hints of a raw message.
#[derive(Debug, PartialEq)]
struct RawEnvelope {
    mail_from: Option<EmailAddress>,
    recipients: Vec<EmailAddress>,
    hints: Hints,
}

impl RawEnvelope {
    fn read(headers: &HeaderMap, now: Timestamp) -> Result<Self, Problem> {
        let mut faults = Faults::default();
        let mail_from = read_mail_from(headers, &mut faults);
        let recipients = read_recipients(headers, &mut faults);
        let tags: Vec<_> = texts(headers, TAG, &mut faults);
        check_tags(&tags, "/X-Malote-Tag", &mut faults);
        let metadata = read_metadata(headers, &mut faults);
        check_metadata(&metadata, "/X-Malote-Metadata", &mut faults);
        let tracking = Tracking {
            opens: read_switch(headers, (TRACK_OPENS, "/X-Malote-Track-Opens"), &mut faults),
            clicks: read_switch(
                headers,
                (TRACK_CLICKS, "/X-Malote-Track-Clicks"),
                &mut faults,
            ),
        };
        let stream = single(headers, (STREAM, "/X-Malote-Stream"), &mut faults);
        let stream = stream.and_then(|text| parse_stream(&text, "/X-Malote-Stream", &mut faults));
        let send_at = single(headers, (SEND_AT, "/X-Malote-Send-At"), &mut faults);
        let send_at =
            send_at.and_then(|text| parse_send_at(&text, now, ("/X-Malote-Send-At", &mut faults)));
        let hints = Hints {
            stream,
            tags,
            metadata,
            tracking,
            send_at,
        };
        faults.none_or(Self {
            mail_from,
            recipients,
            hints,
        })
    }

    /// What a repeat must repeat besides the body. The time is taken as written: one that has
    /// passed since is still the same request.
    fn canonical(&self, headers: &HeaderMap) -> String {
        let send_at = headers.get(SEND_AT).map(|value| value.as_bytes());
        format!(
            "{:?}",
            (
                self.mail_from.as_ref().map(EmailAddress::as_str),
                self.recipients
                    .iter()
                    .map(EmailAddress::as_str)
                    .collect::<Vec<_>>(),
                self.hints.stream.as_ref(),
                &self.hints.tags,
                &self.hints.metadata,
                self.hints.tracking,
                send_at,
            )
        )
    }
}

fn read_mail_from(headers: &HeaderMap, faults: &mut Faults) -> Option<EmailAddress> {
    let pointer = "/X-Malote-Mail-From";
    let Some(text) = single(headers, (MAIL_FROM, pointer), faults) else {
        if !headers.contains_key(MAIL_FROM) {
            let text = "give MAIL FROM, `<>` for none";
            faults.push(ProblemKind::MissingField, pointer, text);
        }
        return None;
    };
    if text == "<>" {
        return None;
    }
    parse_address(&text)
        .map_err(|fault| faults.push(ProblemKind::InvalidAddress, pointer, fault))
        .ok()
}

fn read_recipients(headers: &HeaderMap, faults: &mut Faults) -> Vec<EmailAddress> {
    let pointer = "/X-Malote-Rcpt";
    let texts = texts(headers, RCPT, faults);
    if texts.is_empty() {
        let text = "give each recipient in a field of its own";
        faults.push(ProblemKind::MissingField, pointer, text);
    }
    if texts.len() > RECIPIENTS_MAX {
        let text = format!("at most {RECIPIENTS_MAX} recipients are taken");
        faults.push(ProblemKind::TooManyRecipients, pointer, text);
        return Vec::new();
    }
    let addresses = texts.iter().enumerate().filter_map(|(index, text)| {
        parse_address(text)
            .map_err(|fault| {
                let pointer = format!("{pointer}/{index}");
                faults.push(ProblemKind::InvalidAddress, pointer, fault);
            })
            .ok()
    });
    let addresses: Vec<_> = addresses.collect();
    without_repeats(addresses)
}

fn read_metadata(headers: &HeaderMap, faults: &mut Faults) -> BTreeMap<String, String> {
    let mut metadata = BTreeMap::new();
    for name in headers.keys() {
        let Some(key) = name.as_str().strip_prefix(METADATA_PREFIX) else {
            continue;
        };
        if let Some(value) = single(headers, (name.as_str(), "/X-Malote-Metadata"), faults) {
            metadata.insert(key.to_owned(), value);
        }
    }
    metadata
}

/// A switch: `yes` or `no`.
fn read_switch(
    headers: &HeaderMap,
    (name, pointer): (&str, &str),
    faults: &mut Faults,
) -> Option<bool> {
    let text = single(headers, (name, pointer), faults)?;
    let switch = Tracking::switch(&text);
    if switch.is_none() {
        faults.push(ProblemKind::InvalidValue, pointer, "must be yes or no");
    }
    switch
}

/// Every value of a field; those that are no UTF-8 are faults.
fn texts(headers: &HeaderMap, name: &str, faults: &mut Faults) -> Vec<String> {
    let values = headers.get_all(name).iter();
    let texts = values.filter_map(|value| {
        let text = std::str::from_utf8(value.as_bytes());
        text.map_err(|_| {
            let pointer = format!("/{name}");
            faults.push(ProblemKind::InvalidValue, pointer, "the value is not UTF-8");
        })
        .ok()
    });
    texts.map(|text| text.trim().to_owned()).collect()
}

/// The value of a field that may stand once.
fn single(
    headers: &HeaderMap,
    (name, pointer): (&str, &str),
    faults: &mut Faults,
) -> Option<String> {
    let mut texts = texts(headers, name, faults);
    if texts.len() > 1 {
        faults.push(ProblemKind::TooMany, pointer, "this field may stand once");
        return None;
    }
    texts.pop()
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    fn read(fields: &[(&str, &str)]) -> Result<RawEnvelope, (ProblemKind, String)> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let name: HeaderName = name.parse().unwrap();
            headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let now = "2026-11-22T00:00:00Z".parse().unwrap();
        RawEnvelope::read(&headers, now)
            .map_err(|problem| (problem.kind(), problem.errors()[0].pointer.clone()))
    }

    #[test]
    fn the_envelope_is_read_from_its_fields() {
        let envelope = read(&[
            ("X-Malote-Mail-From", "bounce@shop.example"),
            ("X-Malote-Rcpt", "<a@x.test>"),
            ("X-Malote-Rcpt", "jörg@x.test"),
            ("X-Malote-Rcpt", "A@x.test"),
            ("X-Malote-Stream", "campaign"),
            ("X-Malote-Tag", "t1"),
            ("X-Malote-Metadata-Order", "17"),
        ])
        .unwrap();
        let recipients: Vec<_> = envelope
            .recipients
            .iter()
            .map(EmailAddress::as_str)
            .collect();
        assert_eq!(recipients, ["a@x.test", "jörg@x.test"]);
        assert_eq!(envelope.hints.metadata["order"], "17");
        assert_eq!(envelope.hints.tags, ["t1"]);
        let null = read(&[("X-Malote-Mail-From", "<>"), ("X-Malote-Rcpt", "a@x.test")]);
        assert_eq!(null.unwrap().mail_from, None);
    }

    #[test]
    fn each_fault_names_its_field() {
        use ProblemKind::{InvalidAddress, InvalidSendAt, InvalidValue, MissingField, TooMany};
        let from = ("X-Malote-Mail-From", "a@x.test");
        let rcpt = ("X-Malote-Rcpt", "b@x.test");
        for (fields, kind, pointer) in [
            (vec![rcpt], MissingField, "/X-Malote-Mail-From"),
            (vec![from], MissingField, "/X-Malote-Rcpt"),
            (vec![from, from, rcpt], TooMany, "/X-Malote-Mail-From"),
            (
                vec![from, rcpt, ("X-Malote-Rcpt", "a@x, b@y")],
                InvalidAddress,
                "/X-Malote-Rcpt/1",
            ),
            (
                vec![from, rcpt, ("X-Malote-Stream", "No Such")],
                InvalidValue,
                "/X-Malote-Stream",
            ),
            (
                vec![from, rcpt, ("X-Malote-Send-At", "x")],
                InvalidSendAt,
                "/X-Malote-Send-At",
            ),
        ] {
            assert_eq!(read(&fields), Err((kind, pointer.to_owned())));
        }
    }
}
