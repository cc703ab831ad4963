//! STARTTLS, AUTH, and what a client without a login may do.

use super::*;

const RIGHT: &str = "AUTH PLAIN AHNob3AAcHc=\r\n";
const WRONG: &str = "AUTH PLAIN AHNob3AAbm8=\r\n";

#[test]
fn in_clear_nothing_secret_is_offered_or_taken() {
    let mut dialogue = Dialogue::in_clear();
    let offers = dialogue.say("EHLO x\r\n");
    assert!(offers.contains("250-STARTTLS\r\n") && !offers.contains("AUTH"));
    assert_eq!(dialogue.codes(RIGHT), ["538 5.7.11"]);
    let heard = dialogue.say("MAIL FROM:<a@x.test>\r\n");
    assert_eq!(heard, "530 5.7.0 Must issue a STARTTLS command first\r\n");
    assert_eq!(dialogue.codes("STARTTLS x\r\n"), ["501 5.5.4"]);
}

#[test]
fn after_tls_everything_begins_again() {
    let mut dialogue = Dialogue::in_clear();
    dialogue.say("EHLO x\r\n");
    assert_eq!(dialogue.codes("STARTTLS\r\n"), ["220 2.0.0"]);
    assert_eq!(dialogue.codes("MAIL FROM:<a@x.test>\r\n"), ["503 5.5.1"]);
    let offers = dialogue.say("EHLO x\r\n");
    assert!(!offers.contains("STARTTLS") && offers.contains("250-AUTH PLAIN LOGIN\r\n"));
    assert_eq!(dialogue.codes("STARTTLS\r\n"), ["503 5.5.1"]);
    assert_eq!(dialogue.codes("MAIL FROM:<a@x.test>\r\n"), ["530 5.7.0"]);
    assert_eq!(dialogue.codes(RIGHT), ["235 2.7.0"]);
    assert!(dialogue.still_works());
    let trace = String::from_utf8(dialogue.submissions[0].body.to_vec()).unwrap();
    assert!(trace.starts_with("Received: by mx.test with ESMTPSA id s.1;"));
}

#[test]
fn commands_hidden_behind_starttls_end_the_session_without_a_handshake() {
    for hidden in ["NOOP\r\n", "MAIL FROM:<a@x.test>\r\n", "x"] {
        let mut dialogue = Dialogue::in_clear();
        dialogue.say("EHLO x\r\n");
        assert_eq!(dialogue.say(format!("STARTTLS\r\n{hidden}")), "");
        assert_eq!(dialogue.closed, Some(CloseReason::StartTlsInjection));
    }
}

#[test]
fn a_login_is_needed_wherever_no_listener_says_otherwise() {
    for said in [
        "MAIL FROM:<a@x.test>\r\n",
        "MAIL FROM:<>\r\n",
        "MAIL FROM:<a@localhost>\r\n",
        "MAIL FROM:<a%x.test@mx.test>\r\n",
        "MAIL FROM:<@mx.test:a@x.test>\r\n",
        "MAIL FROM:<\"a@x.test\"@mx.test>\r\n",
        "MAIL FROM:<a@[127.0.0.1]>\r\n",
        "MAIL FROM:nonsense\r\n",
    ] {
        assert_eq!(Dialogue::stranger().codes(said), ["530 5.7.0"], "{said}");
    }
}

#[test]
fn exchanges_have_their_reply() {
    for (said, heard) in [
        (RIGHT, vec!["235 2.7.0"]),
        (WRONG, vec!["535 5.7.8"]),
        ("AUTH PLAIN\r\nAHNob3AAcHc=\r\n", vec!["334 ", "235 2.7.0"]),
        ("AUTH PLAIN c2hvcABzaG9wAHB3\r\n", vec!["235 2.7.0"]),
        ("AUTH PLAIN b3RoZXIAc2hvcABwdw==\r\n", vec!["535 5.7.8"]),
        (
            "AUTH LOGIN\r\nc2hvcA==\r\ncHc=\r\n",
            vec!["334 VXNlcm5hbWU6", "334 UGFzc3dvcmQ6", "235 2.7.0"],
        ),
        (
            "AUTH LOGIN c2hvcA==\r\ncHc=\r\n",
            vec!["334 UGFzc3dvcmQ6", "235 2.7.0"],
        ),
        ("AUTH PLAIN\r\n*\r\n", vec!["334 ", "501 5.7.0"]),
        ("AUTH PLAIN !!!!\r\n", vec!["501 5.5.2"]),
        ("AUTH PLAIN =\r\n", vec!["535 5.7.8"]),
        ("AUTH PLAIN AHNob3AAcHcA\r\n", vec!["501 5.5.2"]),
        ("AUTH PLAIN AHNob3ANClgAcHc=\r\n", vec!["535 5.7.8"]),
        ("AUTH XFOO\r\n", vec!["504 5.5.4"]),
        ("AUTH CRAM-MD5\r\n", vec!["504 5.5.4"]),
        ("AUTH\r\n", vec!["501 5.5.4"]),
    ] {
        let mut dialogue = Dialogue::stranger();
        assert_eq!(dialogue.codes(said), heard, "{said}");
        if dialogue.session.login.is_none() {
            assert_eq!(dialogue.codes(RIGHT), ["235 2.7.0"], "{said}");
        }
        assert!(dialogue.still_works(), "{said}");
    }
}

#[test]
fn a_second_login_or_one_in_a_transaction_is_out_of_order() {
    let mut dialogue = Dialogue::stranger();
    dialogue.say(RIGHT);
    assert_eq!(dialogue.codes(RIGHT), ["503 5.5.1"]);
    let mut dialogue = Dialogue::enveloped();
    assert_eq!(dialogue.codes(RIGHT), ["503 5.5.1"]);
    let mut dialogue = Dialogue::with(rules(), None);
    assert_eq!(dialogue.codes(RIGHT), ["503 5.5.1"]);
}

#[test]
fn the_fifth_wrong_password_ends_the_session_and_unknown_users_hear_the_same() {
    let mut dialogue = Dialogue::stranger();
    let unknown = "AUTH PLAIN AG5vYm9keQBwdw==\r\n";
    assert_eq!(dialogue.say(WRONG), dialogue.say(unknown));
    assert_eq!(dialogue.codes(WRONG.repeat(2)), ["535 5.7.8", "535 5.7.8"]);
    assert_eq!(dialogue.codes(WRONG.repeat(9)), ["535 5.7.8", "421 4.7.0"]);
    assert_eq!(dialogue.closed, Some(CloseReason::LoginFailures));
}
