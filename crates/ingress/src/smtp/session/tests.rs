//! Dialogues: what the client says, what it hears, what the gateway does.

use malote_core::address::EmailAddress;
use malote_core::credential::{
    BadRecipients, Credential, OnFinalFailure, OnForeignFrom, ReceivedDetail,
};
use malote_core::id::MessageId;
use malote_core::intake::{Accepted, Refusal};
use malote_core::webhook::SinkUnavailable;
use proptest::prelude::*;

use super::lines::COMMAND_LINE_READ_MAX;
use super::*;

mod envelope;
mod guards;
mod login;
mod returning;

const NOW: &str = "2026-11-22T01:02:03Z";
const SIZE_MAX: u64 = 500_000;

fn credential(bad_recipients: BadRecipients) -> Arc<Credential> {
    Arc::new(Credential {
        name: "shop".try_into().unwrap(),
        api_key: None,
        smtp_login: None,
        streams: vec!["transactional".try_into().unwrap()],
        default_stream: None,
        from_domains: Vec::new(),
        on_foreign_from: OnForeignFrom::Reject,
        bad_recipients,
        on_final_failure: OnFinalFailure::Dsn,
        provider_headers: false,
        received: ReceivedDetail::Brief,
        lenient_headers: false,
    })
}

/// A client and the gateway behind the session.
struct Dialogue {
    session: Session,
    submissions: Vec<Submission>,
    returned: Vec<CameBack>,
    outcome: Result<(), Refusal>,
    custody: Result<(), Refusal>,
    closed: Option<CloseReason>,
}

impl Dialogue {
    fn with(rules: SessionRules, anonymous: Option<Arc<Credential>>) -> Self {
        let peer = Peer {
            ip: "192.0.2.7".parse().unwrap(),
            session: "s".to_owned(),
            anonymous,
            is_tls: false,
        };
        let mut session = Session::new(Arc::new(rules), peer);
        session.output().clear();
        Self {
            session,
            submissions: Vec::new(),
            returned: Vec::new(),
            outcome: Ok(()),
            custody: Ok(()),
            closed: None,
        }
    }

    /// On a listener where nobody has to log in.
    fn trusted() -> Self {
        Self::with(rules(), Some(credential(BadRecipients::Refuse)))
    }

    /// Greeted, without login, on a listener that takes AUTH in clear.
    fn stranger() -> Self {
        let mut dialogue = Self::with(rules(), None);
        dialogue.say("EHLO x\r\n");
        dialogue
    }

    /// Greeted, on a listener with STARTTLS, in clear.
    fn in_clear() -> Self {
        let rules = SessionRules {
            offers_starttls: true,
            is_trusted_plaintext: false,
            ..rules()
        };
        Self::with(rules, None)
    }

    /// Trusted, greeted, with a sender and one recipient.
    fn enveloped() -> Self {
        let mut dialogue = Self::trusted();
        let heard = dialogue.say("EHLO x\r\nMAIL FROM:<a@x.test>\r\nRCPT TO:<b@x.test>\r\n");
        assert!(heard.ends_with("250 2.1.0 Sender ok\r\n250 2.1.5 Recipient ok\r\n"));
        dialogue
    }

    fn say(&mut self, octets: impl AsRef<[u8]>) -> String {
        self.session.input().extend_from_slice(octets.as_ref());
        let mut heard = Vec::new();
        while self.closed.is_none() {
            let step = self.session.advance(NOW.parse().unwrap());
            heard.append(self.session.output());
            match step {
                Step::Read => break,
                Step::Write => {}
                Step::StartTls => self.session.tls_started(),
                Step::Authenticate(login) => {
                    let is_right = login.user == "shop" && login.password.expose() == "pw";
                    let found = is_right.then(|| credential(BadRecipients::Refuse));
                    self.session.authenticated(found);
                }
                Step::CheckCustody => self.session.custody(self.custody.clone()),
                Step::Deliver(submission) => {
                    let outcome = self.accept(*submission);
                    self.session.delivered(&outcome);
                }
                Step::TakeBack(returned) => {
                    self.returned.push(*returned);
                    let outcome = self.outcome.clone().map_err(|_| SinkUnavailable);
                    self.session.taken_back(outcome);
                }
                Step::Close(reason) => self.closed = Some(reason),
            }
        }
        String::from_utf8(heard).unwrap()
    }

    fn accept(&mut self, submission: Submission) -> Result<Accepted, Refusal> {
        self.outcome.clone()?;
        self.submissions.push(submission);
        Ok(Accepted {
            id: "01934d2b-0000-7000-8000-000000000001"
                .parse::<MessageId>()
                .unwrap(),
            stream: "transactional".try_into().unwrap(),
            recipients: Vec::new(),
            is_replay: false,
        })
    }

    /// Code and enhanced code of each reply line.
    fn codes(&mut self, octets: impl AsRef<[u8]>) -> Vec<String> {
        self.say(octets).lines().map(code).collect()
    }

    fn still_works(&mut self) -> bool {
        let heard = self.codes(
            "RSET\r\nMAIL FROM:<a@x.test>\r\nRCPT TO:<b@x.test>\r\nDATA\r\nS: x\r\n\r\nx\r\n.\r\n",
        );
        heard
            == [
                "250 2.0.0",
                "250 2.1.0",
                "250 2.1.5",
                "354 End",
                "250 2.0.0",
            ]
    }
}

fn code(line: &str) -> String {
    line.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

fn rules() -> SessionRules {
    SessionRules {
        hostname: "mx.test".into(),
        message_bytes_max: SIZE_MAX,
        recipients_max: 1_000,
        offers_starttls: false,
        is_trusted_plaintext: true,
        returns: None,
    }
}

#[test]
fn the_banner_and_the_greetings_name_us_and_no_version() {
    let peer = Peer {
        ip: "192.0.2.7".parse().unwrap(),
        session: "s".to_owned(),
        anonymous: None,
        is_tls: false,
    };
    let mut session = Session::new(Arc::new(rules()), peer);
    assert_eq!(session.output(), b"220 mx.test ESMTP malote\r\n");
    let mut dialogue = Dialogue::trusted();
    assert_eq!(dialogue.say("HELO x\r\n"), "250 mx.test\r\n");
    let heard = dialogue.say("ehlo [127.0.0.1]\r\n");
    let offers = "250-mx.test\r\n250-PIPELINING\r\n250-SIZE 500000\r\n250-8BITMIME\r\n\
                  250-SMTPUTF8\r\n250-ENHANCEDSTATUSCODES\r\n250-DSN\r\n250-AUTH PLAIN LOGIN\r\n\
                  250 CHUNKING\r\n";
    assert_eq!(heard, offers);
}

#[test]
fn commands_out_of_order_or_shape_have_their_reply() {
    for (said, heard) in [
        ("EHLO\r\n", "501 5.5.4"),
        ("MAIL FROM:<a@x.test>\r\n", "503 5.5.1"),
        ("RCPT TO:<a@x.test>\r\n", "503 5.5.1"),
        ("DATA\r\n", "503 5.5.1"),
        ("DATA now\r\n", "501 5.5.4"),
        ("XYZZY\r\n", "500 5.5.1"),
        ("VRFY a\r\n", "252 2.1.5"),
        ("EXPN b\r\n", "502 5.5.1"),
        ("NOOP\0\r\n", "500 5.5.2"),
        ("\r\n", "500 5.5.2"),
        ("HELP\r\n", "214 2.0.0"),
        ("XCLIENT ADDR=1.2.3.4\r\n", "550 5.7.0"),
        ("STARTTLS\r\n", "502 5.5.1"),
        ("BDAT 0\r\n", "503 5.5.1"),
    ] {
        let mut dialogue = Dialogue::trusted();
        assert_eq!(dialogue.codes(said), [heard], "{said}");
        assert_eq!(dialogue.closed, None, "{said}");
        dialogue.say("EHLO x\r\n");
        assert!(dialogue.still_works(), "{said}");
    }
    let mut dialogue = Dialogue::trusted();
    dialogue.say("EHLO x\r\nMAIL FROM:<a@x.test>\r\n");
    assert_eq!(dialogue.codes("DATA\r\n"), ["503 5.5.1"]);
    assert_eq!(dialogue.codes("MAIL FROM:<a@x.test>\r\n"), ["503 5.5.1"]);
    assert_eq!(dialogue.codes("RCPT TO:<a>\r\n"), ["501 5.1.3"]);
    assert_eq!(dialogue.codes("DATA\r\n"), ["554 5.5.1"]);
    assert!(dialogue.still_works());
}

#[test]
fn greeting_and_reset_drop_the_envelope_and_keep_the_login() {
    for said in ["EHLO y\r\n", "HELO y\r\n", "RSET\r\n"] {
        let mut dialogue = Dialogue::stranger();
        dialogue.say("AUTH PLAIN AHNob3AAcHc=\r\nMAIL FROM:<a@x.test>\r\nRCPT TO:<b@x.test>\r\n");
        dialogue.say(said);
        assert_eq!(dialogue.codes("DATA\r\n"), ["503 5.5.1"], "{said}");
        assert!(dialogue.still_works(), "{said}");
    }
}

#[test]
fn a_pipelined_group_is_answered_in_order() {
    let mut dialogue = Dialogue::trusted();
    dialogue.say("EHLO x\r\n");
    let heard = dialogue.codes("MAIL FROM:<a@x.test>\r\nRCPT TO:<b@x.test>\r\nDATA\r\n");
    assert_eq!(heard, ["250 2.1.0", "250 2.1.5", "354 End"]);
    let heard = dialogue.say("S: x\r\n\r\nx\r\n.\r\nQUIT\r\n");
    assert_eq!(
        heard,
        "250 2.0.0 Ok: queued as 01934d2b-0000-7000-8000-000000000001\r\n221 2.0.0 Bye\r\n"
    );
    assert_eq!(dialogue.closed, Some(CloseReason::Quit));
}

#[test]
fn what_is_delivered_has_our_trace_field_and_the_text_as_it_was() {
    let mut dialogue = Dialogue::enveloped();
    dialogue.say("DATA\r\nSubject: x\r\n\r\n..dot\r\n8-bit: \u{e9}\r\n.\r\n");
    let submission = dialogue.submissions.pop().unwrap();
    let text = String::from_utf8(submission.body.to_vec()).unwrap();
    assert_eq!(
        text,
        "Received: by mx.test with ESMTP id s.1;\r\n\tSun, 22 Nov 2026 01:02:03 +0000\r\n\
         Subject: x\r\n\r\n.dot\r\n8-bit: \u{e9}\r\n"
    );
    assert_eq!(submission.recipients.len(), 1);
    assert_eq!(
        submission.mail_from.as_ref().map(EmailAddress::as_str),
        Some("a@x.test")
    );
}

#[test]
fn a_refusal_of_custody_is_said_and_the_session_goes_on() {
    let mut dialogue = Dialogue::enveloped();
    dialogue.outcome = Err(Refusal::StorageFull);
    assert_eq!(dialogue.codes("DATA\r\n.\r\n"), ["354 End", "452 4.3.1"]);
    dialogue.outcome = Ok(());
    assert!(dialogue.still_works());
    dialogue.custody = Err(Refusal::Unavailable);
    assert_eq!(dialogue.codes("MAIL FROM:<a@x.test>\r\n"), ["451 4.3.0"]);
    assert_eq!(dialogue.codes("RCPT TO:<a@x.test>\r\n"), ["503 5.5.1"]);
    dialogue.custody = Ok(());
    assert!(dialogue.still_works());
}

#[test]
fn a_message_without_memory_for_it_is_read_and_refused_for_now() {
    let mut dialogue = Dialogue::enveloped();
    dialogue.say("DATA\r\nS: x\r\n");
    assert!(dialogue.session.is_receiving());
    dialogue.session.refuse_for_memory();
    assert_eq!(dialogue.session.body_bytes_held(), 0);
    assert_eq!(dialogue.codes("\r\nx\r\n.\r\n"), ["452 4.3.1"]);
    assert!(dialogue.still_works());
}

fn script() -> impl Strategy<Value = Vec<u8>> {
    let lines: Vec<&[u8]> = vec![
        b"EHLO x\r\n",
        b"HELO x\r\n",
        b"MAIL FROM:<a@x.test>\r\n",
        b"MAIL FROM:<a@x.test> SIZE=10 BODY=8BITMIME\r\n",
        b"RCPT TO:<b@x.test>\r\n",
        b"RCPT TO:<b>\r\n",
        b"DATA\r\n",
        b"BDAT 5\r\nab\r\n.BDAT 0 LAST\r\n",
        b"S: x\r\n\r\n..x\r\n.\r\n",
        b".\r\n",
        b"RSET\r\n",
        b"NOOP\r\n",
        b"AUTH PLAIN\r\nAHNob3AAcHc=\r\n",
        b"AUTH LOGIN bad\r\n",
        b"XYZZY\r\n",
        b"\0\r\n",
        b"QUIT\r\n",
        b"a\nb",
        b"\r",
        b"\x16\x03\x01",
    ];
    let line = proptest::sample::select(lines);
    proptest::collection::vec(line, 0..25).prop_map(|lines| lines.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn cutting_the_octets_elsewhere_changes_no_reply(script in script(), piece_bytes in 1_usize..20) {
        let mut whole = Dialogue::trusted();
        let heard = whole.say(&script);
        let mut cut = Dialogue::trusted();
        let pieces: String = script.chunks(piece_bytes).map(|piece| cut.say(piece)).collect();
        // Only what is seen behind a refused DATA depends on when it came.
        if whole.closed != Some(CloseReason::Pipelining) && cut.closed != Some(CloseReason::Pipelining) {
            prop_assert_eq!(heard, pieces);
            prop_assert_eq!(whole.submissions.len(), cut.submissions.len());
        }
    }

    #[test]
    fn any_octets_are_answered_without_panic_and_in_bounded_memory(
        octets in proptest::collection::vec(any::<u8>(), 0..3_000),
        script in script(),
    ) {
        let mut dialogue = Dialogue::trusted();
        dialogue.say(&script);
        dialogue.say(&octets);
        prop_assert!(dialogue.session.input().len() <= COMMAND_LINE_READ_MAX);
        prop_assert!(dialogue.session.body_bytes_held() <= 2 * SIZE_MAX);
    }
}
