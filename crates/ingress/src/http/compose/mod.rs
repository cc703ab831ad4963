//! From the API's JSON to a message (RFC 5322): every value is checked before it is written, and
//! nothing that a client writes can become a header field, a recipient or a line end.

mod attachment;
mod fields;
mod hints;
mod mailbox;
mod parts;
mod wire;

#[cfg(test)]
mod tests;

use bytes::Bytes;
use jiff::Timestamp;
use malote_core::address::EmailAddress;
use uuid::Uuid;

pub(crate) use self::hints::{Hints, check_metadata, check_tags, parse_send_at, parse_stream};
pub(crate) use self::mailbox::parse_address;
pub(crate) use self::wire::has_bare_line_end;

use self::fields::FieldWriter;
use self::mailbox::Mailbox;
use super::problem_rfc9457::{Faults, Problem, ProblemKind};
use super::request::{AddressInput, MessageRequest};

/// Most recipients of one message (RFC 5321 4.5.3.1.10 asks for 100 at least).
pub(crate) const RECIPIENTS_MAX: usize = 1000;
const REPLY_TO_MAX: usize = 25;
const SUBJECT_BYTES_MAX: usize = 2000;

/// What composing depends on besides the request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ComposeRules {
    /// The time for `Date`, and for `send_at`.
    pub(crate) now: Timestamp,
    /// The chance in `Message-ID` and in the boundaries; unknown to the client beforehand, so
    /// that no body can hold a boundary.
    pub(crate) seed: Uuid,
    /// Whether providers' control fields may pass.
    pub(crate) provider_headers: bool,
    /// Largest message.
    pub(crate) message_bytes_max: u64,
}

/// A message ready to be submitted.
#[derive(Debug, Clone)]
pub(crate) struct Composed {
    /// From, and so MAIL FROM.
    pub(crate) from: EmailAddress,
    /// To, Cc and Bcc without repeats.
    pub(crate) recipients: Vec<EmailAddress>,
    /// The message, without a trace of Bcc.
    pub(crate) body: Bytes,
    /// Stream, tags, metadata and time.
    pub(crate) hints: Hints,
}

/// Checks and writes one message.
///
/// # Errors
/// One problem that points at every fault found.
pub(crate) fn compose(request: MessageRequest, rules: &ComposeRules) -> Result<Composed, Problem> {
    let mut faults = Faults::default();
    let people = People::read(&request, &mut faults);
    check_subject(request.subject.as_deref(), &mut faults);
    let hints = hints::read(&request, rules.now, &mut faults);
    let headers = request.headers.unwrap_or_default();
    fields::check_custom(&headers, rules.provider_headers, &mut faults);
    let content = parts::Content {
        text: request.text,
        html: request.html,
        attachments: request.attachments.unwrap_or_default(),
    };
    content.check(rules.message_bytes_max, &mut faults)?;
    let files = content.decode(&mut faults);
    let (people, hints) = faults.none_or((people, hints))?;
    let Some(from) = people.from else {
        return Err(missing_from());
    };

    let mut writer = FieldWriter::default();
    writer.mailboxes("From", std::slice::from_ref(&from));
    if people.to.is_empty() && people.cc.is_empty() {
        // Some servers refuse mail that shows no destination at all.
        writer.verbatim("To", "undisclosed-recipients:;");
    }
    writer.mailboxes("To", &people.to);
    writer.mailboxes("Cc", &people.cc);
    writer.mailboxes("Reply-To", &people.reply_to);
    if let Some(subject) = &request.subject {
        writer.text("Subject", subject);
    }
    writer.date(rules.now);
    let id = format!("<{}@{}>", rules.seed.simple(), from.address.domain());
    writer.verbatim("Message-ID", &id);
    for (name, value) in &headers {
        writer.verbatim(name, value);
    }
    writer.verbatim("MIME-Version", "1.0");
    let mut body = writer.into_bytes();
    body.extend_from_slice(&content.write(files, rules.seed)?);
    if body.len() as u64 > rules.message_bytes_max {
        return Err(too_large(rules.message_bytes_max));
    }
    debug_assert!(wire::is_sendable(&body), "composed a line that is no line");
    Ok(Composed {
        from: from.address,
        recipients: people.envelope,
        body: Bytes::from(body),
        hints,
    })
}

fn missing_from() -> Problem {
    Problem::at(ProblemKind::MissingField, "/from", "give the sender")
}

fn too_large(bytes_max: u64) -> Problem {
    Problem::new(
        ProblemKind::MessageTooLarge,
        format!("the message would be larger than {bytes_max} octets"),
    )
}

/// Whether `text` holds a control character that no header field may hold. C1 controls and the
/// Unicode line ends are not among them: they are encoded (RFC 2047), so no server sees a line end.
fn has_control(text: &str) -> bool {
    text.bytes().any(|b| b < 0x20 || b == 0x7f)
}

const CONTROL_DETAIL: &str = "control characters are not allowed here";

fn check_subject(subject: Option<&str>, faults: &mut Faults) {
    let subject = subject.unwrap_or_default();
    if has_control(subject) {
        faults.push(ProblemKind::ControlCharacter, "/subject", CONTROL_DETAIL);
    }
    if subject.len() > SUBJECT_BYTES_MAX {
        let text = format!("the subject is longer than {SUBJECT_BYTES_MAX} octets");
        faults.push(ProblemKind::TooLong, "/subject", text);
    }
}

/// Everybody named in a request.
#[derive(Debug)]
struct People {
    from: Option<Mailbox>,
    to: Vec<Mailbox>,
    cc: Vec<Mailbox>,
    reply_to: Vec<Mailbox>,
    envelope: Vec<EmailAddress>,
}

impl People {
    fn read(request: &MessageRequest, faults: &mut Faults) -> Self {
        let from = match &request.from {
            Some(from) => Mailbox::read(from, "/from", faults),
            None => {
                faults.push(ProblemKind::MissingField, "/from", "give the sender");
                None
            }
        };
        let count = [&request.to, &request.cc, &request.bcc];
        let count: usize = count.into_iter().flatten().map(Vec::len).sum();
        if count == 0 {
            faults.push(
                ProblemKind::MissingField,
                "/to",
                "give at least one recipient",
            );
        }
        if count > RECIPIENTS_MAX {
            let text = format!("{count} recipients, at most {RECIPIENTS_MAX} are taken");
            faults.push(ProblemKind::TooManyRecipients, "/to", text);
            return Self::nobody();
        }
        let to = read_list(request.to.as_deref(), "/to", faults);
        let cc = read_list(request.cc.as_deref(), "/cc", faults);
        let bcc = read_list(request.bcc.as_deref(), "/bcc", faults);
        let reply_to = request.reply_to.as_deref().unwrap_or_default();
        if reply_to.len() > REPLY_TO_MAX {
            let text = format!("at most {REPLY_TO_MAX} addresses are taken");
            faults.push(ProblemKind::TooMany, "/reply_to", text);
            return Self::nobody();
        }
        let reply_to = read_list(Some(reply_to), "/reply_to", faults);
        let everybody = to.iter().chain(&cc).chain(&bcc);
        let envelope = without_repeats(everybody.map(|mailbox| mailbox.address.clone()));
        Self {
            from,
            to,
            cc,
            reply_to,
            envelope,
        }
    }

    /// Stands in for lists too long to be read; a fault has been noted.
    const fn nobody() -> Self {
        Self {
            from: None,
            to: Vec::new(),
            cc: Vec::new(),
            reply_to: Vec::new(),
            envelope: Vec::new(),
        }
    }
}

fn read_list(list: Option<&[AddressInput]>, pointer: &str, faults: &mut Faults) -> Vec<Mailbox> {
    let list = list.unwrap_or_default().iter().enumerate();
    list.filter_map(|(index, input)| Mailbox::read(input, &format!("{pointer}/{index}"), faults))
        .collect()
}

/// The addresses in their order, each mailbox once.
pub(crate) fn without_repeats(
    addresses: impl IntoIterator<Item = EmailAddress>,
) -> Vec<EmailAddress> {
    let mut seen = std::collections::HashSet::new();
    let addresses = addresses.into_iter();
    addresses
        .filter(|address| seen.insert(address.key()))
        .collect()
}
