//! Listeners for mail that comes back: no login, no relaying, no answer but a refusal.

use async_trait::async_trait;
use malote_core::address::EmailAddress;
use malote_core::id::{DeliveryId, MessageId};
use malote_core::returned::{
    ReturnAddress, ReturnPlace, ReturnPurpose, ReturnSender, ReturnedMail, Returns,
};
use malote_core::ticket::Ticket;
use malote_core::webhook::SinkUnavailable;

use super::*;

/// Knows `b+one` and `b+two` of `back.example`.
struct Known;

#[async_trait]
impl Returns for Known {
    fn recognise(&self, recipient: &EmailAddress) -> Option<ReturnPlace> {
        let index = match recipient.as_str() {
            "b+one@back.example" => 1,
            "b+two@back.example" => 2,
            _ => return None,
        };
        let message = MessageId::from_bytes([0; 16]);
        let delivery = DeliveryId { message, index };
        Some(ReturnPlace::Signed(ReturnAddress {
            purpose: ReturnPurpose::Bounce,
            ticket: Ticket {
                delivery,
                attempt: 1,
            },
        }))
    }

    async fn take_back(
        &self,
        _to: &[ReturnPlace],
        _mail: ReturnedMail,
        _sender: ReturnSender,
    ) -> Result<(), SinkUnavailable> {
        Ok(())
    }
}

/// Greeted, on such a listener, under TLS as far as logins go.
fn returning() -> Dialogue {
    let rules = SessionRules {
        recipients_max: 2,
        returns: Some(Recogniser(Arc::new(Known))),
        ..rules()
    };
    Dialogue::with(rules, None)
}

const BOUNCE: &str = "DATA\r\nSubject: \u{e9}\r\n\r\nno\r\n.\r\n";

#[test]
fn mail_to_signed_addresses_is_taken_without_a_login_and_without_a_trace() {
    let mut dialogue = returning();
    let offers = dialogue.say("EHLO mx.example\r\n");
    assert!(
        !offers.contains("AUTH") && !offers.contains("DSN"),
        "{offers}"
    );
    let heard = dialogue.codes(format!(
        "MAIL FROM:<>\r\nRCPT TO:<b+one@back.example>\r\nRCPT TO:<b+one@back.example>\r\n{BOUNCE}"
    ));
    let taken = [
        "250 2.1.0",
        "250 2.1.5",
        "250 2.1.5",
        "354 End",
        "250 2.0.0",
    ];
    assert_eq!(heard, taken);
    let [returned] = &dialogue.returned[..] else {
        panic!("{:?}", dialogue.returned)
    };
    assert_eq!(returned.to.len(), 1);
    assert_eq!(returned.sender, ReturnSender::Nobody);
    assert_eq!(
        &returned.message[..],
        "Subject: \u{e9}\r\n\r\nno\r\n".as_bytes()
    );
    assert!(dialogue.submissions.is_empty());
}

#[test]
fn what_cannot_be_kept_now_is_to_come_again() {
    let mut dialogue = returning();
    dialogue.outcome = Err(Refusal::StorageFull);
    let heard = dialogue.codes(format!(
        "EHLO x\r\nMAIL FROM:<a@x.test>\r\nRCPT TO:<b+two@back.example>\r\n{BOUNCE}"
    ));
    assert_eq!(heard.last().map(String::as_str), Some("451 4.3.0"));
    assert_eq!(dialogue.returned[0].sender, ReturnSender::Somebody);
}

#[test]
fn every_other_address_is_refused_and_who_tries_many_is_shown_the_door() {
    for address in [
        "<b+three@back.example>",
        "<postmaster@back.example>",
        "<Postmaster>",
        "<b+one@other.example>",
        "<b+one@[192.0.2.1]>",
        "<ana@shop.example>",
    ] {
        let mut dialogue = returning();
        let heard = dialogue.codes(format!(
            "EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:{address}\r\nDATA\r\n"
        ));
        let last_two = &heard[heard.len() - 2..];
        assert_eq!(last_two, ["550 5.1.1", "554 5.5.1"], "{address}");
    }
    let mut dialogue = returning();
    dialogue.say("EHLO x\r\nMAIL FROM:<>\r\n");
    dialogue.say("RCPT TO:<b+three@back.example>\r\n".repeat(11));
    assert_eq!(dialogue.closed, Some(CloseReason::Errors));
}

#[test]
fn nobody_logs_in_and_recipients_are_few() {
    let mut dialogue = returning();
    dialogue.say("EHLO x\r\n");
    assert_eq!(dialogue.codes("AUTH PLAIN AHNob3AAcHc=\r\n"), ["502 5.5.1"]);
    let three = "RCPT TO:<b+one@back.example>\r\nRCPT TO:<b+two@back.example>\r\n\
                 RCPT TO:<b+one@back.example>\r\n";
    let heard = dialogue.codes(format!("MAIL FROM:<>\r\n{three}"));
    assert_eq!(heard, ["250 2.1.0", "250 2.1.5", "250 2.1.5", "452 4.5.3"]);
}
