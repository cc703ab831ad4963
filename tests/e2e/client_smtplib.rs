//! Python's smtplib: lower-case verbs, `size=`, and an 8-bit body that is not announced.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;
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
    let raw = raw_text(ensure_once(&messages)?)?;
    assert!(
        raw.ends_with("\r\n\r\nOlá, ação.\r\n.\r\n..\r\nfim\r\n"),
        "{raw}"
    );
    Ok(())
}
