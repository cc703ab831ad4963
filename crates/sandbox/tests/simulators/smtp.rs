//! The SMTP server.

use std::time::{Duration, Instant};

use malote_sandbox::{Fault, FaultKind, Kind, SandboxConfig, SmtpAccount, Stage};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::{Running, config, start};

struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    async fn connect(running: &Running) -> Self {
        let stream = TcpStream::connect(running.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream: BufReader::new(stream),
        }
    }

    /// The last line of one reply; empty when the connection is closed.
    async fn reply(&mut self) -> String {
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line).await.unwrap();
            if line.as_bytes().get(3) != Some(&b'-') {
                return line.trim_end().to_owned();
            }
        }
    }

    async fn say(&mut self, text: &str) -> String {
        self.stream.write_all(text.as_bytes()).await.unwrap();
        self.reply().await
    }

    /// Says each line and answers the codes.
    async fn codes(&mut self, lines: &[&str]) -> Vec<String> {
        let mut codes = Vec::new();
        for line in lines {
            let reply = self.say(&format!("{line}\r\n")).await;
            codes.push(reply.get(..3).unwrap_or_default().to_owned());
        }
        codes
    }
}

const MAIL: [&str; 5] = [
    "EHLO x",
    "MAIL FROM:<s@example.com> SIZE=10 BODY=8BITMIME",
    "RCPT TO:<a@example.net>",
    "DATA",
    "Subject: x\r\n\r\n..hi\r\n.",
];

#[tokio::test]
async fn a_message_is_taken_with_its_envelope() {
    let running = start(Kind::Smtp, config()).await;
    let mut client = Client::connect(&running).await;
    assert!(client.reply().await.starts_with("220 "));
    assert_eq!(
        client.codes(&MAIL).await,
        ["250", "250", "250", "354", "250"]
    );
    let taken = running.sandbox.messages().remove(0);
    assert_eq!(taken.mail_from.as_deref(), Some("s@example.com"));
    assert_eq!(taken.recipients, ["a@example.net"]);
    assert_eq!(
        taken.raw.as_deref(),
        Some(&b"Subject: x\r\n\r\n.hi\r\n"[..])
    );
    assert_eq!(taken.options[1].1, "8BITMIME");
    assert_eq!(client.say("QUIT\r\n").await, "221 2.0.0 Bye");
}

#[tokio::test]
async fn a_pipelined_session_is_answered_in_order() {
    let running = start(Kind::Smtp, config()).await;
    let mut client = Client::connect(&running).await;
    client.reply().await;
    client.say("EHLO x\r\n").await;
    let group = "MAIL FROM:<>\r\nRCPT TO:<a@x.example>\r\nRCPT TO:<550@x.example>\r\nDATA\r\n";
    let mut codes = vec![client.say(group).await];
    for _ in 0..3 {
        codes.push(client.reply().await);
    }
    let codes: Vec<_> = codes.iter().map(|reply| &reply[..3]).collect();
    assert_eq!(codes, ["250", "250", "550", "354"]);
    assert!(
        client
            .say(".\r\n")
            .await
            .starts_with("250 2.0.0 Ok: queued as ")
    );
    assert_eq!(running.sandbox.messages()[0].recipients, ["a@x.example"]);
}

#[tokio::test]
async fn each_stage_fails_on_demand() {
    let running = start(Kind::Smtp, config()).await;
    for (stage, fails_at) in [
        (Stage::Ehlo, 0),
        (Stage::Mail, 1),
        (Stage::Data, 3),
        (Stage::End, 4),
    ] {
        let fault = Fault::once(FaultKind::Status(451)).at(stage);
        assert!(running.sandbox.arm(fault));
        let mut client = Client::connect(&running).await;
        client.reply().await;
        let codes = client.codes(&MAIL[..=fails_at]).await;
        assert_eq!(codes.last().map(String::as_str), Some("451"), "{stage:?}");
    }
    assert!(
        running
            .sandbox
            .arm(Fault::once(FaultKind::Status(554)).at(Stage::Connect))
    );
    let mut client = Client::connect(&running).await;
    assert!(client.reply().await.starts_with("554 5.7.1"));
    assert_eq!(running.sandbox.stats().messages, 0);
}

#[tokio::test]
async fn the_connection_is_cut_before_and_after_the_dot_counts() {
    let running = start(Kind::Smtp, config()).await;
    for (fault, taken) in [
        (Fault::once(FaultKind::CutEarly), 0),
        (Fault::once(FaultKind::Cut), 0),
        (Fault::once(FaultKind::Cut).after_take(), 1),
        (Fault::once(FaultKind::CutReply), 2),
    ] {
        assert!(running.sandbox.arm(fault.clone()));
        let mut client = Client::connect(&running).await;
        client.reply().await;
        client.codes(&MAIL[..3]).await;
        client.stream.write_all(b"DATA\r\n").await.unwrap();
        if fault.kind != FaultKind::CutEarly {
            client.reply().await;
            client.stream.write_all(b"A: b\r\n\r\n.\r\n").await.unwrap();
        }
        let mut rest = String::new();
        client.stream.read_to_string(&mut rest).await.unwrap();
        assert!(!rest.starts_with("250"), "{rest:?}");
        assert_eq!(running.sandbox.stats().messages, taken, "{fault:?}");
    }
}

#[tokio::test]
async fn a_hanging_server_says_nothing_and_a_slow_one_says_it_late() {
    let running = start(Kind::Smtp, config()).await;
    let mut client = Client::connect(&running).await;
    client.reply().await;
    let slow = Fault {
        delay_ms: 50,
        ..Fault::once(FaultKind::Slow)
    };
    assert!(running.sandbox.arm(slow));
    let started = Instant::now();
    assert_eq!(client.codes(&MAIL).await[4], "250");
    assert!(started.elapsed() >= Duration::from_millis(50));
    assert!(running.sandbox.arm(Fault::once(FaultKind::Hang)));
    client.codes(&MAIL[..4]).await;
    let silent = tokio::time::timeout(Duration::from_millis(100), client.say(".\r\n")).await;
    assert!(silent.is_err());
    assert_eq!(running.sandbox.stats().messages, 1);
}

#[tokio::test]
async fn a_login_is_needed_where_one_is_set() {
    let login = SandboxConfig {
        smtp: SmtpAccount {
            login: Some(("user".to_owned(), "secret".to_owned())),
            ..SmtpAccount::default()
        },
        ..config()
    };
    let running = start(Kind::Smtp, login).await;
    let mut client = Client::connect(&running).await;
    client.reply().await;
    let codes = client
        .codes(&[
            "EHLO x",
            "MAIL FROM:<s@x.example>",
            "AUTH PLAIN AHVzZXIAd3Jvbmc=",
            "AUTH PLAIN AHVzZXIAc2VjcmV0",
            "MAIL FROM:<s@x.example>",
        ])
        .await;
    assert_eq!(codes, ["250", "530", "535", "235", "250"]);
    let mut other = Client::connect(&running).await;
    other.reply().await;
    let codes = other
        .codes(&["EHLO x", "AUTH LOGIN", "dXNlcg==", "c2VjcmV0"])
        .await;
    assert_eq!(codes, ["250", "334", "334", "235"]);
}

/// A kill loop and a benchmark lean on this server: it must not be what they measure.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_pipelined_messages_take_no_time_to_speak_of() {
    let running = start(Kind::Smtp, config()).await;
    let mut client = Client::connect(&running).await;
    client.reply().await;
    client.say("EHLO x\r\n").await;
    let body = "x".repeat(4_000);
    let one = format!(
        "MAIL FROM:<s@x.example>\r\nRCPT TO:<a@x.example>\r\nDATA\r\nA: b\r\n\r\n{body}\r\n.\r\n"
    );
    let started = Instant::now();
    let (mut read, mut write) = client.stream.into_inner().into_split();
    let writer = tokio::spawn(async move {
        for _ in 0..2_000 {
            write.write_all(one.as_bytes()).await.unwrap();
        }
        write.write_all(b"QUIT\r\n").await.unwrap();
    });
    let mut replies = Vec::new();
    read.read_to_end(&mut replies).await.unwrap();
    writer.await.unwrap();
    assert_eq!(running.sandbox.stats().messages, 2_000);
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
}
