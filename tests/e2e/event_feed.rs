//! `GET /v1/events`: every event once, in order, for its credential alone.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use malote_tests::{Gateway, LOADTEST_KEY, SHOP_KEY, World, answered, eventually, run};
use reqwest::Method;
use serde_json::{Value, json};

use crate::webhooks::{report, start};
use crate::{SENT_MAX, order, send_order};

const COMMAND_MAX: std::time::Duration = std::time::Duration::from_secs(120);

async fn page(gateway: &Gateway, key: &str, query: &[(&str, &str)]) -> Result<Value> {
    let request = gateway.request(Method::GET, "/v1/events", key).query(query);
    answered(request.send().await?, 200).await
}

fn events(page: &Value) -> Result<&Vec<Value>> {
    page["events"].as_array().context("no list of events")
}

fn text<'a>(event: &'a Value, member: &str) -> &'a str {
    event[member].as_str().unwrap_or_default()
}

#[tokio::test]
async fn a_reader_that_goes_on_from_next_hears_of_everything_once_while_mail_flows() -> Result<()> {
    // Under the rate of the provider, so that none fails over.
    const MESSAGES: usize = 12;
    let world = World::start().await?;
    let submitting = async {
        let mut ids = BTreeSet::new();
        for n in 0..MESSAGES {
            let recipient = format!("r{n}@one.example");
            ids.insert(world.gateway.submit(&order(&recipient)).await?);
        }
        Ok::<_, anyhow::Error>(ids)
    };
    let reading = async {
        let (mut since, mut seen) = (None::<String>, Vec::new());
        eventually("all is told", SENT_MAX, async || {
            let mut query = vec![("limit", "5")];
            query.extend(since.as_deref().map(|since| ("since", since)));
            let page = page(&world.gateway, SHOP_KEY, &query).await?;
            seen.extend(events(&page)?.iter().cloned());
            let next = page["next"].as_str().context("no next")?.to_owned();
            ensure!(since.as_ref().is_none_or(|since| *since <= next), "{next}");
            since = Some(next);
            let sent = seen.iter().filter(|event| event["type"] == "sent").count();
            Ok((sent == MESSAGES).then_some(()))
        })
        .await?;
        Ok::<_, anyhow::Error>(seen)
    };
    let (ids, seen) = tokio::join!(submitting, reading);
    let (ids, seen) = (ids?, seen?);
    let unique: BTreeSet<&str> = seen.iter().map(|event| text(event, "id")).collect();
    assert_eq!(
        (unique.len(), seen.len()),
        (2 * MESSAGES, 2 * MESSAGES),
        "{seen:#?}"
    );
    let mut told: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for event in &seen {
        told.entry(text(event, "message_id"))
            .or_default()
            .push(text(event, "type"));
    }
    assert!(told.keys().copied().eq(ids.iter().map(String::as_str)));
    assert!(
        told.values().all(|words| *words == ["accepted", "sent"]),
        "{told:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_credential_is_told_of_its_own_mail_only() -> Result<()> {
    let world = World::start().await?;
    let timeline = send_order(&world, "ana@one.example").await?;
    let id = timeline["id"].as_str().context("no id")?;
    let own = page(&world.gateway, SHOP_KEY, &[]).await?;
    assert_eq!(events(&own)?.len(), 2);
    for query in [
        &[][..],
        &[("message", id)],
        &[("recipient", "ana@one.example")],
    ] {
        let foreign = page(&world.gateway, LOADTEST_KEY, query).await?;
        assert_eq!(foreign["events"], json!([]), "{query:?}");
    }
    let since = own["next"].as_str().context("no next")?;
    let foreign = page(&world.gateway, LOADTEST_KEY, &[("since", since)]).await?;
    assert_eq!(foreign["events"], json!([]));
    let nobody = world
        .gateway
        .request(Method::GET, "/v1/events", "mk_test_nobody");
    answered(nobody.send().await?, 401).await?;
    Ok(())
}

#[tokio::test]
async fn events_are_found_by_message_recipient_and_type_and_a_bad_question_is_named() -> Result<()>
{
    let (world, _folder) = start().await?;
    let first = send_order(&world, "ana@one.example").await?;
    assert_eq!(report(&world, &json!({ "event": "bounced" })).await?, 200);
    send_order(&world, "bob@one.example").await?;
    let gateway = &world.gateway;
    let id = first["id"].as_str().context("no id")?;
    let of_message = page(gateway, SHOP_KEY, &[("message", id)]).await?;
    let words: Vec<&str> = events(&of_message)?
        .iter()
        .map(|one| text(one, "type"))
        .collect();
    assert_eq!(words, ["accepted", "sent", "bounced"]);
    let both = [
        ("recipient", "ANA@one.example"),
        ("type", "bounced,complained"),
    ];
    let bounced = page(gateway, SHOP_KEY, &both).await?;
    let bounced = events(&bounced)?.first().context("no bounce")?;
    let members: Vec<&String> = bounced.as_object().context("no object")?.keys().collect();
    assert_eq!(
        members,
        [
            "at",
            "class",
            "id",
            "message_id",
            "metadata",
            "pool",
            "provider",
            "provider_message_id",
            "recipient",
            "reply",
            "stream",
            "tags",
            "type"
        ]
    );
    assert_eq!(
        (text(bounced, "class"), text(bounced, "provider")),
        ("recipient", "ses")
    );
    assert_eq!(
        (text(bounced, "pool"), text(bounced, "stream")),
        ("tx", "transactional")
    );
    let timeline = gateway.message(id, SHOP_KEY).await?;
    let delivery = &timeline["deliveries"][0];
    assert_eq!(
        bounced["provider_message_id"],
        delivery["provider_message_id"]
    );
    let told = delivery["events"].as_array().context("no events")?;
    let bounce = told.iter().find(|event| event["kind"] == "bounced");
    assert_eq!(bounce.context("no bounce")?["class"], "recipient");
    for (name, value) in [
        ("since", "42"),
        ("limit", "0"),
        ("type", "gone"),
        ("owner", "x"),
    ] {
        let request = gateway.request(Method::GET, "/v1/events", SHOP_KEY);
        let problem = answered(request.query(&[(name, value)]).send().await?, 400).await?;
        let pointer = format!("/{name}");
        assert_eq!(
            problem["errors"][0]["pointer"],
            pointer.as_str(),
            "{problem}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn what_a_service_told_is_shown_to_the_operator() -> Result<()> {
    let (world, _folder) = start().await?;
    let timeline = send_order(&world, "ana@one.example").await?;
    assert_eq!(report(&world, &json!({ "event": "bounced" })).await?, 200);
    let id = timeline["id"].as_str().context("no id")?;
    let arguments = ["log", "--raw", id, "--config", "malote.toml"];
    let mut command = world.gateway.command(&arguments)?;
    let said = run(&mut command, COMMAND_MAX).await?.success()?;
    assert!(
        said.contains("evt_") && said.contains("bounceType"),
        "{said}"
    );
    Ok(())
}
