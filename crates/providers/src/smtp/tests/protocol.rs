//! What goes over the wire, and how often.

use malote_core::message::Notify;

use super::server::{ALL, Server, Step, hello, message, say, script, taken};
use super::*;
use crate::reencode::tests::{contents, unfit_message};

#[tokio::test]
async fn commands_up_to_data_leave_in_one_write() {
    let steps = vec![
        Step::HearOnce,
        say("250 a\r\n250 b\r\n354 c\r\n"),
        Step::HearData,
        taken("Q"),
    ];
    let server = Server::start(vec![script([hello(&["PIPELINING"]), steps])]).await;
    let report = send(&provider(server.port), &outgoing(&["x@x.test"])).await;
    assert_eq!(results(report), [Ok("Q".to_owned())]);
    assert_eq!(
        server.heard()[0].lines[1],
        "MAIL FROM:<bounce@shop.example>\r\nRCPT TO:<x@x.test>\r\nDATA"
    );
}

#[tokio::test]
async fn without_pipelining_each_command_waits_for_its_answer() {
    let steps = vec![
        Step::HearOnce,
        say("250 a\r\n"),
        Step::HearOnce,
        say("550 5.1.1 b\r\n"),
        Step::HearOnce,
        say("250 c\r\n"),
        Step::HearOnce,
        say("354 d\r\n"),
        Step::HearData,
        taken("Q"),
    ];
    let server = Server::start(vec![script([hello(&["8BITMIME"]), steps])]).await;
    let report = send(&provider(server.port), &outgoing(&["a@x.test", "b@x.test"])).await;
    assert_eq!(results(report)[1], Ok("Q".to_owned()));
    assert_eq!(
        server.heard()[0].lines[1..],
        [
            "MAIL FROM:<bounce@shop.example>",
            "RCPT TO:<a@x.test>",
            "RCPT TO:<b@x.test>",
            "DATA"
        ]
    );
}

#[tokio::test]
async fn parameters_follow_what_the_server_offers() {
    let server = Server::start(vec![script([hello(&ALL), message(), vec![taken("Q")]])]).await;
    let mut sent = outgoing(&["j\u{f6}@x.test"]);
    sent.body = Bytes::from("From: a@x\r\n\r\n\u{e9}\r\n");
    sent.mail_from = None;
    sent.dsn = DsnParameters {
        ret_full: true,
        envid: Some("E1".into()),
    };
    sent.recipients[0].notify = Some(Notify {
        success: false,
        failure: false,
        delay: false,
    });
    sent.recipients[0].orcpt = Some("rfc822;j@x.test".into());
    let report = send(&provider(server.port), &sent).await;
    assert_eq!(results(report), [Ok("Q".to_owned())]);
    assert_eq!(
        server.heard()[0].lines,
        [
            "EHLO [127.0.0.1]",
            "MAIL FROM:<> SIZE=17 BODY=8BITMIME SMTPUTF8 RET=FULL ENVID=E1",
            "RCPT TO:<j\u{f6}@x.test> NOTIFY=NEVER ORCPT=rfc822;j@x.test",
            "DATA"
        ]
    );
}

#[tokio::test]
async fn a_message_without_last_line_end_gets_one() {
    let server = Server::start(vec![script([hello(&ALL), message(), vec![taken("Q")]])]).await;
    let mut sent = outgoing(&["x@x.test"]);
    sent.body = Bytes::from_static(b"A: b\r\n\r\n.\r\nend");
    let report = send(&provider(server.port), &sent).await;
    assert_eq!(results(report), [Ok("Q".to_owned())]);
    assert_eq!(server.heard()[0].data[0], b"A: b\r\n\r\n..\r\nend\r\n.\r\n");
}

#[tokio::test]
async fn large_messages_arrive_whole() {
    let body = [BODY, &".line\r\n".repeat(60_000)].concat();
    let server = Server::start(vec![script([
        hello(&["PIPELINING"]),
        message(),
        vec![taken("Q")],
    ])]);
    let server = server.await;
    let mut sent = outgoing(&["x@x.test"]);
    sent.body = Bytes::from(body.clone());
    sent.write_pace.wait_max = DEADLINE;
    sent.reply_wait_max = DEADLINE;
    let report = send(&provider(server.port), &sent).await;
    assert_eq!(results(report), [Ok("Q".to_owned())]);
    let stuffed = [body.replace("\r\n.", "\r\n..").as_str(), ".\r\n"].concat();
    assert!(server.heard()[0].data[0] == stuffed.as_bytes());
}

#[tokio::test]
async fn lines_that_are_too_long_and_8_bit_text_leave_as_the_server_can_take_them() {
    for (offers, mail) in [
        (
            ["PIPELINING", "8BITMIME"],
            "MAIL FROM:<bounce@shop.example>",
        ),
        (
            ["PIPELINING", "SIZE 100000"],
            "MAIL FROM:<bounce@shop.example> SIZE=",
        ),
    ] {
        let steps = script([hello(&offers), message(), vec![taken("Q")]]);
        let server = Server::start(vec![steps]).await;
        let mut sent = outgoing(&["x@x.test"]);
        sent.body = unfit_message();
        let report = send(&provider(server.port), &sent).await;
        assert_eq!(results(report), [Ok("Q".to_owned())]);
        let heard = server.heard().remove(0);
        let data = heard.data[0].strip_suffix(b".\r\n").unwrap();
        // Longest with the dot that SMTP adds in front of another.
        let longest = data.split(|octet| *octet == b'\n').map(<[u8]>::len).max();
        assert!(longest.is_some_and(|bytes| bytes <= 1000), "{longest:?}");
        assert!(data.is_ascii());
        let text = String::from_utf8(data.to_vec()).unwrap();
        let text = text.replace("\r\n..", "\r\n.");
        assert_eq!(contents(text.as_bytes()), contents(&sent.body));
        assert!(heard.lines[1].starts_with(mail), "{:?}", heard.lines);
        if let Some(size) = heard.lines[1].strip_prefix("MAIL FROM:<bounce@shop.example> SIZE=") {
            assert_eq!(size, text.len().to_string(), "the size of what is sent");
        }
    }
}
