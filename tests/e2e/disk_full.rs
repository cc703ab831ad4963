//! A full disk: mail is refused, `/readyz` says why and where, and it ends without any mail.

use anyhow::{Result, ensure};
use malote_tests::{SHOP_KEY, Shim, World, eventually};
use reqwest::{Method, StatusCode};

use crate::{SENT_MAX, order};

#[tokio::test]
async fn a_gateway_whose_disk_is_full_is_not_ready_until_there_is_room() -> Result<()> {
    let disk = Shim::disk()?;
    let world = World::start_with(|config| {
        config.environment.extend(disk.disk_of(".db"));
        Ok(())
    })
    .await?;
    let post = async || {
        let request = world
            .gateway
            .request(Method::POST, "/v1/messages", SHOP_KEY);
        let answer = request.json(&order("ana@one.example")).send().await?;
        Ok::<_, anyhow::Error>(answer.status())
    };
    let ready = async || {
        let answer = world.gateway.admin(Method::GET, "/readyz").send().await?;
        Ok::<_, anyhow::Error>((answer.status(), answer.text().await?))
    };
    ensure!(post().await? == StatusCode::ACCEPTED);
    disk.fill()?;
    // What the files have already is written as ever.
    eventually("mail is refused", SENT_MAX, async || {
        let is_refused = post().await? == StatusCode::INSUFFICIENT_STORAGE;
        Ok(is_refused.then_some(()))
    })
    .await?;
    let (status, why) = ready().await?;
    ensure!(status == StatusCode::SERVICE_UNAVAILABLE, "{status} {why}");
    ensure!(
        why.contains("disk is full or not writable: ") && why.contains(".db"),
        "{why}"
    );
    disk.free()?;
    let (status, why) = ready().await?;
    ensure!(status == StatusCode::OK, "{status} {why}");
    ensure!(post().await? == StatusCode::ACCEPTED);
    let log = world.gateway.log();
    let times = |text: &str| log.matches(text).count();
    ensure!(times("disk has no room for a write, or is not writable: mail is refused") == 1);
    ensure!(times("disk has room again") == 1, "{log}");
    Ok(())
}
