//! Mail that came back, in the forms that servers and people write, and in none.

use malote_core::event::{Blame, EventKind};
use malote_core::returned::{Report, ReturnReader as _, ReturnedMail, UNREADABLE_BYTES_MAX};
use proptest::prelude::*;

use crate::MailReader;

/// A report of this kind with this part, as a server sends it.
fn mail(report_type: &str, part_type: &str, part: &str) -> String {
    let text = format!(
        "From: MAILER-DAEMON@relay.example (Mail Delivery System)\nTo: b+x@bounces.example\n\
         Subject: Undelivered Mail Returned to Sender\nAuto-Submitted: auto-replied\n\
         MIME-Version: 1.0\n\
         Content-Type: multipart/report; report-type={report_type}; boundary=\"=_b\"\n\n\
         --=_b\nContent-Type: text/plain; charset=us-ascii\n\nI'm sorry.\n\n\
         --=_b\nContent-Description: report\nContent-Type: {part_type}\n\n{part}\n\
         --=_b\nContent-Type: message/rfc822\n\n{RETURNED}\n--=_b--\n"
    );
    text.replace('\n', "\r\n")
}

/// A returned message that itself holds a delivery status, which must not be believed.
const RETURNED: &str = "From: news@shop.example\nTo: ana@one.example\nSubject: x\n\
    Content-Type: multipart/report; boundary=\"in\"\n\n--in\nContent-Type: message/delivery-status\n\n\
    Reporting-MTA: dns; x\n\nFinal-Recipient: rfc822; eve@one.example\nAction: failed\nStatus: 5.1.1\n\n--in--\n";

fn read(text: &str) -> ReturnedMail {
    MailReader.read(text.as_bytes())
}

fn reports(mail: &ReturnedMail) -> &[Report] {
    match mail {
        ReturnedMail::Report(reports) => reports,
        ReturnedMail::Automatic | ReturnedMail::Written(_) | ReturnedMail::Unreadable(_) => {
            panic!("{mail:?}")
        }
    }
}

fn dsn(groups: &str) -> ReturnedMail {
    read(&mail("delivery-status", "message/delivery-status", groups))
}

#[test]
fn a_bounce_as_postfix_writes_it_is_read() {
    let mail = dsn(
        "Reporting-MTA: dns; relay.example\nX-Postfix-Queue-ID: 4F1B2\n\
         Arrival-Date: Sat, 28 Nov 2026 01:00:00 +0000 (UTC)\n\n\
         Final-Recipient: rfc822; ana@one.example\nOriginal-Recipient: rfc822;ana@one.example\n\
         Action: failed\nStatus: 5.1.1\nRemote-MTA: dns; mx.one.example\n\
         Diagnostic-Code: smtp; 550 5.1.1 <ana@one.example>: Recipient address rejected: User\n    unknown in virtual mailbox table\n",
    );
    let [report] = reports(&mail) else {
        panic!("{mail:?}")
    };
    assert_eq!(report.kind, EventKind::Bounced);
    assert_eq!(report.blame, Some(Blame::Recipient));
    assert_eq!(report.recipients[0].as_str(), "ana@one.example");
    assert!(
        report.detail.starts_with("550 5.1.1 <ana@one.example>"),
        "{}",
        report.detail
    );
    assert!(
        report
            .detail
            .ends_with("User unknown in virtual mailbox table"),
        "{}",
        report.detail
    );
}

#[test]
fn every_action_has_its_event_and_the_status_stands_in_where_there_is_none() {
    for (fields, kind, blame) in [
        (
            "Action: failed\nStatus: 5.7.1\nDiagnostic-Code: smtp; 550 5.7.1 blocked using zen.spamhaus.org",
            EventKind::Bounced,
            Some(Blame::Reputation),
        ),
        (
            "Action: FAILED (permanent)\nStatus: 5.2.2 (mailbox full)",
            EventKind::Bounced,
            Some(Blame::MailboxFull),
        ),
        (
            "Action: failed\nStatus: 5.0.0",
            EventKind::Bounced,
            Some(Blame::Unknown),
        ),
        ("Action: delayed\nStatus: 4.4.1", EventKind::Deferred, None),
        (
            "Action: delivered\nStatus: 2.0.0",
            EventKind::Delivered,
            None,
        ),
        (
            "Action: relayed\nStatus: 2.0.0",
            EventKind::Other("relayed".into()),
            None,
        ),
        (
            "Action: expanded\nStatus: 2.0.0",
            EventKind::Other("expanded".into()),
            None,
        ),
        ("Status: 5.1.1", EventKind::Bounced, Some(Blame::Recipient)),
        ("Status: 4.2.1", EventKind::Deferred, None),
        (
            "Action: gone\nStatus: 5.1.10",
            EventKind::Bounced,
            Some(Blame::Recipient),
        ),
    ] {
        // Without the group about the message, as old servers write it.
        let mail = dsn(&format!(
            "Final-Recipient: rfc822; ana@one.example\n{fields}\n"
        ));
        let [report] = reports(&mail) else {
            panic!("{fields}: {mail:?}")
        };
        assert_eq!((&report.kind, report.blame), (&kind, blame), "{fields}");
    }
}

#[test]
fn a_delivery_status_that_says_nothing_is_set_aside_with_its_text() {
    for groups in [
        "",
        "Reporting-MTA: dns; x\n",
        "Final-Recipient: rfc822; a@one.example\nAction: perhaps\n",
        "\u{1}\u{2}\n\n:::\n",
    ] {
        let mail = dsn(groups);
        let ReturnedMail::Unreadable(text) = &mail else {
            panic!("{groups:?}: {mail:?}")
        };
        assert!(text.contains("MAILER-DAEMON"), "{text}");
    }
}

#[test]
fn each_recipient_of_a_report_is_an_entry_of_its_own() {
    let mail = dsn(
        "Reporting-MTA: dns; x\n\nFinal-Recipient: rfc822; a@one.example\nAction: failed\nStatus: 5.1.1\n\n\
         Final-Recipient: utf-8; <b@one.example>\nAction: delayed\nStatus: 4.0.0\n\n\
         Final-Recipient: x400; c\nAction: delivered\nStatus: 2.0.0\n",
    );
    let named: Vec<Vec<&str>> = reports(&mail)
        .iter()
        .map(|report| report.recipients.iter().map(|r| r.as_str()).collect())
        .collect();
    assert_eq!(
        named,
        [vec!["a@one.example"], vec!["b@one.example"], vec![]]
    );
}

#[test]
fn a_complaint_is_told_from_praise_and_from_reports_on_authentication() {
    for (kind, expected) in [
        ("abuse", Some(EventKind::Complained)),
        ("Fraud", Some(EventKind::Complained)),
        ("virus", Some(EventKind::Complained)),
        (
            "auth-failure",
            Some(EventKind::Other("auth_failure".into())),
        ),
        (
            "opt out!",
            Some(EventKind::Other("feedback_opt_out_".into())),
        ),
        ("not-spam", None),
    ] {
        let fields = format!(
            "Feedback-Type: {kind}\nUser-Agent: Loop/1\nVersion: 1\nOriginal-Rcpt-To: <ana@one.example>\n"
        );
        let mail = read(&mail("feedback-report", "message/feedback-report", &fields));
        let Some(expected) = expected else {
            assert_eq!(mail, ReturnedMail::Automatic, "{kind}");
            continue;
        };
        let [report] = reports(&mail) else {
            panic!("{mail:?}")
        };
        assert_eq!(report.kind, expected);
        assert_eq!(report.recipients[0].as_str(), "ana@one.example");
    }
}

#[test]
fn where_an_address_of_ours_may_stand_is_read_of_the_report_and_of_the_header_that_it_returns() {
    let report = "Feedback-Type: abuse\nOriginal-Mail-From: <b+one@back.example>\n";
    let returned = RETURNED.replace(
        "Subject: x\n",
        "Return-Path: <b+two@back.example>\nList-Unsubscribe: <https://shop.example/u/x>,\n \
         <mailto:u+three@back.example?subject=unsubscribe>\n",
    );
    let body = "\n\nReturn-Path: <b+four@back.example>\n";
    for (kind, returned) in [
        ("message/rfc822", format!("{returned}{body}")),
        (
            "text/rfc822-headers",
            returned.split("Content-Type").next().unwrap().to_owned(),
        ),
    ] {
        let whole = mail("feedback-report", "message/feedback-report", report);
        let old = RETURNED.replace('\n', "\r\n");
        let whole = whole.replace(&old, &returned.replace('\n', "\r\n"));
        let whole = whole.replace("message/rfc822", kind);
        let mail = read(&whole);
        let named: Vec<&str> = reports(&mail)[0].named.iter().map(|a| a.as_str()).collect();
        let expected = [
            "b+one@back.example",
            "b+two@back.example",
            "u+three@back.example",
        ];
        assert_eq!(named, expected, "{kind}");
    }
    let bare = mail("feedback-report", "message/feedback-report", report);
    assert_eq!(reports(&read(&bare))[0].named.len(), 1);
}

#[test]
fn old_servers_without_a_delivery_status_are_understood() {
    let qmail = "From: MAILER-DAEMON@mx.example\r\nTo: b+x@bounces.example\r\nSubject: failure notice\r\n\r\n\
        Hi. This is the qmail-send program at mx.example.\r\nI'm afraid I wasn't able to deliver.\r\n\r\n\
        <ana@one.example>:\r\n192.0.2.1 does not like recipient.\r\nRemote host said: 550 5.1.1 user unknown\r\nGiving up on 192.0.2.1.\r\n\r\n\
        --- Below this line is a copy of the message.\r\n\r\n<eve@one.example>:\r\n550 no\r\n";
    let exim = "From: Mail Delivery System <Mailer-Daemon@mx.example>\r\nX-Failed-Recipients: ana@one.example\r\n\
        Auto-Submitted: auto-replied\r\nSubject: Mail delivery failed\r\n\r\nA message could not be delivered.\r\n\r\n\
        \x20 ana@one.example\r\n    host mx.one.example [192.0.2.1]: 550 5.1.1 user unknown\r\n\r\n------ This is a copy\r\n";
    for text in [qmail, exim] {
        let mail = read(text);
        let [report] = reports(&mail) else {
            panic!("{mail:?}")
        };
        assert_eq!(
            (&report.kind, report.blame),
            (&EventKind::Bounced, Some(Blame::Recipient)),
            "{}",
            report.detail
        );
        assert_eq!(report.recipients[0].as_str(), "ana@one.example");
    }
}

#[test]
fn what_a_program_answers_is_told_from_what_somebody_wrote() {
    for (fields, is_automatic) in [
        ("Auto-Submitted: auto-replied", true),
        ("Auto-Submitted: auto-generated; owner-email=\"a@x\"", true),
        ("Auto-Submitted: no", false),
        ("Precedence: bulk", true),
        ("Precedence: auto_reply", true),
        ("Precedence: first-class", false),
        ("X-Autoreply: yes", true),
        ("X-Autorespond: away", true),
        ("Return-Path: <>", true),
        ("X-Mailer: me", false),
    ] {
        let mail = read(&format!(
            "From: ana@one.example\r\nSubject: unsubscribe\r\n{fields}\r\n\r\nbye\r\n"
        ));
        assert_eq!(
            mail == ReturnedMail::Automatic,
            is_automatic,
            "{fields}: {mail:?}"
        );
        assert_eq!(
            matches!(mail, ReturnedMail::Written(_)),
            !is_automatic,
            "{fields}"
        );
    }
    let system = read("From: Postmaster@mx.example\r\nSubject: ?\r\n\r\nno\r\n");
    assert!(matches!(system, ReturnedMail::Unreadable(_)), "{system:?}");
}

fn bounds_hold(mail: &ReturnedMail) {
    match mail {
        ReturnedMail::Report(reports) => {
            assert!(
                !reports.is_empty() && reports.len() <= 33,
                "{}",
                reports.len()
            );
            for report in reports {
                assert!(report.detail.len() <= 512 && report.raw.len() <= 16 << 10);
                assert!(report.recipients.len() <= 64 && report.named.len() <= 16);
            }
        }
        ReturnedMail::Unreadable(text) | ReturnedMail::Written(text) => {
            assert!(text.len() <= UNREADABLE_BYTES_MAX);
        }
        ReturnedMail::Automatic => {}
    }
}

#[test]
fn deep_nests_and_long_reports_stay_in_bounds() {
    let nested: String = (0..2_000)
        .map(|level| {
            format!("Content-Type: multipart/mixed; boundary=\"b{level}\"\r\n\r\n--b{level}\r\n")
        })
        .collect();
    bounds_hold(&read(&nested));
    let messages = "Content-Type: message/rfc822\r\n\r\n".repeat(5_000);
    bounds_hold(&read(&messages));
    let many =
        "Final-Recipient: rfc822; a@one.example\nAction: failed\nStatus: 5.1.1\n\n".repeat(10_000);
    bounds_hold(&dsn(&many));
    let wide = format!(
        "Action: failed\nStatus: 5.1.1\nDiagnostic-Code: smtp; {}\n",
        "é x\n ".repeat(50_000)
    );
    bounds_hold(&dsn(&wide));
    let named = "Final-Recipient: rfc822; a@one.example\n".repeat(1_000) + "Action: failed\n";
    bounds_hold(&dsn(&named));
}

proptest! {
    #[test]
    fn no_mail_makes_the_reader_panic(octets in proptest::collection::vec(any::<u8>(), 0..4_000)) {
        bounds_hold(&MailReader.read(&octets));
    }

    #[test]
    fn no_report_makes_the_reader_panic(lines in proptest::collection::vec("(Action|Status|Final-Recipient|Diagnostic-Code|Feedback-Type|X-Failed-Recipients|)(: ?|)\\PC{0,40}", 0..40), kind in "(delivery-status|feedback-report|rfc822)") {
        bounds_hold(&read(&mail("delivery-status", &format!("message/{kind}"), &lines.join("\n"))));
        bounds_hold(&read(&lines.join("\r\n")));
        bounds_hold(&read(&format!("From: a@x\r\n\r\nHi. This is the \r\n\r\n{}", lines.join("\r\n\r\n"))));
    }
}
