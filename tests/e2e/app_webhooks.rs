//! App webhooks: signed, in order, none lost while the app misbehaves and the gateway is killed;
//! nothing inside is called without the operator's word.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use malote_tests::{Answer, Peer, Request, SHOP_KEY, World, eventually, repository, run, tool};
use serde_json::{Value, json};

use crate::{SENT_MAX, order};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const SECRET_NEXT: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
/// Waits double from five seconds; after the fifth failure a minute and more may have passed.
const TOLD_MAX: Duration = Duration::from_secs(150);

fn table(url: &str) -> String {
    format!(
        "[[credentials.shop.webhooks]]\nurl = \"{url}\"\nsecret = \"{SECRET}\"\n\
         secret_next = \"{SECRET_NEXT}\"\nallow_private = true\n"
    )
}

/// The first requests fail in every way there is; the one that hangs is cut by the gateway's end.
fn misbehave(number: usize) -> Answer {
    match number {
        0 => Answer::empty(500),
        1 => Answer::Drop,
        2 => Answer::Reply(429, "Retry-After: 1\r\n".to_owned(), String::new()),
        3 => Answer::Hang,
        _ => Answer::empty(204),
    }
}

/// The events of a message that the default tells, by id, as its timeline has them.
fn events_of(timeline: &Value) -> Result<Vec<String>> {
    let id = timeline["id"].as_str().context("no id")?.replace('-', "");
    let events = timeline["deliveries"][0]["events"].as_array();
    let count = events.context("no events")?.len();
    Ok((1..=count).map(|seq| format!("evt_{id}_0_{seq}")).collect())
}

fn id_of(request: &Request) -> String {
    let id = request.headers.get("webhook-id").cloned();
    id.unwrap_or_default()
}

/// What the scheme's own library says of each request, under this secret.
async fn verdicts(requests: &[Request], secret: &str) -> Result<Vec<String>> {
    let folder = tempfile::tempdir()?;
    let captured = folder.path().join("captured");
    let lines: Vec<String> = requests
        .iter()
        .map(|r| json!({ "secret": secret, "headers": r.headers, "body": r.body }).to_string())
        .collect();
    std::fs::write(&captured, lines.join("\n"))?;
    // `run` gives no input, so the shell does.
    let mut command = Command::new("sh");
    let modules = repository().join("target/test-tools/node_modules");
    command
        .env("NODE_PATH", modules)
        .args(["-c", "exec \"$0\" \"$1\" < \"$2\""])
        .arg(tool("node")?)
        .arg(repository().join("tests/clients/standard_webhooks.js"))
        .arg(&captured);
    let said = run(&mut command, Duration::from_secs(60))
        .await?
        .success()?;
    Ok(said.lines().map(ToOwned::to_owned).collect())
}

#[tokio::test]
async fn events_arrive_signed_and_in_order_over_faults_and_a_kill() -> Result<()> {
    let mut seen = 0;
    let peer = Peer::start(move |_| {
        seen += 1;
        misbehave(seen - 1)
    });
    let peer = peer.await?;
    let url = format!("{}/events", peer.url());
    let mut world = World::start_with(|config| {
        config.add(&table(&url));
        Ok(())
    })
    .await?;
    world.gateway.submit(&order("ana@one.example")).await?;
    eventually("the app hangs", TOLD_MAX, async || {
        Ok((peer.requests().len() >= 4).then_some(()))
    })
    .await?;
    world.gateway.kill()?;
    world.gateway.boot().await?;
    world.gateway.submit(&order("bob@one.example")).await?;
    let mut expected = BTreeMap::new();
    for recipient in ["ana@one.example", "bob@one.example"] {
        let reached = world
            .gateway
            .reached(recipient, SHOP_KEY, &["sent"], SENT_MAX);
        expected.insert(recipient, events_of(&reached.await?)?);
    }
    // By recipient, in the order in which the app took them.
    let taken = || {
        let mut taken: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for request in peer.requests().iter().skip(4) {
            let body: Value = serde_json::from_str(&request.body).unwrap_or_default();
            let recipient = body["recipient"].as_str().unwrap_or_default().to_owned();
            let ids = taken.entry(recipient).or_default();
            if !ids.contains(&id_of(request)) {
                ids.push(id_of(request));
            }
        }
        taken
    };
    eventually("every event is told", TOLD_MAX, async || {
        let taken = taken();
        let is_there = expected.iter().all(|(recipient, ids)| {
            let own = taken.get(*recipient);
            own.is_some_and(|own| ids.iter().all(|id| own.contains(id)))
        });
        Ok(is_there.then_some(()))
    })
    .await?;
    for (recipient, ids) in &expected {
        let taken = taken().remove(*recipient).unwrap_or_default();
        ensure!(taken.iter().eq(ids), "{recipient}: {taken:?} for {ids:?}");
    }
    let requests = peer.requests();
    for secret in [SECRET, SECRET_NEXT] {
        let said = verdicts(&requests, secret).await?;
        ensure!(said.len() == requests.len(), "{said:?}");
        ensure!(said.iter().all(|word| word == "good"), "{said:?}");
    }
    let other = "whsec_////////////////////////////////";
    let said = verdicts(&requests, other).await?;
    ensure!(said.iter().all(|word| word != "good"), "{said:?}");
    Ok(())
}

#[tokio::test]
async fn a_webhook_inside_needs_the_operator_s_word() -> Result<()> {
    let world = World::start().await?;
    let folder = world.gateway.folder();
    let good = std::fs::read_to_string(folder.join("malote.toml"))?;
    for url in [
        "http://127.0.0.1:8000/",
        "https://127.0.0.1/",
        "https://[::ffff:7f00:1]/",
        "https://0x7f.1/",
        "https://169.254.169.254/",
        "https://localhost/",
        "file:///etc/passwd",
        "gopher://one.example/",
    ] {
        let table = table(url).replace("allow_private = true", "");
        std::fs::write(folder.join("bad.toml"), format!("{good}\n{table}"))?;
        let mut command = world.gateway.command(&["check", "--config", "bad.toml"])?;
        let outcome = run(&mut command, Duration::from_secs(30)).await?;
        let said = format!("{}{}", outcome.stdout, outcome.stderr);
        ensure!(
            outcome.status.is_some_and(|code| code != 0),
            "{url}: {outcome:?}"
        );
        let key = "credentials.shop.webhooks[0].url";
        ensure!(said.contains(key), "{url}: {said}");
        ensure!(!said.contains(SECRET), "{said}");
    }
    Ok(())
}

#[tokio::test]
async fn only_what_is_asked_for_is_told() -> Result<()> {
    let peer = Peer::start(|_| Answer::empty(200)).await?;
    let url = peer.url();
    let world = World::start_with(|config| {
        config.add(&format!("{}events = [\"sent\"]\n", table(&url)));
        Ok(())
    })
    .await?;
    for recipient in ["ana@one.example", "bob@one.example"] {
        world.gateway.submit(&order(recipient)).await?;
    }
    eventually("both are told", SENT_MAX, async || {
        Ok((peer.requests().len() >= 2).then_some(()))
    })
    .await?;
    for request in peer.requests() {
        let body: Value = serde_json::from_str(&request.body)?;
        ensure!(
            body["type"] == "sent" && body["provider"] == "ses",
            "{body}"
        );
    }
    Ok(())
}
