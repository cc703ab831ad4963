//! MAIL, RCPT and BDAT.

use super::*;

fn mail(arguments: &str) -> (String, Dialogue) {
    let mut dialogue = Dialogue::trusted();
    dialogue.say("EHLO x\r\n");
    let heard = dialogue.codes(format!("MAIL FROM:{arguments}\r\n"));
    (heard.join(","), dialogue)
}

fn rcpt(arguments: &str) -> (String, Dialogue) {
    let (_, mut dialogue) = mail("<a@x.test>");
    let heard = dialogue.codes(format!("RCPT TO:{arguments}\r\n"));
    (heard.join(","), dialogue)
}

#[test]
fn senders_have_their_reply() {
    let longest = format!("<{}@x.test>", "a".repeat(64));
    let too_long = format!("<{}@x.test>", "a".repeat(65));
    let path = format!("<a@{}.test>", ["x"; 130].join("."));
    let envid = format!("<a@x.test> ENVID={}", "x".repeat(101));
    for (arguments, heard) in [
        ("<>", "250 2.1.0"),
        ("<a@x.test>", "250 2.1.0"),
        ("<a@x.test> SIZE=100 BODY=8BITMIME SMTPUTF8", "250 2.1.0"),
        ("<mail+bounce_652@x.test>", "250 2.1.0"),
        (longest.as_str(), "250 2.1.0"),
        ("<@hop.test:a@x.test>", "250 2.1.0"),
        (too_long.as_str(), "501 5.1.7"),
        (path.as_str(), "501 5.1.7"),
        ("a@x.test", "501 5.1.7"),
        ("<a@x.test", "501 5.1.7"),
        ("<a>", "501 5.1.7"),
        ("<a b@x.test>", "501 5.1.7"),
        ("<a@x.test>SIZE=1", "501 5.1.7"),
        ("<a@[127.0.0.1]>", "501 5.1.7"),
        ("", "501 5.1.7"),
        ("<jörg@x.test>", "553 5.6.7"),
        ("<a@münchen.test>", "553 5.6.7"),
        ("<jörg@x.test> SMTPUTF8", "250 2.1.0"),
        ("<a\u{202e}@x.test> SMTPUTF8", "553 5.6.7"),
        ("<a\u{200b}@x.test> SMTPUTF8", "553 5.6.7"),
        ("<a@x.test> SIZE=999999999999", "552 5.3.4"),
        ("<a@x.test> SIZE=-1", "501 5.5.4"),
        ("<a@x.test> SIZE=18446744073709551617", "501 5.5.4"),
        ("<a@x.test> SIZE=abc", "501 5.5.4"),
        ("<a@x.test> FOO=BAR", "555 5.5.4"),
        ("<a@x.test> BODY=BINARYMIME", "501 5.5.4"),
        ("<a@x.test> BODY=9BIT", "501 5.5.4"),
        ("<a@x.test> RET=FULL RET=FULL", "501 5.5.4"),
        (envid.as_str(), "501 5.5.4"),
    ] {
        let (codes, mut dialogue) = mail(arguments);
        assert_eq!(codes, heard, "{arguments}");
        assert!(dialogue.still_works(), "{arguments}");
    }
}

#[test]
fn recipients_have_their_reply() {
    for (arguments, heard) in [
        ("<b@x.test>", "250 2.1.5"),
        ("<b@x.test> NOTIFY=NEVER ORCPT=rfc822;b@x.test", "250 2.1.5"),
        ("<>", "501 5.1.3"),
        ("<b>", "501 5.1.3"),
        ("<b@x.test:25>", "501 5.1.3"),
        ("<b@x.test>,<c@x.test>", "501 5.1.3"),
        ("<b@x.test,c@x.test>", "501 5.1.3"),
        ("<Postmaster>", "553 5.1.3"),
        ("<b@[127.0.0.1]>", "550 5.1.2"),
        ("<b@[IPv6:::1]>", "550 5.1.2"),
        ("<jörg@x.test>", "553 5.6.7"),
        ("<b@x.test> NOTIFY=NEVER,SUCCESS", "501 5.5.4"),
        ("<b@x.test> FOO=BAR", "555 5.5.4"),
    ] {
        let (codes, mut dialogue) = rcpt(arguments);
        assert_eq!(codes, heard, "{arguments}");
        assert!(dialogue.still_works(), "{arguments}");
    }
}

#[test]
fn a_credential_may_have_impossible_recipients_reported_instead_of_refused() {
    let mut dialogue = Dialogue::with(rules(), Some(credential(BadRecipients::Report)));
    dialogue.say("EHLO x\r\nMAIL FROM:<a@x.test>\r\n");
    for arguments in [
        "<jörg@x.test>",
        "<b> NOTIFY=NEVER",
        "<b@[127.0.0.1]>",
        "<jörg@x.test>",
    ] {
        let heard = dialogue.codes(format!("RCPT TO:{arguments}\r\n"));
        assert_eq!(heard, ["250 2.1.5"], "{arguments}");
    }
    assert_eq!(dialogue.codes("RCPT TO:<>\r\n"), ["501 5.1.3"]);
    assert_eq!(dialogue.codes("DATA\r\n.\r\n"), ["354 End", "250 2.0.0"]);
    let submission = dialogue.submissions.pop().unwrap();
    assert!(submission.recipients.is_empty());
    let texts: Vec<_> = submission
        .impossible
        .iter()
        .map(|i| i.text.as_str())
        .collect();
    assert_eq!(texts, ["jörg@x.test", "b", "b@[127.0.0.1]"]);
    let notify = submission.impossible[1].notify;
    assert!(notify.is_some_and(|notify| !notify.failure));
}

#[test]
fn a_mailbox_named_twice_gets_the_message_once() {
    let mut dialogue = Dialogue::enveloped();
    let heard = dialogue.codes("RCPT TO:<B@X.test>\r\nRCPT TO:<c@x.test> NOTIFY=FAILURE\r\n");
    assert_eq!(heard, ["250 2.1.5", "250 2.1.5"]);
    dialogue.say("DATA\r\n.\r\n");
    let submission = dialogue.submissions.pop().unwrap();
    assert_eq!(submission.recipients.len(), 2);
    assert!(submission.recipients[1].notify.unwrap().failure);
}

#[test]
fn a_thousand_recipients_are_taken_and_the_next_is_not() {
    let mut dialogue = Dialogue::trusted();
    dialogue.say("EHLO x\r\nMAIL FROM:<a@x.test>\r\n");
    let many: String = (0..1_010)
        .map(|n| format!("RCPT TO:<r{n}@x.test>\r\n"))
        .collect();
    let heard = dialogue.codes(many);
    assert!(heard[..1_000].iter().all(|code| code == "250 2.1.5"));
    assert!(heard[1_000..].iter().all(|code| code == "452 4.5.3"));
    assert_eq!(dialogue.codes("DATA\r\n.\r\n"), ["354 End", "250 2.0.0"]);
    assert_eq!(dialogue.submissions[0].recipients.len(), 1_000);
}

#[test]
fn chunks_make_a_message() {
    let mut dialogue = Dialogue::enveloped();
    let heard = dialogue.codes("BDAT 9\r\nS: x\r\n\r\n.BDAT 4 last\r\n\r\ny\r");
    assert_eq!(heard, ["250 2.0.0", "550 5.6.11"]);
    let mut dialogue = Dialogue::enveloped();
    let heard = dialogue.say("BDAT 9\r\nS: x\r\n\r\n.BDAT 5 last\r\n\r\n.\r\nNOOP\r\n");
    let codes: Vec<_> = heard.lines().map(code).collect();
    assert_eq!(codes, ["250 2.0.0", "250 2.0.0", "250 2.0.0"]);
    assert!(heard.starts_with("250 2.0.0 9 octets received\r\n250 2.0.0 Ok: queued as"));
    assert!(
        dialogue.submissions[0]
            .body
            .ends_with(b"S: x\r\n\r\n.\r\n.\r\n")
    );
}

#[test]
fn bad_chunks_have_their_reply() {
    for (said, heard, reason) in [
        (
            "BDAT 18446744073709551615\r\n",
            "552 5.3.4",
            Some(CloseReason::TooLarge),
        ),
        ("BDAT -1\r\n", "501 5.5.4", Some(CloseReason::TooLarge)),
        ("BDAT\r\n", "501 5.5.4", Some(CloseReason::TooLarge)),
        ("BDAT 1 FIRST\r\n", "501 5.5.4", Some(CloseReason::TooLarge)),
        ("BDAT 2 LAST\r\na\n", "550 5.6.11", None),
        ("BDAT 3 LAST\r\na\0b", "550 5.6.0", None),
        ("BDAT 3\r\na\0b", "550 5.6.0", None),
    ] {
        let mut dialogue = Dialogue::enveloped();
        assert_eq!(dialogue.codes(said), [heard], "{said}");
        assert_eq!(dialogue.closed, reason, "{said}");
        assert!(dialogue.submissions.is_empty());
        assert!(reason.is_some() || dialogue.still_works(), "{said}");
    }
    let mut dialogue = Dialogue::enveloped();
    let heard = dialogue.codes("BDAT 1\r\nxDATA\r\nRCPT TO:<c@x.test>\r\nMAIL FROM:<>\r\n");
    assert_eq!(heard, ["250 2.0.0", "503 5.5.1"]);
    assert_eq!(dialogue.closed, Some(CloseReason::Pipelining));
    let mut dialogue = Dialogue::stranger();
    let heard = dialogue.codes("BDAT 6\r\nQUIT\r\nNOOP\r\n");
    assert_eq!(heard, ["503 5.5.1", "250 2.0.0"]);
}
