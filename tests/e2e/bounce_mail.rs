//! Mail that comes back: a real Postfix's own bounces settle deliveries, and nobody else can.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use malote_sandbox::Kind;
use malote_tests::{
    Config, LOADTEST_KEY, Service, SmtpClient, World, eventually, free_port, run, text_message,
    tool,
};
use reqwest::Method;
use serde_json::Value;

use crate::backend_postfix::Postfix;
use crate::{SENT_MAX, campaigns_by};

/// Campaigns leave by the relay alone.
pub(crate) const BULK: &str = "{ provider = \"relay\", pool = \"bulk\" }";

/// Lets mail come back to this port.
pub(crate) fn take_mail_back(config: &mut Config, port: u16) {
    config.add(&format!(
        "[[smtp.listeners]]\nlisten = \"127.0.0.1:{port}\"\nrole = \"bounce\"\ntls = \"none\"\n\
         verp_domain = \"Bounces.Shop.example\"\nverp_secret = \"a secret of this test\"\n"
    ));
}

async fn world(port: u16, relay: Option<u16>) -> Result<World> {
    World::start_with(|config| {
        campaigns_by(config, BULK)?;
        take_mail_back(config, port);
        relay.map_or(Ok(()), |relay| config.set_relay_port(relay))
    })
    .await
}

pub(crate) async fn campaign(world: &World, recipients: &[&str], subject: &str) -> Result<()> {
    let mut client = SmtpClient::connect(world.gateway.doors().plain).await?;
    let text = text_message("news@shop.example", recipients[0], subject);
    // Each mail has a hash of its own, as Mautic's have: a repeat of one would be dropped.
    static SENT: AtomicU32 = AtomicU32::new(0);
    let number = SENT.fetch_add(1, Ordering::Relaxed);
    let sender = format!("mautic+bounce_6650f1a2b3c4d{number:09}@shop.example");
    let reply = client.send(&sender, recipients, &text).await?;
    ensure!(reply.code == 250, "{reply:?}");
    Ok(())
}

async fn reached(world: &World, recipient: &str, state: &str) -> Result<Value> {
    let gateway = &world.gateway;
    gateway
        .reached(recipient, LOADTEST_KEY, &[state], SENT_MAX)
        .await
}

/// The events of a recipient's newest delivery, as kind and class.
async fn events(world: &World, recipient: &str) -> Result<Vec<String>> {
    let timeline = world.gateway.find(recipient, LOADTEST_KEY).await?;
    let timeline = timeline.context("no such mail")?;
    let deliveries = timeline["deliveries"].as_array().context("no deliveries")?;
    let own = deliveries.iter().find(|own| own["recipient"] == recipient);
    let events = own.context("no such delivery")?["events"].as_array();
    let word = |event: &Value| {
        let class = event["class"].as_str().map(|class| format!(" {class}"));
        let kind = event["kind"].as_str().unwrap_or_default();
        format!("{kind}{}", class.unwrap_or_default())
    };
    Ok(events.into_iter().flatten().map(word).collect())
}

/// Sends one campaign's mail to this recipient through the simulated relay; answers the address
/// that it comes back to.
pub(crate) async fn sent(world: &World, recipient: &str) -> Result<String> {
    campaign(world, &[recipient], "news").await?;
    reached(world, recipient, "sent").await?;
    let messages = world.relay.sandbox.messages_to(recipient);
    let mail_from = messages.last().and_then(|taken| taken.mail_from.clone());
    mail_from.context("no MAIL FROM")
}

/// Lets swaks send a message; answers what was said.
async fn swaks(port: u16, to: &str, message: &str) -> Result<(bool, String)> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("mail");
    std::fs::write(&file, message)?;
    let mut command = Command::new(tool("swaks")?);
    command
        .args(["--server", &format!("127.0.0.1:{port}"), "--to", to])
        .args(["--from", "somebody@one.example", "--data"])
        .arg(format!("@{}", file.display()));
    let said = run(&mut command, Duration::from_secs(60)).await?;
    Ok((said.status == Some(0), said.stdout))
}

#[tokio::test]
async fn a_real_postfix_s_bounce_settles_the_delivery_and_stops_the_next_mail() -> Result<()> {
    let port = free_port()?;
    let beyond = Service::start(Kind::Smtp).await?;
    let routes = format!(
        "transport_maps = inline:{{ {{gone.example = error:5.1.1 User unknown}}, \
         {{bounces.shop.example = smtp:[127.0.0.1]:{port}}} }}\n"
    );
    let postfix = Postfix::start_with(beyond.address.port(), &routes).await?;
    let world = world(port, Some(postfix.port())).await?;
    let both = ["ana@one.example", "bia@gone.example"];
    campaign(&world, &both, "first").await?;
    eventually("the bounce is on the timeline", SENT_MAX, async || {
        let events = events(&world, both[1]).await?;
        Ok(events
            .contains(&"bounced recipient".to_owned())
            .then_some(()))
    })
    .await
    .with_context(|| postfix_log(postfix.folder()))?;
    assert!(
        !events(&world, both[0])
            .await?
            .iter()
            .any(|event| event.starts_with("bounced"))
    );
    let taken = beyond.sandbox.messages_to(both[0]);
    let mail_from = taken.first().and_then(|taken| taken.mail_from.clone());
    let mail_from = mail_from.context("no MAIL FROM")?;
    assert!(
        mail_from.starts_with("b+") && mail_from.ends_with("@bounces.shop.example"),
        "{mail_from}"
    );
    campaign(&world, &[both[1]], "second").await?;
    let timeline = reached(&world, both[1], "suppressed").await?;
    assert!(timeline.to_string().contains("User unknown"), "{timeline}");
    Ok(())
}

fn postfix_log(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("log")).unwrap_or_default()
}

/// A delivery status as servers write them.
fn dsn(recipient: &str, fields: &str) -> String {
    format!(
        "From: MAILER-DAEMON@mx.one.example\nTo: x@bounces.shop.example\nSubject: failure\n\
         MIME-Version: 1.0\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\n\n\
         --b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx.one.example\n\n\
         Final-Recipient: rfc822; {recipient}\n{fields}\n\n--b--\n"
    )
}

#[tokio::test]
async fn only_addresses_that_were_given_out_take_mail_and_nobody_logs_in() -> Result<()> {
    let port = free_port()?;
    let world = world(port, None).await?;
    let address = sent(&world, "ana@one.example").await?;
    let hard = dsn("ana@one.example", "Action: failed\nStatus: 5.1.1");
    let (local, domain) = address.split_once('@').context("no address")?;
    let flipped = if local.ends_with('a') { "q" } else { "a" };
    let forged = format!("{}{flipped}@{domain}", &local[..local.len() - 1]);
    let other = if &local[20..21] == "a" { "b" } else { "a" };
    let middle = format!("{}{other}{}@{domain}", &local[..20], &local[21..]);
    for to in [
        &forged,
        &middle,
        &format!("{local}@shop.example"),
        &format!("u{}@{domain}", &local[1..]),
        &format!("postmaster@{domain}"),
        "ana@one.example",
    ] {
        let (is_taken, said) = swaks(port, to, &hard).await?;
        assert!(!is_taken && said.contains("550 5.1.1"), "{to}: {said}");
    }
    let mut client = SmtpClient::connect(SocketAddr::from(([127, 0, 0, 1], port))).await?;
    let greeting = client.say("EHLO x.example\r\n").await?;
    let offers_login = greeting.lines.iter().any(|line| line.starts_with("AUTH"));
    assert!(!offers_login, "{greeting:?}");
    let login = client
        .say("AUTH PLAIN AG1hdXRpYwBtYXV0aWMtc2VjcmV0\r\n")
        .await?;
    assert_eq!(login.code, 502, "{login:?}");
    let seen = events(&world, "ana@one.example").await?;
    assert_eq!(seen, ["accepted", "sent"]);
    // The same report to the true address, in capitals, is taken.
    let (is_taken, said) = swaks(port, &address.to_uppercase(), &hard).await?;
    assert!(is_taken, "{said}");
    reached(&world, "ana@one.example", "bounced").await?;
    Ok(())
}

#[tokio::test]
async fn a_report_on_another_recipient_or_in_no_form_changes_nothing() -> Result<()> {
    let port = free_port()?;
    let world = world(port, None).await?;
    let address = sent(&world, "ana@one.example").await?;
    let mails = [
        dsn("eve@one.example", "Action: failed\nStatus: 5.1.1"),
        dsn("ana@one.example", "Action: perhaps"),
        "From: MAILER-DAEMON@mx.one.example\nSubject: ?\n\nundeliverable, 5.1.1\n".to_owned(),
        "From: ana@one.example\nSubject: Re: news\n\nWho is this?\n".to_owned(),
        "From: ana@one.example\nAuto-Submitted: auto-replied\nSubject: away\n\n550 5.1.1 gone on holiday\n".to_owned(),
        "From: ana@one.example\nPrecedence: auto_reply\nX-Failed: no\nSubject: away\n\nback soon\n".to_owned(),
        "From: ana@one.example\nX-Autoreply: yes\nSubject: away\n\nback soon\n".to_owned(),
    ];
    for mail in &mails {
        let (is_taken, said) = swaks(port, &address, mail).await?;
        assert!(is_taken, "{said}");
    }
    assert_eq!(
        events(&world, "ana@one.example").await?,
        ["accepted", "sent"]
    );
    // No mail was made of any of them: the next one is the second that the relay sees.
    sent(&world, "bia@one.example").await?;
    assert_eq!(world.relay.sandbox.stats().messages, 2);
    assert_eq!(world.ses.sandbox.stats().messages, 0);
    Ok(())
}

#[tokio::test]
async fn a_complaint_by_mail_stops_the_campaign_and_a_repeat_is_one_event() -> Result<()> {
    let port = free_port()?;
    let world = world(port, None).await?;
    let address = sent(&world, "ana@one.example").await?;
    let report = |kind: &str| {
        format!(
            "From: fbl@one.example\nTo: abuse@shop.example\nSubject: abuse\nMIME-Version: 1.0\n\
             Content-Type: multipart/report; report-type=feedback-report; boundary=b\n\n\
             --b\nContent-Type: message/feedback-report\n\nFeedback-Type: {kind}\nUser-Agent: Loop/1\n\
             Version: 1\nOriginal-Rcpt-To: <ana@one.example>\n\n\
             --b\nContent-Type: message/rfc822\n\nSubject: news\n\nhi\n\n--b--\n"
        )
    };
    for kind in ["not-spam", "auth-failure", "abuse", "abuse", "fraud"] {
        let (is_taken, said) = swaks(port, &address, &report(kind)).await?;
        assert!(is_taken, "{said}");
    }
    let seen = events(&world, "ana@one.example").await?;
    assert_eq!(seen, ["accepted", "sent", "auth_failure", "complained"]);
    campaign(&world, &["ana@one.example"], "second").await?;
    reached(&world, "ana@one.example", "suppressed").await?;
    Ok(())
}

#[tokio::test]
async fn what_other_blames_say_suppresses_nobody() -> Result<()> {
    let port = free_port()?;
    let world = world(port, None).await?;
    let address = sent(&world, "ana@one.example").await?;
    let late = dsn("ana@one.example", "Action: delayed\nStatus: 4.4.1");
    let blocked = dsn(
        "ana@one.example",
        "Action: failed\nStatus: 5.7.1\nDiagnostic-Code: smtp; 550 5.7.1 blocked using zen.spamhaus.org",
    );
    for mail in [&late, &late, &blocked] {
        let (is_taken, said) = swaks(port, &address, mail).await?;
        assert!(is_taken, "{said}");
    }
    let seen = events(&world, "ana@one.example").await?;
    assert_eq!(seen, ["accepted", "sent", "deferred", "bounced reputation"]);
    sent(&world, "ana@one.example").await?;
    Ok(())
}

/// A feedback loop's report on a mail to `recipient`: what it says was MAIL FROM, and the header of
/// the mail.
fn loop_report(recipient: &str, mail_from: &str, header: &str) -> String {
    format!(
        "From: fbl@one.example\nTo: fbl@bounces.shop.example\nSubject: abuse\nMIME-Version: 1.0\n\
         Content-Type: multipart/report; report-type=feedback-report; boundary=b\n\n\
         --b\nContent-Type: message/feedback-report\n\nFeedback-Type: abuse\nUser-Agent: Loop/1\n\
         Version: 1\nOriginal-Mail-From: {mail_from}\nOriginal-Rcpt-To: {recipient}\n\n\
         --b\nContent-Type: text/rfc822-headers\n\nSubject: news\n{header}\n\n--b--\n"
    )
}

#[tokio::test]
async fn a_feedback_loop_s_report_finds_its_mail_by_an_address_that_we_signed_and_by_nothing_else()
-> Result<()> {
    let port = free_port()?;
    let world = world(port, None).await?;
    let people = ["ana@one.example", "bia@one.example", "cid@one.example"];
    let [ana, bia, cid] = [
        sent(&world, people[0]).await?,
        sent(&world, people[1]).await?,
        sent(&world, people[2]).await?,
    ];
    let (start, _) = cid.split_at(20);
    let forged = format!("{start}{}", &ana[20..]);
    let by_header = format!("Return-Path: <{bia}>");
    let bounce = dsn(
        people[2],
        &format!("Action: failed\nStatus: 5.1.1\nOriginal-Mail-From: {cid}"),
    );
    for mail in [
        loop_report(people[0], &format!("<{ana}>"), "From: news@shop.example"),
        loop_report(people[1], "<somebody@shop.example>", &by_header),
        loop_report(people[2], &format!("<{forged}>"), "From: news@shop.example"),
        loop_report(
            "eve@one.example",
            &format!("<{cid}>"),
            "From: news@shop.example",
        ),
        bounce,
    ] {
        let (is_taken, said) = swaks(port, "FBL@bounces.shop.example", &mail).await?;
        assert!(is_taken, "{said}");
    }
    for (person, expected) in [
        (people[0], vec!["accepted", "sent", "complained"]),
        (people[1], vec!["accepted", "sent", "complained"]),
        (people[2], vec!["accepted", "sent"]),
    ] {
        assert_eq!(events(&world, person).await?, expected, "{person}");
    }
    let metrics = world.gateway.admin(Method::GET, "/metrics").send().await?;
    let metrics = metrics.text().await?;
    for (outcome, count) in [("applied", 2), ("ignored", 2), ("unreadable", 1)] {
        let line = format!(
            "malote_returned_mail_total{{outcome=\"{outcome}\",purpose=\"feedback_loop\"}} {count}\n"
        );
        assert!(metrics.contains(&line), "{line}");
    }
    campaign(&world, &[people[1]], "second").await?;
    reached(&world, people[1], "suppressed").await?;
    Ok(())
}

#[tokio::test]
async fn ten_mebibytes_are_refused_and_a_status_within_a_returned_mail_is_not_believed()
-> Result<()> {
    let port = free_port()?;
    let world = world(port, None).await?;
    let address = sent(&world, "ana@one.example").await?;
    let hard = dsn("ana@one.example", "Action: failed\nStatus: 5.1.1");
    let line = format!("{}\n", "x".repeat(76));
    let large = format!("{hard}{}", line.repeat((10 << 20) / line.len()));
    let (is_taken, said) = swaks(port, &address, &large).await?;
    assert!(!is_taken && said.contains("552 5.3.4"), "{said}");
    let nest = "Content-Type: message/rfc822\n\n".repeat(1_000);
    let (is_taken, said) = swaks(port, &address, &format!("{nest}{hard}")).await?;
    assert!(is_taken, "{said}");
    let seen = events(&world, "ana@one.example").await?;
    assert_eq!(seen, ["accepted", "sent"]);
    Ok(())
}
