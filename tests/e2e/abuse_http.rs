//! Requests that try to break the HTTP API, against the real program: the exact problem and its
//! place, nothing stored of what was refused, and the next good request taken.

mod wire;

use anyhow::{Context, Result, ensure};
use malote_tests::{LOADTEST_KEY, SHOP_KEY, World, answered, eventually};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{SENT_MAX, ensure_once, order, raw_text, send_order};

const BODY_TIMEOUT: &str = "5s";
/// RFC 5322 2.1.1.
const LINE_BYTES_MAX: usize = 998;
const PARALLEL_POSTS: usize = 100;

/// Requests that are refused.
const REFUSALS: &str = include_str!("abuse_http/refusals.json");

/// A request that is refused: sentence, changed members, status, code, JSON pointer.
type Refusal = (String, Value, u16, String, String);

async fn start() -> Result<World> {
    World::start_with(|config| {
        let (name, value) = ("MALOTE_HTTP__BODY_TIMEOUT", BODY_TIMEOUT);
        config.environment.push((name.to_owned(), value.to_owned()));
        Ok(())
    })
    .await
}

/// Those of the file, and those that are too long for it.
fn refusals() -> Result<Vec<Refusal>> {
    let mut cases: Vec<Refusal> = serde_json::from_str(REFUSALS)?;
    let address = |number: usize| format!("u{number}@x.example");
    let many: Vec<_> = (0..1_001).map(address).collect();
    let pairs: serde_json::Map<_, _> = (0..1_000).map(|n| (n.to_string(), json!("x"))).collect();
    let file = json!({"filename": "x".repeat(10_000), "content": "YQ=="});
    let value = "x".repeat(1 << 20);
    for (sentence, changes, code, pointer) in [
        (
            "1,001 recipients",
            json!({"to": many}),
            "too_many_recipients",
            "/to",
        ),
        (
            "a thousand pairs",
            json!({"metadata": pairs}),
            "too_many",
            "/metadata",
        ),
        (
            "a value of 1 MiB",
            json!({"metadata": {"k": value}}),
            "too_long",
            "/metadata/k",
        ),
        (
            "a file's name of 10 kB",
            json!({"attachments": [file]}),
            "too_long",
            "/attachments/0",
        ),
    ] {
        let (code, pointer) = (code.to_owned(), pointer.to_owned());
        cases.push((sentence.to_owned(), changes, 422, code, pointer));
    }
    Ok(cases)
}

fn is_place(problem: &Value, code: &str, pointer: &str) -> bool {
    let kind = problem["type"].as_str().unwrap_or_default();
    let error = &problem["errors"][0];
    let place = error["pointer"].as_str().unwrap_or_default();
    let is_kind = kind.ends_with(code) || error["code"] == code;
    is_kind && place.starts_with(pointer)
}

async fn count_stored(world: &World, recipient: &str) -> Result<usize> {
    let request = world.gateway.request(Method::GET, "/v1/messages", SHOP_KEY);
    let answer = request.query(&[("rcpt", recipient)]).send().await?;
    let page = answered(answer, 200).await?;
    Ok(page["rows"].as_array().map_or(0, Vec::len))
}

async fn refused(world: &World, number: usize, case: &Refusal) -> Result<()> {
    let (_, changes, status, code, pointer) = case;
    let recipient = format!("c{number}@case.example");
    let mut message = order(&recipient);
    message["cc"] = json!([recipient]);
    for (member, value) in changes.as_object().context("members")? {
        message[member] = value.clone();
    }
    let request = world
        .gateway
        .request(Method::POST, "/v1/messages", SHOP_KEY);
    let answer = request.json(&message).send().await?;
    let kind = answer.headers().get("content-type").cloned();
    let problem = answered(answer, *status).await?;
    ensure!(is_place(&problem, code, pointer), "{problem}");
    ensure!(kind.is_some_and(|kind| kind == "application/problem+json"));
    ensure!(count_stored(world, &recipient).await? == 0, "it is stored");
    Ok(())
}

#[tokio::test]
async fn every_abuse_of_the_api_has_its_answer_and_the_next_good_request_is_taken() -> Result<()> {
    let mut world = start().await?;
    let mut faults = Vec::new();
    for (number, case) in refusals()?.iter().enumerate() {
        if let Err(error) = refused(&world, number, case).await {
            faults.push(format!("{}: {error:#}", case.0));
        }
    }
    faults.extend(wire::play_all(&world).await);
    for (sentence, result) in [
        ("keys and tenants", tenants(&world).await),
        ("what is asked for", questions(&world).await),
        ("texts on the wire", texts(&world).await),
        ("file names on the wire", files(&world).await),
        ("keys used again", repeated_keys(&world).await),
        ("a hundred posts at once", at_once(&world).await),
        ("a post that is cut off", cut_off(&world).await),
        ("a repeat after kill -9", killed(&mut world).await),
    ] {
        if let Err(error) = result {
            faults.push(format!("{sentence}: {error:#}"));
        }
    }
    let log = world.gateway.log();
    for key in [SHOP_KEY, "canary-key"] {
        ensure!(!log.contains(key), "a key stands in the log");
    }
    ensure!(
        faults.is_empty(),
        "{} deviate:\n{}",
        faults.len(),
        faults.join("\n")
    );
    Ok(())
}

/// What one credential has is not there for another.
async fn tenants(world: &World) -> Result<()> {
    let id = world.gateway.submit(&order("tenant@case.example")).await?;
    let path = format!("/v1/messages/{id}");
    for method in [Method::GET, Method::DELETE] {
        let answer = world
            .gateway
            .request(method, &path, LOADTEST_KEY)
            .send()
            .await?;
        answered(answer, 404).await?;
    }
    let mut message = order("tenant2@case.example");
    message["stream"] = "transactional".into();
    let request = world
        .gateway
        .request(Method::POST, "/v1/messages", LOADTEST_KEY);
    let problem = answered(request.json(&message).send().await?, 403).await?;
    ensure!(is_place(&problem, "stream_not_allowed", ""), "{problem}");
    let post = async |key: &str| -> Result<Value> {
        let request = world.gateway.request(Method::POST, "/v1/messages", key);
        let request = request.header("idempotency-key", "shared");
        answered(
            request.json(&order("tenant3@case.example")).send().await?,
            202,
        )
        .await
    };
    let (one, two) = (post(SHOP_KEY).await?, post(LOADTEST_KEY).await?);
    ensure!(one["id"] != two["id"], "one tenant's key answers another");
    Ok(())
}

async fn questions(world: &World) -> Result<()> {
    let url = format!("http://{}/v1/messages", world.gateway.doors().http);
    let without_key = reqwest::get(url).await?.text().await?;
    let wrong = world
        .gateway
        .request(Method::GET, "/v1/messages", "mk_test_shoq");
    let with_wrong_key = wrong.send().await?.text().await?;
    ensure!(
        without_key == with_wrong_key,
        "{without_key} and {with_wrong_key}"
    );
    for (path, status) in [
        ("/v1/messages?limit=1000000000", 400),
        ("/v1/messages?limit=0", 400),
        ("/v1/messages?cursor=../../x", 400),
        ("/v1/messages?state=dancing", 400),
        ("/v1/messages?nosuch=1", 400),
        ("/v1/messages/'%20OR%201", 404),
        ("/v1/messages/..%2f..%2fetc", 404),
        ("/v1/messages/00000000-0000-7000-8000-000000000000", 404),
        ("/nothing/here", 404),
    ] {
        let answer = world
            .gateway
            .request(Method::GET, path, SHOP_KEY)
            .send()
            .await?;
        let seen = answer.status().as_u16();
        ensure!(seen == status, "{path}: {seen}");
    }
    let request = world
        .gateway
        .request(Method::OPTIONS, "/v1/messages", SHOP_KEY);
    let request = request.header("origin", "https://evil.example");
    let answer = request
        .header("access-control-request-method", "POST")
        .send()
        .await?;
    let is_open = answer.headers().contains_key("access-control-allow-origin");
    ensure!(!is_open, "another origin's scripts may post");
    for (method, path) in [
        (Method::PUT, "/v1/messages"),
        (Method::TRACE, "/v1/messages"),
    ] {
        let answer = world.gateway.request(method, path, SHOP_KEY).send().await?;
        ensure!(answer.status() == 405 && answer.headers().contains_key("allow"));
    }
    Ok(())
}

/// Texts that are taken stand on the wire as one message with short lines.
async fn texts(world: &World) -> Result<()> {
    let mut message = order("lines@case.example");
    message["text"] = "one\n.\ntwo\r.\rthree\r\n.\r\nfour\u{85}\u{2028}".into();
    message["subject"] = "one\u{85}two\u{2028}three".into();
    message["html"] = "<b>x</b>".repeat(5 << 17).into();
    message["send_at"] = "1970-01-01T00:00:00Z".into();
    message["bcc"] = json!(["hidden@case.example"]);
    world.gateway.submit(&message).await?;
    for recipient in ["lines@case.example", "hidden@case.example"] {
        eventually("it arrives", SENT_MAX, async || {
            Ok((world.ses.count_to(recipient) > 0).then_some(()))
        })
        .await?;
        let messages = world.ses.sandbox.messages_to(recipient);
        let text = raw_text(ensure_once(&messages)?)?;
        let bare = text.replace("\r\n", "");
        ensure!(!bare.contains(['\r', '\n']), "a bare line end leaves");
        let is_long = text.split("\r\n").any(|line| line.len() > LINE_BYTES_MAX);
        ensure!(!is_long, "a line of more than 998 octets leaves");
        ensure!(!text.contains("hidden@"), "a hidden recipient is shown");
        let subjects = text.lines().filter(|line| line.starts_with("Subject:"));
        ensure!(subjects.count() == 1, "more than one subject");
    }
    Ok(())
}

async fn files(world: &World) -> Result<()> {
    let mut message = order("files@case.example");
    message["attachments"] = json!([
        {"filename": "../../etc/passwd", "content": "YQ=="},
        {"filename": "evil\u{202e}fdp.exe", "content": "YQ=="},
    ]);
    world.gateway.submit(&message).await?;
    eventually("it arrives", SENT_MAX, async || {
        Ok((world.ses.count_to("files@case.example") > 0).then_some(()))
    })
    .await?;
    let messages = world.ses.sandbox.messages_to("files@case.example");
    let text = raw_text(ensure_once(&messages)?)?;
    ensure!(
        text.contains(".._.._etc_passwd") && text.contains("evilfdp.exe"),
        "{text}"
    );
    Ok(())
}

async fn repeated_keys(world: &World) -> Result<()> {
    let post = async |key: &str, recipient: &str| -> Result<(u16, Value)> {
        let request = world
            .gateway
            .request(Method::POST, "/v1/messages", SHOP_KEY);
        let request = request.header("idempotency-key", key);
        let answer = request.json(&order(recipient)).send().await?;
        Ok((answer.status().as_u16(), answer.json().await?))
    };
    let (status, first) = post("again", "again@case.example").await?;
    ensure!(status == 202, "{first}");
    let (status, second) = post("again", "again@case.example").await?;
    ensure!(status == 202 && second["id"] == first["id"], "{second}");
    let (status, problem) = post("again", "other@case.example").await?;
    ensure!(
        status == 422 && is_place(&problem, "key_reused", ""),
        "{problem}"
    );
    for key in ["", "é", &"k".repeat(300)] {
        let (status, problem) = post(key, "other@case.example").await?;
        ensure!(status == 400, "{key:?}: {problem}");
    }
    ensure!(count_stored(world, "other@case.example").await? == 0);
    Ok(())
}

async fn at_once(world: &World) -> Result<()> {
    let mut posts = tokio::task::JoinSet::new();
    for _ in 0..PARALLEL_POSTS {
        let request = world
            .gateway
            .request(Method::POST, "/v1/messages", SHOP_KEY);
        let request = request.header("idempotency-key", "hundred");
        posts.spawn(request.json(&order("hundred@case.example")).send());
    }
    let mut ids = std::collections::BTreeSet::new();
    for answer in posts.join_all().await {
        let answer = answer?;
        match answer.status().as_u16() {
            202 => {
                let body: Value = answer.json().await?;
                ids.insert(body["id"].to_string());
            }
            409 => ensure!(answer.headers().contains_key("retry-after")),
            status => anyhow::bail!("status {status}"),
        }
    }
    ensure!(ids.len() == 1, "{ids:?}");
    let states = ["sent"];
    let gateway = &world.gateway;
    gateway
        .reached("hundred@case.example", SHOP_KEY, &states, SENT_MAX)
        .await?;
    ensure!(world.ses.count_to("hundred@case.example") == 1);
    Ok(())
}

/// Who goes away before the answer asks again and gets one message, not two.
async fn cut_off(world: &World) -> Result<()> {
    wire::post_and_leave(world, "cut", &order("cut@case.example")).await?;
    let again = async || -> Result<Option<()>> {
        let request = world
            .gateway
            .request(Method::POST, "/v1/messages", SHOP_KEY);
        let request = request.header("idempotency-key", "cut");
        let answer = request.json(&order("cut@case.example")).send().await?;
        Ok((answer.status() == 202).then_some(()))
    };
    eventually("the repeat is answered", SENT_MAX, again).await?;
    ensure!(count_stored(world, "cut@case.example").await? == 1);
    Ok(())
}

async fn killed(world: &mut World) -> Result<()> {
    let post = async |world: &World| -> Result<Value> {
        let request = world
            .gateway
            .request(Method::POST, "/v1/messages", SHOP_KEY);
        let request = request.header("idempotency-key", "killed");
        answered(
            request.json(&order("killed@case.example")).send().await?,
            202,
        )
        .await
    };
    let first = post(world).await?;
    world.gateway.kill()?;
    world.gateway.boot().await?;
    let second = post(world).await?;
    ensure!(first["id"] == second["id"], "{first} and {second}");
    send_order(world, "alive@case.example").await?;
    ensure!(count_stored(world, "killed@case.example").await? == 1);
    Ok(())
}
