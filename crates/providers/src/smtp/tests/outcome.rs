//! What becomes of each recipient, whatever the server does.

use malote_core::provider::Fault;

use super::server::{ALL, Server, Step, hello, message, say, script, taken};
use super::*;

const TRANSIENT: Result<String, Verdict> = Err(Verdict::Transient);
const UNKNOWN: Result<String, Verdict> = Err(Verdict::Unknown);
const THROTTLED: Result<String, Verdict> = Err(Verdict::Throttled { after: None });

async fn outcome(steps: Vec<Step>) -> Result<String, Verdict> {
    let server = Server::start(vec![steps]).await;
    let report = send(&provider(server.port), &outgoing(&["x@dest.example"])).await;
    assert_eq!(
        server.heard().len(),
        1,
        "a new connection is not tried twice"
    );
    results(report).remove(0)
}

#[tokio::test]
async fn after_the_final_dot_only_250_is_accepted_and_only_a_refusal_is_refused() {
    let long = format!("250 {}\r\n", "x".repeat(1 << 20));
    let endless = "250-x\r\n".repeat(200_000);
    for (answer, expected) in [
        ("250 2.0.0 Ok: queued as Q1\r\n", Ok("Q1".to_owned())),
        ("250-more\r\n250 done\r\n", Ok("own@x".to_owned())),
        ("251 will forward\r\n", UNKNOWN),
        ("220 what\r\n", UNKNOWN),
        ("354 go on\r\n", UNKNOWN),
        ("250-x\r\n550 y\r\n", UNKNOWN),
        ("099 x\r\n", UNKNOWN),
        ("250 a\0b\r\n", UNKNOWN),
        (&long, UNKNOWN),
        (&endless, UNKNOWN),
        ("", UNKNOWN),
        ("250 cut", UNKNOWN),
        ("554 5.6.0 no\r\n", Err(Verdict::Rejected(Fault::Message))),
        ("451 4.3.0 later\r\n", TRANSIENT),
        ("421 4.7.0 closing\r\n", THROTTLED),
    ] {
        let steps = script([hello(&ALL), message(), vec![say(answer)]]);
        assert_eq!(outcome(steps).await, expected, "{answer:.40}");
    }
}

#[tokio::test]
async fn silence_after_the_final_dot_is_unknown() {
    let steps = script([hello(&ALL), message(), vec![Step::Hang]]);
    assert_eq!(outcome(steps).await, UNKNOWN);
}

#[tokio::test]
async fn an_answer_to_what_is_not_sent_yet_is_not_believed() {
    let early = say("250 a\r\n250 b\r\n354 go\r\n250 2.0.0 taken\r\n");
    let steps = script([hello(&ALL), vec![Step::Hear, early, Step::Hang]]);
    assert_eq!(outcome(steps).await, TRANSIENT);
}

#[tokio::test]
async fn before_the_final_dot_nothing_was_sent() {
    let long = "x".repeat(1 << 20);
    let hear = Step::Hear;
    for (name, steps, expected) in [
        ("banner hangs", vec![Step::Hang], TRANSIENT),
        ("closes at once", vec![], TRANSIENT),
        ("banner 421", vec![say("421 4.7.0 too many\r\n")], THROTTLED),
        (
            "banner 554",
            vec![say("554 no\r\n")],
            Err(Verdict::ProviderUnusable),
        ),
        ("banner is a long line", vec![say(&long)], TRANSIENT),
        (
            "EHLO hangs",
            vec![say("220 mx\r\n"), hear.clone(), Step::Hang],
            TRANSIENT,
        ),
        (
            "MAIL hangs",
            script([hello(&ALL), vec![hear.clone(), Step::Hang]]),
            TRANSIENT,
        ),
        (
            "closes at MAIL",
            script([hello(&ALL), vec![hear.clone()]]),
            TRANSIENT,
        ),
        (
            "MAIL 421",
            script([
                hello(&ALL),
                vec![hear.clone(), say("421 4.3.2 closing\r\n")],
            ]),
            TRANSIENT,
        ),
        (
            "MAIL answered twice over",
            script([hello(&ALL), vec![hear.clone(), say("250-x\r\n550 y\r\n")]]),
            TRANSIENT,
        ),
        (
            "DATA answered by 250",
            script([
                hello(&ALL),
                vec![hear.clone(), say("250 a\r\n250 b\r\n250 c\r\n"), Step::Hang],
            ]),
            TRANSIENT,
        ),
        (
            "DATA 451",
            script([
                hello(&ALL),
                vec![hear, say("250 a\r\n250 b\r\n451 4.3.0 c\r\n"), Step::Hang],
            ]),
            TRANSIENT,
        ),
    ] {
        assert_eq!(outcome(steps).await, expected, "{name}");
    }
}

#[tokio::test]
async fn a_message_cut_or_stuck_half_way_was_not_sent() {
    let go = vec![
        Step::Hear,
        Step::Hear,
        Step::Hear,
        say("250 a\r\n250 b\r\n354 c\r\n"),
    ];
    for last in [
        vec![Step::HearBytes(4096)],
        vec![Step::HearBytes(4096), Step::Hang],
    ] {
        let steps = script([hello(&["PIPELINING"]), go.clone(), last]);
        let server = Server::start(vec![steps]).await;
        let mut large = outgoing(&["x@dest.example"]);
        large.body = Bytes::from([BODY, &"line\r\n".repeat(4 << 20)].concat());
        let report = send(&provider(server.port), &large).await;
        assert_eq!(results(report), [TRANSIENT]);
    }
}

#[tokio::test]
async fn each_recipient_has_its_own_outcome() {
    let steps = vec![
        Step::Hear,
        Step::Hear,
        Step::Hear,
        Step::Hear,
        Step::Hear,
        Step::Hear,
        say(
            "250 from\r\n250 a\r\n550 5.1.1 no such user\r\n450 4.2.1 later\r\n452 4.5.3 many\r\n354 go\r\n",
        ),
        Step::HearData,
        taken("Q2"),
    ];
    let server = Server::start(vec![script([hello(&ALL), steps])]).await;
    let four = outgoing(&["a@x.test", "b@x.test", "c@x.test", "d@x.test"]);
    let report = send(&provider(server.port), &four).await;
    let expected = [
        Ok("Q2".to_owned()),
        Err(Verdict::Rejected(Fault::Recipient)),
        Err(Verdict::Deferred),
        Err(Verdict::Ungroup),
    ];
    assert_eq!(results(report), expected);
    let data = server.heard()[0].data[0].clone();
    let stuffed = [&BODY.replace("\r\n.hi", "\r\n..hi"), ".\r\n"].concat();
    assert_eq!(data, stuffed.as_bytes());
}

#[tokio::test]
async fn with_no_recipient_left_no_message_is_sent_even_if_the_server_asks_for_it() {
    let steps = vec![
        Step::Hear,
        Step::Hear,
        Step::Hear,
        say("250 from\r\n550 5.1.1 no such user\r\n354 go\r\n"),
        Step::HearOnce,
    ];
    let server = Server::start(vec![script([hello(&ALL), steps])]).await;
    let report = send(&provider(server.port), &outgoing(&["a@x.test"])).await;
    assert_eq!(results(report), [Err(Verdict::Rejected(Fault::Recipient))]);
    let lines = &server.heard()[0].lines;
    assert!(lines.iter().all(|line| !line.starts_with('.')), "{lines:?}");
}

#[tokio::test]
async fn what_the_server_cannot_carry_is_refused_here_without_mangling() {
    let eight_bit = Bytes::from("Subject: ol\u{e1}\r\n\r\nhi\r\n");
    for (offers, body, address, verdict) in [
        (
            ["SIZE 10", "8BITMIME"],
            Bytes::from_static(BODY.as_bytes()),
            "x@x.test",
            Fault::MessageHere,
        ),
        (
            ["SIZE", "PIPELINING"],
            eight_bit,
            "x@x.test",
            Fault::MessageHere,
        ),
        (
            ["SIZE", "8BITMIME"],
            Bytes::from_static(BODY.as_bytes()),
            "j\u{f6}@x.test",
            Fault::MessageHere,
        ),
    ] {
        let server = Server::start(vec![script([hello(&offers), vec![Step::Hear]])]).await;
        let mut sent = outgoing(&[address]);
        sent.body = body;
        let report = send(&provider(server.port), &sent).await;
        assert_eq!(
            results(report),
            [Err(Verdict::Rejected(verdict))],
            "{offers:?}"
        );
        assert_eq!(server.heard()[0].lines.len(), 1, "EHLO and nothing else");
    }
}

#[tokio::test]
async fn a_bare_line_feed_never_leaves() {
    for body in [
        "A: b\r\n\r\nx\n.\nMAIL FROM:<e@x.test>\r\n",
        "A: b\r\n\r\n\r.\r",
        "A: b\n",
    ] {
        let mut sent = outgoing(&["x@x.test"]);
        sent.body = Bytes::from_static(body.as_bytes());
        let server = Server::start(vec![]).await;
        let report = send(&provider(server.port), &sent).await;
        assert_eq!(results(report), [Err(Verdict::Rejected(Fault::Message))]);
        assert!(server.heard().is_empty(), "no connection is opened for it");
    }
}

#[tokio::test]
async fn what_cannot_be_reached_is_transient() {
    let closed = Server::start(vec![]).await;
    let port = closed.port;
    drop(closed);
    let report = send(&provider(port), &outgoing(&["x@x.test"])).await;
    assert_eq!(results(report), [TRANSIENT]);
    let nowhere = provider_of("host = 'nowhere.invalid'\nport = 25\ntls = 'none'", &[]);
    let report = send(&nowhere, &outgoing(&["x@x.test"])).await;
    assert_eq!(results(report), [TRANSIENT]);
}
