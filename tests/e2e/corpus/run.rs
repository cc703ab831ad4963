//! One service, its SMTP, and the corpus through both: all messages at once.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use malote_sandbox::{Kind, Taken};
use malote_tests::{Config, Gateway, SHOP_KEY, answered, eventually};
use reqwest::Method;
use reqwest::header::HeaderValue;
use serde_json::Value;
use sha2::Sha256;

use super::compare::{Fate, Form};
use super::messages::{Message, messages};
use super::services::{Lines, SECRETS, Service};

/// How long a message may take on a busy machine.
const SETTLED_MAX: Duration = Duration::from_secs(60);
/// What the gateway puts in front of a message that came by SMTP (RFC 5321 4.4).
pub(super) const TRACE: &str = "Received";
/// MAIL FROM of what is no report.
pub(super) const MAIL_FROM: &str = "bounces@shop.example";

/// A way to send, with what stands at its end.
pub(super) struct Way {
    /// `api` or `smtp`.
    pub(super) name: &'static str,
    /// The route, the provider and the tag of its messages.
    pub(super) target: String,
    /// The lines of its provider.
    pub(super) lines: &'static Lines,
    kind: Kind,
    service: malote_tests::Service,
    relay: malote_tests::Service,
}

/// What a run has seen.
pub(super) struct Run {
    /// The gateway, still running.
    pub(super) gateway: Gateway,
    /// Way by way, message by message.
    pub(super) fates: Vec<(&'static str, Vec<(Message, Fate)>)>,
}

/// Sends the corpus through both ways of a service.
pub(super) async fn run(service: &'static Service) -> Result<Run> {
    let ways = ways(service, "").await?;
    let config = config(ways.iter().map(|way| (service, way)))?;
    let gateway = Gateway::start(config).await?;
    let messages = messages()?;
    let mut under_way = Vec::new();
    for way in &ways {
        for message in &messages {
            let id = submit(&gateway, way, message).await;
            let id = id.with_context(|| message.name.to_owned())?;
            under_way.push((way, message, id));
        }
    }
    let mut fates: Vec<(&'static str, Vec<(Message, Fate)>)> =
        ways.iter().map(|way| (way.name, Vec::new())).collect();
    for (way, message, id) in under_way {
        let fate = fate(&gateway, way, message, &id).await;
        let fate = fate.with_context(|| format!("{} by {}", message.name, way.name))?;
        let of_way = fates.iter_mut().find(|(name, _)| *name == way.name);
        let (_, of_way) = of_way.context("a way is missing")?;
        of_way.push((message.clone(), fate));
    }
    Ok(Run { gateway, fates })
}

/// A configuration with a route for each way.
pub(super) fn config<'a>(ways: impl Iterator<Item = (&'a Service, &'a Way)>) -> Result<Config> {
    let mut tables = String::new();
    let mut last = String::new();
    for (service, way) in ways {
        tables += &way_tables(service, way)?;
        last.clone_from(&way.target);
    }
    tables += &format!(
        "[routes.main]\nstrategy = \"failover\"\ntargets = [{{ provider = \"relay_of_{last}\" }}]\n"
    );
    let mut config = Config::rehearsal(&tables)?;
    let secrets = SECRETS.iter();
    let secrets = secrets.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    config.environment.extend(secrets);
    Ok(config)
}

/// The simulators of a service's ways, whose targets' names begin with `prefix`.
pub(super) async fn ways(service: &'static Service, prefix: &str) -> Result<Vec<Way>> {
    let any = ([127, 0, 0, 1], 0).into();
    let (user, password) = service.smtp.login;
    let password = if service.kind == Kind::Ses {
        derived_password()?
    } else {
        password.to_owned()
    };
    let login = Some((user.to_owned(), password));
    let adapt = |config: &mut malote_sandbox::SandboxConfig| config.smtp.login = login;
    let smtp = malote_tests::Service::start_on(Kind::Smtp, any, adapt).await?;
    let way = |name, lines, kind, at, relay| Way {
        name,
        target: format!("{prefix}{name}"),
        lines,
        kind,
        service: at,
        relay,
    };
    let other = malote_tests::Service::start(Kind::Smtp).await?;
    let by_smtp = way("smtp", &service.smtp, Kind::Smtp, smtp, other);
    let Some(lines) = &service.api else {
        return Ok(vec![by_smtp]);
    };
    let api = malote_tests::Service::start(service.kind).await?;
    let relay = malote_tests::Service::start(Kind::Smtp).await?;
    let by_api = way("api", lines, service.kind, api, relay);
    Ok(vec![by_api, by_smtp])
}

/// The password of Amazon SES' SMTP, as its developer guide derives it ("Obtaining Amazon SES SMTP
/// credentials").
fn derived_password() -> Result<String> {
    let secret = SECRETS.iter().find(|(name, _)| *name == "AWS_SECRET");
    let (_, secret) = secret.context("no secret")?;
    let mut key = format!("AWS4{secret}").into_bytes();
    for step in [
        "11111111",
        "us-east-1",
        "ses",
        "aws4_request",
        "SendRawEmail",
    ] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&key)?;
        mac.update(step.as_bytes());
        key = mac.finalize().into_bytes().to_vec();
    }
    key.insert(0, 0x04);
    Ok(STANDARD.encode(key))
}

/// A way's provider, as its page has it but for where the service is, and a relay behind it.
fn way_tables(service: &Service, way: &Way) -> Result<String> {
    let (target, address) = (&way.target, way.service.address);
    let provider = provider_tables(service, way.lines, target);
    let provider = without_place(&provider);
    let place = match (way.lines.is_preset, way.name) {
        (true, _) => format!(
            "host = \"127.0.0.1\"\nport = {}\ntls = \"none\"\n",
            address.port()
        ),
        (false, "api") => format!("endpoint = \"http://{address}\"\n"),
        (false, _) => format!("endpoint = \"smtp://{address}\"\n"),
    };
    let (head, rest) = provider.split_once('\n').context("no table")?;
    let pool = match way.lines.pool {
        Some(_) => ", pool = \"news\"",
        None => "",
    };
    Ok(format!(
        "{head}\n{place}{rest}\
         [providers.relay_of_{target}.smtp]\nhost = \"127.0.0.1\"\nport = {port}\ntls = \"none\"\n\
         [routes.{target}]\nstrategy = \"failover\"\n\
         targets = [{{ provider = \"{target}\"{pool} }}, {{ provider = \"relay_of_{target}\" }}]\n\
         [[rules]]\nname = \"{target}\"\nwhen = {{ tag = \"{target}\" }}\n\
         then = {{ route = \"{target}\" }}\n",
        port = way.relay.address.port(),
    ))
}

/// The lines without those that say where the service is.
pub(super) fn without_place(tables: &str) -> String {
    let is_place = |line: &str| line.starts_with("host = ") || line.starts_with("endpoint = ");
    let lines = tables.lines().filter(|line| !is_place(line));
    lines.map(|line| format!("{line}\n")).collect()
}

/// The lines of a provider of this name.
pub(super) fn provider_tables(service: &Service, lines: &Lines, name: &str) -> String {
    let kind = match lines.is_preset {
        true => "smtp",
        false => service.kind.as_str(),
    };
    let pool = lines.pool.map_or_else(String::new, |(key, value)| {
        format!("[providers.{name}.pools.news]\n{key} = \"{value}\"\n")
    });
    format!("[providers.{name}.{kind}]\n{}{pool}", lines.table)
}

async fn submit(gateway: &Gateway, way: &Way, message: &Message) -> Result<String> {
    let mut request = gateway
        .request(Method::POST, "/v1/messages/raw", SHOP_KEY)
        .header("content-type", "message/rfc822")
        .header("x-malote-tag", &way.target)
        .header("x-malote-mail-from", mail_from(message));
    for recipient in message.envelope() {
        let recipient = HeaderValue::from_bytes(recipient.as_bytes())?;
        request = request.header("x-malote-rcpt", recipient);
    }
    let answer = answered(request.body(message.raw.clone()).send().await?, 202).await?;
    let id = answer["id"].as_str().context("the answer has no id")?;
    Ok(id.to_owned())
}

/// MAIL FROM of a message.
pub(super) fn mail_from(message: &Message) -> &'static str {
    if message.is_report { "<>" } else { MAIL_FROM }
}

/// What became of a message, once it is settled; what must hold of every one is asserted.
pub(super) async fn fate(
    gateway: &Gateway,
    way: &Way,
    message: &Message,
    id: &str,
) -> Result<Fate> {
    let mut last = Value::Null;
    let settled = eventually("it has left", SETTLED_MAX, async || {
        last = gateway.message(id, SHOP_KEY).await?;
        let deliveries = last["deliveries"].as_array().context("no deliveries")?;
        let is_sent = |delivery: &Value| delivery["state"] == "sent";
        Ok(deliveries.iter().all(is_sent).then_some(()))
    });
    settled.await.with_context(|| format!("{last:#}"))?;
    let at_service = arrived(&way.service, message);
    let at_relay = arrived(&way.relay, message);
    ensure_copies(message, &at_service, &at_relay)?;
    for taken in at_service.iter().chain(&at_relay) {
        ensure_hidden(message, taken)?;
    }
    if at_service.is_empty() {
        let whole = Fate::of(Kind::Smtp, &message.raw, &at_relay)?;
        let is_whole = whole.form == Form::AsItIs && whole.added.iter().all(|name| name == TRACE);
        ensure!(is_whole, "the relay got something else: {whole:?}");
        return Ok(Fate::refused(reason(&last)?));
    }
    ensure!(
        at_relay.is_empty(),
        "one message by two providers: {last:#}"
    );
    if way.kind == Kind::Smtp {
        let expected = mail_from(message).trim_matches(['<', '>']);
        let given = at_service.iter().map(|taken| taken.mail_from.as_deref());
        ensure!(
            given.clone().all(|given| given == Some(expected)),
            "MAIL FROM"
        );
    }
    let pool = way.lines.pool.filter(|_| way.kind != Kind::Smtp);
    let is_told = |taken: &Taken| pool.is_none_or(|(_, id)| taken.pool.as_deref() == Some(id));
    ensure!(at_service.iter().all(is_told), "{pool:?} is not the pool");
    Fate::of(way.kind, &message.raw, &at_service)
}

/// The calls that carried this message.
fn arrived(service: &malote_tests::Service, message: &Message) -> Vec<Taken> {
    let envelope = message.envelope();
    let all = service.sandbox.messages().into_iter();
    let is_of = |taken: &Taken| taken.recipients.iter().any(|to| envelope.contains(to));
    all.filter(is_of).collect()
}

/// Every recipient of the envelope has exactly one copy, and nobody else has any.
fn ensure_copies(message: &Message, at_service: &[Taken], at_relay: &[Taken]) -> Result<()> {
    let mut copies: BTreeMap<&str, usize> = BTreeMap::new();
    for taken in at_service.iter().chain(at_relay) {
        for recipient in &taken.recipients {
            *copies.entry(recipient).or_default() += 1;
        }
    }
    let envelope = message.envelope();
    let expected = envelope.iter().map(|recipient| (recipient.as_str(), 1));
    ensure!(copies == expected.collect(), "copies: {copies:?}");
    Ok(())
}

/// Nobody who gets the message learns of a hidden recipient.
fn ensure_hidden(message: &Message, taken: &Taken) -> Result<()> {
    let Some(hidden) = message.hidden else {
        return Ok(());
    };
    let visible = match &taken.fields {
        Some(fields) => without_bcc(fields).to_string(),
        None => String::from_utf8_lossy(taken.raw.as_deref().unwrap_or_default()).into_owned(),
    };
    // Names of options may be of one recipient, whom alone they concern.
    let options = taken.options.iter().map(|(_, value)| value.clone());
    for place in options.chain([visible]) {
        ensure!(!place.contains(hidden), "{hidden} stands in {place}");
    }
    Ok(())
}

fn without_bcc(fields: &Value) -> Value {
    match fields {
        Value::Object(members) => {
            let shown = members
                .iter()
                .filter(|(name, _)| !name.eq_ignore_ascii_case("bcc"));
            let shown = shown.map(|(name, value)| (name.clone(), without_bcc(value)));
            Value::Object(shown.collect())
        }
        Value::Array(list) => list.iter().map(without_bcc).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => fields.clone(),
    }
}

/// Why the service has not got it: its adapter or itself refused, or the router left it out.
fn reason(timeline: &Value) -> Result<String> {
    let attempt = &timeline["deliveries"][0]["attempts"][0];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let why = text(&attempt["reason"]);
    if let Some((_, why)) = why.split_once(" excluded: ") {
        return Ok(format!("left out: {why}"));
    }
    let outcome = text(&attempt["outcome"]);
    ensure!(outcome == "rejected_message_here", "{timeline:#}");
    Ok(format!("refused: {}", text(&attempt["reply"]["text"])))
}
