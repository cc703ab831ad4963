//! The services' own suppression lists are pulled into ours, and ours is pushed to them.

mod seed;

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use malote_sandbox::{Fault, FaultKind, Kind, Why};
use malote_tests::{Config, Gateway, Outcome, Service, answered, provider_tables, run};
use reqwest::Method;
use serde_json::{Value, json};

use self::seed::{AT, has_words, seed, suppress, tells};
use crate::SENT_MAX;

/// The services whose lists take entries.
const PUSHED: [Kind; 8] = [
    Kind::Ses,
    Kind::Sendgrid,
    Kind::Mailgun,
    Kind::Postmark,
    Kind::Sparkpost,
    Kind::Elasticemail,
    Kind::Smtp2go,
    Kind::Resend,
];
/// Those whose lists can only be read, and why.
const PULLED_ONLY: [(Kind, &str); 3] = [
    (Kind::Brevo, "it only unblocks"),
    (Kind::Mailjet, "stops campaigns made there"),
    (Kind::Mailtrap, "ten calls a minute"),
];

/// The stream `news` leaves by the provider `it`, all else by others.
fn tables(kind: Kind, address: SocketAddr) -> String {
    let mut tables = provider_tables(kind, "it", address);
    tables.push_str("[providers.it.pools.bulk]\n");
    if kind == Kind::Postmark {
        tables.push_str("message_stream = \"broadcast\"\n");
    }
    format!(
        r#"
[providers.relay.capture]
[providers.spare.capture]
[routes.main]
strategy = "failover"
targets = [{{ provider = "relay" }}]
[routes.offers]
strategy = "failover"
targets = [{{ provider = "spare" }}]
[routes.bulk]
strategy = "failover"
targets = [{{ provider = "it", pool = "bulk" }}]
[streams.news]
class = "campaign"
route = "bulk"
[streams.offers]
class = "campaign"
route = "offers"
{tables}"#
    )
}

async fn gateway(service: &Service) -> Result<Gateway> {
    let tables = tables(service.sandbox.kind(), service.address);
    Gateway::start(Config::rehearsal(&tables)?).await
}

async fn list(gateway: &Gateway, arguments: &[&str]) -> Result<Outcome> {
    let mut all = vec!["suppressions"];
    all.extend_from_slice(arguments);
    all.extend_from_slice(&["--config", "malote.toml"]);
    run(&mut gateway.command(&all)?, SENT_MAX).await
}

/// What a command that must succeed counts.
async fn counted(gateway: &Gateway, arguments: &[&str]) -> Result<Value> {
    let outcome = list(gateway, &[arguments, &["--json"]].concat()).await?;
    ensure!(outcome.status == Some(0), "{arguments:?}: {outcome:?}");
    serde_json::from_str(&outcome.stdout).context(outcome.stdout.clone())
}

/// Our own list, by address and stream.
async fn ours(gateway: &Gateway) -> Result<Vec<Value>> {
    let request = gateway.admin(Method::GET, "/admin/v1/suppressions?limit=1000");
    let page = answered(request.send().await?, 200).await?;
    Ok(page["suppressions"].as_array().cloned().unwrap_or_default())
}

fn find<'a>(list: &'a [Value], address: &str) -> Vec<&'a Value> {
    let is_it = |entry: &&Value| entry["address"] == address;
    list.iter().filter(is_it).collect()
}

/// Reason, source, scope and time of what was pulled, and what must not have come in.
fn are_kept(kind: Kind, kept: &[Value]) -> Result<()> {
    let name = kind.as_str();
    let gone = find(kept, "a.gone@one.example");
    ensure!(
        gone.len() == usize::from(tells(kind, Why::Bounced)),
        "{name}: {kept:?}"
    );
    for gone in gone {
        ensure!(
            gone["reason"] == "hard_bounce" && gone["stream"].is_null(),
            "{name}: {gone}"
        );
    }
    let [spam] = find(kept, "a.spam@one.example")[..] else {
        anyhow::bail!("{name}: {kept:?}");
    };
    ensure!(
        spam["reason"] == "complaint" && spam["stream"] == "news",
        "{name}: {spam}"
    );
    ensure!(
        spam["source"] == "provider:it" && spam["provider"] == "it",
        "{spam}"
    );
    ensure!(spam["created_at"] == AT, "{name}: {spam}");
    let left = find(kept, "a.left@one.example");
    ensure!(
        left.len() == usize::from(tells(kind, Why::Unsubscribed)),
        "{name}: {left:?}"
    );
    // Who excluded a contact, Mailjet does not tell.
    let reason = match kind == Kind::Mailjet {
        true => "manual",
        false => "unsubscribe",
    };
    for left in left {
        ensure!(
            left["reason"] == reason && left["stream"] == "news",
            "{name}: {left}"
        );
    }
    ensure!(
        find(kept, "a.block@one.example").is_empty(),
        "{name}: a block came in"
    );
    if kind == Kind::Sendgrid {
        ensure!(find(kept, "a.ip@one.example").is_empty(), "blocks came in");
    }
    Ok(())
}

/// How one that is left out, or none, is counted.
fn json_count(is_one: bool) -> Value {
    if is_one { json!(1) } else { Value::Null }
}

async fn is_pulled_once(kind: Kind) -> Result<()> {
    let service = Service::start(kind).await?;
    let read = seed(&service);
    let gateway = gateway(&service).await?;
    let name = kind.as_str();
    let pull = ["pull", "it", "--stream", "news"];

    let dry = counted(&gateway, &[&pull[..], &["--dry-run"]].concat()).await?;
    ensure!(dry["read"] == read, "{name}: {dry}");
    ensure!(ours(&gateway).await?.is_empty(), "{name}: a dry run wrote");

    // The first call is answered rightly, the second is too soon.
    service.sandbox.arm(Fault {
        delay_ms: 10,
        ..Fault::once(FaultKind::Slow)
    });
    service.sandbox.arm(Fault::once(FaultKind::Status(429)));
    let pulled = counted(&gateway, &pull).await?;
    ensure!(service.sandbox.stats().faults == 2, "{name}");
    ensure!(
        pulled["read"] == dry["read"] && pulled["reasons"] == dry["reasons"],
        "{pulled}"
    );
    ensure!(
        pulled["left_out"]["not an address"] == json_count(tells(kind, Why::Bounced)),
        "{name}: {pulled}"
    );
    let blamed = &pulled["left_out"]["the server's reply does not blame the recipient"];
    ensure!(*blamed == json_count(has_words(kind)), "{name}: {pulled}");

    are_kept(kind, &ours(&gateway).await?)?;
    let again = counted(&gateway, &pull).await?;
    for (reason, counts) in again["reasons"].as_object().context("no reasons")? {
        ensure!(counts["new"] == 0, "{name}: {reason} {again}");
        let before = &pulled["reasons"][reason];
        ensure!(counts["already"] == before["new"], "{name}: {again}");
    }
    Ok(())
}

#[tokio::test]
async fn a_service_s_list_is_pulled_once_with_reason_source_and_time() -> Result<()> {
    for kind in PUSHED {
        is_pulled_once(kind).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_list_that_takes_no_entries_is_pulled_and_says_why_nothing_is_pushed() -> Result<()> {
    for (kind, why) in PULLED_ONLY {
        is_pulled_once(kind).await?;
        let service = Service::start(kind).await?;
        let gateway = gateway(&service).await?;
        let outcome = list(&gateway, &["push", "it"]).await?;
        ensure!(outcome.status == Some(2), "{outcome:?}");
        ensure!(outcome.stderr.contains(why), "{outcome:?}");
    }
    Ok(())
}

async fn import(gateway: &Gateway, entries: &[Value]) -> Result<()> {
    let lines: String = entries.iter().map(|entry| format!("{entry}\n")).collect();
    let request = gateway
        .admin(Method::POST, "/admin/v1/suppressions/import")
        .header("content-type", "application/x-ndjson")
        .body(lines);
    let report = answered(request.send().await?, 200).await?;
    ensure!(report["imported"] == entries.len(), "{report}");
    Ok(())
}

/// What was pushed stands at the service, for the mail that it is to stop.
fn are_there(service: &Service) -> Result<()> {
    let kind = service.sandbox.kind();
    let name = kind.as_str();
    let mut there: Vec<String> = service
        .sandbox
        .suppressions()
        .into_iter()
        .map(|entry| entry.address)
        .collect();
    there.sort();
    there.dedup();
    ensure!(
        there == ["dead@one.example", "spam@one.example"],
        "{name}: {there:?}"
    );
    // What is for campaigns alone stops no transactional mail there.
    let spam = service.sandbox.suppressions().into_iter();
    let parts: Vec<_> = spam
        .filter(|entry| entry.address == "spam@one.example")
        .map(|entry| entry.part)
        .collect();
    let own = match kind {
        Kind::Postmark => Some("broadcast"),
        Kind::Sparkpost => Some("non_transactional"),
        Kind::Mailgun
        | Kind::Sendgrid
        | Kind::Ses
        | Kind::Elasticemail
        | Kind::Smtp2go
        | Kind::Resend => None,
        Kind::Mailtrap | Kind::Postal | Kind::Mailjet | Kind::Brevo | Kind::Smtp => {
            anyhow::bail!("{name} takes no entries")
        }
    };
    ensure!(parts == [own.map(str::to_owned)], "{name}: {parts:?}");
    Ok(())
}

async fn is_pushed_once(kind: Kind) -> Result<()> {
    let service = Service::start(kind).await?;
    let gateway = gateway(&service).await?;
    let name = kind.as_str();
    import(
        &gateway,
        &[
            json!({ "address": "dead@one.example", "reason": "hard_bounce" }),
            json!({ "address": "spam@one.example", "reason": "complaint", "stream": "news" }),
            json!({ "address": "offer@one.example", "reason": "unsubscribe", "stream": "offers" }),
            json!({ "address": "full@one.example", "reason": "mailbox_full",
                "expires_at": "2099-01-01T00:00:00Z" }),
            json!({ "address": "own@one.example", "source": "provider:it" }),
            json!({ "address": "hash:000102030405060708090a0b0c0d0e0f" }),
        ],
    )
    .await?;
    let push = ["push", "it", "--stream", "news"];
    let dry = counted(&gateway, &[&push[..], &["--dry-run"]].concat()).await?;
    ensure!(
        service.sandbox.suppressions().is_empty(),
        "{name}: a dry run pushed"
    );
    service.sandbox.arm(Fault::once(FaultKind::Status(429)));
    let pushed = counted(&gateway, &push).await?;
    ensure!(
        pushed["reasons"] == dry["reasons"],
        "{name}: {dry} {pushed}"
    );
    for reason in ["hard_bounce", "complaint"] {
        let counts = &pushed["reasons"][reason];
        ensure!(
            *counts == json!({ "read": 1, "new": 1, "already": 0 }),
            "{name}: {pushed}"
        );
    }
    for why in [
        "erased: only a hash is left",
        "told by this service",
        "ends by itself, which the service's entries do not",
        "of a campaign stream: give --stream NAME",
    ] {
        ensure!(pushed["left_out"][why] == 1, "{name}: {why}: {pushed}");
    }
    are_there(&service)?;
    let again = counted(&gateway, &push).await?;
    ensure!(
        again["reasons"]["hard_bounce"]["already"] == 1,
        "{name}: {again}"
    );
    ensure!(again["reasons"]["complaint"]["new"] == 0, "{name}: {again}");
    let pulled = counted(&gateway, &["pull", "it", "--stream", "news"]).await?;
    for (reason, counts) in pulled["reasons"].as_object().context("no reasons")? {
        ensure!(counts["new"] == 0, "{name}: {reason} {pulled}");
    }
    Ok(())
}

#[tokio::test]
async fn what_a_service_lacks_is_pushed_once_and_comes_back_as_nothing_new() -> Result<()> {
    for kind in PUSHED {
        is_pushed_once(kind).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_service_that_fails_midway_leaves_what_was_read_and_says_so() -> Result<()> {
    let service = Service::start(Kind::Sendgrid).await?;
    seed(&service);
    let gateway = gateway(&service).await?;
    service.sandbox.arm(Fault {
        delay_ms: 10,
        ..Fault::once(FaultKind::Slow)
    });
    service.sandbox.arm(Fault::always(FaultKind::Status(403)));
    let outcome = list(&gateway, &["pull", "it"]).await?;
    ensure!(outcome.status == Some(1), "{outcome:?}");
    ensure!(
        outcome.stderr.contains("stopped after 500 entries"),
        "{outcome:?}"
    );
    ensure!(outcome.stderr.contains("may the key read"), "{outcome:?}");
    ensure!(outcome.stdout.contains("hard_bounce"), "{outcome:?}");
    ensure!(ours(&gateway).await?.len() > 400, "nothing was kept");

    service.sandbox.disarm();
    let done = counted(&gateway, &["pull", "it"]).await?;
    ensure!(done["read"].as_u64() > Some(1_000), "{done}");
    let untold = "the list tells no stream: give --stream NAME";
    ensure!(done["left_out"][untold] == 1, "{done}");
    // Which campaigns was not told, so it is all of them.
    let spam = "/admin/v1/suppressions?address=a.spam@one.example";
    let spam = answered(gateway.admin(Method::GET, spam).send().await?, 200).await?;
    let spam = spam["suppressions"].as_array().map(Vec::len);
    ensure!(spam == Some(2), "{spam:?}");

    service.stop().await?;
    let outcome = list(&gateway, &["pull", "it"]).await?;
    ensure!(outcome.status == Some(1), "{outcome:?}");
    ensure!(
        outcome.stderr.contains("stopped after 0 entries"),
        "{outcome:?}"
    );
    let outcome = list(&gateway, &["push", "it"]).await?;
    ensure!(outcome.status == Some(1), "{outcome:?}");
    Ok(())
}

#[tokio::test]
async fn what_would_stop_the_wrong_mail_is_refused_with_the_way_out() -> Result<()> {
    let service = Service::start(Kind::Mailgun).await?;
    let tables = tables(Kind::Mailgun, service.address);
    let shared = "targets = [{ provider = \"relay\" }, { provider = \"it\" }]";
    let tables = tables.replacen("targets = [{ provider = \"relay\" }]", shared, 1);
    let mut gateway = Gateway::start(Config::rehearsal(&tables)?).await?;
    for (arguments, words) in [
        (&["pull", "nobody"][..], "there is no provider nobody"),
        (&["pull", "relay"], "has no suppression list"),
        (&["push", "relay"], "has no suppression list"),
        (
            &["pull", "it", "--stream", "transactional"],
            "stopped by global entries only",
        ),
        (&["pull", "it", "--stream", "nothing"], "no stream nothing"),
        (
            &["push", "it", "--stream", "news"],
            "transactional leaves through it, too",
        ),
    ] {
        let outcome = list(&gateway, arguments).await?;
        ensure!(outcome.status == Some(2), "{arguments:?}: {outcome:?}");
        ensure!(outcome.stderr.contains(words), "{arguments:?}: {outcome:?}");
    }
    // Without a gateway a dry run reads the store; a pull would have to write it.
    suppress(
        &service,
        "gone@one.example",
        Why::Bounced,
        "550 5.1.1 user unknown",
    );
    gateway.stop().await?;
    let dry = list(&gateway, &["pull", "it", "--dry-run"]).await?;
    ensure!(dry.status == Some(0), "{dry:?}");
    ensure!(dry.stdout.contains("gone@one.example"), "{dry:?}");
    let outcome = list(&gateway, &["pull", "it"]).await?;
    ensure!(outcome.status == Some(1), "{outcome:?}");
    ensure!(outcome.stderr.contains("no gateway answers"), "{outcome:?}");
    let dry = list(&gateway, &["push", "it", "--dry-run"]).await?;
    ensure!(dry.status == Some(0), "{dry:?}");
    Ok(())
}
