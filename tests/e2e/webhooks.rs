//! Providers' webhooks: verified, put on the timeline, and refused when forged.

use anyhow::Result;
use malote_sandbox::Kind;
use malote_tests::{Backends, Config, Gateway, SHOP_KEY, Service, World, answered};
use serde_json::{Value, json};

use crate::{SENT_MAX, send_order};

/// The contract with a certificate in a file, in place of Amazon's.
pub(crate) async fn start() -> Result<(World, tempfile::TempDir)> {
    let folder = tempfile::tempdir()?;
    let certificate = folder.path().join("sns.pem");
    let (mailgun, relay) = (
        Service::start(Kind::Mailgun).await?,
        Service::start(Kind::Smtp).await?,
    );
    let ses = Service::start(Kind::Ses).await?;
    std::fs::write(
        &certificate,
        ses.sandbox.certificate_pem().unwrap_or_default(),
    )?;
    let mut config = Config::contract(Backends {
        ses: ses.address,
        mailgun: mailgun.address,
        relay: relay.address,
    })?;
    let table = "[providers.ses.webhook]";
    let with_file = format!("{table}\ncertificate_file = {certificate:?}");
    config.replace(table, &with_file)?;
    let gateway = Gateway::start(config).await?;
    let world = World {
        gateway,
        ses,
        mailgun,
        relay,
    };
    Ok((world, folder))
}

pub(crate) async fn report(world: &World, event: &Value) -> Result<Value> {
    let emit = format!("http://{}/_sandbox/event", world.ses.address);
    let mut event = event.clone();
    event["url"] = format!("http://{}/v1/webhooks/ses", world.gateway.doors().http).into();
    let request = reqwest::Client::new().post(emit).json(&event);
    Ok(answered(request.send().await?, 200).await?["status"].clone())
}

#[tokio::test]
async fn a_delivery_reported_by_sns_stands_on_the_timeline() -> Result<()> {
    let (world, _folder) = start().await?;
    send_order(&world, "ana@one.example").await?;
    assert_eq!(report(&world, &json!({ "event": "delivered" })).await?, 200);
    let timeline = world
        .gateway
        .reached("ana@one.example", SHOP_KEY, &["delivered"], SENT_MAX)
        .await?;
    let events = timeline["deliveries"][0]["events"].to_string();
    assert!(events.contains("250 2.0.0 OK"), "{events}");
    Ok(())
}

#[tokio::test]
async fn a_forged_notification_is_refused_and_changes_nothing() -> Result<()> {
    let (world, _folder) = start().await?;
    send_order(&world, "ana@one.example").await?;
    let forged = json!({ "event": "bounced", "forged": true });
    let status = report(&world, &forged).await?;
    assert!(status == 401 || status == 403, "{status}");
    send_order(&world, "ana@one.example").await?;
    Ok(())
}

#[tokio::test]
async fn an_unknown_provider_has_no_door() -> Result<()> {
    let (world, _folder) = start().await?;
    let url = format!("http://{}/v1/webhooks/nobody", world.gateway.doors().http);
    let answer = reqwest::Client::new().post(url).body("{}").send().await?;
    assert_eq!(answer.status().as_u16(), 404);
    Ok(())
}
