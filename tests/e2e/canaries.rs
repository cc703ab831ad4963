//! What is marked in the traffic shows up in no log, metric, operators' view or error, and metrics
//! do not grow with what strangers write.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use malote_sandbox::{Fault, FaultKind};
use malote_tests::{SHOP_KEY, SmtpClient, World, answered, eventually, text_message};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::{SENT_MAX, campaigns_by, order};

/// Marks in the traffic, by what they stand in, and the secrets of the configuration.
const CANARIES: [&str; 12] = [
    "canarylocal",
    "canarysender",
    "canarysubject",
    "canarybody",
    "canaryname",
    "canarykey",
    "canarypassword",
    "canarysecret",
    "mk_test_shop",
    "mautic-secret",
    "key-sandbox",
    "wJalrXUtnFEMI",
];
const NEWS: &str = "{ provider = \"mailgun\", pool = \"news\" }";
const BULK: &str = "{ provider = \"relay\", pool = \"bulk\" }";
/// Rounds with names, tags and texts never seen before.
const ROUNDS: usize = 100;
/// Rounds before the series are counted, so that each kind of event was there.
const WARM_ROUNDS: usize = 3;
const ROUNDS_MAX: Duration = Duration::from_secs(60);

/// An SMTP server that refuses everybody and quotes what it was told, as many do.
struct QuotingRelay {
    port: u16,
    _sessions: JoinSet<()>,
}

impl QuotingRelay {
    async fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            let mut sessions = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                // A session that breaks has nothing more to say.
                sessions.spawn(async move { session(stream).await.unwrap_or_default() });
            }
        });
        Ok(Self {
            port,
            _sessions: accepting,
        })
    }
}

async fn session(stream: TcpStream) -> Result<()> {
    let mut stream = BufReader::new(stream);
    stream.write_all(b"220 relay.example ESMTP\r\n").await?;
    let mut line = String::new();
    while stream.read_line(&mut line).await? > 0 {
        let said = line.trim_end();
        let verb: String = said.chars().take(4).collect();
        let reply = match verb.to_ascii_uppercase().as_str() {
            "MAIL" if said.contains("canarysender") => {
                format!("553 5.7.1 {said}: Sender domain is not verified")
            }
            "RCPT" => format!("550 5.1.1 {said}: no such user here"),
            "DATA" => "554 5.5.1 no valid recipients".to_owned(),
            _ => "250 2.0.0 relay.example".to_owned(),
        };
        stream.write_all(format!("{reply}\r\n").as_bytes()).await?;
        line.clear();
    }
    Ok(())
}

/// Refuses a text in which a canary stands, plain or in Base64.
fn ensure_clean(place: &str, text: &str) -> Result<()> {
    for canary in CANARIES {
        let encoded = [0, 1, 2].map(|shift| encoded_core(canary, shift));
        let marks = encoded
            .iter()
            .map(String::as_str)
            .chain(std::iter::once(canary));
        for mark in marks {
            let line = text.lines().find(|line| line.contains(mark));
            ensure!(line.is_none(), "{canary} stands in {place}: {line:?}");
        }
    }
    Ok(())
}

/// What of `canary` is the same in any Base64 text in which it begins at this octet of three.
fn encoded_core(canary: &str, shift: usize) -> String {
    let inner = canary.get((3 - shift) % 3..).unwrap_or_default();
    let whole = inner.len() / 3 * 3;
    STANDARD.encode(inner.get(..whole).unwrap_or_default())
}

/// The HTTP door: what it refuses does not come back in the answer.
async fn refused_by_http(world: &World) -> Result<()> {
    let mut subject = order("ana@one.example");
    subject["subject"] = "canarysubject\r\nBcc: x@one.example".into();
    let mut body = order("ana@one.example");
    body["text"] = json!(["canarybody"]);
    let mut foreign = order("ana@one.example");
    foreign["from"] = "canarysender@elsewhere.example".into();
    let mut attachment = order("ana@one.example");
    attachment["attachments"] = json!([{ "filename": "canarybody\r\n", "content": "canarybody!" }]);
    let mut headers = order("ana@one.example");
    headers["headers"] = "canarybody".into();
    let mut metadata = order("ana@one.example");
    metadata["metadata"] = json!({ "campaign": ["canarybody"] });
    let bodies = [
        headers,
        metadata,
        order("canarylocal"),
        order("canarylocal@"),
        order("canaryname <canarylocal@one.example"),
        subject,
        body,
        foreign,
        attachment,
    ];
    for body in bodies.iter().map(Value::to_string) {
        refused(world, "/v1/messages", SHOP_KEY, &body).await?;
        refused(world, "/v1/messages", "mk_canarykey", &body).await?;
    }
    let broken = "{\"subject\": \"canarysubject\", \"text\": canarybody";
    refused(world, "/v1/messages", SHOP_KEY, broken).await?;
    let raw = "From: canarysender@elsewhere.example\r\nSubject: canarysubject\r\n\r\ncanarybody";
    let request = world
        .gateway
        .request(Method::POST, "/v1/messages/raw", SHOP_KEY)
        .header("Content-Type", "message/rfc822")
        .header("X-Malote-Rcpt", "canarylocal@one.example")
        .body(raw);
    let answer = request.send().await?;
    ensure!(answer.status().is_client_error(), "{}", answer.status());
    ensure_clean("an answer", &answer.text().await?)?;
    for name in ["mailgun", "ses"] {
        let path = format!("/v1/webhooks/{name}");
        let request = world.gateway.request(Method::POST, &path, "mk_canarykey");
        let answer = request.body("{\"canarybody\": ").send().await?;
        ensure!(answer.status().is_client_error(), "{}", answer.status());
        ensure_clean("an answer", &answer.text().await?)?;
    }
    Ok(())
}

async fn refused(world: &World, path: &str, key: &str, body: &str) -> Result<()> {
    let request = world
        .gateway
        .request(Method::POST, path, key)
        .header("Content-Type", "application/json");
    let answer = request.body(body.to_owned()).send().await?;
    let (status, text) = (answer.status(), answer.text().await?);
    ensure!(status.is_client_error(), "{status} to {body}: {text}");
    ensure_clean("an answer", &text)
}

/// The SMTP door: neither logins nor commands nor mail come back in a reply.
async fn refused_by_smtp(world: &World) -> Result<()> {
    let mut client = SmtpClient::connect(world.gateway.doors().plain).await?;
    let token = STANDARD.encode("\0mautic\0canarypassword");
    let said = [
        format!("AUTH PLAIN {token}\r\n"),
        "AUTH LOGIN\r\n".to_owned(),
        format!("{}\r\n", STANDARD.encode("mautic")),
        format!("{}\r\n", STANDARD.encode("canarypassword")),
        "VRFY canarylocal\r\n".to_owned(),
        "MAIL FROM:<canarysender@ bad>\r\n".to_owned(),
        "MAIL FROM:<b@shop.example>\r\n".to_owned(),
        "RCPT TO:<canarylocal@>\r\n".to_owned(),
        "RCPT TO:<canarylocal@one.example> NOTIFY=canarykey\r\n".to_owned(),
        "canarybody said where a command should stand\r\n".to_owned(),
        "RSET\r\n".to_owned(),
    ];
    for line in said {
        let reply = client.say(&line).await?;
        ensure_clean(&format!("the reply to {line}"), &reply.lines.join("\n"))?;
    }
    let bare = "From: canarysender@shop.example\r\nSubject: canarysubject\n\r\ncanarybody\r\n";
    let mut client = SmtpClient::connect(world.gateway.doors().plain).await?;
    let to = ["canarylocal@one.example"];
    let reply = client.send("b@shop.example", &to, bare).await?;
    ensure!(reply.code >= 500, "{reply:?}");
    ensure_clean("a reply", &reply.lines.join("\n"))
}

/// Mail that is taken: a provider fails and the next quotes it, one that bounces, one that is
/// bounced later by a webhook whose diagnosis quotes it.
async fn taken(world: &World) -> Result<()> {
    world.ses.sandbox.arm(Fault::always(FaultKind::Status(500)));
    let mut message = order("canarylocal@one.example");
    message["to"] = json!([{ "email": "canarylocal@one.example", "name": "canaryname" }]);
    message["subject"] = "canarysubject".into();
    message["text"] = "canarybody".into();
    world.gateway.submit(&message).await?;
    counted(
        world,
        "malote_attempts_total{mailbox_provider=\"other\",outcome=\"rejected_recipient\"",
    )
    .await?;
    // After this one the relay is not asked for this sender's domain any more.
    message["to"] = json!(["canarylocal2@one.example"]);
    message["from"] = json!({ "email": "canarysender@shop.example", "name": "canaryname" });
    world.gateway.submit(&message).await?;
    counted(world, "malote_alerts_total{kind=\"sender_out\"").await?;
    let mut client = SmtpClient::connect(world.gateway.doors().plain).await?;
    let login = STANDARD.encode("\0mautic\0mautic-secret");
    let reply = client.say(&format!("AUTH PLAIN {login}\r\n")).await?;
    ensure!(reply.code == 235, "{reply:?}");
    let mut client = SmtpClient::connect(world.gateway.doors().plain).await?;
    let to = "canarylocal3@one.example";
    let text = text_message("canarysender@shop.example", to, "canarysubject");
    let reply = client
        .send("canarysender@shop.example", &[to], &text)
        .await?;
    ensure!(reply.code == 250, "{reply:?}");
    eventually("the campaign arrives", SENT_MAX, async || {
        Ok((world.mailgun.count_to(to) > 0).then_some(()))
    })
    .await?;
    report(world, &format!("550 5.1.1 <{to}> unknown: canarysubject")).await
}

/// Waits until a counter whose name begins so is more than 0.
async fn counted(world: &World, name: &str) -> Result<()> {
    let mut last = String::new();
    let seen = eventually(name, SENT_MAX, async || {
        last = admin(world, "/metrics").await?;
        let is_counted = |line: &str| line.starts_with(name) && !line.ends_with(" 0");
        Ok(last.lines().any(is_counted).then_some(()))
    });
    seen.await.with_context(|| last.clone())
}

/// A bounce that the service tells of the newest message, with this diagnosis.
async fn report(world: &World, reply: &str) -> Result<()> {
    let hook = format!("http://{}/v1/webhooks/mailgun", world.gateway.doors().http);
    let emit = format!("http://{}/_sandbox/event", world.mailgun.address);
    let request = reqwest::Client::new().post(emit);
    let event = json!({ "url": hook, "event": "bounced", "reply": reply });
    answered(request.json(&event).send().await?, 200).await?;
    Ok(())
}

async fn admin(world: &World, path: &str) -> Result<String> {
    let answer = world.gateway.admin(Method::GET, path).send().await?;
    let answer = answer.error_for_status().context(path.to_owned())?;
    Ok(answer.text().await?)
}

/// A configuration that cannot be put in force is told of, its secrets are not.
async fn reload_badly(world: &mut World) -> Result<()> {
    let table = "[providers.extra.smtp]\nhost = 5\nuser = \"u\"\npassword = \"canarysecret\"\n";
    world.gateway.set_config(|config| {
        config.add(table);
        Ok(())
    })?;
    world.gateway.signal("HUP")?;
    eventually("the bad configuration is told of", SENT_MAX, async || {
        let is_told = world.gateway.log().contains("providers.extra");
        Ok(is_told.then_some(()))
    })
    .await
}

#[tokio::test]
async fn marks_in_traffic_stay_out_of_logs_metrics_views_and_errors() -> Result<()> {
    let relay = QuotingRelay::start().await?;
    let mut world = World::start_with(|config| {
        config.add("[log]\nlevel = \"trace\"\n");
        config.set_relay_port(relay.port)?;
        campaigns_by(config, NEWS)
    })
    .await?;
    refused_by_http(&world).await?;
    refused_by_smtp(&world).await?;
    taken(&world).await?;
    let views = [
        "/metrics",
        "/healthz",
        "/readyz",
        "/admin/v1/targets",
        "/admin/v1/switches",
        "/admin/v1/queue/stats",
    ];
    for path in views {
        ensure_clean(path, &admin(&world, path).await?)?;
    }
    reload_badly(&mut world).await?;
    world.gateway.stop().await?;
    let log = world.gateway.log();
    ensure!(log.contains("***@shop.example"), "no reply was logged");
    ensure_clean("the log", &log)
}

/// One of each kind of traffic, with names that were never seen before.
async fn strange_round(world: &World, number: usize) -> Result<()> {
    let mut message = order(&format!("ana@d{number}.example"));
    message["tags"] = json!([format!("tag{number}")]);
    message["metadata"] = json!({ format!("key{number}"): format!("value{number}") });
    world.gateway.submit(&message).await?;
    let mut wrong = order(&format!("no address {number}"));
    wrong[format!("field{number}")] = number.into();
    refused(world, "/v1/messages", SHOP_KEY, &wrong.to_string()).await?;
    let stray = format!("/v1/strange{number}");
    refused(world, &stray, &format!("key{number}"), "{}").await?;
    let hook = format!("/v1/webhooks/stranger{number}");
    refused(world, &hook, "x", "{}").await?;
    let mut client = SmtpClient::connect(world.gateway.doors().plain).await?;
    client
        .say(&format!("EHLO host{number}.example\r\n"))
        .await?;
    client.say(&format!("VERB{number} x\r\n")).await?;
    // The relay quotes this in its refusal: an error text never seen before.
    let to = format!("nobody{number}@e{number}.example");
    let text = text_message("news@shop.example", &to, &format!("s{number}"));
    let reply = client.send("b@shop.example", &[&to], &text).await?;
    ensure!(reply.code == 250, "{reply:?}");
    client.say("QUIT\r\n").await?;
    Ok(())
}

/// Waits until all of these rounds are settled; answers the names of all series.
async fn series_after(world: &World, rounds: usize) -> Result<Vec<String>> {
    let bounced = "malote_deliveries_settled_total{mailbox_provider=\"other\",state=\"bounced\",stream=\"campaign\"}";
    let bounced = format!("{bounced} {rounds}");
    let mut last = String::new();
    let settled = eventually("all rounds are settled", ROUNDS_MAX, async || {
        last = admin(world, "/metrics").await?;
        let metrics = &last;
        let all_bounced = metrics.lines().any(|line| line == bounced);
        let all_sent = world.ses.sandbox.stats().messages == rounds as u64;
        let all_closed = metrics
            .lines()
            .any(|line| line == "malote_smtp_connections 0");
        Ok((all_bounced && all_sent && all_closed).then_some(()))
    })
    .await;
    settled.with_context(|| last.clone())?;
    let samples = last.lines().filter(|line| !line.starts_with('#'));
    let name = |line: &str| Some(line.rsplit_once(' ')?.0.to_owned());
    Ok(samples.filter_map(name).collect())
}

#[tokio::test]
async fn metrics_do_not_grow_with_what_strangers_write() -> Result<()> {
    let relay = QuotingRelay::start().await?;
    let world = World::start_with(|config| {
        config.set_relay_port(relay.port)?;
        let credential = "[credentials.loadtest]";
        // A notice of each bounce would bounce too.
        let quiet = format!("{credential}\non_final_failure = \"event\"");
        config.replace(credential, &quiet)?;
        // With a second target, throttled mail takes it.
        config.replace(", { provider = \"relay\" }]", "]")?;
        campaigns_by(config, BULK)
    })
    .await?;
    for number in 0..WARM_ROUNDS {
        strange_round(&world, number).await?;
    }
    let before = series_after(&world, WARM_ROUNDS).await?;
    for number in WARM_ROUNDS..ROUNDS {
        strange_round(&world, number).await?;
    }
    let mut after = series_after(&world, ROUNDS).await?;
    after.retain(|series| !before.contains(series));
    ensure!(after.is_empty(), "new series: {after:#?}");
    Ok(())
}
