//! swaks over STARTTLS, with a login, and with a wrong one.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use malote_tests::{MAUTIC_KEY, Outcome, World, run, tool};

use crate::{SENT_MAX, ensure_once};

async fn swaks(world: &World, recipient: &str, password: &str) -> Result<Outcome> {
    let door = world.gateway.doors().submission;
    let mut command = Command::new(tool("swaks")?);
    command
        .args(["--server", &door.to_string(), "--tls", "--pipeline"])
        .args(["--auth", "LOGIN", "--auth-user", "mautic"])
        .args(["--auth-password", password])
        .args(["--from", "orders@shop.example", "--to", recipient]);
    run(&mut command, Duration::from_secs(60)).await
}

#[tokio::test]
async fn a_mail_from_swaks_arrives() -> Result<()> {
    let world = World::start().await?;
    let said = swaks(&world, "ana@one.example", "mautic-secret").await?;
    let said = said.success()?;
    assert!(said.contains("STARTTLS") && said.contains("235 "), "{said}");
    world
        .gateway
        .reached("ana@one.example", MAUTIC_KEY, &["sent"], SENT_MAX)
        .await?;
    ensure_once(&world.ses.sandbox.messages_to("ana@one.example"))?;
    Ok(())
}

#[tokio::test]
async fn a_wrong_password_is_refused() -> Result<()> {
    let world = World::start().await?;
    let said = swaks(&world, "ana@one.example", "wrong").await?;
    assert_ne!(said.status, Some(0));
    assert!(said.stdout.contains("535 5.7.8"), "{}", said.stdout);
    let log = world.gateway.log();
    let mut lines = log.lines();
    let refused = lines.find(|line| line.contains("refused a login: wrong password"));
    let refused = refused.context("not told in the log")?;
    for field in ["credential", "mautic", "listener", "127.0.0.1"] {
        assert!(refused.contains(field), "{refused}");
    }
    assert!(!log.contains("mautic-secret"), "{log}");
    Ok(())
}
