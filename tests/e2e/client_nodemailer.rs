//! nodemailer's pool: several connections, a whole transaction in one write.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use malote_tests::{MAUTIC_KEY, World, repository, run, tool};

use crate::{SENT_MAX, ensure_once};

#[tokio::test]
async fn mails_from_a_pool_of_nodemailer_arrive() -> Result<()> {
    let world = World::start().await?;
    let door = world.gateway.doors().submission;
    let recipients: Vec<String> = (0..12).map(|n| format!("r{n}@one.example")).collect();
    let mut command = Command::new(tool("node")?);
    command
        .env(
            "NODE_PATH",
            repository().join("target/test-tools/node_modules"),
        )
        .arg(repository().join("tests/clients/nodemailer_client.js"))
        .args([&door.ip().to_string(), &door.port().to_string()])
        .args(["mautic", "mautic-secret", "orders@shop.example"])
        .args(&recipients);
    run(&mut command, Duration::from_secs(60))
        .await?
        .success()?;
    for recipient in &recipients {
        world
            .gateway
            .reached(recipient, MAUTIC_KEY, &["sent"], SENT_MAX)
            .await?;
        ensure_once(&world.ses.sandbox.messages_to(recipient))?;
    }
    Ok(())
}
