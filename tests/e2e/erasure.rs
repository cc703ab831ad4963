//! A recipient is forgotten on request: nothing of the address is left in queue, timelines, store or log.

use std::path::Path;

use anyhow::{Result, ensure};
use malote_tests::{SHOP_KEY, World, answered};
use reqwest::Method;
use serde_json::json;

use crate::{order, send_order};

const GONE: &str = "gone.person@one.example";

/// The files under `dir` that hold this in any case.
fn holders(dir: &Path, wanted: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(holders(&path, wanted)?);
            continue;
        }
        let octets = std::fs::read(&path)?.to_ascii_lowercase();
        if octets
            .windows(wanted.len())
            .any(|own| own == wanted.as_bytes())
        {
            found.push(path.display().to_string());
        }
    }
    Ok(found)
}

#[tokio::test]
async fn an_erased_recipient_is_in_no_answer_and_no_file_of_the_gateway() -> Result<()> {
    let mut world = World::start().await?;
    let sent = send_order(&world, GONE).await?;
    let pause = json!({ "stream": sent["stream"], "action": "pause" });
    let request = world.gateway.admin(Method::POST, "/admin/v1/switches");
    ensure!(request.json(&pause).send().await?.status().is_success());
    let waits = world.gateway.submit(&order(GONE)).await?;
    let body = json!({ "address": GONE, "detail": format!("{GONE} asked") });
    let request = world.gateway.admin(Method::POST, "/admin/v1/suppressions");
    answered(request.json(&body).send().await?, 201).await?;

    let path = "/admin/v1/recipients?address=Gone.Person@ONE.example".to_owned();
    let counted = world
        .gateway
        .admin(Method::DELETE, &format!("{path}&dry_run=true"));
    let counted = answered(counted.send().await?, 200).await?;
    ensure!(
        counted["deliveries"] == 2 && counted["cancelled"] == 0,
        "{counted}"
    );
    let erased = answered(
        world.gateway.admin(Method::DELETE, &path).send().await?,
        200,
    )
    .await?;
    ensure!(
        erased["deliveries"] == 2 && erased["cancelled"] == 1,
        "{erased}"
    );
    ensure!(
        erased["bodies"] == 2 && erased["suppressions"] == 1,
        "{erased}"
    );

    let timeline = world.gateway.message(&waits, SHOP_KEY).await?;
    let delivery = &timeline["deliveries"][0];
    ensure!(delivery["state"] == "cancelled", "{timeline}");
    ensure!(delivery["recipient"] == erased["hash"], "{timeline}");
    let request = world
        .gateway
        .request(Method::POST, "/v1/messages", SHOP_KEY);
    let stopped = answered(request.json(&order(GONE)).send().await?, 202).await?;
    ensure!(
        stopped["recipients"][0]["status"] == "suppressed",
        "{stopped}"
    );
    answered(
        world.gateway.admin(Method::DELETE, &path).send().await?,
        200,
    )
    .await?;

    world.gateway.stop().await?;
    let holders = holders(world.gateway.folder(), GONE)?;
    ensure!(holders.is_empty(), "the address is in {holders:?}");
    Ok(())
}
