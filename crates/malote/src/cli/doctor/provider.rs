//! Each provider's account, and whether what it tells of mail reaches us.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use malote_core::clock::Clock;
use malote_core::name::ProviderName;
use malote_core::provider::{About, Account, Finding, Provider, SendError, SenderRecord};
use malote_delivery::LAST_EVENT_METRIC;
use malote_store::{StoreError, TOLD_LOOKED_AT_MAX};
use tokio::task::JoinSet;

use super::super::client::Client;
use super::plan::Wish;
use super::progress::Progress;
use super::reach;
use super::report::{Level, Line, Section};
use crate::config::{Config, ConfiguredProvider};
use crate::place::StorePlace;

/// How long a provider may take for each question.
const ANSWER_MAX: Duration = Duration::from_secs(15);
/// Share of a day's quota below which it is about to be spent.
const LEFT_SHARE_MIN: f64 = 0.1;
/// Where a gateway is if the configuration does not say.
const GATEWAY: &str = "https://GATEWAY";

/// What one provider said.
pub(super) struct Answered {
    pub(super) name: ProviderName,
    account: Result<Account, String>,
    /// What mail would fail on; in words why it is not known.
    findings: Result<Vec<Finding>, String>,
    /// What it wants to find in the DNS, if it told anything.
    pub(super) records: Option<Vec<SenderRecord>>,
    /// Who answers at its webhook's URL, where one is configured and its place is known.
    reached: Option<reach::Answer>,
}

/// Asks all providers at once.
pub(super) async fn ask(
    config: &Config,
    wish: &Wish,
    senders: &[String],
    progress: &Progress,
) -> Vec<Answered> {
    let senders: Arc<[String]> = senders.into();
    let mut asking = JoinSet::new();
    for (name, provider) in config.providers.iter().filter(|(name, _)| wish.wants(name)) {
        let provider = Arc::clone(&provider.adapter.provider);
        let url = webhook_url(config, name);
        asking.spawn(ask_one((name.clone(), url), provider, Arc::clone(&senders)));
    }
    let mut answered = Vec::new();
    let count = asking.len();
    progress.show(&format!("asking {count} providers"));
    while let Some(answer) = asking.join_next().await {
        answered.extend(answer);
        progress.show(&format!("{} of {count} providers answered", answered.len()));
    }
    answered.sort_by(|a, b| a.name.cmp(&b.name));
    answered
}

async fn ask_one(
    (name, url): (ProviderName, Option<String>),
    provider: Arc<dyn Provider>,
    senders: Arc<[String]>,
) -> Answered {
    let mut answered = Answered {
        name,
        account: bounded(provider.check()).await,
        findings: Ok(Vec::new()),
        records: None,
        reached: match url {
            Some(url) => Some(reach::ask(&url).await),
            None => None,
        },
    };
    if answered.account.is_ok() {
        answered.findings = bounded(provider.inspect(&senders)).await;
        let records = bounded(provider.sender_records(&senders)).await;
        answered.records = records.ok().filter(|records| !records.is_empty());
    }
    answered
}

async fn bounded<T>(asking: impl Future<Output = Result<T, SendError>>) -> Result<T, String> {
    match tokio::time::timeout(ANSWER_MAX, asking).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(format!("{}: {}", error.verdict.as_str(), error.reply)),
        Err(_) => Err(format!("no answer within {} s", ANSWER_MAX.as_secs())),
    }
}

/// When providers' events last came.
pub(super) enum Events {
    /// The gateway's metrics.
    Metrics(String),
    /// What the store of one that does not run tells.
    Store(BTreeMap<ProviderName, Timestamp>),
    /// Nobody can be asked; in words.
    Unknown(String),
}

impl Events {
    /// Asks a running gateway, else the store of one that does not run.
    pub(super) async fn ask(client: &Client, config: &Config, clock: &Arc<dyn Clock>) -> Self {
        if let Some(away) = client.absence().await {
            return match told_to_store(config, clock).await {
                Ok(told) => Self::Store(told),
                Err(why) => Self::Unknown(format!("{away}, and the store cannot be read: {why}")),
            };
        }
        match client.metrics().await {
            Ok(text) => Self::Metrics(text),
            Err(_) => Self::Unknown(format!("the gateway at {} tells no metrics", client.url())),
        }
    }

    fn line(&self, provider: &ProviderName) -> Line {
        const CHECK: &str = "last event";
        let at = match self {
            Self::Unknown(why) => return Line::new(Level::Unknown, CHECK, why.clone()),
            Self::Metrics(text) => last_event(text, provider),
            Self::Store(told) => told.get(provider).copied(),
        };
        match at {
            Some(at) => Line::new(Level::Ok, CHECK, format!("{at}")),
            None => {
                let text = format!("none among the last {TOLD_LOOKED_AT_MAX} events");
                let way_out = "if mail was sent since, see \"Events that do not come\" in \
                               docs/OPERATING.md";
                Line::new(Level::Unknown, CHECK, text).way_out(way_out)
            }
        }
    }
}

async fn told_to_store(
    config: &Config,
    clock: &Arc<dyn Clock>,
) -> Result<BTreeMap<ProviderName, Timestamp>, StoreError> {
    let store = StorePlace::open_read_only(&config.store, clock).await?;
    Ok(store.spool().last_told().await?.into_iter().collect())
}

fn last_event(metrics: &str, provider: &ProviderName) -> Option<Timestamp> {
    let series = format!("{LAST_EVENT_METRIC}{{provider=\"{provider}\"}} ");
    let value = metrics
        .lines()
        .find_map(|line| line.strip_prefix(&series))?;
    Timestamp::from_second(value.trim().parse().ok()?).ok()
}

/// A section for each provider that was asked.
pub(super) fn sections(config: &Config, answered: &[Answered], events: &Events) -> Vec<Section> {
    let section = |answered: &Answered| {
        let configured = config.providers.get(&answered.name)?;
        let mut lines = account_lines(&answered.account);
        lines.extend(finding_lines(&answered.findings));
        lines.extend(webhook_lines(config, answered, configured, events));
        Some(Section {
            name: answered.name.to_string(),
            about: configured.origin.service.to_owned(),
            lines,
            pages: Vec::new(),
        })
    };
    answered.iter().filter_map(section).collect()
}

fn account_lines(account: &Result<Account, String>) -> Vec<Line> {
    const CHECK: &str = "account";
    let account = match account {
        Ok(account) => account,
        Err(why) => {
            let way_out = "no mail leaves by it: correct its credentials or its endpoint";
            return vec![Line::new(Level::Fault, CHECK, why.clone()).way_out(way_out)];
        }
    };
    let note = match account.note.is_empty() {
        true => "ready",
        false => &account.note,
    };
    let mut lines = vec![Line::new(Level::Ok, CHECK, note)];
    lines.extend(quota(account));
    lines
}

fn quota(account: &Account) -> Option<Line> {
    const CHECK: &str = "quota";
    let day = account.per_day?;
    let Some(sent) = account.sent_last_day else {
        let text = format!("{day} in 24 hours; the service does not tell how many are left");
        return Some(Line::new(Level::Ok, CHECK, text));
    };
    let left = day.saturating_sub(sent);
    let text = format!("{left} of {day} in 24 hours are left");
    let is_low = (left as f64) < LEFT_SHARE_MIN * (day as f64);
    Some(match (left, is_low) {
        (0, _) => Line::new(Level::Fault, CHECK, text)
            .way_out("mail waits or leaves by the next target: ask the service for more"),
        (_, true) => Line::new(Level::Warning, CHECK, text).way_out("ask the service for more"),
        (_, false) => Line::new(Level::Ok, CHECK, text),
    })
}

fn finding_lines(findings: &Result<Vec<Finding>, String>) -> Vec<Line> {
    let findings = match findings {
        Ok(findings) => findings,
        Err(why) => {
            let text = format!("could not be looked into: {why}");
            return vec![Line::new(Level::Unknown, "account", text)];
        }
    };
    let line = |finding: &Finding| {
        let check = match &finding.about {
            About::Account => "account".to_owned(),
            About::Pool(pool) => format!("pool {pool}"),
            About::Sender(domain) => format!("sender {domain}"),
        };
        Line::new(Level::Fault, check, finding.text.clone())
    };
    findings.iter().map(line).collect()
}

/// Whether a service tells what became of mail by calling us.
fn calls_back(service: &str) -> bool {
    !matches!(
        service,
        "smtp" | "postfix" | "exim" | "mailcow" | "google" | "microsoft365" | "capture"
    )
}

fn public_url(config: &Config) -> Option<&str> {
    config.http.as_ref()?.public_url.as_deref()
}

fn url_at(place: &str, name: &ProviderName) -> String {
    format!("{}/v1/webhooks/{name}", place.trim_end_matches('/'))
}

/// Where a service posts, if it does and the place is known.
fn webhook_url(config: &Config, name: &ProviderName) -> Option<String> {
    let configured = config.providers.get(name)?;
    let is_told = calls_back(configured.origin.service) && configured.adapter.webhook.is_some();
    let place = public_url(config).filter(|_| is_told)?;
    Some(url_at(place, name))
}

fn webhook_lines(
    config: &Config,
    answered: &Answered,
    provider: &ConfiguredProvider,
    events: &Events,
) -> Vec<Line> {
    const CHECK: &str = "webhook";
    if !calls_back(provider.origin.service) {
        return Vec::new();
    }
    let name = &answered.name;
    let url = url_at(public_url(config).unwrap_or(GATEWAY), name);
    if provider.adapter.webhook.is_none() {
        let text = "not configured: bounces and complaints are not heard of, and who complains is \
                    mailed again";
        let way_out = format!("give [providers.{name}.webhook], and the service the URL {url}");
        return vec![Line::new(Level::Warning, CHECK, text).way_out(way_out)];
    }
    if config.http.is_none() {
        let text = "it is configured, and there is no [http] where the service could call";
        return vec![Line::new(Level::Fault, CHECK, text).way_out("give [http]")];
    }
    let mut lines = vec![Line::new(
        Level::Ok,
        CHECK,
        format!("the service's URL is {url}"),
    )];
    lines.extend(answered.reached.as_ref().map(reach::line));
    if public_url(config).is_none() {
        let text = "the gateway's address from outside is not known";
        let way_out = "give http.public_url, and this shows the URL as it is typed in";
        lines.push(Line::new(Level::Unknown, CHECK, text).way_out(way_out));
    }
    lines.push(events.line(name));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_a_quota_is_weighed() {
        let account = |day, sent| Account {
            per_day: day,
            sent_last_day: sent,
            ..Account::default()
        };
        for (day, sent, level) in [
            (None, Some(5), None),
            (Some(1000), None, Some(Level::Ok)),
            (Some(1000), Some(100), Some(Level::Ok)),
            (Some(1000), Some(901), Some(Level::Warning)),
            (Some(1000), Some(1200), Some(Level::Fault)),
        ] {
            let found = quota(&account(day, sent)).map(|line| line.level);
            assert_eq!(found, level, "{day:?} {sent:?}");
        }
    }

    #[test]
    fn the_last_event_is_read_from_the_metrics() {
        let metrics = format!(
            "# HELP x y\n{LAST_EVENT_METRIC}{{provider=\"ses-main\"}} 1\n\
             {LAST_EVENT_METRIC}{{provider=\"ses\"}} 1700000000\n"
        );
        let name = |text: &str| ProviderName::try_from(text).unwrap();
        let at = last_event(&metrics, &name("ses")).unwrap();
        assert_eq!(at.as_second(), 1_700_000_000);
        assert_eq!(last_event(&metrics, &name("mailgun")), None);
        let line = Events::Metrics(metrics).line(&name("mailgun"));
        assert_eq!(line.level, Level::Unknown);
        let told = Events::Store(BTreeMap::from([(name("ses"), at)]));
        assert_eq!(told.line(&name("ses")).level, Level::Ok);
        assert_eq!(told.line(&name("mailgun")).level, Level::Unknown);
    }
}
