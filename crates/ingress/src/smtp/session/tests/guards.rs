//! Bounds and refusals that end a session.

use super::*;

#[test]
fn the_eleventh_error_ends_the_session() {
    let mut dialogue = Dialogue::stranger();
    let heard = dialogue.codes("XYZZY\r\n".repeat(100));
    assert_eq!(heard.len(), 11);
    assert!(heard[..10].iter().all(|code| code == "500 5.5.1"));
    assert_eq!(heard[10], "421 4.7.0");
    assert_eq!(dialogue.closed, Some(CloseReason::Errors));
}

#[test]
fn a_session_that_delivers_is_forgiven_its_errors() {
    let mut dialogue = Dialogue::trusted();
    dialogue.say("EHLO x\r\n");
    for _ in 0..5 {
        dialogue.say("XYZZY\r\n".repeat(9));
        assert!(dialogue.still_works());
    }
}

#[test]
fn commands_without_effect_are_free_after_a_login_and_bounded_before() {
    let mut dialogue = Dialogue::stranger();
    let heard = dialogue.codes("NOOP\r\nVRFY x\r\n".repeat(500));
    assert_eq!(heard.len(), 100);
    assert_eq!(heard[99], "421 4.7.0");
    assert_eq!(dialogue.closed, Some(CloseReason::IdleCommands));
    let mut dialogue = Dialogue::trusted();
    dialogue.say("EHLO x\r\n");
    assert_eq!(dialogue.codes("NOOP\r\nRSET\r\n".repeat(500)).len(), 1_000);
    assert!(dialogue.still_works());
    let mut dialogue = Dialogue::stranger();
    let heard = dialogue.say("EHLO x\r\n".repeat(200));
    assert!(heard.ends_with("250 CHUNKING\r\n421 4.7.0 Too many commands without a login\r\n"));
}

#[test]
fn bare_line_ends_in_commands_end_the_session() {
    for said in [
        "NOOP\n",
        "MAIL FROM:<a@x.test>\rRCPT TO:<b@x.test>\r\n",
        "\n",
        "NOOP\r\r\n",
    ] {
        let mut dialogue = Dialogue::trusted();
        assert_eq!(
            dialogue.say(said),
            "500 5.5.2 bare LF/CR: lines end with CR LF\r\n"
        );
        assert_eq!(dialogue.closed, Some(CloseReason::BareLineEnd), "{said:?}");
    }
}

#[test]
fn other_protocols_end_the_session() {
    for said in [
        "POST / HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET / HTTP/1.0\r\n",
        "CONNECT x:25 HTTP/1.1\r\n",
        "Host: x\r\n",
        "\x16\x03\x01\x02",
    ] {
        let mut dialogue = Dialogue::trusted();
        assert_eq!(dialogue.codes(said), ["421 4.7.0"], "{said:?}");
        assert_eq!(dialogue.closed, Some(CloseReason::NotSmtp), "{said:?}");
    }
    let mut dialogue = Dialogue::trusted();
    assert_eq!(
        dialogue.codes("PROXY TCP4 1.2.3.4 5.6.7.8 9 10\r\n"),
        ["550 5.7.0"]
    );
    assert_eq!(dialogue.closed, Some(CloseReason::BadProxyHeader));
}

#[test]
fn long_lines_have_their_reply_however_they_are_cut() {
    let line = |start: &str, bytes: usize| {
        let mut line = start.to_owned();
        line.push_str(&"x".repeat(bytes - start.len() - 2));
        line + "\r\n"
    };
    for (said, heard) in [
        (line("NOOP ", 512), "250 2.0.0"),
        (line("NOOP ", 2_048), "250 2.0.0"),
        (line("NOOP ", 2_049), "500 5.5.2"),
        (line("NOOP ", 8_192), "500 5.5.2"),
        (line("AUTH PLAIN ", 12_287), "501 5.5.2"),
        (line("AUTH PLAIN ", 12_290), "500 5.5.6"),
        (line("auth plain ", 60_000), "500 5.5.6"),
    ] {
        for piece_bytes in [1_000, 4_096, 100_000] {
            let mut dialogue = Dialogue::stranger();
            let codes: Vec<_> = said
                .as_bytes()
                .chunks(piece_bytes)
                .flat_map(|piece| dialogue.codes(piece))
                .collect();
            assert_eq!(codes, [heard], "{} octets", said.len());
            assert_eq!(dialogue.codes("NOOP\r\n"), ["250 2.0.0"]);
        }
    }
}

#[test]
fn a_line_without_end_is_not_read_to_its_end() {
    for (start, heard) in [("", "500 5.5.2"), ("AUTH PLAIN ", "500 5.5.6")] {
        let mut dialogue = Dialogue::stranger();
        dialogue.say(start);
        let mut codes = Vec::new();
        for _ in 0..1_024 {
            codes.extend(dialogue.codes([b'x'; 4_096]));
            if dialogue.closed.is_some() {
                break;
            }
            assert!(dialogue.session.input().len() <= COMMAND_LINE_READ_MAX);
        }
        assert_eq!(codes, [heard]);
        assert_eq!(dialogue.closed, Some(CloseReason::LineTooLong));
    }
}

#[test]
fn content_behind_a_refused_data_is_not_read_as_commands() {
    let mut dialogue = Dialogue::trusted();
    dialogue.say("EHLO x\r\n");
    let heard = dialogue
        .codes("MAIL FROM:<a@x.test>\r\nRCPT TO:<b>\r\nDATA\r\nMAIL FROM:<evil@x.test>\r\n.\r\n");
    assert_eq!(heard, ["250 2.1.0", "501 5.1.3", "554 5.5.1"]);
    assert_eq!(dialogue.closed, Some(CloseReason::Pipelining));
}

#[test]
fn stray_cr_or_lf_in_content_ends_the_session_and_nothing_is_kept() {
    for content in [
        "a\n.\r\nMAIL FROM:<evil@x.test>\r\n",
        "a\r\n.\rQUIT",
        "S: a\rb\r\n",
        "\n.\n",
    ] {
        let mut dialogue = Dialogue::enveloped();
        let heard = dialogue.say(format!("DATA\r\n{content}"));
        assert!(heard.ends_with("550 5.6.11 bare CR or LF\r\n"), "{heard}");
        assert_eq!(dialogue.closed, Some(CloseReason::BareLineEnd));
        assert!(dialogue.submissions.is_empty());
    }
}

#[test]
fn refused_content_is_read_to_its_end_and_the_next_message_works() {
    let fields = "A: b\r\n".repeat(1_001);
    let long_field = format!("A: {}\r\n\r\n", "x".repeat(100 * 1024));
    let long_body = format!("\r\n{}\r\n", "x".repeat(500_000));
    for (content, heard) in [
        ("S: x\r\n\r\na\0b\r\n", "550 5.6.0"),
        ("S: \u{e9}\r\n\r\n", "550 5.6.7"),
        (fields.as_str(), "552 5.3.4"),
        (long_field.as_str(), "552 5.3.4"),
        (long_body.as_str(), "552 5.3.4"),
    ] {
        let mut dialogue = Dialogue::enveloped();
        let codes = dialogue.codes(format!("DATA\r\n{content}.\r\n"));
        assert_eq!(codes, ["354 End", heard]);
        assert!(dialogue.submissions.is_empty());
        assert!(dialogue.still_works());
    }
}

#[test]
fn content_over_twice_the_size_ends_the_session() {
    let mut dialogue = Dialogue::enveloped();
    let heard = dialogue.codes(format!("DATA\r\n\r\n{}", "x".repeat(1_000_001)));
    assert_eq!(heard, ["354 End", "552 5.3.4"]);
    assert_eq!(dialogue.closed, Some(CloseReason::TooLarge));
}

#[test]
fn long_body_lines_are_taken() {
    for bytes in [998, 999, 400_000] {
        let mut dialogue = Dialogue::enveloped();
        let content = format!("S: x\r\n\r\n{}\r\n", "x".repeat(bytes));
        let heard = dialogue.codes(format!("DATA\r\n{content}.\r\n"));
        assert_eq!(heard, ["354 End", "250 2.0.0"]);
    }
}

#[test]
fn a_client_that_never_reads_costs_a_small_buffer() {
    let mut dialogue = Dialogue::trusted();
    let flood = "NOOP\r\n".repeat(100_000);
    dialogue.session.input().extend_from_slice(flood.as_bytes());
    assert!(matches!(
        dialogue.session.advance(NOW.parse().unwrap()),
        Step::Write
    ));
    assert!(dialogue.session.output().len() < 2 * OUTPUT_BYTES_MAX);
}

#[test]
fn a_session_is_at_rest_only_between_transactions() {
    let mut dialogue = Dialogue::trusted();
    dialogue.say("EHLO x\r\n");
    assert!(dialogue.session.is_at_rest());
    dialogue.say("MAIL FROM:<a@x.test>\r\n");
    assert!(!dialogue.session.is_at_rest());
    dialogue.say("RSET\r\nNO");
    assert!(!dialogue.session.is_at_rest());
    dialogue.say("OP\r\n");
    dialogue.session.close(CloseReason::Stopping);
    assert_eq!(dialogue.codes(""), ["421 4.3.2"]);
}
