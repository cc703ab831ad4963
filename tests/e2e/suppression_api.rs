//! Suppressions over the public API: what an app's own mail caused, what it adds, and where it ends.

use anyhow::{Context, Result, ensure};
use malote_tests::{LOADTEST_KEY, MAUTIC_KEY, World, answered};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::order;

fn ask(world: &World, method: Method, path: &str, key: &str) -> RequestBuilder {
    let path = format!("/v1/suppressions{path}");
    world.gateway.request(method, &path, key)
}

/// A message of the campaign stream: transactional mail is stopped by global entries only.
fn news(recipient: &str) -> Value {
    let mut news = order(recipient);
    news["stream"] = "campaign".into();
    news
}

async fn status_of(world: &World, address: &str) -> Result<String> {
    let request = world
        .gateway
        .request(Method::POST, "/v1/messages", MAUTIC_KEY);
    let answer = answered(request.json(&news(address)).send().await?, 202).await?;
    let status = answer["recipients"][0]["status"].as_str();
    Ok(status.context("no status")?.to_owned())
}

#[tokio::test]
async fn an_app_stops_and_lifts_its_own_stream_and_no_more() -> Result<()> {
    let world = World::start().await?;
    let request = world
        .gateway
        .request(Method::POST, "/v1/messages", MAUTIC_KEY);
    let sent = answered(request.json(&news("x@one.example")).send().await?, 202).await?;
    let stream = sent["stream"].as_str().context("no stream")?;
    let body = json!({ "scope": stream, "reason": "unsubscribe", "detail": "shop" });
    let put = |body: &Value| {
        ask(&world, Method::PUT, "/Ana@one.example", MAUTIC_KEY)
            .json(body)
            .send()
    };
    answered(put(&body).await?, 201).await?;
    let again = answered(put(&body).await?, 200).await?;
    ensure!(
        again["source"] == "credential:mautic" && again["reason"] == "unsubscribe",
        "{again}"
    );
    ensure!(status_of(&world, "ana@ONE.example").await? == "suppressed");

    let listed = answered(ask(&world, Method::GET, "", MAUTIC_KEY).send().await?, 200).await?;
    ensure!(
        listed["suppressions"].as_array().map(Vec::len) == Some(1),
        "{listed}"
    );
    let other = ask(&world, Method::GET, "", LOADTEST_KEY).send().await?;
    let other = answered(other, 200).await?;
    ensure!(other["suppressions"] == json!([]), "{other}");

    let exported = world
        .gateway
        .admin(Method::GET, "/admin/v1/suppressions/export?format=csv");
    let exported = exported.send().await?.text().await?;
    ensure!(
        exported.contains(&format!(
            "Ana@one.example,{stream},unsubscribe,credential:mautic,"
        )),
        "{exported}"
    );

    let global = put(&json!({ "scope": "global" })).await?;
    ensure!(global.status() == 403, "{}", global.status());
    let lift = ask(&world, Method::DELETE, "/ana@one.example", MAUTIC_KEY)
        .send()
        .await?;
    ensure!(answered(lift, 200).await? == json!({ "lifted": 1 }));
    ensure!(status_of(&world, "ana@one.example").await? == "queued");
    let gone = ask(&world, Method::GET, "/ana@one.example", MAUTIC_KEY)
        .send()
        .await?;
    ensure!(gone.status() == 404, "{}", gone.status());
    Ok(())
}
