//! Two gateways with queues of their own and one PostgreSQL: what they share holds for both, and
//! nothing is lost while it is away.

mod keys;

use std::cell::Cell;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use malote_sandbox::{Fault, FaultKind, Kind};
use malote_tests::{
    Backends, Config, Gateway, LOADTEST_KEY, Postgres, SHOP_KEY, Service, SmtpClient, Wire,
    answered, eventually, run, text_message,
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{SENT_MAX, attempts, campaigns_by, order};

const NEWS: &str = "{ provider = \"mailgun\", pool = \"news\" }";
/// What one node does is in force at the other after no more than this.
const SEEN_MAX: Duration = Duration::from_secs(1);

/// Two nodes at the same services.
struct Nodes {
    one: Gateway,
    other: Gateway,
    ses: Service,
    mailgun: Service,
    _relay: Service,
    /// From the first node to the database.
    wire: Wire,
    postgres: Postgres,
}

impl Nodes {
    async fn start(change: impl Fn(&mut Config) -> Result<()>) -> Result<Self> {
        let postgres = Postgres::start()?;
        let ses = Service::start(Kind::Ses).await?;
        let mailgun = Service::start(Kind::Mailgun).await?;
        let relay = Service::start(Kind::Smtp).await?;
        let wire = Wire::to(postgres.address()).await?;
        let config = |node: &str, at| -> Result<Config> {
            let mut config = Config::contract(Backends {
                ses: ses.address,
                mailgun: mailgun.address,
                relay: relay.address,
            })?;
            campaigns_by(&mut config, NEWS)?;
            config.replace("per_second = 14", "per_second = 1000")?;
            change(&mut config)?;
            postgres.share_as(&mut config, at, node);
            Ok(config)
        };
        Ok(Self {
            one: Gateway::start(config("one", wire.address)?).await?,
            other: Gateway::start(config("other", postgres.address())?).await?,
            ses,
            mailgun,
            _relay: relay,
            wire,
            postgres,
        })
    }
}

async fn campaign(gateway: &Gateway, recipients: &[String]) -> Result<()> {
    let mut client = SmtpClient::connect(gateway.doors().plain).await?;
    for recipient in recipients {
        let text = text_message("news@shop.example", recipient, recipient);
        let reply = client.send("b@shop.example", &[recipient], &text).await?;
        assert_eq!(reply.code, 250, "{reply:?}");
    }
    Ok(())
}

async fn is_paused(gateway: &Gateway) -> Result<bool> {
    let request = gateway.admin(Method::GET, "/admin/v1/switches");
    let list = answered(request.send().await?, 200).await?;
    Ok(list["switches"].as_array().is_some_and(|on| !on.is_empty()))
}

/// Mailgun reports on the last message it took; answers what the gateway answered.
async fn report(mailgun: &Service, to: &Gateway, event: &str) -> Result<Value> {
    let hook = format!("http://{}/v1/webhooks/mailgun", to.doors().http);
    let emit = format!("http://{}/_sandbox/event", mailgun.address);
    let request = reqwest::Client::new().post(emit);
    let request = request.json(&json!({ "url": hook, "event": event }));
    Ok(answered(request.send().await?, 200).await?["status"].clone())
}

#[tokio::test]
async fn a_complaint_seen_by_one_node_stops_what_the_other_has_queued() -> Result<()> {
    let nodes = Nodes::start(|_| Ok(())).await?;
    let ana = "ana@one.example".to_owned();
    campaign(&nodes.one, std::slice::from_ref(&ana)).await?;
    eventually("the campaign arrives", SENT_MAX, async || {
        Ok((nodes.mailgun.count_to(&ana) > 0).then_some(()))
    })
    .await?;
    // A pause is for all nodes, whoever was told.
    nodes.one.switch("campaign", "pause").await?;
    eventually("the other node pauses", SENT_MAX, async || {
        Ok(is_paused(&nodes.other).await?.then_some(()))
    })
    .await?;
    let eve = "eve@one.example".to_owned();
    campaign(&nodes.other, &[ana.clone(), eve.clone()]).await?;
    assert_eq!(report(&nodes.mailgun, &nodes.one, "complained").await?, 200);
    tokio::time::sleep(SEEN_MAX).await;
    nodes.other.switch("campaign", "resume").await?;
    let other = &nodes.other;
    other
        .reached(&ana, LOADTEST_KEY, &["suppressed"], SENT_MAX)
        .await?;
    other
        .reached(&eve, LOADTEST_KEY, &["sent"], SENT_MAX)
        .await?;
    assert_eq!(nodes.mailgun.count_to(&ana), 1);
    eventually("the first node resumes", SENT_MAX, async || {
        Ok((!is_paused(&nodes.one).await?).then_some(()))
    })
    .await
}

#[tokio::test]
async fn a_quota_of_both_nodes_is_never_exceeded_and_used_fully() -> Result<()> {
    const QUOTA: usize = 200;
    let nodes = Nodes::start(|config| {
        config.add(&format!("[providers.mailgun.limits]\nper_day = {QUOTA}\n"));
        Ok(())
    })
    .await?;
    let to = |name: &str| -> Vec<String> {
        let recipient = |number| format!("{name}{number}@one.example");
        (0..QUOTA * 3 / 4).map(recipient).collect()
    };
    let (some, others) = (to("a"), to("b"));
    tokio::try_join!(campaign(&nodes.one, &some), campaign(&nodes.other, &others))?;
    let mut sent = 0;
    let used = eventually("the quota is used", 2 * SENT_MAX, async || {
        sent = nodes.mailgun.sandbox.stats().messages;
        Ok((sent >= QUOTA as u64).then_some(()))
    });
    used.await.with_context(|| format!("{sent} were sent"))?;
    for gateway in [&nodes.one, &nodes.other] {
        eventually("the provider is parked", SENT_MAX, async || {
            let request = gateway.admin(Method::GET, "/admin/v1/targets");
            let targets = answered(request.send().await?, 200).await?;
            Ok(targets.to_string().contains("quota").then_some(()))
        })
        .await?;
    }
    assert_eq!(nodes.mailgun.sandbox.stats().messages, QUOTA as u64);
    Ok(())
}

#[tokio::test]
async fn a_rate_holds_for_both_nodes_together() -> Result<()> {
    const PER_SECOND: u32 = 20;
    const EACH: u32 = 40;
    let nodes = Nodes::start(|config| {
        config.add(&format!(
            "[providers.mailgun.limits]\nper_second = {PER_SECOND}\n"
        ));
        Ok(())
    })
    .await?;
    // Paused, so that both have all of it waiting when the time begins.
    nodes.one.switch("campaign", "pause").await?;
    eventually("the other node pauses", SENT_MAX, async || {
        Ok(is_paused(&nodes.other).await?.then_some(()))
    })
    .await?;
    let to = |name: &str| -> Vec<String> {
        let recipient = |number| format!("{name}{number}@one.example");
        (0..EACH).map(recipient).collect()
    };
    let (some, others) = (to("a"), to("b"));
    tokio::try_join!(campaign(&nodes.one, &some), campaign(&nodes.other, &others))?;
    let begun = Instant::now();
    nodes.one.switch("campaign", "resume").await?;
    nodes.other.switch("campaign", "resume").await?;
    eventually("all are sent", 2 * SENT_MAX, async || {
        let sent = nodes.mailgun.sandbox.stats().messages;
        // The first may go at once.
        let most = f64::from(PER_SECOND) * begun.elapsed().as_secs_f64() + 1.0;
        #[expect(clippy::cast_precision_loss, reason = "a few messages")]
        let is_within = sent as f64 <= most;
        ensure!(is_within, "{sent} of {most}");
        Ok((sent == u64::from(2 * EACH)).then_some(()))
    })
    .await
}

#[tokio::test]
async fn a_breaker_that_one_node_opened_is_open_at_the_other() -> Result<()> {
    let nodes = Nodes::start(|_| Ok(())).await?;
    let word = async |gateway: &Gateway| -> Result<String> {
        let request = gateway.admin(Method::GET, "/admin/v1/targets");
        let body = answered(request.send().await?, 200).await?;
        let targets = body["targets"].as_array().context("no targets")?;
        let target = targets.iter().find(|one| one["target"] == "mailgun/news");
        Ok(target.context("no such target")?["breaker"].to_string())
    };
    nodes
        .mailgun
        .sandbox
        .arm(Fault::always(FaultKind::Status(500)));
    let recipients: Vec<String> = (0..6).map(|n| format!("a{n}@one.example")).collect();
    campaign(&nodes.one, &recipients).await?;
    for gateway in [&nodes.one, &nodes.other] {
        eventually("the breaker opens", SENT_MAX, async || {
            Ok((word(gateway).await? == "\"open\"").then_some(()))
        })
        .await?;
    }
    nodes.mailgun.sandbox.disarm();
    for gateway in [&nodes.one, &nodes.other] {
        eventually("the breaker lets mail through", SENT_MAX, async || {
            Ok((word(gateway).await? != "\"open\"").then_some(()))
        })
        .await?;
    }
    Ok(())
}

#[tokio::test]
async fn nodes_are_listed_with_whose_configuration_differs() -> Result<()> {
    let count = Cell::new(0);
    let mut nodes = Nodes::start(|config| {
        count.set(count.get() + 1);
        if count.get() == 2 {
            config.add("[retention]\nbodies = \"2h\"\n");
        }
        Ok(())
    })
    .await?;
    let list = async |nodes: &Nodes| -> Result<String> {
        let mut command = nodes.one.command(&["nodes", "--config", "malote.toml"])?;
        Ok(run(&mut command, SENT_MAX).await?.stdout)
    };
    eventually("both nodes are there", SENT_MAX, async || {
        let text = list(&nodes).await?;
        let is_there = text.matches("serving").count() == 2 && text.contains("right");
        Ok((is_there && text.contains("(other)")).then_some(()))
    })
    .await?;
    nodes.other.stop().await?;
    let text = list(&nodes).await?;
    ensure!(text.contains("gone"), "{text}");
    ensure!(!text.contains("(other)"), "{text}");
    Ok(())
}

#[tokio::test]
async fn while_the_database_is_away_mail_is_kept_and_none_leaves() -> Result<()> {
    let mut nodes = Nodes::start(|_| Ok(())).await?;
    let ana = "ana@one.example".to_owned();
    campaign(&nodes.one, std::slice::from_ref(&ana)).await?;
    eventually("the campaign arrives", SENT_MAX, async || {
        Ok((nodes.mailgun.count_to(&ana) > 0).then_some(()))
    })
    .await?;
    nodes.postgres.kill()?;
    let killed = Instant::now();
    tokio::time::sleep(SEEN_MAX + SEEN_MAX / 2).await;
    // Custody is the node's own: mail is taken, and waits.
    nodes.one.submit(&order("bob@one.example")).await?;
    campaign(&nodes.other, &["bob@two.example".to_owned()]).await?;
    // What cannot be remembered is not acknowledged: the service tells it again.
    assert_eq!(report(&nodes.mailgun, &nodes.one, "complained").await?, 503);
    let body = json!({ "address": "x@one.example", "reason": "manual" });
    let request = nodes.one.admin(Method::POST, "/admin/v1/suppressions");
    answered(request.json(&body).send().await?, 503).await?;
    let waiting = nodes.one.find("bob@one.example", SHOP_KEY).await?;
    let waiting = waiting.context("it was not kept")?;
    assert_eq!(waiting["deliveries"][0]["state"], "queued");
    assert_eq!(attempts(&waiting), []);
    // A node that dies meanwhile waits for the database before it opens its doors.
    nodes.other.kill()?;
    assert_eq!(nodes.ses.sandbox.stats().messages, 0);
    assert!(killed.elapsed() < Duration::from_secs(40));
    nodes.postgres.start_again()?;
    nodes.other.boot().await?;

    let one = &nodes.one;
    let sent = one.reached("bob@one.example", SHOP_KEY, &["sent"], SENT_MAX);
    let tried = attempts(&sent.await?);
    assert_eq!(tried.len(), 1, "{tried:?}");
    assert_eq!(nodes.ses.count_to("bob@one.example"), 1);
    let other = &nodes.other;
    other
        .reached("bob@two.example", LOADTEST_KEY, &["sent"], SENT_MAX)
        .await?;
    assert_eq!(nodes.mailgun.count_to("bob@two.example"), 1);
    Ok(())
}

#[tokio::test]
async fn a_check_says_whether_the_database_will_do() -> Result<()> {
    let nodes = Nodes::start(|_| Ok(())).await?;
    let check = async |online: &str| -> Result<String> {
        let mut command = nodes
            .one
            .command(&["check", "--config", "malote.toml", online])?;
        let outcome = run(&mut command, SENT_MAX).await?;
        Ok(format!("{}{}", outcome.stdout, outcome.stderr))
    };
    let good = check("--online").await?;
    ensure!(good.contains("ready"), "{good}");
    let metrics = nodes.one.admin(Method::GET, "/metrics").send().await?;
    let metrics = metrics.text().await?;
    for name in [
        "malote_postgres_seconds_count{operation=\"refresh\"}",
        "malote_postgres_errors_total{kind=\"unavailable\",operation=\"quota\"} 0",
        "malote_postgres_connections_in_use",
    ] {
        ensure!(metrics.contains(name), "{name} is not in\n{metrics}");
    }
    Ok(())
}
