//! Tickets: texts in addresses and links by which a stranger shows that we gave them out.
//!
//! A ticket names one attempt of one delivery and carries an HMAC over it, so that whoever answers
//! can touch that delivery and no other. It is made of `a` to `z` and `2` to `7`, since servers
//! change the case of local parts.

use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::id::{DeliveryId, MessageId};
use crate::secret::Secret;

/// Octets of a secret at least: RFC 2104 3 wants as many as the hash has; half of that cannot be
/// guessed either.
pub const TICKET_SECRET_BYTES_MIN: usize = 16;
/// Characters of a ticket.
pub const TICKET_CHARS: usize = 52;

/// Octets that say what the ticket is about: message, index, attempt.
const SUBJECT_BYTES: usize = 20;
/// Octets of the HMAC that are kept: 96 bits, as RFC 2404 keeps.
const MAC_BYTES: usize = 12;
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// What a ticket is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ticket {
    /// The delivery.
    pub delivery: DeliveryId,
    /// The attempt, counted from 1; 0 where no attempt is meant.
    pub attempt: u16,
}

/// What a ticket is good for. One that is good for this is not good for that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TicketUse {
    /// To report on a delivery, in the address that MAIL FROM gives.
    Bounce,
    /// To unsubscribe, in the address that List-Unsubscribe gives.
    UnsubscribeMail,
    /// To unsubscribe, in the link that List-Unsubscribe gives.
    UnsubscribeLink,
}

impl TicketUse {
    /// What is signed in front of the subject, so that no signature is good for two uses.
    const fn domain(self) -> &'static [u8] {
        match self {
            Self::Bounce => b"malote ticket 1: bounce\0",
            Self::UnsubscribeMail => b"malote ticket 1: unsubscribe by mail\0",
            Self::UnsubscribeLink => b"malote ticket 1: unsubscribe by link\0",
        }
    }
}

/// The keys that tickets are signed and recognised with.
#[derive(Debug, Clone)]
pub struct TicketKeys {
    current: Secret,
    previous: Vec<Secret>,
}

impl TicketKeys {
    /// Signs with `current`, and recognises what was signed with any of `previous` too.
    #[must_use]
    pub const fn new(current: Secret, previous: Vec<Secret>) -> Self {
        Self { current, previous }
    }

    /// Writes a ticket: [`TICKET_CHARS`] lower-case letters and digits.
    #[must_use]
    pub fn write(&self, ticket: Ticket, good_for: TicketUse) -> String {
        let subject = subject(ticket);
        let mut octets = subject.to_vec();
        if let Some(mac) = signing(&self.current, good_for, &subject) {
            octets.extend_from_slice(&mac.finalize().into_bytes()[..MAC_BYTES]);
        }
        base32(&octets)
    }

    /// Reads a ticket in any case of letters; `None` if it is none of ours, or not good for this.
    /// The time taken tells nothing of how wrong it is: every key is tried, each in constant time.
    #[must_use]
    pub fn read(&self, text: &str, good_for: TicketUse) -> Option<Ticket> {
        let octets = from_base32(text)?;
        let (subject, given) = octets.split_at_checked(SUBJECT_BYTES)?;
        let keys = std::iter::once(&self.current).chain(&self.previous);
        let is_signed = keys.fold(false, |is_signed, key| {
            let mac = signing(key, good_for, subject);
            is_signed | mac.is_some_and(|mac| mac.verify_truncated_left(given).is_ok())
        });
        let is_whole = given.len() == MAC_BYTES;
        let (message, rest) = subject.split_first_chunk::<16>()?;
        let (index, attempt) = rest.split_first_chunk::<2>()?;
        let ticket = Ticket {
            delivery: DeliveryId {
                message: MessageId::from_bytes(*message),
                index: u16::from_be_bytes(*index),
            },
            attempt: u16::from_be_bytes(attempt.try_into().ok()?),
        };
        (is_signed && is_whole).then_some(ticket)
    }
}

fn subject(ticket: Ticket) -> [u8; SUBJECT_BYTES] {
    let mut subject = [0; SUBJECT_BYTES];
    subject[..16].copy_from_slice(ticket.delivery.message.as_bytes());
    subject[16..18].copy_from_slice(&ticket.delivery.index.to_be_bytes());
    subject[18..].copy_from_slice(&ticket.attempt.to_be_bytes());
    subject
}

/// `None` never: HMAC takes keys of any length.
fn signing(key: &Secret, good_for: TicketUse, subject: &[u8]) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.expose().as_bytes()).ok()?;
    mac.update(good_for.domain());
    mac.update(subject);
    Some(mac)
}

/// RFC 4648 6 in lower case, without padding.
fn base32(octets: &[u8]) -> String {
    let mut text = String::with_capacity(octets.len().div_ceil(5) * 8);
    let (mut held, mut bits) = (0_u32, 0);
    for octet in octets {
        held = held << 8 | u32::from(*octet);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            text.push(char::from(ALPHABET[(held >> bits & 31) as usize]));
        }
    }
    if bits > 0 {
        text.push(char::from(ALPHABET[(held << (5 - bits) & 31) as usize]));
    }
    text
}

/// Reads what [`base32`] wrote for a ticket; `None` for another length, other characters, or spare
/// bits that are not zero: a ticket has one spelling but for case.
fn from_base32(text: &str) -> Option<Vec<u8>> {
    if text.len() != TICKET_CHARS {
        return None;
    }
    let mut octets = Vec::with_capacity(SUBJECT_BYTES + MAC_BYTES);
    let (mut held, mut bits) = (0_u32, 0);
    for character in text.bytes().map(|octet| octet.to_ascii_lowercase()) {
        let value = match character {
            b'a'..=b'z' => character - b'a',
            b'2'..=b'7' => character - b'2' + 26,
            _ => return None,
        };
        held = held << 5 | u32::from(value);
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            octets.push((held >> bits & 255) as u8);
        }
    }
    (held & ((1 << bits) - 1) == 0).then_some(octets)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keys(current: &str, previous: &[&str]) -> TicketKeys {
        let previous = previous.iter().map(|text| Secret::new(*text)).collect();
        TicketKeys::new(Secret::new(current), previous)
    }

    fn ticket(index: u16, attempt: u16) -> Ticket {
        let message = MessageId::from_bytes([7; 16]);
        Ticket {
            delivery: DeliveryId { message, index },
            attempt,
        }
    }

    #[test]
    fn a_ticket_survives_servers_that_change_case_and_fits_a_local_part() {
        let keys = keys("0123456789abcdef", &[]);
        let text = keys.write(ticket(3, 2), TicketUse::Bounce);
        assert_eq!(text.len(), TICKET_CHARS);
        assert!("b+".len() + text.len() <= crate::address::LOCAL_PART_BYTES_MAX);
        for text in [text.clone(), text.to_uppercase()] {
            assert_eq!(keys.read(&text, TicketUse::Bounce), Some(ticket(3, 2)));
        }
    }

    #[test]
    fn a_ticket_is_good_for_one_use_and_for_keys_that_are_named() {
        let old = keys("an old secret of ours", &[]);
        let text = old.write(ticket(0, 1), TicketUse::UnsubscribeMail);
        let rotated = keys("a new secret of ours", &["an old secret of ours"]);
        let read = |keys: &TicketKeys, good_for| keys.read(&text, good_for);
        assert_eq!(
            read(&rotated, TicketUse::UnsubscribeMail),
            Some(ticket(0, 1))
        );
        for good_for in [TicketUse::Bounce, TicketUse::UnsubscribeLink] {
            assert_eq!(read(&rotated, good_for), None, "{good_for:?}");
        }
        let stranger = keys("another secret of ours", &[]);
        assert_eq!(read(&stranger, TicketUse::UnsubscribeMail), None);
    }

    #[test]
    fn a_ticket_with_any_character_changed_is_no_ticket() {
        let keys = keys("0123456789abcdef", &[]);
        let text = keys.write(ticket(3, 2), TicketUse::Bounce);
        for place in 0..text.len() {
            for other in ["a", "b", "7", "1", "-", " "] {
                let mut forged = text.clone();
                forged.replace_range(place..=place, other);
                let read = keys.read(&forged, TicketUse::Bounce);
                assert_eq!(read.is_some(), forged == text, "{forged}");
            }
        }
    }

    proptest! {
        #[test]
        fn other_texts_are_no_tickets(text in "\\PC{0,80}") {
            prop_assert_eq!(keys("0123456789abcdef", &[]).read(&text, TicketUse::Bounce), None);
        }

        #[test]
        fn every_ticket_is_read_as_it_was_written(message: [u8; 16], index: u16, attempt: u16) {
            let keys = keys("0123456789abcdef", &[]);
            let message = MessageId::from_bytes(message);
            let ticket = Ticket { delivery: DeliveryId { message, index }, attempt };
            let text = keys.write(ticket, TicketUse::Bounce);
            prop_assert_eq!(keys.read(&text, TicketUse::Bounce), Some(ticket));
        }
    }
}
