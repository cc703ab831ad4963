//! `docs/providers/README.md`: all services side by side.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use malote_tests::{Config, Gateway};
use serde_json::Value;

use super::descriptions::DESCRIPTIONS;
use super::page::{carried, compare, note, octets};
use super::program::{self, PAGE};
use super::run::provider_tables;
use super::services::{SERVICES, Service};

/// What stands above the table.
const OPENING: &str = "\
Each page has the lines for the configuration, what survives the way to the service, and what malote \
makes of each answer. The pages are made by a test that sends [the corpus](../../tests/corpus) \
through every adapter to a simulator of its service, and fails when they are not what it saw. \
`malote providers --kind KIND` prints the answers of a service.

SMTP carries a message octet for octet. An API that takes MIME nearly so. Where an API takes \
fields, what they cannot say is refused by the adapter, and the next target of the route gets the \
message: put one behind it that takes MIME.

";

/// What stands below it: the verdicts, as the engine takes them.
const VERDICTS: &str = "\
## Verdicts

| verdict | what follows |
| --- | --- |
| `accepted` | the service has it; its events tell what becomes of it |
| `throttled` | the target slows down; the attempt does not count |
| `transient` | another target or another time; counts against the breaker |
| `deferred` | the same target later; nothing against the provider |
| `quota_spent` | the target rests until the quota is renewed, an hour if nobody says when |
| `provider_unusable` | the provider is out until its check is good; an alert |
| `pool_unusable` | the pool is out |
| `sender_unusable` | the target is out for the sender's domain |
| `ungroup` | the recipients of the call are sent to one by one |
| `suppressed` | bounced: the service has suppressed the address itself |
| `rejected_recipient` | bounced, and the address is suppressed |
| `rejected_message` | bounced: nobody would take it |
| `rejected_message_here` | the next target gets it |
| `rejected_reputation` | the next target gets it; the address is not to blame |
| `rejected_not_permitted` | bounced with an alert: the account may not mail this address |
| `unknown` | it may have been sent: what follows is the stream's `on_unknown` |
";

/// What stands at the end, above its table.
const DESCRIBED: &str = "
## What the calls are checked against

Every call that the adapters make for the corpus, and for a message with tags, metadata, a pool and \
several recipients, is checked in the test suite against what the service publishes of its API in a \
package; so are the simulators' answers of success and of failure where it has their form. Spoilt \
calls must be refused. The packages are installed for the tests and are no part of malote. None of \
it shows what a service does with a call.

| kind | what it publishes | licence | what is checked |
| --- | --- | --- | --- |
";

#[tokio::test]
async fn the_table_of_services_is_what_the_program_tells() -> Result<()> {
    let relay = "[providers.relay.capture]\n[routes.main]\nstrategy = \"failover\"\n\
                 targets = [{ provider = \"relay\" }]\n";
    let gateway = Gateway::start(Config::rehearsal(relay)?).await?;
    let mut page = format!("# Providers\n\n{}{OPENING}", note("corpus/readme.rs"));
    page += "| service | kind | API takes | recipients a call | largest message | pools by | \
             events | SMTP | recipients a call | largest message |\n";
    page += "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n";
    for service in SERVICES {
        let tables = [("smtp", Some(&service.smtp)), ("api", service.api.as_ref())];
        let tables = tables.into_iter().filter_map(|(name, lines)| {
            let lines = lines?;
            Some(provider_tables(service, lines, name))
        });
        program::write(&gateway, &tables.collect::<String>(), "provider = \"smtp\"")?;
        let plain = program::kind(&gateway, "smtp", PAGE).await?;
        let told = program::kind(&gateway, service.kind.as_str(), PAGE).await?;
        add_row(&mut page, service, &[&told, &plain])?;
    }
    page += "\nKind `capture` keeps mail and sends none; it is for development. Presets of kind \
             `smtp` without a page of their own: `postfix`, `exim`, `mailcow`, `microsoft365`, \
             `google`.\n\n";
    page += VERDICTS;
    page += DESCRIBED;
    for description in DESCRIPTIONS {
        let (kind, licence) = (description.kind.as_str(), description.licence);
        let (source, checked) = (description.source, description.checked);
        writeln!(page, "| `{kind}` | {source} | {licence} | {checked} |")?;
    }
    compare("README", &page)
}

fn add_row(page: &mut String, service: &Service, told: &[&Value]) -> Result<()> {
    let kind = service.kind.as_str();
    let smtp = carried(told, "smtp")?;
    let title = format!("[{}]({kind}.md)", service.title);
    let by_smtp = match (service.smtp.is_preset, kind) {
        (true, "smtp") => "yes".to_owned(),
        (true, kind) => format!("`preset = \"{kind}\"`"),
        (false, _) => "`transport = \"smtp\"`".to_owned(),
    };
    let api = match &service.api {
        None => [""; 5].join(" | "),
        Some(lines) => {
            let carries = carried(told, "api");
            let carries = carries.with_context(|| kind.to_owned())?;
            let pool = lines.pool.map(|(key, _)| format!("`{key}`"));
            let events = if service.webhook.is_some() {
                "yes"
            } else {
                "no"
            };
            format!(
                "{} | {} | {} | {} | {events}",
                service.form,
                carries["recipients_max"],
                octets(&carries["message_bytes_max"]),
                pool.unwrap_or_default(),
            )
        }
    };
    writeln!(
        page,
        "| {title} | `{kind}` | {api} | {by_smtp} | {} | {} |",
        smtp["recipients_max"],
        octets(&smtp["message_bytes_max"])
    )?;
    Ok(())
}
