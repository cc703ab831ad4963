//! A full queue refuses campaigns first, by HTTP and by SMTP, and says when to come again; the
//! reserve still takes transactional mail.

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use malote_tests::{LOADTEST_KEY, SHOP_KEY, SmtpClient, World, answered, eventually, text_message};
use reqwest::{Method, Response};
use serde_json::Value;

use crate::{SENT_MAX, campaigns_by, order};

/// `delivery.queue_bytes_max`, the smallest that can be set; transactional mail has a tenth more.
const QUEUE_BYTES_MAX: usize = 1 << 20;
/// Leaves room for small campaigns only.
const LARGE_BYTES: usize = 920_000;
/// Over the bound together with the large one, within the reserve.
const MIDDLE_BYTES: usize = 140_000;

fn lines(bytes: usize) -> String {
    "A line of this message that is 49 octets long...\n".repeat(bytes / 49)
}

async fn post(world: &World, key: &str, recipient: &str, bytes: usize) -> Result<Response> {
    let mut message = order(recipient);
    message["text"] = lines(bytes).into();
    let request = world.gateway.request(Method::POST, "/v1/messages", key);
    Ok(request.json(&message).send().await?)
}

async fn taken(world: &World, key: &str, recipient: &str, bytes: usize) -> Result<Value> {
    answered(post(world, key, recipient, bytes).await?, 202).await
}

/// Refused as a full queue, with a time to come again.
async fn refused(world: &World, key: &str, bytes: usize) -> Result<()> {
    let answer = post(world, key, "refused@one.example", bytes).await?;
    let retry_after = answer.headers().get("retry-after").cloned();
    let problem = answered(answer, 503).await?;
    ensure!(
        problem["type"] == "urn:malote:problem:queue_full",
        "{problem}"
    );
    let wait_s: u64 = retry_after.context("no Retry-After")?.to_str()?.parse()?;
    ensure!((1..=3_600).contains(&wait_s), "Retry-After: {wait_s}");
    Ok(())
}

/// The code of the reply to the final dot, and its enhanced code.
async fn smtp(world: &World, login: Option<&str>, bytes: usize) -> Result<(u16, String)> {
    let mut client = SmtpClient::connect(world.gateway.doors().plain).await?;
    if let Some(password) = login {
        let answer = STANDARD.encode(format!("\0mautic\0{password}"));
        let reply = client.say(&format!("AUTH PLAIN {answer}\r\n")).await?;
        ensure!(reply.code == 235, "{reply:?}");
    }
    let recipient = "smtp@one.example";
    let text = text_message("news@shop.example", recipient, "full");
    let text = text + &lines(bytes).replace('\n', "\r\n");
    let reply = client.send("b@shop.example", &[recipient], &text).await?;
    let line = reply.lines.first().context("an empty reply")?;
    let enhanced = line.split(' ').next().unwrap_or_default().to_owned();
    Ok((reply.code, enhanced))
}

/// Admission counts what is queued once a second, together with this metric.
async fn counted(world: &World, stream: &str, count: usize) -> Result<()> {
    let line = format!("malote_queue_deliveries{{state=\"queued\",stream=\"{stream}\"}} {count}");
    eventually(&line, SENT_MAX, async || {
        let request = world.gateway.admin(Method::GET, "/metrics");
        let text = request.send().await?.text().await?;
        Ok(text.lines().any(|own| own == line).then_some(()))
    })
    .await
}

#[tokio::test]
async fn a_full_queue_refuses_campaigns_and_leaves_transactional_mail_its_reserve() -> Result<()> {
    let world = World::start_with(|config| {
        campaigns_by(config, "{ provider = \"mailgun\", pool = \"news\" }")?;
        config.add(&format!(
            "[delivery]\nqueue_bytes_max = \"{QUEUE_BYTES_MAX}B\"\n"
        ));
        Ok(())
    })
    .await?;
    world.gateway.switch("campaign", "pause").await?;
    let large = taken(&world, LOADTEST_KEY, "large@one.example", LARGE_BYTES).await?;
    counted(&world, "campaign", 1).await?;

    refused(&world, LOADTEST_KEY, MIDDLE_BYTES).await?;
    let full = (452, "4.3.1".to_owned());
    ensure!(smtp(&world, None, MIDDLE_BYTES).await? == full);
    // What has room is still taken, so one large message does not close the door.
    taken(&world, LOADTEST_KEY, "small@one.example", 1_000).await?;
    counted(&world, "campaign", 2).await?;

    // The reserve takes transactional mail by both doors, and it leaves.
    taken(&world, SHOP_KEY, "tx@one.example", MIDDLE_BYTES).await?;
    let (code, _) = smtp(&world, Some("mautic-secret"), MIDDLE_BYTES).await?;
    ensure!(code == 250, "{code}");
    for recipient in ["tx@one.example", "smtp@one.example"] {
        eventually("the reserve's mail leaves", SENT_MAX, async || {
            Ok((world.ses.count_to(recipient) > 0).then_some(()))
        })
        .await?;
    }

    // The reserve ends as well.
    world.gateway.switch("transactional", "pause").await?;
    taken(&world, SHOP_KEY, "waits@one.example", MIDDLE_BYTES).await?;
    counted(&world, "transactional", 1).await?;
    refused(&world, SHOP_KEY, MIDDLE_BYTES).await?;
    refused(&world, LOADTEST_KEY, 1_000).await?;
    let login = Some("mautic-secret");
    ensure!(smtp(&world, login, MIDDLE_BYTES).await? == full);

    // Once there is room, campaigns are taken again.
    let id = large["id"].as_str().context("no id")?;
    let path = format!("/v1/messages/{id}");
    let cancel = world.gateway.request(Method::DELETE, &path, LOADTEST_KEY);
    ensure!(cancel.send().await?.status().is_success());
    counted(&world, "campaign", 1).await?;
    taken(&world, LOADTEST_KEY, "again@one.example", MIDDLE_BYTES).await?;
    ensure!(world.mailgun.sandbox.stats().messages == 0);
    Ok(())
}
