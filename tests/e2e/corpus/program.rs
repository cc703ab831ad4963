//! What the program itself says of a service: its answers, what its providers carry, and whether
//! the lines of a page are good.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use malote_tests::{Gateway, Outcome, run};
use serde_json::Value;

use super::run::provider_tables;
use super::services::{SECRETS, Service};

/// How long a command may take on a busy machine.
const COMMAND_MAX: Duration = Duration::from_secs(30);

/// A configuration file beside the gateway's own.
pub(super) const PAGE: &str = "page.toml";

/// What a configuration needs besides providers.
const FRAME: &str = r#"
[store.sqlite]
path = "malote.db"
[http]
listen = "127.0.0.1:8080"
[credentials.shop]
api_key = "written-here-to-be-checked"
streams = ["transactional"]
from_domains = ["shop.example"]
on_foreign_from = "reject"
[streams.transactional]
class = "transactional"
route = "main"
retry = { first = "10s", factor = 2.0, max = "15m", give_up_after = "24h" }
on_unknown = "prefer_no_loss"
failover = { transient_after = "0s", on_throttle = "next" }
"#;

/// What `malote providers --kind KIND --json` tells, with the providers of this file of the
/// gateway's folder.
pub(super) async fn kind(gateway: &Gateway, kind: &str, config: &str) -> Result<Value> {
    let arguments = ["providers", "--kind", kind, "--json", "--config", config];
    let told = program(gateway, &arguments).await?.success()?;
    Ok(serde_json::from_str(&told)?)
}

/// What `malote check --online --json` tells of each provider of the gateway.
pub(super) async fn online(gateway: &Gateway) -> Result<Vec<Value>> {
    let arguments = ["check", "--config", "malote.toml", "--online", "--json"];
    let told = program(gateway, &arguments).await?;
    let report: Value = serde_json::from_str(&told.stdout).with_context(|| format!("{told:?}"))?;
    let online = report["online"].as_array();
    Ok(online.context("nobody was asked")?.clone())
}

/// Checks the lines of a page as they stand there, and that a webhook is or is not to be had.
pub(super) async fn check_lines(service: &Service, gateway: &Gateway) -> Result<()> {
    let lines = service.api.iter().chain([&service.smtp]);
    for lines in lines {
        let tables = provider_tables(service, lines, "service");
        let outcome = check(gateway, &tables).await?;
        outcome.success().with_context(|| tables.clone())?;
    }
    for lines in service.api.iter().chain([&service.smtp]) {
        let webhook = service.webhook.as_ref().map_or("", |webhook| webhook.table);
        let tables = provider_tables(service, lines, "service");
        let tables = format!("{tables}[providers.service.webhook]\n{webhook}");
        let outcome = check(gateway, &tables).await?;
        if service.webhook.is_some() {
            outcome.success().with_context(|| tables)?;
            continue;
        }
        let says_so =
            outcome.stderr.contains("no webhooks") || outcome.stdout.contains("no webhooks");
        ensure!(
            says_so,
            "its page does not know of its webhooks: {outcome:?}"
        );
    }
    Ok(())
}

/// Checks these tables, which hold one provider of the name `service`, in [`PAGE`].
pub(super) async fn check(gateway: &Gateway, tables: &str) -> Result<Outcome> {
    let pool = match tables.contains(".pools.news]") {
        true => ", pool = \"news\"",
        false => "",
    };
    write(gateway, tables, &format!("provider = \"service\"{pool}"))?;
    program(gateway, &["check", "--config", PAGE]).await
}

/// Writes [`PAGE`]: these tables, and a route to this target.
pub(super) fn write(gateway: &Gateway, tables: &str, target: &str) -> Result<()> {
    let text = format!(
        "{FRAME}{tables}[routes.main]\nstrategy = \"failover\"\n\
         targets = [{{ {target} }}]\n"
    );
    Ok(std::fs::write(gateway.folder().join(PAGE), text)?)
}

async fn program(gateway: &Gateway, arguments: &[&str]) -> Result<Outcome> {
    let mut command = gateway.command(arguments)?;
    command.envs(SECRETS);
    run(&mut command, COMMAND_MAX).await
}

/// The file at this path of the repository, empty if there is none.
pub(super) fn committed(path: &Path) -> Result<String> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}
