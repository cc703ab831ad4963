//! `malote check`: everything that is wrong with a configuration, and with the providers' accounts.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use malote_core::clock::{Clock, SystemClock};
use malote_core::provider::{About, Finding, Provider, Unasked};
use malote_store::{PostgresShared, PostgresStore};
use serde::Serialize;
use tokio::task::JoinSet;

use super::exit::{Failure, Outcome};
use super::out::{self, Table};
use crate::config::{self, Config, Report, StoreSettings};

/// How long one provider may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(15);

/// What to check.
#[derive(Debug, clap::Args)]
pub(super) struct CheckArgs {
    /// Configuration files, merged in this order.
    #[arg(long, short, value_name = "FILE", num_args = 1.., required = true)]
    config: Vec<PathBuf>,
    /// Ask each provider whether credentials and account are good, and the database whether
    /// the gateway could start on it; sends no mail and changes nothing.
    #[arg(long)]
    online: bool,
    /// Write JSON.
    #[arg(long)]
    json: bool,
}

/// What one provider said.
#[derive(Debug, Serialize)]
struct Online {
    provider: String,
    kind: &'static str,
    is_good: bool,
    note: String,
    /// What mail would fail on, though the credentials are good.
    findings: Vec<String>,
    /// What the service has no answer to, and where it stands.
    unasked: Vec<String>,
}

/// What the database said.
#[derive(Debug, Serialize)]
struct Database {
    place: String,
    is_good: bool,
    note: String,
}

#[derive(Serialize)]
struct Checked<'a> {
    #[serde(flatten)]
    report: &'a Report,
    #[serde(skip_serializing_if = "Option::is_none")]
    online: Option<&'a [Online]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    database: Option<&'a Database>,
}

/// Runs `malote check`.
pub(super) async fn run(args: CheckArgs) -> Outcome {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let outcome = config::read(&args.config, std::env::vars_os(), &clock);
    let report = &outcome.report;
    let online = match &outcome.config {
        Some(config) if args.online => Some(ask(config).await),
        Some(_) | None => None,
    };
    let database = match &outcome.config {
        Some(config) if args.online => look_at_database(config, &clock).await,
        Some(_) | None => None,
    };
    if args.json {
        out::json(&Checked {
            report,
            online: online.as_deref(),
            database: database.as_ref(),
        })?;
    } else {
        out::paint(&report.render(out::is_coloured()))?;
        if let Some(online) = &online {
            print(online)?;
        }
        if let Some(database) = &database {
            print_database(database)?;
        }
    }
    if !report.is_good() {
        return Err(Failure::Usage("the configuration is not good".to_owned()));
    }
    if database.is_some_and(|database| !database.is_good) {
        return Err(Failure::failed("the database is not ready"));
    }
    let is_not_ready = |answer: &&Online| !answer.is_good || !answer.findings.is_empty();
    match online.iter().flatten().filter(is_not_ready).count() {
        0 => Ok(()),
        1 => Err(Failure::failed("one provider is not ready")),
        several => Err(Failure::failed(format!(
            "{several} providers are not ready"
        ))),
    }
}

/// `None` if the configuration names no database.
async fn look_at_database(config: &Config, clock: &Arc<dyn Clock>) -> Option<Database> {
    let settings = config.database()?;
    let looked = match &config.store {
        StoreSettings::Postgres(_) => PostgresStore::look_at(settings).await,
        StoreSettings::Sqlite(_) => PostgresShared::look_at(settings, Arc::clone(clock)).await,
    };
    Some(Database {
        place: settings.place(),
        is_good: looked.is_ok(),
        note: looked.map_or_else(|error| error.to_string(), |()| "ready".to_owned()),
    })
}

fn print_database(database: &Database) -> std::io::Result<()> {
    let mut table = Table::new(&["DATABASE", "READY", "NOTE"]);
    let is_good = if database.is_good { "yes" } else { "no" };
    table.row([&database.place, is_good, &database.note]);
    table.print()
}

async fn ask(config: &Config) -> Vec<Online> {
    let senders: Arc<[String]> = sender_domains(config).into();
    let mut asking = JoinSet::new();
    for (name, provider) in &config.providers {
        let provider = Arc::clone(&provider.adapter.provider);
        asking.spawn(ask_one(name.to_string(), provider, Arc::clone(&senders)));
    }
    let mut answers = asking.join_all().await;
    answers.sort_by(|a, b| a.provider.cmp(&b.provider));
    answers
}

/// The domains that credentials may send from; every provider should know them, as any may have
/// to take over.
fn sender_domains(config: &Config) -> Vec<String> {
    let credentials = config.credentials.iter();
    let domains: BTreeSet<String> = credentials
        .flat_map(|credential| credential.from_domains.iter().cloned())
        .collect();
    domains.into_iter().collect()
}

async fn ask_one(name: String, provider: Arc<dyn Provider>, senders: Arc<[String]>) -> Online {
    let mut online = Online {
        provider: name,
        kind: provider.kind(),
        is_good: false,
        note: String::new(),
        findings: Vec::new(),
        unasked: provider.unasked().iter().map(untold).collect(),
    };
    let answer = tokio::time::timeout(ANSWER_MAX, provider.check()).await;
    match answer {
        Ok(Ok(account)) => {
            online.is_good = true;
            online.note = account.note;
        }
        Ok(Err(error)) => {
            online.note = format!("{}: {}", error.verdict.as_str(), error.reply);
            return online;
        }
        Err(_) => {
            online.note = format!("no answer within {} s", ANSWER_MAX.as_secs());
            return online;
        }
    }
    online.findings = match tokio::time::timeout(ANSWER_MAX, provider.inspect(&senders)).await {
        Ok(Ok(findings)) => findings.iter().map(told).collect(),
        Ok(Err(error)) => vec![format!(
            "could not be looked into: {}: {}",
            error.verdict.as_str(),
            error.reply
        )],
        Err(_) => vec![format!(
            "could not be looked into within {} s",
            ANSWER_MAX.as_secs()
        )],
    };
    online
}

fn told(finding: &Finding) -> String {
    match &finding.about {
        About::Account => format!("account: {}", finding.text),
        About::Pool(pool) => format!("pool {pool}: {}", finding.text),
        About::Sender(domain) => format!("sender {domain}: {}", finding.text),
    }
}

fn untold(unasked: &Unasked) -> String {
    let what = unasked.question.as_str();
    format!("{what} cannot be asked: look at {}", unasked.look_at)
}

fn print(answers: &[Online]) -> std::io::Result<()> {
    let mut table = Table::new(&["PROVIDER", "KIND", "READY", "NOTE"]);
    for answer in answers {
        let is_good = if answer.is_good { "yes" } else { "no" };
        table.row([&answer.provider, answer.kind, is_good, &answer.note]);
        for finding in &answer.findings {
            table.row(["", "", "but", finding]);
        }
        for unasked in &answer.unasked {
            table.row(["", "", "?", unasked]);
        }
    }
    table.print()
}
