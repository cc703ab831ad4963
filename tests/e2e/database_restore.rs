//! `[store.postgres]` dumped, dropped and restored by PostgreSQL's own tools.

use anyhow::{Context, Result, ensure};
use malote_tests::{Postgres, SHOP_KEY, World, eventually, postgres_tool};

use crate::migrate::{keep_in, malote, read_on, wait_behind_a_pause};
use crate::{SENT_MAX, order, send_order};

const WITH_CONFIG: [&str; 2] = ["--config", "malote.toml"];

#[tokio::test]
async fn a_restored_database_holds_its_mail_until_it_is_released_and_readers_miss_nothing()
-> Result<()> {
    let postgres = Postgres::start()?;
    let url = postgres.url();
    let mut world = World::start().await?;
    world.gateway.stop().await?;
    keep_in(&mut world.gateway, &url)?;
    world.gateway.boot().await?;
    send_order(&world, "first@one.example").await?;
    let recipients = wait_behind_a_pause(&world.gateway, "waits", 10).await?;
    let dump = world.gateway.folder().join("dump");
    let dump = dump.to_str().context("no path")?;
    postgres_tool(
        "pg_dump",
        &["--format=custom", "--schema=malote", "--file", dump, &url],
    )
    .await?;

    // What comes after the dump is lost with the server, but readers have heard of it.
    world.gateway.submit(&order("lost@one.example")).await?;
    let (_, place) = read_on(&world.gateway, None).await?;
    world.gateway.stop().await?;
    postgres_tool(
        "psql",
        &["--quiet", "--command=DROP SCHEMA malote CASCADE", &url],
    )
    .await?;
    let restore = [
        "--exit-on-error",
        "--single-transaction",
        "--dbname",
        &url,
        dump,
    ];
    postgres_tool("pg_restore", &restore).await?;
    let restored = ["store", "restored", "--config", "malote.toml"];
    let said = eventually("the old connections have gone", SENT_MAX, async || {
        let said = malote(&world.gateway, &restored).await?;
        Ok((!said.stderr.contains("another malote")).then_some(said))
    });
    let said = said.await?.success()?;
    ensure!(
        said.contains(&format!("{} deliveries are held", recipients.len())),
        "{said}"
    );

    world.gateway.boot().await?;
    for recipient in &recipients {
        let held = &["held"];
        world
            .gateway
            .reached(recipient, SHOP_KEY, held, SENT_MAX)
            .await?;
    }
    for arguments in [
        ["queue", "resume", "--stream", "transactional"],
        ["queue", "release", "--state", "held"],
    ] {
        let arguments: Vec<&str> = arguments.iter().chain(&WITH_CONFIG).copied().collect();
        malote(&world.gateway, &arguments).await?.success()?;
    }
    for recipient in &recipients {
        let sent = &["sent"];
        world
            .gateway
            .reached(recipient, SHOP_KEY, sent, SENT_MAX)
            .await?;
        let count = world.ses.count_to(recipient) + world.relay.count_to(recipient);
        ensure!(count == 1, "{recipient} got {count}");
    }
    // A reader that was ahead of the dump hears of everything that came since, and it is behind.
    let (events, _) = read_on(&world.gateway, Some(&place)).await?;
    ensure!(events.len() >= 3 * recipients.len(), "{}", events.len());
    Ok(())
}
