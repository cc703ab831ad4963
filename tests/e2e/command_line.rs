//! The operator's commands against a running gateway and against a store with none running.

use std::time::Duration;

use anyhow::Result;
use malote_core::clock::{Clock, SystemClock};
use malote_sandbox::{Fault, FaultKind};
use malote_tests::{
    Gateway, LOADTEST_KEY, Outcome, SHOP_KEY, SmtpClient, World, eventually, run, text_message,
};
use serde_json::Value;

use crate::{SENT_MAX, campaigns_by, ensure_once, order, send_order};

const COMMAND_MAX: Duration = Duration::from_secs(30);
const WITH_CONFIG: [&str; 2] = ["--config", "malote.toml"];

/// Runs `malote` with these arguments and the gateway's configuration.
async fn malote(gateway: &Gateway, arguments: &[&str]) -> Result<Outcome> {
    let arguments: Vec<&str> = arguments.iter().chain(&WITH_CONFIG).copied().collect();
    let mut command = gateway.command(&arguments)?;
    run(&mut command, COMMAND_MAX).await
}

#[tokio::test]
async fn explain_tells_why_a_sent_message_went_where_it_went() -> Result<()> {
    let world = World::start().await?;
    let timeline = send_order(&world, "ana@one.example").await?;
    let id = timeline["id"].as_str().unwrap_or_default();
    let said = malote(&world.gateway, &["explain", id]).await?.success()?;
    assert!(said.contains("stream transactional"), "{said}");
    assert!(said.contains("1. ses/tx"), "{said}");
    assert!(said.contains("2. relay"), "{said}");
    Ok(())
}

#[tokio::test]
async fn explain_names_the_rule_and_each_excluded_target_for_mail_that_does_not_exist() -> Result<()>
{
    let world = World::start().await?;
    world.ses.sandbox.arm(Fault::always(FaultKind::Status(401)));
    send_order(&world, "ana@one.example").await?;
    let mautic = [
        "explain",
        "--credential",
        "mautic",
        "--from",
        "news@shop.example",
    ];
    let reset: Vec<&str> = mautic
        .iter()
        .chain(&["--to", "ana@one.example"])
        .copied()
        .collect();
    let said = malote(&world.gateway, &reset).await?.success()?;
    let rule = "Mautic mail without a campaign's marks is transactional";
    assert!(said.contains(rule), "{said}");
    assert!(said.contains("excluded ses/tx: "), "{said}");
    let marked = ["--to", "ana@outlook.com", "--header", "Precedence: bulk"];
    let marked = marked
        .iter()
        .chain(&["--header", "List-Unsubscribe: <https://x.example/>"]);
    let campaign: Vec<&str> = mautic.iter().chain(marked).copied().collect();
    let said = malote(&world.gateway, &campaign).await?.success()?;
    assert!(said.contains("stream campaign"), "{said}");
    assert!(
        said.contains("Microsoft mailboxes leave through the relay"),
        "{said}"
    );
    assert!(said.contains("1. relay/bulk"), "{said}");
    Ok(())
}

#[tokio::test]
async fn a_paused_stream_keeps_its_mail_until_it_is_resumed() -> Result<()> {
    let world = World::start().await?;
    let gateway = &world.gateway;
    malote(gateway, &["queue", "pause", "--stream", "transactional"])
        .await?
        .success()?;
    gateway.submit(&order("ana@one.example")).await?;
    let listed = malote(gateway, &["queue", "list", "--json"])
        .await?
        .success()?;
    assert!(listed.contains("queued"), "{listed}");
    assert_eq!(world.ses.sandbox.stats().messages, 0);
    malote(gateway, &["queue", "resume", "--stream", "transactional"])
        .await?
        .success()?;
    gateway
        .reached("ana@one.example", SHOP_KEY, &["sent"], SENT_MAX)
        .await?;
    Ok(())
}

/// An order that leaves in an hour.
fn order_for_later(recipient: &str) -> Result<Value> {
    let mut order = order(recipient);
    let due = SystemClock::start()
        .now()
        .checked_add(Duration::from_hours(1))?;
    order["send_at"] = due.to_string().into();
    Ok(order)
}

#[tokio::test]
async fn a_missing_body_keeps_nobody_from_seeing_what_waits() -> Result<()> {
    let world = World::start_with(|config| {
        let table = "[store.sqlite]\n";
        config.replace(table, &format!("{table}inline_body_max = \"0B\"\n"))
    })
    .await?;
    let gateway = &world.gateway;
    let damaged = gateway.submit(&order_for_later("ana@one.example")?).await?;
    let held = gateway.submit(&order_for_later("ben@one.example")?).await?;
    malote(gateway, &["queue", "hold", &held])
        .await?
        .success()?;
    std::fs::remove_dir_all(gateway.folder().join("var/malote.db.bodies"))?;
    for (arguments, word) in [
        (&["queue", "list"][..], "you: held by an operator"),
        (&["queue", "list", "--json"], "you: held by an operator"),
        (&["log", &damaged], "next attempt "),
        (&["log", &damaged, "--json"], "\"waits_for\""),
    ] {
        let said = malote(gateway, arguments).await?;
        let why = "what mail waits for cannot be told in full: ";
        assert!(said.stderr.contains(why), "{arguments:?}: {said:?}");
        let said = said.success()?;
        assert!(said.contains("ana@one.example"), "{arguments:?}: {said}");
        assert!(said.contains(word), "{arguments:?}: {said}");
    }
    Ok(())
}

#[tokio::test]
async fn a_fault_elsewhere_in_the_file_hides_no_mail_of_a_stopped_gateway() -> Result<()> {
    let mut world = World::start().await?;
    let id = world
        .gateway
        .submit(&order_for_later("ana@one.example")?)
        .await?;
    world.gateway.stop().await?;
    world
        .gateway
        .set_config(|config| config.replace("per_second = 14", "per_second = -1"))?;
    for arguments in [&["log", &id][..], &["queue", "list"]] {
        let said = malote(&world.gateway, arguments).await?;
        assert!(said.stderr.contains("per_second"), "{said:?}");
        let said = said.success()?;
        assert!(said.contains("ana@one.example"), "{arguments:?}: {said}");
    }
    Ok(())
}

#[tokio::test]
async fn an_unknown_outcome_is_settled_by_the_operator() -> Result<()> {
    let world = World::start_with(|config| {
        campaigns_by(config, "{ provider = \"mailgun\", pool = \"news\" }")
    })
    .await?;
    let gateway = &world.gateway;
    let mut client = SmtpClient::connect(gateway.doors().plain).await?;
    for (recipient, ending, state) in [
        ("again@one.example", "--resend", "sent"),
        ("done@one.example", "--sent", "sent"),
    ] {
        world.mailgun.sandbox.arm(Fault::once(FaultKind::Cut));
        let text = text_message("news@shop.example", recipient, "campaign");
        client.send("b@shop.example", &[recipient], &text).await?;
        let timeline = gateway
            .reached(recipient, LOADTEST_KEY, &["unknown"], SENT_MAX)
            .await?;
        let id = timeline["id"].as_str().unwrap_or_default();
        malote(gateway, &["queue", "resolve", id, ending])
            .await?
            .success()?;
        gateway
            .reached(recipient, LOADTEST_KEY, &[state], SENT_MAX)
            .await?;
    }
    ensure_once(&world.mailgun.sandbox.messages_to("again@one.example"))?;
    assert_eq!(world.mailgun.count_to("done@one.example"), 0);
    Ok(())
}

#[tokio::test]
async fn the_log_is_searched_with_the_gateway_running_and_stopped() -> Result<()> {
    let mut world = World::start().await?;
    send_order(&world, "ana@one.example").await?;
    let search = ["log", "--rcpt", "ana@one.example", "--json"];
    let running = malote(&world.gateway, &search).await?.success()?;
    world.gateway.stop().await?;
    let stopped = malote(&world.gateway, &search).await?.success()?;
    for said in [running, stopped] {
        assert!(said.contains("sent") && said.contains("ses"), "{said}");
    }
    let nobody = ["log", "--rcpt", "nobody@one.example"];
    let said = malote(&world.gateway, &nobody).await?;
    assert_eq!(said.status, Some(3), "{said:?}");
    Ok(())
}

#[tokio::test]
async fn a_restored_store_holds_its_mail_until_it_is_released() -> Result<()> {
    let mut world = World::start().await?;
    malote(
        &world.gateway,
        &["queue", "pause", "--stream", "transactional"],
    )
    .await?
    .success()?;
    world.gateway.submit(&order("ana@one.example")).await?;
    malote(&world.gateway, &["store", "backup", "saved"])
        .await?
        .success()?;
    world.gateway.stop().await?;
    std::fs::remove_dir_all(world.gateway.folder().join("var"))?;
    malote(&world.gateway, &["store", "restore", "saved"])
        .await?
        .success()?;
    world.gateway.boot().await?;
    world
        .gateway
        .reached("ana@one.example", SHOP_KEY, &["held"], SENT_MAX)
        .await?;
    malote(
        &world.gateway,
        &["queue", "resume", "--stream", "transactional"],
    )
    .await?
    .success()?;
    malote(
        &world.gateway,
        &["queue", "release", "--stream", "transactional"],
    )
    .await?
    .success()?;
    world
        .gateway
        .reached("ana@one.example", SHOP_KEY, &["sent"], SENT_MAX)
        .await?;
    Ok(())
}

#[tokio::test]
async fn check_names_every_fault_and_its_line() -> Result<()> {
    let mut world = World::start().await?;
    malote(&world.gateway, &["check"]).await?.success()?;
    world.gateway.set_config(|config| {
        config.replace(
            "{ provider = \"ses\", pool = \"tx\" }",
            "{ provider = \"sse\" }",
        )?;
        config.replace("per_second = 14", "per_second = -1")
    })?;
    let said = malote(&world.gateway, &["check"]).await?;
    assert_eq!(said.status, Some(2), "{said:?}");
    let text = said.stdout + &said.stderr;
    assert!(
        text.contains("sse") && text.contains("per_second"),
        "{text}"
    );
    assert!(text.contains("malote.toml:"), "{text}");
    Ok(())
}

#[tokio::test]
async fn the_sandbox_command_serves_until_it_is_told_to_stop() -> Result<()> {
    let world = World::start().await?;
    let port = malote_tests::free_port()?;
    let listen = format!("127.0.0.1:{port}");
    let arguments = ["sandbox", "--kind", "mailgun", "--listen", &listen];
    let mut child = world.gateway.command(&arguments)?.spawn()?;
    let url = format!("http://{listen}/_sandbox/stats");
    let stats = eventually("the sandbox answers", COMMAND_MAX, async || {
        Ok(reqwest::get(&url).await.ok())
    })
    .await;
    child.kill()?;
    child.wait()?;
    let stats: serde_json::Value = stats?.json().await?;
    assert_eq!(stats["messages"], 0);
    Ok(())
}
