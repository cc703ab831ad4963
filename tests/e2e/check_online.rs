//! `malote check --online` finds, without sending mail, what mail would fail on.

use anyhow::{Context, Result, ensure};
use malote_sandbox::Kind;
use malote_tests::{Config, Gateway, Service, provider_tables, run};
use serde_json::Value;

use crate::SENT_MAX;

/// An account that knows another sender and another pool than ours.
async fn strange(kind: Kind, is_limited: bool) -> Result<Service> {
    Service::start_on(kind, ([127, 0, 0, 1], 0).into(), |config| {
        config.account.senders = Some(vec!["other.example".to_owned()]);
        config.account.pools = Some(vec!["other".to_owned()]);
        config.ses.configuration_sets = Some(vec!["other".to_owned()]);
        config.account.is_limited = is_limited;
    })
    .await
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
async fn a_wrong_key_is_found_at_every_service() -> Result<()> {
    let mut tables = String::new();
    let mut services = Vec::new();
    for kind in Kind::all().filter(|kind| *kind != Kind::Smtp) {
        let service = Service::start(kind).await?;
        let right = provider_tables(kind, kind.as_str(), service.address);
        tables.push_str(
            &right
                .replace("key-sandbox", "key-wrong")
                .replace("wJalr", "wrong"),
        );
        services.push(service);
    }
    let online = checked(&tables).await?;
    for service in &services {
        let name = service.sandbox.kind().as_str();
        let answer = answer(&online, name)?;
        ensure!(answer["is_good"] == false, "{name}: {answer}");
        ensure!(
            answer["note"].to_string().contains("provider_unusable"),
            "{answer}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn strange_senders_missing_pools_and_limited_accounts_are_found() -> Result<()> {
    let pool = |key: &str| format!("[providers.it.pools.x]\n{key} = \"ours\"\n");
    for (kind, pool_key, found) in [
        (
            Kind::Sendgrid,
            "ip_pool_name",
            &["sender shop.example", "pool x"][..],
        ),
        (
            Kind::Sparkpost,
            "ip_pool",
            &["sender shop.example", "pool x", "account"],
        ),
        (Kind::Postmark, "message_stream", &["pool x"]),
        (Kind::Elasticemail, "", &["sender shop.example"]),
        (Kind::Brevo, "", &["sender shop.example"]),
        (Kind::Resend, "", &["sender shop.example"]),
        (Kind::Mailjet, "", &["sender shop.example", "account"]),
        (Kind::Mailtrap, "", &["sender shop.example"]),
        (Kind::Smtp2go, "", &["sender shop.example", "account"]),
        (
            Kind::Ses,
            "configuration_set",
            &["sender shop.example", "pool x", "account"],
        ),
        (Kind::Mailgun, "sending_ip_pool", &["pool x", "account"]),
        (Kind::Smtp, "", &["sender shop.example"]),
    ] {
        let service = strange(kind, found.contains(&"account")).await?;
        let mut tables = provider_tables(kind, "it", service.address);
        if !pool_key.is_empty() {
            tables.push_str(&pool(pool_key));
        }
        let online = checked(&tables).await?;
        let answer = answer(&online, "it")?;
        ensure!(answer["is_good"] == true, "{}: {answer}", kind.as_str());
        let findings = answer["findings"].to_string();
        for about in found {
            ensure!(
                findings.contains(about),
                "{}: no {about} in {findings}",
                kind.as_str()
            );
        }
        ensure!(service.sandbox.stats().messages == 0, "mail was sent");
    }
    Ok(())
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
        ensure!(answer["findings"] == serde_json::json!([]), "{answer}");
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
