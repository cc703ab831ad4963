//! What the adapters ask of the services and what the simulators answer, against what the services
//! publish of their APIs: the corpus, and a message with all that can be told beside one.

mod list;
mod typed;

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use malote_sandbox::Kind;
use malote_tests::{
    Config, Exchange, Gateway, Recorder, SHOP_KEY, answered, eventually, repository, run, tool,
};
use reqwest::Method;
use reqwest::header::HeaderValue;
use serde_json::{Value, json};

pub(super) use self::list::DESCRIPTIONS;
use self::list::{By, Description};
use super::messages::messages;
use super::run::{MAIL_FROM, provider_tables, without_place};
use super::services::{SECRETS, SERVICES, Service};

/// How long all messages may take on a busy machine.
const SETTLED_MAX: Duration = Duration::from_secs(120);
/// How long a checker may take on a busy machine.
const CHECK_MAX: Duration = Duration::from_secs(120);

/// A simulator, and what is seen of the way to it.
struct Seen {
    service: &'static Service,
    description: &'static Description,
    recorder: Recorder,
    simulator: malote_tests::Service,
}

/// The services with a description.
fn described() -> impl Iterator<Item = (&'static Service, &'static Description)> {
    let of = |service: &Service| DESCRIPTIONS.iter().find(|one| one.kind == service.kind);
    let all = SERVICES.iter();
    all.filter_map(move |service| Some((service, of(service)?)))
        .filter(|(_, description)| !matches!(description.by, By::Nothing))
}

#[tokio::test]
async fn every_call_is_as_the_service_describes_it() -> Result<()> {
    let mut seen = Vec::new();
    for (service, description) in described() {
        let simulator = malote_tests::Service::start(service.kind).await?;
        seen.push(Seen {
            service,
            description,
            recorder: Recorder::start(simulator.address).await?,
            simulator,
        });
    }
    let mut config = Config::rehearsal(&tables(&seen)?)?;
    let secrets = SECRETS.iter();
    let secrets = secrets.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    config.environment.extend(secrets);
    let gateway = Gateway::start(config).await?;
    let mut ids = Vec::new();
    for one in &seen {
        let submitted = submit(&gateway, one.service.kind.as_str()).await;
        ids.extend(submitted.with_context(|| one.service.title)?);
    }
    settle(&gateway, &ids).await?;
    let folder = tempfile::tempdir_in(repository().join("target/test-tools"))?;
    let mut wrong = String::new();
    let (mut typed, mut modelled) = (Vec::new(), Vec::new());
    for one in &seen {
        let exchanges = sends(&one.recorder)?;
        ensure!(exchanges.len() > 10, "{}", one.service.title);
        ensure!(!one.simulator.sandbox.messages().is_empty());
        match &one.description.by {
            By::Types(types) => typed.push((one.service.kind, types, exchanges)),
            By::Model => modelled.extend(as_json(one.service.kind, &exchanges)?),
            By::Nothing => {}
        }
    }
    let source = folder.path().join("calls.ts");
    std::fs::write(&source, typed::source(&typed)?)?;
    wrong += &typed::check(&source).await?;
    let file = folder.path().join("exchanges.json");
    std::fs::write(&file, Value::from(modelled).to_string())?;
    wrong += &check_models(&file).await?;
    ensure!(wrong.is_empty(), "{wrong}");
    Ok(())
}

/// Each service behind its recorder, with its pool, and a relay behind it.
fn tables(seen: &[Seen]) -> Result<String> {
    let mut tables = "[providers.relay.capture]\n\
         [routes.main]\nstrategy = \"failover\"\ntargets = [{ provider = \"relay\" }]\n"
        .to_owned();
    for one in seen {
        let name = one.service.kind.as_str();
        let lines = one.service.api.as_ref().context("it has no API")?;
        let provider = without_place(&provider_tables(one.service, lines, name));
        let (head, rest) = provider.split_once('\n').context("no table")?;
        let pool = match lines.pool {
            Some(_) => ", pool = \"news\"",
            None => "",
        };
        tables += &format!(
            "{head}\nendpoint = \"http://{address}\"\n{rest}\
             [routes.{name}]\nstrategy = \"failover\"\n\
             targets = [{{ provider = \"{name}\"{pool} }}, {{ provider = \"relay\" }}]\n\
             [[rules]]\nname = \"{name}\"\nwhen = {{ tag = \"{name}\" }}\n\
             then = {{ route = \"{name}\" }}\n",
            address = one.recorder.address,
        );
    }
    Ok(tables)
}

/// The corpus, a message with everything, and one that is refused; answers their ids.
async fn submit(gateway: &Gateway, name: &str) -> Result<Vec<String>> {
    let mut ids = Vec::new();
    for message in messages()? {
        let mut request = gateway
            .request(Method::POST, "/v1/messages/raw", SHOP_KEY)
            .header("content-type", "message/rfc822")
            .header("x-malote-tag", name)
            .header("x-malote-metadata-order", "4711")
            .header("x-malote-mail-from", MAIL_FROM);
        for recipient in message.envelope() {
            let recipient = HeaderValue::from_bytes(recipient.as_bytes())?;
            request = request.header("x-malote-rcpt", recipient);
        }
        let answer = answered(request.body(message.raw.clone()).send().await?, 202).await?;
        let id = answer["id"].as_str().context("the answer has no id")?;
        ids.push(id.to_owned());
    }
    let person =
        |local: &str| json!({ "email": format!("{local}@many.example"), "name": "Ana Ção" });
    let full = json!({
        "from": { "email": "orders@shop.example", "name": "Shop, \"the\" one" },
        "to": [person("to-1"), person("to-2")],
        "cc": [person("cc-1"), person("cc-2")],
        "bcc": [person("bcc-1")],
        "subject": "Olá, your order",
        "text": "Thank you.\n",
        "html": "<p>Thank you.</p>",
        "tags": [name, "welcome"],
        "metadata": { "order": "4711", "campaign": "spring sale" },
    });
    ids.push(gateway.submit(&full).await?);
    let mut refused = crate::order(&format!("recipient+{name}@many.example"));
    refused["tags"] = json!([name]);
    ids.push(gateway.submit(&refused).await?);
    Ok(ids)
}

async fn settle(gateway: &Gateway, ids: &[String]) -> Result<()> {
    for id in ids {
        let mut last = Value::Null;
        let settled = eventually("it is settled", SETTLED_MAX, async || {
            last = gateway.message(id, SHOP_KEY).await?;
            let deliveries = last["deliveries"].as_array().context("no deliveries")?;
            let is_settled = |delivery: &Value| {
                let state = delivery["state"].as_str();
                state.is_some_and(|state| ["sent", "bounced"].contains(&state))
            };
            Ok(deliveries.iter().all(is_settled).then_some(()))
        });
        settled.await.with_context(|| format!("{last:#}"))?;
    }
    Ok(())
}

/// What carried messages; the other calls look up the account, or ask after a key with an empty
/// document where the service has nothing better to ask.
fn sends(recorder: &Recorder) -> Result<Vec<Exchange>> {
    let is_post = |exchange: &Exchange| {
        exchange.request.first_line.starts_with("POST ") && exchange.request.body != b"{}"[..]
    };
    let exchanges: Vec<Exchange> = recorder.exchanges().into_iter().filter(is_post).collect();
    for exchange in &exchanges {
        ensure!(!exchange.request.body.is_empty(), "a send without a body");
    }
    Ok(exchanges)
}

/// The form in which `describe.py` reads exchanges.
fn as_json(kind: Kind, exchanges: &[Exchange]) -> Result<Vec<Value>> {
    let form = |exchange: &Exchange| {
        Ok(json!({
            "service": kind.as_str(),
            "method": "POST",
            "path": exchange.request.subject()?,
            "headers": exchange.request.headers,
            "body": STANDARD.encode(&exchange.request.body),
            "status": exchange.answer.subject()?.parse::<u16>()?,
            "answer_headers": exchange.answer.headers,
            "answer": STANDARD.encode(&exchange.answer.body),
        }))
    };
    exchanges.iter().map(form).collect()
}

async fn check_models(file: &std::path::Path) -> Result<String> {
    let mut command = Command::new(tool("python")?);
    command
        .arg(repository().join("tests/clients/describe.py"))
        .arg(file);
    let outcome = run(&mut command, CHECK_MAX).await?;
    match outcome.status {
        Some(0) => Ok(String::new()),
        _ => Ok(outcome.stdout + &outcome.stderr),
    }
}

#[test]
fn every_service_has_its_line_in_the_list() {
    let mut lines: BTreeMap<&str, usize> = BTreeMap::new();
    for description in DESCRIPTIONS {
        *lines.entry(description.kind.as_str()).or_default() += 1;
    }
    let with_api = SERVICES.iter().filter(|service| service.api.is_some());
    let expected = with_api.map(|service| (service.kind.as_str(), 1));
    assert_eq!(lines, expected.collect());
}
