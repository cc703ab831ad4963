//! Python's smtplib: lower-case verbs, `size=`, and an 8-bit body that is not announced.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use malote_tests::{MAUTIC_KEY, World, repository, run, tool};

use crate::{SENT_MAX, ensure_once, raw_text};

#[tokio::test]
async fn an_eight_bit_mail_from_smtplib_arrives_whole() -> Result<()> {
    let world = World::start().await?;
    let door = world.gateway.doors().submission;
    let mut command = Command::new(tool("python3")?);
    command
        .arg(repository().join("tests/clients/smtplib_client.py"))
        .args([&door.ip().to_string(), &door.port().to_string()])
        .args([
            "mautic",
            "mautic-secret",
            "orders@shop.example",
            "ana@one.example",
        ]);
    run(&mut command, Duration::from_secs(60))
        .await?
        .success()?;
    world
        .gateway
        .reached("ana@one.example", MAUTIC_KEY, &["sent"], SENT_MAX)
        .await?;
    let messages = world.ses.sandbox.messages_to("ana@one.example");
    let taken = ensure_once(&messages)?;
    let raw = raw_text(taken)?;
    let (_, body) = raw.split_once("\r\n\r\n").context("it has a body")?;
    // SES wants seven bits; the text must survive either way.
    let text = match taken.header("Content-Transfer-Encoding").as_deref() {
        Some("base64") => String::from_utf8(STANDARD.decode(body.replace("\r\n", ""))?)?,
        _ => body.to_owned(),
    };
    assert_eq!(text, "Olá, ação.\r\n.\r\n..\r\nfim\r\n");
    Ok(())
}
