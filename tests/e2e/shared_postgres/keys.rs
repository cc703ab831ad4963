//! One idempotency key at both nodes: one message, whatever dies between the steps.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use malote_tests::{
    Gateway, Mood, SHOP_KEY, SmtpClient, answered, eventually, postgres_tool, run, text_message,
};
use reqwest::Method;
use serde_json::{Value, json};

use super::{Nodes, SEEN_MAX};
use crate::{SENT_MAX, order};

/// How long the wire keeps each piece: far longer than a node takes for a commit of its own.
const SLOW: Duration = Duration::from_millis(700);

/// What a submission under a key was answered.
#[derive(Debug, Clone, PartialEq)]
struct Said {
    status: u16,
    /// The message's id, or the last part of the problem's type.
    what: String,
    recipients: Value,
    is_replay: bool,
    has_retry_after: bool,
}

async fn post(node: &Gateway, key: &str, message: &Value) -> Result<Said> {
    let request = node.request(Method::POST, "/v1/messages", SHOP_KEY);
    let request = request.header("idempotency-key", key).json(message);
    let answer = request.send().await?;
    let has = |name: &str| answer.headers().contains_key(name);
    let (is_replay, has_retry_after) = (has("idempotent-replayed"), has("retry-after"));
    let status = answer.status().as_u16();
    let body: Value = answer.json().await?;
    let what = body["id"].as_str().or(body["type"].as_str());
    let what = what.with_context(|| format!("{body}"))?;
    Ok(Said {
        status,
        what: what.trim_start_matches("urn:malote:problem:").to_owned(),
        recipients: body["recipients"].clone(),
        is_replay,
        has_retry_after,
    })
}

/// The same, again while the answer says "come back".
async fn post_until_taken(node: &Gateway, key: &str, message: &Value) -> Result<Said> {
    eventually("it is taken or refused for good", SENT_MAX, async || {
        let said = post(node, key, message).await?;
        Ok((!said.has_retry_after).then_some(said))
    })
    .await
}

/// What the database says of keys.
async fn ask(nodes: &Nodes, sql: &str) -> Result<String> {
    let url = nodes.postgres.url();
    postgres_tool(
        "psql",
        &["--tuples-only", "--no-align", "--command", sql, &url],
    )
    .await
}

async fn open_keys(nodes: &Nodes) -> Result<u32> {
    let sql = "SELECT count(*) FROM malote.keys WHERE message IS NULL";
    Ok(ask(nodes, sql).await?.trim().parse()?)
}

/// Whether a node has a message to this recipient.
async fn has(node: &Gateway, recipient: &str) -> Result<bool> {
    Ok(node.find(recipient, SHOP_KEY).await?.is_some())
}

#[tokio::test]
async fn one_key_at_both_nodes_at_once_is_one_message() -> Result<()> {
    const ROUNDS: usize = 12;
    let nodes = Nodes::start(|_| Ok(())).await?;
    let stopped = "stopped@one.example";
    let request = nodes.one.admin(Method::POST, "/admin/v1/suppressions");
    let suppressed = request.json(&json!({ "address": stopped })).send().await?;
    ensure!(suppressed.status().is_success(), "{suppressed:?}");
    tokio::time::sleep(SEEN_MAX).await;
    for round in 0..ROUNDS {
        let (key, recipient) = (format!("order-{round}"), format!("r{round}@one.example"));
        let mut message = order(&recipient);
        message["to"] = json!([recipient, stopped]);
        let (one, other) = tokio::try_join!(
            post_until_taken(&nodes.one, &key, &message),
            post_until_taken(&nodes.other, &key, &message)
        )?;
        ensure!(
            one.status == 202 && other.status == 202,
            "{one:?} {other:?}"
        );
        ensure!(one.what == other.what, "{one:?} {other:?}");
        assert_eq!(one.recipients, other.recipients);
        assert_eq!(one.recipients[1]["status"], "suppressed");
        ensure!(one.is_replay != other.is_replay, "{one:?} {other:?}");
        let elsewhere = order("somebody@one.example");
        for node in [&nodes.one, &nodes.other] {
            let said = post_until_taken(node, &key, &elsewhere).await?;
            ensure!(
                (said.status, said.what.as_str()) == (422, "key_reused"),
                "{said:?}"
            );
        }
    }
    let sent = || nodes.ses.sandbox.stats().messages;
    eventually("all are sent", SENT_MAX, async || {
        Ok((sent() >= ROUNDS as u64).then_some(()))
    })
    .await?;
    assert_eq!(sent(), ROUNDS as u64);
    assert_eq!(open_keys(&nodes).await?, 0);
    Ok(())
}

#[tokio::test]
async fn a_repeat_by_smtp_at_the_other_node_gets_the_first_one_s_id() -> Result<()> {
    let nodes = Nodes::start(|_| Ok(())).await?;
    let text = text_message("news@shop.example", "ana@one.example", "once");
    let text = format!("X-Malote-Idempotency-Key: once\r\n{text}");
    let send = async |node: &Gateway| -> Result<String> {
        let mut client = SmtpClient::connect(node.doors().plain).await?;
        let to = ["ana@one.example"];
        let reply = client.send("b@shop.example", &to, &text).await?;
        ensure!(reply.code == 250, "{reply:?}");
        Ok(reply.lines.concat())
    };
    let (one, other) = tokio::try_join!(send(&nodes.one), send(&nodes.other))?;
    assert_eq!(one, other);
    Ok(())
}

#[tokio::test]
async fn a_node_killed_between_reservation_and_commit_frees_its_key_at_its_next_start() -> Result<()>
{
    let mut nodes = Nodes::start(|_| Ok(())).await?;
    let message = order("ana@one.example");
    nodes.wire.set(Mood::Delayed(SLOW));
    let request = nodes.one.request(Method::POST, "/v1/messages", SHOP_KEY);
    let request = request.header("idempotency-key", "k").json(&message);
    let posting = tokio::spawn(request.send());
    eventually("the key is reserved", SENT_MAX, async || {
        Ok((open_keys(&nodes).await? == 1).then_some(()))
    })
    .await?;
    // The database's answer is on the wire.
    nodes.one.kill()?;
    ensure!(posting.await?.is_err(), "it was answered");
    let said = post(&nodes.other, "k", &message).await?;
    ensure!(
        (said.status, said.what.as_str()) == (409, "in_progress"),
        "{said:?}"
    );
    let later = "UPDATE malote.keys SET reserved_at = reserved_at - 21000000";
    ask(&nodes, later).await?;
    let said = post(&nodes.other, "k", &message).await?;
    ensure!(
        (said.status, said.what.as_str()) == (503, "key_held"),
        "{said:?}"
    );
    ensure!(said.has_retry_after && !has(&nodes.other, "ana@one.example").await?);
    nodes.wire.set(Mood::Through);
    nodes.one.boot().await?;
    let said = post_until_taken(&nodes.other, "k", &message).await?;
    ensure!(said.status == 202 && !said.is_replay, "{said:?}");
    ensure!(!has(&nodes.one, "ana@one.example").await?, "it was kept");
    let again = post_until_taken(&nodes.one, "k", &message).await?;
    ensure!(again.is_replay && again.what == said.what, "{again:?}");
    Ok(())
}

#[tokio::test]
async fn a_node_killed_between_commit_and_completion_says_so_at_its_next_start() -> Result<()> {
    let mut nodes = Nodes::start(|_| Ok(())).await?;
    let message = order("ana@one.example");
    nodes.wire.set(Mood::Delayed(SLOW));
    let first = post(&nodes.one, "k", &message).await?;
    // A process that is killed amid a sync ends when that has, and what it wrote goes on meanwhile.
    nodes.wire.set(Mood::Cut);
    nodes.one.kill()?;
    ensure!(first.status == 202 && !first.is_replay, "{first:?}");
    assert_eq!(open_keys(&nodes).await?, 1, "it was completed in time");
    let said = post(&nodes.other, "k", &message).await?;
    ensure!(
        (said.status, said.what.as_str()) == (409, "in_progress"),
        "{said:?}"
    );
    nodes.wire.set(Mood::Through);
    nodes.one.boot().await?;
    let again = post_until_taken(&nodes.other, "k", &message).await?;
    ensure!(again.status == 202 && again.is_replay, "{again:?}");
    assert_eq!(again.what, first.what);
    ensure!(
        !has(&nodes.other, "ana@one.example").await?,
        "it was kept twice"
    );
    Ok(())
}

/// Hands in mail under keys of its own at one door, again while the answer is none or says "come
/// back"; the ids by key.
async fn hand_in(door: SocketAddr, keys: usize) -> Result<BTreeMap<String, String>> {
    let client = reqwest::Client::builder().timeout(SENT_MAX).build()?;
    let mut ids = BTreeMap::new();
    for number in 0..keys {
        let key = format!("k{number}");
        let message = order(&format!("k{number}@one.example"));
        let id = eventually("it is taken", 2 * SENT_MAX, async || {
            let request = client.post(format!("http://{door}/v1/messages"));
            let request = request
                .bearer_auth(SHOP_KEY)
                .header("idempotency-key", &key);
            let Ok(answer) = request.json(&message).send().await else {
                return Ok(None);
            };
            let status = answer.status().as_u16();
            ensure!([202, 409, 503].contains(&status), "{key}: {status}");
            let Ok(body) = answer.json::<Value>().await else {
                return Ok(None);
            };
            Ok(body["id"].as_str().map(str::to_owned))
        });
        ids.insert(key.clone(), id.await.context(key)?);
    }
    Ok(ids)
}

/// Kills one node, then the other, and so on, while keys are used.
async fn kill_in_turn(nodes: &mut Nodes, kills: usize, keys: usize) -> Result<()> {
    for kill in 0..kills {
        let many = (kill + 1) * keys / (kills + 2);
        let used = format!("SELECT count(*) >= {many} FROM malote.keys");
        eventually("keys are used", 2 * SENT_MAX, async || {
            Ok((ask(nodes, &used).await?.trim() == "t").then_some(()))
        })
        .await?;
        let node = match kill % 2 {
            0 => &mut nodes.one,
            _ => &mut nodes.other,
        };
        node.kill()?;
        node.boot().await?;
    }
    Ok(())
}

#[tokio::test]
async fn nodes_killed_again_and_again_take_no_key_twice() -> Result<()> {
    const KEYS: usize = 150;
    const KILLS: usize = 4;
    let mut nodes = Nodes::start(|_| Ok(())).await?;
    let doors = [nodes.one.doors().http, nodes.other.doors().http];
    let (at_one, at_other, ()) = tokio::try_join!(
        hand_in(doors[0], KEYS),
        hand_in(doors[1], KEYS),
        kill_in_turn(&mut nodes, KILLS, KEYS)
    )?;
    assert_eq!(at_one.len(), KEYS);
    assert_eq!(at_one, at_other);
    // Each is one node's, and no other message was made.
    let mut found = 0;
    for node in [&nodes.one, &nodes.other] {
        for number in 0..KEYS {
            found += usize::from(has(node, &format!("k{number}@one.example")).await?);
        }
    }
    assert_eq!(found, KEYS);
    assert_eq!(open_keys(&nodes).await?, 0);
    Ok(())
}

/// Waits until so many nodes are lost to the other one: the alert goes by that.
async fn lost(nodes: &Nodes, count: usize) -> Result<()> {
    let expected = format!("malote_nodes{{state=\"lost\"}} {count}");
    eventually(&expected, SENT_MAX, async || {
        let metrics = nodes.other.admin(Method::GET, "/metrics").send().await?;
        let text = metrics.text().await?;
        Ok(text.lines().any(|line| line == expected).then_some(()))
    })
    .await
}

#[tokio::test]
async fn an_operator_forgets_a_node_that_does_not_come_back() -> Result<()> {
    let mut nodes = Nodes::start(|_| Ok(())).await?;
    let message = order("ana@one.example");
    let forget = async |nodes: &Nodes| -> Result<(Option<i32>, String)> {
        let arguments = ["nodes", "forget", "one", "--config", "malote.toml"];
        let mut command = nodes.other.command(&arguments)?;
        let outcome = run(&mut command, SENT_MAX).await?;
        Ok((outcome.status, outcome.stdout + &outcome.stderr))
    };
    let (status, text) = forget(&nodes).await?;
    ensure!(status == Some(2) && text.contains("lives"), "{text}");
    nodes.wire.set(Mood::Delayed(SLOW));
    ensure!(post(&nodes.one, "k", &message).await?.status == 202);
    // A process that is killed amid a sync ends when that has, and what it wrote goes on meanwhile.
    nodes.wire.set(Mood::Cut);
    nodes.one.kill()?;
    ask(
        &nodes,
        "UPDATE malote.nodes SET beat_at = beat_at - 16000000 WHERE name = 'one'",
    )
    .await?;
    lost(&nodes, 1).await?;
    let (status, text) = forget(&nodes).await?;
    ensure!(
        status == Some(0) && text.contains("one is forgotten, 1 key is free"),
        "{text}"
    );
    lost(&nodes, 0).await?;
    let said = post(&nodes.other, "k", &message).await?;
    ensure!(said.status == 202 && !said.is_replay, "{said:?}");
    Ok(())
}

#[tokio::test]
async fn while_the_database_is_away_given_keys_are_refused_and_mautic_s_are_not() -> Result<()> {
    let mut nodes = Nodes::start(|_| Ok(())).await?;
    let message = order("ana@one.example");
    nodes.postgres.kill()?;
    let said = post(&nodes.one, "k", &message).await?;
    ensure!(
        (said.status, said.what.as_str()) == (503, "key_unchecked"),
        "{said:?}"
    );
    ensure!(said.has_retry_after && !has(&nodes.one, "ana@one.example").await?);
    let batch = json!({ "messages": [
        order("bob@one.example"),
        { "idempotency_key": "k", "from": "orders@shop.example", "to": ["eve@one.example"],
          "subject": "Hi", "text": "Hello." },
    ] });
    let request = nodes
        .one
        .request(Method::POST, "/v1/messages/batch", SHOP_KEY);
    let results = answered(request.json(&batch).send().await?, 200).await?;
    let status = |number: usize| results["results"][number]["status"].as_u64();
    ensure!(
        (status(0), status(1)) == (Some(202), Some(503)),
        "{results}"
    );

    let mut client = SmtpClient::connect(nodes.one.doors().plain).await?;
    let text = text_message("news@shop.example", "ana@two.example", "keyed");
    let keyed = format!("X-Malote-Idempotency-Key: k\r\n{text}");
    let to = ["ana@two.example"];
    let reply = client.send("b@shop.example", &to, &keyed).await?;
    ensure!(
        reply.code == 451 && reply.lines.concat().contains("key"),
        "{reply:?}"
    );
    // Mautic's own: by the hash in MAIL FROM. One node tells repeats as ever.
    let from = "bounce+bounce_6650f1a2b3c4d000000001@shop.example";
    let first = client.send(from, &to, &text).await?;
    ensure!(first.code == 250, "{first:?}");
    assert_eq!(client.send(from, &to, &text).await?, first);

    nodes.postgres.start_again()?;
    let said = eventually("keys can be checked", SENT_MAX, async || {
        let said = post(&nodes.one, "k", &message).await?;
        Ok((said.status != 503).then_some(said))
    })
    .await?;
    ensure!(said.status == 202 && !said.is_replay, "{said:?}");
    let again = post_until_taken(&nodes.other, "k", &message).await?;
    ensure!(again.is_replay && again.what == said.what, "{again:?}");
    Ok(())
}
