//! What a simulator took: bounded in number and in octets, searchable by recipient.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;
use sha2::{Digest, Sha256};
use tokio::sync::Notify;

/// Octets of a message's head that are kept when its raw form is dropped.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// One message that a simulator took.
#[derive(Debug, Clone)]
pub struct Taken {
    /// Its number here, from 1.
    pub seq: u64,
    /// The id that the client was answered.
    pub id: String,
    /// When it was taken.
    pub at: Timestamp,
    /// Whose connection it came by; its address tells which source address was bound.
    pub peer: SocketAddr,
    /// The envelope sender, where the API has one; empty is the null path.
    pub mail_from: Option<String>,
    /// The envelope recipients.
    pub recipients: Vec<String>,
    /// What names the IP pool at the service: SES' configuration set, Mailgun's
    /// `o:sending-ip-pool`, Postmark's message stream and so on.
    pub pool: Option<String>,
    /// What else was asked for. SES: tags. Mailgun: the other `o:`, `h:` and `v:` fields. SMTP:
    /// MAIL's parameters.
    pub options: Vec<(String, String)>,
    /// Octets of the raw message.
    pub size: usize,
    /// SHA-256 of the raw message.
    pub sha256: [u8; 32],
    /// The raw message; `None` when it had to make room. Where a service takes fields, the
    /// request's body.
    pub raw: Option<Bytes>,
    /// Where a service takes fields instead of MIME, what they said.
    pub fields: Option<serde_json::Value>,
    /// The head of the message, up to 16 KiB.
    head: Bytes,
}

/// What a simulator learns of a message before it is taken.
pub(crate) struct Arrival {
    pub(crate) peer: SocketAddr,
    pub(crate) mail_from: Option<String>,
    pub(crate) recipients: Vec<String>,
    pub(crate) pool: Option<String>,
    pub(crate) options: Vec<(String, String)>,
    pub(crate) raw: Bytes,
    pub(crate) fields: Option<serde_json::Value>,
}

/// Counts since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Send requests or SMTP transactions that came to their end, taken or not.
    pub sends: u64,
    /// Look-ups of the account.
    pub checks: u64,
    /// Messages taken.
    pub messages: u64,
    /// Recipients of the messages taken.
    pub recipients: u64,
    /// Octets of the messages taken.
    pub bytes: u64,
    /// Faults played.
    pub faults: u64,
    /// Webhooks posted of the simulator's own accord and answered 2xx.
    pub webhooks: u64,
    /// Webhooks given up.
    pub webhooks_lost: u64,
    /// Messages forgotten to stay within bounds.
    pub forgotten: u64,
}

impl Taken {
    /// What is reported on when it is about no message.
    pub(crate) fn nothing() -> Self {
        Self {
            seq: 0,
            id: String::new(),
            at: Timestamp::UNIX_EPOCH,
            peer: SocketAddr::from(([127, 0, 0, 1], 0)),
            mail_from: None,
            recipients: Vec::new(),
            pool: None,
            options: Vec::new(),
            size: 0,
            sha256: [0; 32],
            raw: None,
            fields: None,
            head: Bytes::new(),
        }
    }

    /// The fields of the head, unfolded, in order.
    #[must_use]
    pub fn headers(&self) -> Vec<(String, String)> {
        let text = String::from_utf8_lossy(&self.head);
        let mut fields: Vec<(String, String)> = Vec::new();
        for line in text.split("\r\n") {
            if line.is_empty() {
                break;
            }
            if line.starts_with([' ', '\t']) {
                if let Some((_, value)) = fields.last_mut() {
                    value.push_str(line);
                }
            } else if let Some((name, value)) = line.split_once(':') {
                fields.push((name.to_owned(), value.trim_start().to_owned()));
            }
        }
        fields
    }

    /// The first field of this name, any case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        let mut fields = self.headers().into_iter();
        fields
            .find(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// The form in which `GET /_sandbox/messages` lists it.
    pub(crate) fn to_json(&self, with_raw: bool) -> serde_json::Value {
        let sha256: String = self
            .sha256
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let mut listed = serde_json::json!({
            "seq": self.seq,
            "id": self.id,
            "at": self.at.to_string(),
            "peer": self.peer.to_string(),
            "mail_from": self.mail_from,
            "recipients": self.recipients,
            "pool": self.pool,
            "options": self.options,
            "headers": self.headers(),
            "fields": self.fields,
            "size": self.size,
            "sha256": sha256,
        });
        if with_raw {
            listed["raw"] = self.raw.as_ref().map(|raw| STANDARD.encode(raw)).into();
        }
        listed
    }

    fn has_recipient(&self, address: &str) -> bool {
        self.recipients
            .iter()
            .any(|recipient| recipient.eq_ignore_ascii_case(address))
    }
}

#[derive(Default)]
struct Shelf {
    messages: VecDeque<Taken>,
    /// Messages before this index have lost their raw form.
    bare_count: usize,
    raw_bytes: usize,
    serial: u64,
    stats: Stats,
}

/// The messages a simulator took.
pub(crate) struct Mailbox {
    shelf: Mutex<Shelf>,
    messages_max: usize,
    body_bytes_max: usize,
    told: Notify,
}

impl Mailbox {
    pub(crate) fn new(messages_max: usize, body_bytes_max: usize) -> Self {
        Self {
            shelf: Mutex::default(),
            messages_max,
            body_bytes_max,
            told: Notify::new(),
        }
    }

    /// Waits for a message; may come back without one.
    pub(crate) async fn taken(&self) {
        self.told.notified().await;
    }

    /// Notes what became of a webhook.
    pub(crate) fn note_webhook(&self, is_answered: bool) {
        let stats = &mut self.lock().stats;
        match is_answered {
            true => stats.webhooks += 1,
            false => stats.webhooks_lost += 1,
        }
    }

    /// Keeps a message; `name` makes its id from its number. Answers the id.
    pub(crate) fn take(
        &self,
        arrival: Arrival,
        at: Timestamp,
        name: impl FnOnce(u64) -> String,
    ) -> String {
        let sha256 = Sha256::digest(&arrival.raw).into();
        let head = head_of(&arrival.raw);
        let mut shelf = self.lock();
        shelf.stats.messages += 1;
        shelf.stats.recipients += arrival.recipients.len() as u64;
        shelf.stats.bytes += arrival.raw.len() as u64;
        let seq = shelf.stats.messages;
        let id = name(seq);
        shelf.raw_bytes += arrival.raw.len();
        shelf.messages.push_back(Taken {
            seq,
            id: id.clone(),
            at,
            peer: arrival.peer,
            mail_from: arrival.mail_from,
            recipients: arrival.recipients,
            pool: arrival.pool,
            options: arrival.options,
            size: arrival.raw.len(),
            sha256,
            raw: Some(arrival.raw),
            fields: arrival.fields,
            head,
        });
        self.make_room(&mut shelf);
        drop(shelf);
        self.told.notify_one();
        id
    }

    /// Notes that a send came to its end.
    pub(crate) fn note_send(&self) {
        self.lock().stats.sends += 1;
    }

    /// Notes that the account was looked up.
    pub(crate) fn note_check(&self) {
        self.lock().stats.checks += 1;
    }

    pub(crate) fn stats(&self) -> Stats {
        self.lock().stats
    }

    pub(crate) fn clear(&self) {
        let mut shelf = self.lock();
        shelf.messages.clear();
        shelf.bare_count = 0;
        shelf.raw_bytes = 0;
    }

    /// Those after this number, to this recipient if one is named, oldest first.
    pub(crate) fn list(&self, after: u64, rcpt: Option<&str>, limit: usize) -> Vec<Taken> {
        let shelf = self.lock();
        let start = shelf.messages.partition_point(|taken| taken.seq <= after);
        shelf
            .messages
            .range(start..)
            .filter(|taken| rcpt.is_none_or(|address| taken.has_recipient(address)))
            .take(limit)
            .cloned()
            .collect()
    }

    /// The message that was answered with this id, with or without angle brackets.
    pub(crate) fn by_id(&self, id: &str) -> Option<Taken> {
        let bare = |id: &str| id.trim_matches(['<', '>']).to_owned();
        let wanted = bare(id);
        let shelf = self.lock();
        let mut newest_first = shelf.messages.iter().rev();
        newest_first
            .find(|taken| bare(&taken.id) == wanted)
            .cloned()
    }

    /// The last message taken.
    pub(crate) fn newest(&self) -> Option<Taken> {
        self.lock().messages.back().cloned()
    }

    /// A number that was not given before, for what is sent about messages.
    pub(crate) fn next_serial(&self) -> u64 {
        let mut shelf = self.lock();
        shelf.serial += 1;
        shelf.serial
    }

    fn make_room(&self, shelf: &mut Shelf) {
        while shelf.messages.len() > self.messages_max {
            let Some(oldest) = shelf.messages.pop_front() else {
                break;
            };
            shelf.raw_bytes -= oldest.raw.map_or(0, |raw| raw.len());
            shelf.bare_count = shelf.bare_count.saturating_sub(1);
            shelf.stats.forgotten += 1;
        }
        while shelf.raw_bytes > self.body_bytes_max {
            let index = shelf.bare_count;
            let Some(taken) = shelf.messages.get_mut(index) else {
                break;
            };
            taken.fields = None;
            let dropped = taken.raw.take().map_or(0, |raw| raw.len());
            // The head shares the raw message's memory until it is copied.
            taken.head = Bytes::copy_from_slice(&taken.head);
            shelf.raw_bytes -= dropped;
            shelf.bare_count += 1;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn head_of(raw: &Bytes) -> Bytes {
    let end = memchr::memmem::find(raw, b"\r\n\r\n").unwrap_or(raw.len());
    raw.slice(..end.min(HEAD_BYTES_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrival(rcpt: &str, raw: &str) -> Arrival {
        Arrival {
            peer: SocketAddr::from(([127, 0, 0, 1], 9)),
            mail_from: None,
            recipients: vec![rcpt.to_owned()],
            pool: None,
            options: Vec::new(),
            raw: Bytes::copy_from_slice(raw.as_bytes()),
            fields: None,
        }
    }

    fn take(mailbox: &Mailbox, rcpt: &str, raw: &str) -> String {
        mailbox.take(arrival(rcpt, raw), Timestamp::UNIX_EPOCH, |seq| {
            format!("<{seq}@x>")
        })
    }

    #[test]
    fn folded_fields_are_one_field() {
        let mailbox = Mailbox::new(10, 1_000);
        take(
            &mailbox,
            "a@x",
            "Subject: one\r\n two\r\nX-A: 1\r\n\r\nX-B: no",
        );
        let taken = mailbox.list(0, None, 10).remove(0);
        assert_eq!(taken.header("subject").as_deref(), Some("one two"));
        assert_eq!(taken.headers().len(), 2);
    }

    #[test]
    fn the_oldest_raw_goes_first_and_the_envelope_stays() {
        let mailbox = Mailbox::new(10, 25);
        for number in 0..4 {
            take(&mailbox, &format!("r{number}@x"), "A: b\r\n\r\n12");
        }
        let taken = mailbox.list(0, None, 10);
        let has_raw: Vec<_> = taken.iter().map(|taken| taken.raw.is_some()).collect();
        assert_eq!(has_raw, [false, false, true, true]);
        assert_eq!(taken[0].header("A").as_deref(), Some("b"));
        assert_eq!(taken[0].size, 10);
    }

    #[test]
    fn the_oldest_messages_are_forgotten_and_counted() {
        let mailbox = Mailbox::new(2, 1_000);
        for number in 0..5 {
            take(&mailbox, &format!("r{number}@x"), "A: b\r\n\r\n12");
        }
        assert_eq!(mailbox.list(0, None, 10).len(), 2);
        assert_eq!(mailbox.stats().forgotten, 3);
        assert_eq!(mailbox.stats().messages, 5);
    }

    #[test]
    fn a_message_is_found_by_recipient_by_number_and_by_id() {
        let mailbox = Mailbox::new(10, 1_000);
        for number in 1..=3 {
            take(&mailbox, &format!("r{number}@x"), "A: b\r\n\r\n");
        }
        assert_eq!(mailbox.list(0, Some("R2@X"), 10)[0].seq, 2);
        assert_eq!(mailbox.list(2, None, 10)[0].seq, 3);
        assert_eq!(mailbox.by_id("3@x").map(|taken| taken.seq), Some(3));
        assert!(mailbox.by_id("4@x").is_none());
    }
}
