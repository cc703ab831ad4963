//! A real Prometheus reads a running gateway: every query of every dashboard returns data, and the
//! alert rules are rules.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use malote_sandbox::{Fault, FaultKind};
use malote_tests::{
    SHOP_KEY, SmtpClient, World, answered, eventually, free_port, repository, run, text_message,
    tool,
};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{campaigns_by, order};

/// How long Prometheus may take to have seen everything.
const DATA_MAX: Duration = Duration::from_secs(90);
const COMMAND_MAX: Duration = Duration::from_secs(120);
/// What stands for `$__rate_interval`, with a scrape each second.
const RATE_INTERVAL: &str = "20s";

/// A running Prometheus that scrapes one gateway.
struct Prometheus {
    child: Child,
    port: u16,
    _folder: TempDir,
}

impl Prometheus {
    fn start(target: &str) -> Result<Self> {
        let (folder, port) = (tempfile::tempdir()?, free_port()?);
        let config = folder.path().join("prometheus.yml");
        let rules = repository().join("dashboards/alerts.yml");
        let text = json!({
            "global": { "scrape_interval": "1s", "evaluation_interval": "1s" },
            "rule_files": [rules],
            "scrape_configs": [
                { "job_name": "malote", "static_configs": [{ "targets": [target] }] },
            ],
        });
        // JSON is YAML.
        std::fs::write(&config, text.to_string())?;
        let child = Command::new(tool("prometheus")?)
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().display()))
            .arg("--storage.tsdb.retention.time=1h")
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self {
            child,
            port,
            _folder: folder,
        })
    }

    /// How many series with a number a query returns; `None` while Prometheus does not answer.
    async fn series(&self, query: &str) -> Result<Option<usize>> {
        let url = format!("http://127.0.0.1:{}/api/v1/query", self.port);
        let request = reqwest::Client::new().get(url).query(&[("query", query)]);
        let Ok(answer) = request.send().await else {
            return Ok(None);
        };
        let body: Value = answer.json().await?;
        ensure!(body["status"] == "success", "{query}: {body}");
        let is_number = |series: &&Value| {
            let value = series["value"][1].as_str();
            let value = value.and_then(|value| value.parse::<f64>().ok());
            value.is_some_and(f64::is_finite)
        };
        let series = body["data"]["result"].as_array();
        Ok(series.map(|series| series.iter().filter(is_number).count()))
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn dashboards() -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(repository().join("dashboards"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "json") {
            found.push(path);
        }
    }
    Ok(found)
}

/// The queries of all panels, as panel title and expression.
fn queries(value: &Value) -> Vec<(String, String)> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut found = Vec::new();
    for panel in list(&value["panels"]) {
        let title = panel["title"].as_str().unwrap_or("untitled");
        for target in list(&panel["targets"]) {
            if let Some(query) = target["expr"].as_str() {
                let query = query.replace("$__rate_interval", RATE_INTERVAL);
                found.push((title.to_owned(), query));
            }
        }
        found.extend(queries(&panel));
    }
    found
}

/// One of everything that can happen: sent, failed over, sent perhaps twice, delivered, bounced at
/// once and later, complained of, suppressed, refused, unknown, alerted of.
async fn live(world: &World, day: usize) -> Result<()> {
    let trouble = match day {
        1 | 2 => Fault::once(FaultKind::Cut).after_take(),
        _ => Fault::once(FaultKind::Status(500)),
    };
    world.ses.sandbox.arm(trouble);
    world.mailgun.sandbox.arm(Fault::once(FaultKind::Recipient));
    campaign(world, &format!("nobody{day}@gmail.com")).await?;
    for number in 0..3 {
        let recipient = format!("d{day}n{number}@gmail.com");
        world.gateway.submit(&order(&recipient)).await?;
    }
    for event in ["delivered", "bounced", "complained", "unsubscribed"] {
        let recipient = format!("{event}{day}@gmail.com");
        campaign(world, &recipient).await?;
        eventually("the campaign arrives", COMMAND_MAX, async || {
            Ok((world.mailgun.count_to(&recipient) > 0).then_some(()))
        })
        .await?;
        report(world, event).await?;
    }
    world.mailgun.sandbox.arm(Fault::once(FaultKind::Cut));
    campaign(world, &format!("unknown{day}@gmail.com")).await?;
    world
        .gateway
        .submit(&order(&format!("bounced{day}@gmail.com")))
        .await?;
    if day == 5 {
        world.ses.sandbox.arm(Fault::once(FaultKind::Sender));
        world.gateway.submit(&order("alert@gmail.com")).await?;
    }
    let mut foreign = order("a@gmail.com");
    foreign["from"] = "x@elsewhere.example".into();
    let request = world
        .gateway
        .request(Method::POST, "/v1/messages", SHOP_KEY);
    answered(request.json(&foreign).send().await?, 422).await?;
    Ok(())
}

async fn campaign(world: &World, recipient: &str) -> Result<()> {
    let mut client = SmtpClient::connect(world.gateway.doors().plain).await?;
    let text = text_message("news@shop.example", recipient, "campaign");
    let reply = client.send("b@shop.example", &[recipient], &text).await?;
    ensure!(reply.code == 250, "{reply:?}");
    Ok(())
}

async fn report(world: &World, event: &str) -> Result<()> {
    let hook = format!("http://{}/v1/webhooks/mailgun", world.gateway.doors().http);
    let emit = format!("http://{}/_sandbox/event", world.mailgun.address);
    let request = reqwest::Client::new().post(emit);
    let request = request.json(&json!({ "url": hook, "event": event }));
    answered(request.send().await?, 200).await?;
    Ok(())
}

#[tokio::test]
async fn every_query_of_every_dashboard_returns_data() -> Result<()> {
    let world = World::start_with(|config| {
        campaigns_by(config, "{ provider = \"mailgun\", pool = \"news\" }")
    })
    .await?;
    let prometheus = Prometheus::start(&world.gateway.doors().admin.to_string())?;
    let mut waiting = Vec::new();
    for path in dashboards()? {
        let text = std::fs::read_to_string(&path)?;
        let dashboard: Value = serde_json::from_str(&text)?;
        let found = queries(&dashboard);
        ensure!(!found.is_empty(), "{} asks nothing", path.display());
        waiting.extend(found);
    }
    let mut day = 0;
    let all_seen = eventually("every query returns data", DATA_MAX, async || {
        day += 1;
        live(&world, day).await?;
        let mut silent = Vec::new();
        for (title, query) in std::mem::take(&mut waiting) {
            if prometheus.series(&query).await?.unwrap_or_default() == 0 {
                silent.push((title, query));
            }
        }
        waiting = silent;
        Ok(waiting.is_empty().then_some(()))
    })
    .await;
    all_seen.with_context(|| format!("silent: {waiting:#?}"))
}

#[tokio::test]
async fn the_metrics_and_the_alert_rules_please_promtool() -> Result<()> {
    let mut rules = Command::new(tool("promtool")?);
    rules.args(["check", "rules"]);
    rules.arg(repository().join("dashboards/alerts.yml"));
    run(&mut rules, COMMAND_MAX).await?.success()?;
    let mut cases = Command::new(tool("promtool")?);
    cases.args(["test", "rules"]);
    cases.arg(repository().join("tests/e2e/alerts_test.yml"));
    run(&mut cases, COMMAND_MAX).await?.success()?;
    let world = World::start().await?;
    world.gateway.submit(&order("ana@one.example")).await?;
    let metrics = world.gateway.admin(Method::GET, "/metrics").send().await?;
    let file = world.gateway.folder().join("metrics.txt");
    std::fs::write(&file, metrics.bytes().await?)?;
    let mut check = Command::new("sh");
    check.args(["-c", "\"$1\" check metrics < \"$2\"", "sh"]);
    check.arg(tool("promtool")?).arg(&file);
    run(&mut check, COMMAND_MAX).await?.success()?;
    Ok(())
}
