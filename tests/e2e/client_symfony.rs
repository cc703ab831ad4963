//! Symfony Mailer, Mautic's transport: every header set takes the way it should.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;
use malote_tests::{MAUTIC_KEY, MAUTIC_ROWS, World, repository, run, tool};
use serde_json::Value;

use crate::{SENT_MAX, ensure_once, raw_text};

const SUBMIT_MAX: Duration = Duration::from_secs(60);

/// Sends these mails in one connection over STARTTLS; answers what Symfony said of each.
async fn symfony(world: &World, mails: &[Value]) -> Result<Vec<Value>> {
    let file = world.gateway.folder().join("mails.json");
    std::fs::write(&file, serde_json::to_string(mails)?)?;
    let door = world.gateway.doors().submission;
    let dsn = format!("smtp://mautic:mautic-secret@{door}?verify_peer=0");
    let mut command = Command::new(tool("php")?);
    command.arg(repository().join("tests/clients/symfony.php"));
    command.arg(dsn).arg(file);
    let said = run(&mut command, SUBMIT_MAX).await?.success()?;
    said.lines()
        .map(|line| Ok(serde_json::from_str(line)?))
        .collect()
}

#[tokio::test]
async fn every_header_set_of_mautic_takes_its_way() -> Result<()> {
    let world = World::start().await?;
    let mails: Vec<Value> = MAUTIC_ROWS
        .iter()
        .enumerate()
        .map(|(number, row)| row.mail(number))
        .collect();
    assert_eq!(symfony(&world, &mails).await?.len(), MAUTIC_ROWS.len());
    for row in MAUTIC_ROWS {
        let timeline = world
            .gateway
            .reached(&row.recipient(), MAUTIC_KEY, &["sent"], SENT_MAX)
            .await?;
        let delivery = &timeline["deliveries"][0];
        let word = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let target = format!(
            "{}/{}",
            word(&delivery["provider"]),
            word(&delivery["pool"])
        );
        assert_eq!(
            timeline["stream"], row.stream,
            "{}: {timeline:#}",
            row.sent_by
        );
        assert!(
            row.targets.contains(&target.as_str()),
            "{}: {target}",
            row.sent_by
        );
    }
    Ok(())
}

#[tokio::test]
async fn what_mautic_marks_is_kept_and_what_is_ours_is_taken_off() -> Result<()> {
    let world = World::start().await?;
    let mut mail = MAUTIC_ROWS[2].mail(7);
    mail["headers"]["X-Malote-Stream"] = "transactional".into();
    let recipient = MAUTIC_ROWS[2].recipient();
    symfony(&world, &[mail]).await?;
    world
        .gateway
        .reached(&recipient, MAUTIC_KEY, &["sent"], SENT_MAX)
        .await?;
    let messages = world.ses.sandbox.messages_to(&recipient);
    let taken = ensure_once(&messages)?;
    assert_eq!(taken.header("X-EMAIL-ID").as_deref(), Some("42"));
    assert_eq!(taken.header("Return-Path"), None);
    assert_eq!(taken.header("X-Malote-Stream"), None);
    let raw = raw_text(taken)?;
    assert!(raw.contains("\r\n.\r\n..ponto\r\n"), "{raw}");
    Ok(())
}

#[tokio::test]
async fn a_repeat_with_the_same_tracking_hash_is_dropped() -> Result<()> {
    let world = World::start().await?;
    let mail = MAUTIC_ROWS[2].mail(9);
    let recipient = MAUTIC_ROWS[2].recipient();
    let said = symfony(&world, &[mail.clone(), mail]).await?;
    assert!(said.iter().all(|answer| answer["ok"] == true), "{said:?}");
    world
        .gateway
        .reached(&recipient, MAUTIC_KEY, &["sent"], SENT_MAX)
        .await?;
    ensure_once(&world.ses.sandbox.messages_to(&recipient))?;
    Ok(())
}

/// Symfony ends DATA in a small second write; without an immediate acknowledgement each message
/// would wait 40 ms for it.
#[tokio::test]
async fn one_connection_is_not_slowed_by_delayed_acknowledgements() -> Result<()> {
    const MAILS: usize = 100;
    let world = World::start().await?;
    let mails: Vec<Value> = (0..MAILS)
        .map(|number| {
            let mut mail = MAUTIC_ROWS[0].mail(100 + number);
            mail["to"] = format!("r{number}@contact.example").into();
            mail
        })
        .collect();
    let started = Instant::now();
    symfony(&world, &mails).await?;
    let each = started.elapsed() / u32::try_from(MAILS)?;
    assert!(each < Duration::from_millis(38), "{each:?} a message");
    Ok(())
}
