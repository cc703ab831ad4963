//! Unsubscribing by the gateway's own link: reading never acts, posting does, and coming back too.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use malote_sandbox::Taken;
use malote_tests::{Config, LOADTEST_KEY, SmtpClient, World, free_port, run, text_message, tool};
use reqwest::{Client, Response};
use serde_json::Value;

use crate::bounce_mail::take_mail_back;
use crate::{SENT_MAX, campaigns_by, raw_text, send_order};

const BULK: &str = "{ provider = \"relay\", pool = \"bulk\" }";
const BASE: &str = "https://mail.shop.example";

fn with_links(config: &mut Config) -> Result<()> {
    campaigns_by(config, BULK)?;
    config.add(&format!(
        "[unsubscribe]\nbase_url = \"{BASE}/\"\nsecret = \"another secret of this test\"\n"
    ));
    Ok(())
}

async fn campaign(world: &World, recipients: &[&str], fields: &str) -> Result<()> {
    let mut client = SmtpClient::connect(world.gateway.doors().plain).await?;
    let text = text_message("news@shop.example", recipients[0], "news");
    let text = format!("{fields}{text}");
    let reply = client.send("b@shop.example", recipients, &text).await?;
    ensure!(reply.code == 250, "{reply:?}");
    Ok(())
}

async fn reached(world: &World, recipient: &str, state: &str) -> Result<Value> {
    let gateway = &world.gateway;
    gateway
        .reached(recipient, LOADTEST_KEY, &[state], SENT_MAX)
        .await
}

/// Sends a campaign's mail to this recipient and answers what the relay took.
async fn sent(world: &World, recipient: &str, fields: &str) -> Result<Taken> {
    campaign(world, &[recipient], fields).await?;
    reached(world, recipient, "sent").await?;
    let messages = world.relay.sandbox.messages_to(recipient);
    messages.last().cloned().context("nothing arrived")
}

/// The field's value, unfolded.
fn field(taken: &Taken, name: &str) -> String {
    let value = taken.header(name).unwrap_or_default();
    value.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The link of a message, at the gateway's own door.
fn link(world: &World, taken: &Taken) -> Result<String> {
    let value = field(taken, "List-Unsubscribe");
    let rest = value
        .strip_prefix(&format!("<{BASE}/u/"))
        .context("no link of ours")?;
    let ticket = rest.split('>').next().unwrap_or_default();
    Ok(format!("http://{}/u/{ticket}", world.gateway.doors().http))
}

async fn post(link: &str, form: &str) -> Result<Response> {
    let request = Client::new().post(link).body(form.to_owned());
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    Ok(request.send().await?)
}

/// The kinds of a timeline's events.
fn kinds(timeline: &Value) -> Vec<&str> {
    let events = timeline["deliveries"][0]["events"].as_array();
    let events = events.into_iter().flatten();
    events.filter_map(|event| event["kind"].as_str()).collect()
}

#[tokio::test]
async fn reading_the_page_never_acts_posting_does_and_coming_back_undoes_it() -> Result<()> {
    let world = World::start_with(with_links).await?;
    let taken = sent(&world, "ana@one.example", "").await?;
    let one_click = field(&taken, "List-Unsubscribe-Post");
    assert_eq!(one_click, "List-Unsubscribe=One-Click");
    let link = link(&world, &taken)?;
    let client = Client::new();
    for language in ["en", "pt-BR"] {
        let request = client.get(&link).header("accept-language", language);
        let page = request.send().await?;
        assert_eq!(page.status(), 200);
        assert_eq!(page.headers()["cache-control"], "no-store");
        let text = page.text().await?;
        assert!(
            text.contains("shop.example") && text.contains(&format!("lang=\"{language}\"")),
            "{text}"
        );
    }
    assert_eq!(client.head(&link).send().await?.status(), 200);
    sent(&world, "ana@one.example", "").await?;
    assert_eq!(world.relay.count_to("ana@one.example"), 2);

    for _ in 0..2 {
        let done = post(&link, "List-Unsubscribe=One-Click").await?;
        assert_eq!(done.status(), 200);
    }
    campaign(&world, &["ana@one.example"], "").await?;
    reached(&world, "ana@one.example", "suppressed").await?;
    send_order(&world, "ana@one.example").await?;
    assert_eq!(
        world.ses.count_to("ana@one.example"),
        1,
        "a password reset still goes"
    );

    let back = post(&link, "Subscribe=Again").await?;
    assert_eq!(back.status(), 200);
    sent(&world, "ana@one.example", "").await?;
    assert_eq!(world.relay.count_to("ana@one.example"), 3);
    let again = post(&link, "List-Unsubscribe=One-Click").await?;
    assert_eq!(again.status(), 200);
    campaign(&world, &["ana@one.example"], "").await?;
    reached(&world, "ana@one.example", "suppressed").await?;

    let first = first_timeline(&world, "ana@one.example").await?;
    let told = [
        "accepted",
        "sent",
        "unsubscribed",
        "resubscribed",
        "unsubscribed",
    ];
    assert_eq!(kinds(&first), told);
    assert_eq!(first["deliveries"][0]["events"][2]["provider"], Value::Null);
    Ok(())
}

/// The timeline of the oldest campaign's mail to this recipient.
async fn first_timeline(world: &World, recipient: &str) -> Result<Value> {
    let request = world
        .gateway
        .request(reqwest::Method::GET, "/v1/messages", LOADTEST_KEY);
    let answer = request.query(&[("rcpt", recipient)]).send().await?;
    let page = malote_tests::answered(answer, 200).await?;
    let rows = page["rows"].as_array().context("no rows")?;
    let id = rows
        .last()
        .and_then(|row| row["id"].as_str())
        .context("no row")?;
    world.gateway.message(id, LOADTEST_KEY).await
}

#[tokio::test]
async fn a_link_that_is_none_of_ours_does_nothing_and_says_so() -> Result<()> {
    let world = World::start_with(with_links).await?;
    let taken = sent(&world, "ana@one.example", "").await?;
    let link = link(&world, &taken)?;
    let (front, ticket) = link.rsplit_once('/').context("no ticket")?;
    let changed = if ticket.starts_with('a') { "b" } else { "a" };
    for forged in [
        format!("{changed}{}", &ticket[1..]),
        "x".to_owned(),
        "%ff".to_owned(),
    ] {
        let answer = post(&format!("{front}/{forged}"), "List-Unsubscribe=One-Click").await?;
        assert!([400, 404].contains(&answer.status().as_u16()), "{forged}");
    }
    assert_eq!(post(&link, "").await?.status(), 400);
    sent(&world, "ana@one.example", "").await?;
    let log = world.gateway.log();
    assert!(!log.contains(ticket), "tickets are in no log");
    Ok(())
}

#[tokio::test]
async fn links_of_others_stay_and_where_none_may_be_added_the_timeline_says_so() -> Result<()> {
    let world = World::start_with(with_links).await?;
    let own = "List-Unsubscribe: <https://mautic.example/email/unsubscribe/1>\r\n\
               List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n";
    let taken = sent(&world, "ana@one.example", own).await?;
    let text = raw_text(&taken)?;
    assert!(text.contains(own) && !text.contains(BASE), "{text}");
    assert_eq!(text.matches("List-Unsubscribe:").count(), 1);

    let note = |timeline: &Value| timeline["deliveries"][0]["events"][0]["detail"].to_string();
    let signed =
        "DKIM-Signature: v=1; a=rsa-sha256; d=shop.example; s=x; h=From:Subject; bh=x; b=x\r\n";
    let taken = sent(&world, "bia@one.example", signed).await?;
    assert!(field(&taken, "List-Unsubscribe").contains(BASE));
    let timeline = reached(&world, "bia@one.example", "sent").await?;
    assert!(note(&timeline).contains("does not cover it"), "{timeline}");

    let sealed = signed.replace("h=From", "h=From:List-Unsubscribe");
    let taken = sent(&world, "clara@one.example", &sealed).await?;
    assert_eq!(field(&taken, "List-Unsubscribe"), "");

    campaign(&world, &["dora@one.example", "eva@one.example"], "").await?;
    let timeline = reached(&world, "dora@one.example", "sent").await?;
    assert!(note(&timeline).contains("several"), "{timeline}");

    // What is no campaign gets no such field.
    send_order(&world, "flora@one.example").await?;
    let order = world.ses.sandbox.messages_to("flora@one.example");
    assert!(!raw_text(&order[0])?.contains("List-Unsubscribe"));
    Ok(())
}

async fn swaks(port: u16, to: &str, field: &str) -> Result<()> {
    let mut command = Command::new(tool("swaks")?);
    command
        .args(["--server", &format!("127.0.0.1:{port}"), "--to", to])
        .args([
            "--from",
            "ana@one.example",
            "--header",
            "Subject: unsubscribe",
        ])
        .args(["--add-header", field]);
    run(&mut command, Duration::from_secs(60))
        .await?
        .success()?;
    Ok(())
}

#[tokio::test]
async fn a_mail_to_the_address_of_the_field_unsubscribes_and_an_absence_note_does_not() -> Result<()>
{
    let port = free_port()?;
    let world = World::start_with(|config| {
        take_mail_back(config, port);
        with_links(config)
    })
    .await?;
    let taken = sent(&world, "ana@one.example", "").await?;
    let value = field(&taken, "List-Unsubscribe");
    let (_, address) = value.split_once("<mailto:").context("no address")?;
    let address = address.split('?').next().unwrap_or_default();
    assert!(
        address.starts_with("u+") && address.ends_with("@bounces.shop.example"),
        "{value}"
    );
    swaks(port, address, "Auto-Submitted: auto-replied").await?;
    sent(&world, "ana@one.example", "").await?;
    assert_eq!(world.relay.count_to("ana@one.example"), 2);
    swaks(port, address, "X-Mailer: hand").await?;
    campaign(&world, &["ana@one.example"], "").await?;
    let timeline = reached(&world, "ana@one.example", "suppressed").await?;
    assert!(
        timeline.to_string().contains("by mail to the address"),
        "{timeline}"
    );
    Ok(())
}
