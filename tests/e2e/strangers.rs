//! Whoever may send before any proof fills his own memory only: submissions are taken all the same.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use malote_tests::{Config, SmtpClient, World, eventually, free_port};
use reqwest::StatusCode;
use reqwest::header::RETRY_AFTER;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::bounce_mail::{BULK, campaign, sent, take_mail_back};
use crate::{SENT_MAX, campaigns_by, send_order};

/// The bound of a webhook's body.
const WEBHOOK_BYTES_MAX: usize = 5 << 20;
/// Memory is given out by the KiB: a webhook that lacks the last one has all but that.
const LACKING_BYTES: usize = 1 << 10;
/// What all of them may hold.
const STRANGERS_BYTES_MAX: usize = 32 << 20;
/// Messages that come back, each a little under their bound of 1 MiB.
const RETURNING: usize = 5;
const RETURNING_LINES: usize = 11_000;
const LINE: &str =
    "A line of a message that comes back, and that is never sent to its end.......\r\n";

fn bound(config: &mut Config, key: &str, value: &str) {
    let pair = (format!("MALOTE_{key}"), value.to_owned());
    config.environment.push(pair);
}

/// A webhook's answer to a small body that proves nothing: its status, and whether it says when to
/// come again.
async fn webhook(world: &World) -> Result<(StatusCode, bool)> {
    let http = world.gateway.doors().http;
    let url = format!("http://{http}/v1/webhooks/mailgun");
    let client = reqwest::Client::builder().no_proxy().build()?;
    let answer = client.post(url).body("{}").send().await?;
    Ok((answer.status(), answer.headers().contains_key(RETRY_AFTER)))
}

/// A webhook of which so many octets come, and no more.
async fn unfinished(door: SocketAddr, octets: usize) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(door).await?;
    let head = format!(
        "POST /v1/webhooks/mailgun HTTP/1.1\r\nHost: x\r\nContent-Length: {WEBHOOK_BYTES_MAX}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(&vec![b' '; octets]).await?;
    Ok(stream)
}

#[tokio::test]
async fn webhooks_of_strangers_keep_no_submission_out() -> Result<()> {
    let world = World::start_with(|config| {
        bound(config, "HTTP__INFLIGHT_MAX", "25MiB");
        Ok(())
    })
    .await?;
    let door = world.gateway.doors().http;
    let mut held = Vec::new();
    let mut left = STRANGERS_BYTES_MAX;
    while left > 0 {
        let octets = left.min(WEBHOOK_BYTES_MAX - LACKING_BYTES);
        held.push(unfinished(door, octets).await?);
        left -= octets;
    }
    eventually("webhooks are told to come again", SENT_MAX, async || {
        let answer = webhook(&world).await?;
        Ok((answer == (StatusCode::SERVICE_UNAVAILABLE, true)).then_some(()))
    })
    .await?;
    send_order(&world, "ana@one.example").await?;
    drop(held);
    eventually("webhooks are read again", SENT_MAX, async || {
        let (status, _) = webhook(&world).await?;
        Ok((status == StatusCode::UNAUTHORIZED).then_some(()))
    })
    .await
}

#[tokio::test]
async fn mail_that_comes_back_keeps_no_submission_out() -> Result<()> {
    let port = free_port()?;
    let world = World::start_with(|config| {
        campaigns_by(config, BULK)?;
        take_mail_back(config, port);
        bound(config, "SMTP__MESSAGE_BYTES_MAX", "1MiB");
        bound(config, "SMTP__INFLIGHT_BYTES_MAX", "2MiB");
        Ok(())
    })
    .await?;
    let address = sent(&world, "ana@one.example").await?;
    let door = SocketAddr::from(([127, 0, 0, 1], port));
    let mut held = Vec::new();
    for _ in 0..RETURNING {
        let mut client = SmtpClient::connect(door).await?;
        for (line, code) in [
            ("MAIL FROM:<>\r\n", 250),
            (&format!("RCPT TO:<{address}>\r\n"), 250),
            ("DATA\r\n", 354),
        ] {
            let reply = client.say(line).await?;
            ensure!(reply.code == code, "{line}: {reply:?}");
        }
        client.write("Subject: failure\r\n\r\n").await?;
        client.write(&LINE.repeat(RETURNING_LINES)).await?;
        held.push(client);
    }
    let all = RETURNING * RETURNING_LINES * LINE.len();
    eventually("all of it is in memory", SENT_MAX, async || {
        let bytes = world.gateway.sample("malote_smtp_inflight_bytes").await?;
        Ok((bytes >= all).then_some(()))
    })
    .await
    .context("what came back")?;
    campaign(&world, &["bia@one.example"], "second").await
}
