//! Mautic learns whom not to write to again: of what is the recipient's part, and of nothing else.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use malote_tests::{
    DncEntry, MAUTIC_KEY, Mautic, SmtpClient, World, answered, eventually, repository, run, tool,
};
use serde_json::{Value, json};

use crate::{SENT_MAX, campaigns_by};

pub(crate) const NEWS: &str = "{ provider = \"mailgun\", pool = \"news\" }";
const HASH: &str = "6650f1a2b3c4d000000007";
/// `\0mautic\0mautic-secret`.
pub(crate) const PLAIN: &str = "AG1hdXRpYwBtYXV0aWMtc2VjcmV0";
/// How soon Mautic knows.
const KNOWN_MAX: Duration = Duration::from_secs(20);
/// Five attempts, with waits that double from five seconds.
const FALLBACK_MAX: Duration = Duration::from_secs(150);

/// The outlet to this Mautic.
pub(crate) fn table(mautic: &Mautic, more: &str) -> String {
    let own = mautic.table("mautic");
    format!("{own}requests_per_second = 50.0\n{more}\n")
}

async fn start(mautic: &Mautic, more: &str) -> Result<World> {
    World::start_with(|config| {
        config.add(&table(mautic, more));
        campaigns_by(config, NEWS)
    })
    .await
}

/// A campaign's mail as Mautic hands it over.
async fn hand_over(world: &World, recipient: &str, hash: &str) -> Result<()> {
    let url = format!("https://mautic.example/email/unsubscribe/{hash}");
    hand_over_with(world, recipient, hash, &url).await
}

/// The same with another address to unsubscribe at.
pub(crate) async fn hand_over_with(
    world: &World,
    recipient: &str,
    hash: &str,
    url: &str,
) -> Result<()> {
    let mut client = SmtpClient::connect(world.gateway.doors().plain).await?;
    let login = client.say(&format!("AUTH PLAIN {PLAIN}\r\n")).await?;
    ensure!(login.code == 235, "{login:?}");
    let text = format!(
        "From: News <news@shop.example>\r\nTo: {recipient}\r\nSubject: News\r\n\
         Message-ID: <{recipient}.news>\r\nDate: Fri, 02 Jan 2026 03:04:05 +0000\r\n\
         MIME-Version: 1.0\r\nX-EMAIL-ID: 42\r\nPrecedence: Bulk\r\n\
         List-Unsubscribe: <{url}>\r\n\
         List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n\r\nHello.\r\n"
    );
    let from = format!("bounce+bounce_{hash}@shop.example");
    let reply = client.send(&from, &[recipient], &text).await?;
    ensure!(reply.code == 250, "{reply:?}");
    Ok(())
}

/// One, until Mailgun has it.
async fn campaign(world: &World, recipient: &str) -> Result<()> {
    hand_over(world, recipient, HASH).await?;
    eventually("the campaign arrives", SENT_MAX, async || {
        Ok((world.mailgun.count_to(recipient) > 0).then_some(()))
    })
    .await
}

/// Mailgun reports on the last message that it took.
pub(crate) async fn report(world: &World, event: &str, reply: Option<&str>) -> Result<()> {
    let hook = format!("http://{}/v1/webhooks/mailgun", world.gateway.doors().http);
    let emit = format!("http://{}/_sandbox/event", world.mailgun.address);
    let body = json!({ "url": hook, "event": event, "reply": reply });
    let answer = reqwest::Client::new().post(emit).json(&body).send().await?;
    let answer = answered(answer, 200).await?;
    ensure!(answer["status"] == 200, "{answer}");
    Ok(())
}

pub(crate) async fn entry(mautic: &Mautic, address: &str, within: Duration) -> Result<DncEntry> {
    eventually("Mautic knows", within, async || Ok(mautic.entry(address))).await
}

/// The report about this recipient that SES was given for Mautic's mailbox, as Python reads it.
async fn mailed_report(world: &World, to: &str) -> Result<Value> {
    let raw = eventually("the report is mailed", FALLBACK_MAX, async || {
        let taken = world.ses.sandbox.messages_to(to);
        Ok(taken.first().and_then(|taken| taken.raw.clone()))
    })
    .await?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("report.eml");
    std::fs::write(&file, &raw)?;
    let mut command = Command::new("sh");
    command
        .args(["-c", "exec \"$0\" \"$1\" < \"$2\""])
        .arg(tool("python3")?)
        .arg(repository().join("tests/clients/mail_report.py"))
        .arg(&file);
    let said = run(&mut command, Duration::from_secs(30))
        .await?
        .success()?;
    Ok(serde_json::from_str(&said)?)
}

#[tokio::test]
async fn a_hard_bounce_is_exactly_one_right_request_within_seconds() -> Result<()> {
    let mautic = Mautic::start(&["other@one.example", "ana+x@one.example"]).await?;
    mautic.state().over_limit = 1;
    let world = start(&mautic, "").await?;
    campaign(&world, "ana+x@one.example").await?;
    let reply = "550 5.1.1 <ana+x@one.example>: user unknown";
    report(&world, "bounced", Some(reply)).await?;
    let entry = entry(&mautic, "ana+x@one.example", KNOWN_MAX).await?;
    ensure!(
        (entry.reason, entry.channel_id) == (2, Some(42)),
        "{entry:?}"
    );
    ensure!(entry.comments.starts_with("malote: "), "{entry:?}");
    ensure!(
        entry.comments.contains("5.1.1") && entry.comments.ends_with("(mailgun)"),
        "{entry:?}"
    );
    ensure!(!entry.comments.contains("ana"), "{entry:?}");
    let changes = mautic.changes();
    ensure!(changes.len() == 1, "{changes:?}");
    ensure!(
        changes[0].target == "/api/contacts/2/dnc/email/add",
        "{changes:?}"
    );
    ensure!(mautic.entry("other@one.example").is_none());
    // The report to the sender that Mautic would read in its mailbox is not sent as well.
    ensure!(world.ses.sandbox.stats().messages == 0);
    Ok(())
}

#[tokio::test]
async fn a_block_a_delay_and_a_full_mailbox_are_not_told() -> Result<()> {
    let names = [
        "a@one.example",
        "b@one.example",
        "c@one.example",
        "d@one.example",
    ];
    let mautic = Mautic::start(&names).await?;
    let world = start(&mautic, "").await?;
    for (recipient, event, reply) in [
        (
            "a@one.example",
            "bounced",
            "550 5.7.1 blocked using our block list (S3150)",
        ),
        ("b@one.example", "deferred", "451 4.7.1 try again later"),
        ("c@one.example", "bounced", "552 5.2.2 mailbox full"),
        ("d@one.example", "bounced", "550 5.1.1 user unknown"),
    ] {
        campaign(&world, recipient).await?;
        report(&world, event, Some(reply)).await?;
    }
    // The feed is told in order: whoever came before has been judged.
    entry(&mautic, "d@one.example", KNOWN_MAX).await?;
    let requests = mautic.peer.requests();
    ensure!(requests.len() == 2, "{requests:?}");
    ensure!(
        requests.iter().all(|r| !r.target.contains("val%5D=a%40")),
        "{requests:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_mailbox_that_stays_full_is_suppressed_here_and_never_told() -> Result<()> {
    let mautic = Mautic::start(&["ana@one.example", "bob@one.example"]).await?;
    let world = start(&mautic, "[delivery]\nsoft_bounces_max = 2").await?;
    for number in 1..=2 {
        hand_over(&world, "ana@one.example", &format!("{HASH}{number}")).await?;
        eventually("the campaign arrives", SENT_MAX, async || {
            Ok((world.mailgun.count_to("ana@one.example") == number).then_some(()))
        })
        .await?;
        report(&world, "bounced", Some("552 5.2.2 mailbox full")).await?;
    }
    hand_over(&world, "ana@one.example", &format!("{HASH}3")).await?;
    let gateway = &world.gateway;
    let timeline = gateway
        .reached("ana@one.example", MAUTIC_KEY, &["suppressed"], SENT_MAX)
        .await?;
    ensure!(
        timeline.to_string().contains("mailbox full 2 times"),
        "{timeline}"
    );
    campaign(&world, "bob@one.example").await?;
    report(&world, "bounced", Some("550 5.1.1 user unknown")).await?;
    entry(&mautic, "bob@one.example", KNOWN_MAX).await?;
    // The feed is told in order: ana's event has been judged.
    ensure!(mautic.entry("ana@one.example").is_none());
    let requests = mautic.peer.requests();
    ensure!(
        requests.iter().all(|r| !r.target.contains("ana%40")),
        "{requests:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_complaint_replaces_a_bounce_and_is_never_replaced() -> Result<()> {
    let mautic = Mautic::start(&["ana@one.example"]).await?;
    let by_hand = DncEntry {
        reason: 3,
        channel_id: Some(7),
        comments: "by hand".to_owned(),
    };
    if let Some((_, entry)) = mautic.state().contacts.first_mut() {
        *entry = Some(by_hand);
    }
    let world = start(&mautic, "").await?;
    campaign(&world, "ana@one.example").await?;
    report(&world, "complained", None).await?;
    eventually("Mautic knows", KNOWN_MAX, async || {
        let entry = mautic.entry("ana@one.example");
        Ok(entry.filter(|entry| entry.reason == 1))
    })
    .await?;
    let body: Value = serde_json::from_str(&mautic.changes()[0].body)?;
    ensure!(body.get("channelId").is_none(), "{body}");
    Ok(())
}

#[tokio::test]
async fn with_the_api_closed_reports_go_to_mautic_s_mailbox() -> Result<()> {
    let mautic = Mautic::start(&["ana@one.example", "bob@one.example"]).await?;
    mautic.state().basic_auth = false;
    let more = "sinks = [\"api\", \"kumomta_callback\", \"dsn\"]\n\
                dsn_to = \"bounce@shop.example\"\ndsn_provider = \"ses\"";
    let world = start(&mautic, more).await?;
    campaign(&world, "ana@one.example").await?;
    report(&world, "bounced", Some("550 5.1.1 user unknown")).await?;
    let to = format!("bounce+bounce_{HASH}@shop.example");
    let read = mailed_report(&world, &to).await?;
    ensure!(
        read["kind"] == "delivery-status" && read["to"] == to.as_str(),
        "{read}"
    );
    ensure!(read["defects"] == json!([]), "{read}");
    let fields = &read["fields"];
    ensure!(
        fields["final-recipient"] == "rfc822; ana@one.example",
        "{read}"
    );
    ensure!(fields["action"] == "failed", "{read}");
    let canonical = "smtp; 550 5.0.0 User unknown (malote: bounced)";
    ensure!(fields["diagnostic-code"] == canonical, "{read}");
    let text = read["text"].as_str().context("no text")?;
    ensure!(text.contains("550 5.1.1 user unknown"), "{read}");

    campaign(&world, "bob@one.example").await?;
    report(&world, "complained", None).await?;
    let to = format!("bounce+unsubscribe_{HASH}@shop.example");
    let read = mailed_report(&world, &to).await?;
    ensure!(
        read["kind"] == "feedback-report" && read["defects"] == json!([]),
        "{read}"
    );
    ensure!(read["fields"]["feedback-type"] == "abuse", "{read}");
    ensure!(
        read["fields"]["original-rcpt-to"] == "bob@one.example",
        "{read}"
    );
    // Each way was tried once, in its order, and the closed ones changed nothing.
    let targets: Vec<String> = mautic
        .peer
        .requests()
        .into_iter()
        .map(|r| r.target)
        .collect();
    ensure!(targets.len() == 3, "{targets:?}");
    ensure!(targets[0].starts_with("/api/contacts?"), "{targets:?}");
    ensure!(targets[1] == "/mailer/callback", "{targets:?}");
    ensure!(mautic.entry("ana@one.example").is_none());
    Ok(())
}
