//! A service that repeats our credentials in an error: they stand in no timeline, event, log or
//! metric.

use std::fmt::Write as _;

use anyhow::{Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use malote_sandbox::{Fault, FaultKind, Kind, SandboxConfig};
use malote_tests::{Config, Gateway, SHOP_KEY, Service, provider_tables, smtp_tables};
use reqwest::Method;

use crate::{SENT_MAX, order};

/// Octets of a secret in a row that may stand nowhere.
const PART_BYTES: usize = 8;

/// What proves to the simulators who calls: keys and passwords, and logins in base64.
fn secrets() -> Vec<String> {
    let logins = [
        "api:key-sandbox",
        "first-half:second-half",
        "\0shop\0key-sandbox",
    ];
    let plain = ["key-sandbox", "second-half", "wJalrXUtnFEMI/K7MDENG"];
    let plain = plain.into_iter().map(str::to_owned);
    plain
        .chain(logins.map(|login| STANDARD.encode(login)))
        .collect()
}

fn ensure_clean(place: &str, text: &str) -> Result<()> {
    for secret in secrets() {
        for part in secret.as_bytes().windows(PART_BYTES) {
            let part = String::from_utf8_lossy(part);
            let line = text.lines().find(|line| line.contains(part.as_ref()));
            ensure!(line.is_none(), "{part} stands in {place}: {line:?}");
        }
    }
    Ok(())
}

/// A simulator that repeats each login, its provider and the route to it.
async fn seat(kind: Kind) -> Result<(Service, String)> {
    let name = format!("at_{}", kind.as_str());
    let any = ([127, 0, 0, 1], 0).into();
    let (_, login) = smtp_tables(kind, &name, any);
    let adapt = |config: &mut SandboxConfig| {
        if kind == Kind::Smtp {
            config.smtp.login = Some(login);
        } else if kind == Kind::Mailjet {
            // The first half of its key is a name and no secret.
            "first-half".clone_into(&mut config.account.api_key);
        }
    };
    let service = Service::start_on(kind, any, adapt).await?;
    ensure!(service.sandbox.arm(Fault::always(FaultKind::Echo)));
    let mut tables = if kind == Kind::Smtp {
        smtp_tables(kind, &name, service.address).0
    } else {
        provider_tables(kind, &name, service.address)
    };
    if kind == Kind::Mailjet {
        tables = tables.replace("key-sandbox", "first-half");
    }
    write!(
        tables,
        "[routes.{name}]\nstrategy = \"failover\"\n\
         targets = [{{ provider = \"{name}\" }}, {{ provider = \"relay\" }}]\n\
         [[rules]]\nname = \"{name}\"\nwhen = {{ recipient_domain = [\"{}.example\"] }}\n\
         then = {{ route = \"{name}\" }}\n",
        kind.as_str()
    )?;
    Ok((service, tables))
}

#[tokio::test]
async fn credentials_that_a_service_repeats_are_kept_nowhere() -> Result<()> {
    let mut tables = "[log]\nlevel = \"debug\"\n[providers.relay.capture]\n[routes.main]\n\
                      strategy = \"failover\"\ntargets = [{ provider = \"relay\" }]\n"
        .to_owned();
    let mut services = Vec::new();
    for kind in Kind::all() {
        let (service, table) = seat(kind).await?;
        tables.push_str(&table);
        services.push((kind, service));
    }
    let mut gateway = Gateway::start(Config::rehearsal(&tables)?).await?;
    let recipient = |kind: &Kind| format!("ana@{}.example", kind.as_str());
    for (kind, _) in &services {
        gateway.submit(&order(&recipient(kind))).await?;
    }
    for (kind, service) in &services {
        let timeline = gateway
            .reached(&recipient(kind), SHOP_KEY, &["sent"], SENT_MAX)
            .await?
            .to_string();
        ensure!(service.sandbox.stats().faults > 0, "{kind:?} was not asked");
        ensure!(
            timeline.contains("provider_unusable") || timeline.contains("is out"),
            "{timeline}"
        );
        // What SES is shown is a signature, of no use to anybody else.
        let is_masked = timeline.contains("***") || *kind == Kind::Ses;
        ensure!(is_masked, "{kind:?} repeated nothing: {timeline}");
        ensure_clean(kind.as_str(), &timeline)?;
    }
    for path in ["/metrics", "/admin/v1/targets"] {
        let answer = gateway.admin(Method::GET, path).send().await?;
        ensure_clean(path, &answer.error_for_status()?.text().await?)?;
    }
    let feed = gateway.request(Method::GET, "/v1/events", SHOP_KEY);
    let feed = feed.send().await?.error_for_status()?.text().await?;
    ensure!(feed.contains("failed_over"), "{feed}");
    ensure_clean("the feed", &feed)?;
    gateway.stop().await?;
    ensure_clean("the log", &gateway.log())
}
