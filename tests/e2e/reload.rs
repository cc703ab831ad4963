//! A changed configuration is taken over as a whole, or not at all.

use std::time::Duration;

use anyhow::Result;
use malote_tests::{World, eventually, free_port};
use reqwest::Method;

use crate::{order, send_order};

const OLD_TOKEN: &str = "an operator's first token";
const NEW_TOKEN: &str = "an operator's second token";

const RELOAD_MAX: Duration = Duration::from_secs(20);
/// How long a refused configuration is given to do harm.
const WATCH_LOOKS: usize = 10;

async fn status(world: &World, key: &str) -> Result<u16> {
    let request = world.gateway.request(Method::POST, "/v1/messages", key);
    let answer = request.json(&order("ana@one.example")).send().await?;
    Ok(answer.status().as_u16())
}

#[tokio::test]
async fn a_new_key_counts_after_the_signal_and_the_old_one_no_more() -> Result<()> {
    let mut world = World::start().await?;
    assert_eq!(status(&world, "mk_new_shop").await?, 401);
    world
        .gateway
        .set_config(|config| config.replace("mk_test_shop", "mk_new_shop"))?;
    world.gateway.signal("HUP")?;
    eventually("the new key counts", RELOAD_MAX, async || {
        Ok((status(&world, "mk_new_shop").await? == 202).then_some(()))
    })
    .await?;
    assert_eq!(status(&world, "mk_test_shop").await?, 401);
    Ok(())
}

#[tokio::test]
async fn an_invalid_file_changes_nothing() -> Result<()> {
    let mut world = World::start().await?;
    world.gateway.set_config(|config| {
        config.replace("mk_test_shop", "mk_new_shop")?;
        config.replace(
            "{ provider = \"ses\", pool = \"tx\" }",
            "{ provider = \"sse\" }",
        )
    })?;
    world.gateway.signal("HUP")?;
    eventually("each fault is logged by itself", RELOAD_MAX, async || {
        let log = world.gateway.log();
        let is_told = |line: &str| line.contains("refused a configuration") && line.contains("sse");
        let is_kept = log.contains("kept the configuration in force");
        Ok((is_kept && log.lines().any(is_told)).then_some(()))
    })
    .await?;
    for number in 0..WATCH_LOOKS {
        assert_eq!(status(&world, "mk_new_shop").await?, 401);
        send_order(&world, &format!("r{number}@one.example")).await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_only_a_restart_puts_in_force_is_named() -> Result<()> {
    let mut world = World::start().await?;
    world.gateway.set_config(|config| {
        let (old, new) = (config.doors.submission, free_port()?);
        config.replace(&old.to_string(), &format!("127.0.0.1:{new}"))
    })?;
    world.gateway.signal("HUP")?;
    let left = "smtp differs from what is in force: a restart puts it in force";
    eventually("it is told", RELOAD_MAX, async || {
        Ok(world.gateway.log().contains(left).then_some(()))
    })
    .await?;
    assert!(!world.gateway.log().contains("http differs"));
    Ok(())
}

/// What both doors answer to who presents this as the admin token.
async fn as_operator(world: &World, token: &str) -> Result<[u16; 2]> {
    let admin = world.gateway.admin(Method::GET, "/admin/v1/switches");
    let http = world
        .gateway
        .request(Method::GET, "/v1/suppressions", token);
    let admin = admin.bearer_auth(token).send().await?;
    Ok([
        admin.status().as_u16(),
        http.send().await?.status().as_u16(),
    ])
}

#[tokio::test]
async fn a_new_admin_token_counts_after_the_signal_and_the_old_one_no_more() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("token");
    std::fs::write(&file, OLD_TOKEN)?;
    let world = World::start_with(|config| {
        let name = "MALOTE_ADMIN__TOKEN_FILE".to_owned();
        config.environment.push((name, file.display().to_string()));
        Ok(())
    })
    .await?;
    assert_eq!(as_operator(&world, OLD_TOKEN).await?, [200, 200]);
    assert_eq!(as_operator(&world, NEW_TOKEN).await?, [401, 401]);
    std::fs::write(&file, NEW_TOKEN)?;
    world.gateway.signal("HUP")?;
    eventually("the new token counts", RELOAD_MAX, async || {
        Ok((as_operator(&world, NEW_TOKEN).await? == [200, 200]).then_some(()))
    })
    .await?;
    assert_eq!(as_operator(&world, OLD_TOKEN).await?, [401, 401]);
    Ok(())
}
