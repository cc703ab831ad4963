//! `malote check --online` finds, without sending mail, what mail would fail on.

pub(crate) mod cells;

use anyhow::{Context, Result, ensure};
use malote_sandbox::{Kind, SandboxConfig};
use malote_tests::{Config, Gateway, Service, provider_tables, run, smtp_tables};
use serde_json::{Value, json};

use self::cells::{Cell, ROWS, Row};
use crate::SENT_MAX;

/// What is wrong with an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrong {
    Key,
    Senders,
    Pools,
    Account,
}

impl Wrong {
    const ALL: [Self; 4] = [Self::Key, Self::Senders, Self::Pools, Self::Account];

    /// The name of the row's provider at such an account.
    fn name(self, row: &Row) -> String {
        format!("{self:?}_{}_{}", row.kind.as_str(), row.way).to_lowercase()
    }

    /// What the row says of it.
    const fn cell(self, row: &Row) -> Cell {
        match self {
            Self::Key => Cell::Refused("provider_unusable"),
            Self::Senders => row.sender,
            Self::Pools => row.pool.1,
            Self::Account => row.account,
        }
    }

    /// What is told where it cannot be asked.
    const fn unasked(self) -> &'static str {
        match self {
            Self::Key => "the key cannot be asked",
            Self::Senders => "senders cannot be asked: look at ",
            Self::Pools => "pools cannot be asked: look at ",
            Self::Account => "account cannot be asked: look at ",
        }
    }
}

/// The account of a row with this wrong, and the tables of its provider.
async fn account(row: &Row, wrong: Wrong) -> Result<(Service, String)> {
    let any = ([127, 0, 0, 1], 0).into();
    let is_smtp = row.way == "smtp";
    let kind = if is_smtp { Kind::Smtp } else { row.kind };
    let (_, login) = smtp_tables(row.kind, "any", any);
    let adapt = |config: &mut SandboxConfig| {
        // Senders and pools are named, not any: some services only have lists of them.
        let senders = match wrong {
            Wrong::Senders => ["other.example"].as_slice(),
            Wrong::Key | Wrong::Pools | Wrong::Account => &["shop.example", "news.example.com"],
        };
        let pool = if wrong == Wrong::Pools {
            "other"
        } else {
            "ours"
        };
        let senders = senders.iter().map(|sender| (*sender).to_owned());
        config.account.senders = Some(senders.collect());
        config.account.pools = Some(vec![pool.to_owned()]);
        config.ses.configuration_sets = Some(vec![pool.to_owned()]);
        config.account.is_limited = wrong == Wrong::Account;
        if is_smtp {
            config.smtp.service = Some(row.kind);
            config.smtp.login = Some(login);
        }
    };
    let service = Service::start_on(kind, any, adapt).await?;
    let name = wrong.name(row);
    let mut tables = match is_smtp {
        true => smtp_tables(row.kind, &name, service.address).0,
        false => provider_tables(row.kind, &name, service.address),
    };
    if wrong == Wrong::Key {
        tables = tables
            .replace("key-sandbox", "key-wrong")
            .replace("wJalr", "wrong");
    }
    let (pool_key, _) = row.pool;
    if !pool_key.is_empty() {
        tables += &format!("[providers.{name}.pools.x]\n{pool_key} = \"ours\"\n");
    }
    Ok((service, tables))
}

/// Each provider's answer, by its name.
async fn checked(tables: &str) -> Result<Vec<Value>> {
    let relay = "[providers.relay.capture]\n[routes.main]\nstrategy = \"failover\"\ntargets = [{ provider = \"relay\" }]\n";
    let gateway = Gateway::start(Config::rehearsal(&format!("{relay}{tables}"))?).await?;
    let arguments = ["check", "--config", "malote.toml", "--online", "--json"];
    let outcome = run(&mut gateway.command(&arguments)?, SENT_MAX).await?;
    let report: Value = serde_json::from_str(&outcome.stdout).context(outcome.stdout.clone())?;
    let online = report["online"].as_array().context("nothing was asked")?;
    Ok(online.clone())
}

fn answer<'a>(online: &'a [Value], name: &str) -> Result<&'a Value> {
    let mut answers = online.iter();
    let found = answers.find(|answer| answer["provider"] == name);
    found.with_context(|| format!("{name} was not asked"))
}

#[tokio::test]
async fn what_is_wrong_is_found_or_told_to_be_beyond_asking() -> Result<()> {
    let mut tables = String::new();
    let mut accounts = Vec::new();
    for row in ROWS {
        for wrong in Wrong::ALL {
            let (service, table) = account(row, wrong).await?;
            tables += &table;
            accounts.push((row, wrong, service));
        }
    }
    let online = checked(&tables).await?;
    let mut surprises = Vec::new();
    for (row, wrong, service) in &accounts {
        let name = wrong.name(row);
        let answer = answer(&online, &name)?;
        let cell = wrong.cell(row);
        if !is_as_said(answer, *wrong, cell) {
            surprises.push(format!("{name} is not {cell:?}: {answer}"));
        }
        ensure!(service.sandbox.stats().messages == 0, "mail was sent");
    }
    ensure!(surprises.is_empty(), "{}", surprises.join("\n"));
    Ok(())
}

/// Whether the answer says of this wrong what the cell does, and nothing else of it.
fn is_as_said(answer: &Value, wrong: Wrong, cell: Cell) -> bool {
    let begins = |list: &Value, text: &str| {
        let mut texts = list.as_array().into_iter().flatten();
        texts.any(|told| told.as_str().is_some_and(|told| told.starts_with(text)))
    };
    let (findings, unasked) = (&answer["findings"], &answer["unasked"]);
    let is_unasked = begins(unasked, wrong.unasked());
    match cell {
        Cell::Refused(why) => {
            answer["is_good"] == false && answer["note"].to_string().contains(why)
        }
        Cell::Finds(text) => answer["is_good"] == true && begins(findings, text) && !is_unasked,
        Cell::Unasked => answer["is_good"] == true && is_unasked && *findings == json!([]),
        Cell::Without => answer["is_good"] == true && !is_unasked && *findings == json!([]),
    }
}

#[test]
fn every_way_to_every_service_has_a_row() {
    for kind in Kind::all() {
        let ways = ROWS.iter().filter(|row| row.kind == kind);
        let ways: Vec<&str> = ways.map(|row| row.way).collect();
        let expected: &[&str] = match kind == Kind::Smtp {
            true => &["smtp"],
            false => &["api", "smtp"],
        };
        assert_eq!(ways, expected, "{}", kind.as_str());
    }
}

/// Nothing is wrong with a simulator whose account was told of no sender and no pool.
#[tokio::test]
async fn an_account_with_every_sender_and_pool_is_good() -> Result<()> {
    let mut tables = String::new();
    let mut services = Vec::new();
    for kind in Kind::all() {
        let service = Service::start(kind).await?;
        let name = kind.as_str();
        tables.push_str(&provider_tables(kind, name, service.address));
        let pool_key = match kind {
            Kind::Ses => "configuration_set",
            Kind::Mailgun => "sending_ip_pool",
            Kind::Sendgrid => "ip_pool_name",
            Kind::Sparkpost => "ip_pool",
            Kind::Elasticemail => "pool_name",
            // A server without streams of its own has its two, and no other is listed.
            Kind::Postmark
            | Kind::Mailtrap
            | Kind::Smtp2go
            | Kind::Postal
            | Kind::Mailjet
            | Kind::Brevo
            | Kind::Resend
            | Kind::Smtp => "",
        };
        if !pool_key.is_empty() {
            tables.push_str(&format!(
                "[providers.{name}.pools.x]\n{pool_key} = \"ours\"\n"
            ));
        }
        services.push(service);
    }
    let online = checked(&tables).await?;
    for service in &services {
        let answer = answer(&online, service.sandbox.kind().as_str())?;
        ensure!(answer["is_good"] == true, "{answer}");
        ensure!(answer["findings"] == json!([]), "{answer}");
        let count = service.sandbox.stats().messages;
        ensure!(count == 0, "mail was sent: {answer}");
    }
    Ok(())
}

#[tokio::test]
async fn a_wrong_password_is_found_at_a_server() -> Result<()> {
    let service = Service::start_on(Kind::Smtp, ([127, 0, 0, 1], 0).into(), |config| {
        config.smtp.login = Some(("shop".to_owned(), "right".to_owned()));
    });
    let service = service.await?;
    let tables = provider_tables(Kind::Smtp, "it", service.address);
    for (login, is_good, found) in [
        ("user = \"shop\"\npassword = \"right\"\n", true, "[]"),
        ("user = \"shop\"\npassword = \"wrong\"\n", false, ""),
        ("", true, "account"),
    ] {
        let online = checked(&format!("{tables}{login}")).await?;
        let answer = answer(&online, "it")?;
        ensure!(answer["is_good"] == is_good, "{login}: {answer}");
        let findings = answer["findings"].to_string();
        ensure!(findings.contains(found), "{login}: {answer}");
    }
    ensure!(service.sandbox.stats().messages == 0, "mail was sent");
    Ok(())
}
