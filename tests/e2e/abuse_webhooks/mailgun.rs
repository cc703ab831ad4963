//! Posts in the manner of Mailgun, whose signature does not cover the event.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hmac::{Hmac, Mac as _};
use malote_core::clock::{Clock as _, SystemClock};
use malote_tests::{LOADTEST_KEY, answered, eventually, run};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::Sha256;

use super::{Rig, campaign, now_s};
use crate::SENT_MAX;

const KEY: &str = "signing-key-sandbox";
const HOUR_S: i64 = 3_600;
/// Messages that wait while a complaint comes in, as many as a batch has, and for how long.
const WAITING: usize = 500;
const DUE_IN: Duration = Duration::from_secs(10);
/// How long a command of the program may take.
const COMMAND_MAX: Duration = Duration::from_secs(120);

fn hex_hmac(key: &str, text: &str) -> Result<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).context("a key")?;
    mac.update(text.as_bytes());
    let digest = mac.finalize().into_bytes();
    Ok(digest.iter().map(|octet| format!("{octet:02x}")).collect())
}

fn signature(key: &str, timestamp: &str, token: &str) -> Result<Value> {
    let signature = hex_hmac(key, &format!("{timestamp}{token}"))?;
    Ok(json!({ "timestamp": timestamp, "token": token, "signature": signature }))
}

/// A post signed now with this token.
fn signed(token: &str, event: &Value) -> Result<Value> {
    let signature = signature(KEY, &now_s().to_string(), token)?;
    Ok(json!({ "signature": signature, "event-data": event }))
}

/// A lasting failure of this message for this recipient.
fn failed(message: &str, recipient: &str) -> Value {
    event("failed", message, recipient)
}

fn event(kind: &str, message: &str, recipient: &str) -> Value {
    json!({
        "event": kind, "severity": "permanent", "reason": "generic", "id": "x",
        "timestamp": now_s(), "recipient": recipient, "user-variables": {},
        "message": { "headers": { "message-id": message } },
        "delivery-status": { "code": 550, "message": "5.1.1 user unknown", "attempt-no": 1 },
    })
}

async fn ensure_untouched(rig: &Rig, recipient: &str) -> Result<()> {
    let (state, bounces) = rig.told(recipient, LOADTEST_KEY, "bounced").await?;
    ensure!(
        state == "sent" && bounces == 0,
        "{recipient}: {state}, {bounces} bounces"
    );
    Ok(())
}

pub(super) async fn forged(rig: &Rig) -> Result<()> {
    let recipient = "mg-forged@case.example";
    let event = failed(&campaign(rig, recipient).await?, recipient);
    let now = now_s().to_string();
    let good = hex_hmac(KEY, &format!("{now}forged"))?;
    let short = good.get(1..).unwrap_or_default();
    for signature in [
        json!(good.to_uppercase()),
        json!(short),
        json!(format!("{good}0")),
        json!(""),
        json!([good]),
        json!(null),
        json!("0".repeat(64)),
    ] {
        let signature = json!({ "timestamp": now, "token": "forged", "signature": signature });
        let body = json!({ "signature": signature, "event-data": event });
        rig.expect("mailgun", &body, 401).await?;
    }
    let of_others = signature("another-key", &now, "forged")?;
    let body = json!({ "signature": of_others, "event-data": event });
    rig.expect("mailgun", &body, 401).await?;
    // A parent account's signature alone is not configured, so it proves nothing.
    let parents = signature(KEY, &now, "forged")?;
    let body = json!({ "parent-signature": parents, "event-data": event });
    rig.expect("mailgun", &body, 401).await?;
    for timestamp in ["1e9", "-1", "", " 1", "+1", "0x10", &"9".repeat(400)] {
        let body =
            json!({ "signature": signature(KEY, timestamp, "forged")?, "event-data": event });
        rig.expect("mailgun", &body, 401).await?;
    }
    let day = now_s();
    for timestamp in [day - 13 * HOUR_S, day + HOUR_S / 6] {
        let signature = signature(KEY, &timestamp.to_string(), "forged")?;
        let body = json!({ "signature": signature, "event-data": event });
        rig.expect("mailgun", &body, 401).await?;
    }
    for token in ["", "a b", "é", &"x".repeat(400)] {
        rig.expect("mailgun", &signed(token, &event)?, 401).await?;
    }
    ensure_untouched(rig, recipient).await
}

pub(super) async fn repeated(rig: &Rig) -> Result<()> {
    let recipient = "mg-repeated@case.example";
    let message = campaign(rig, recipient).await?;
    // Its retries span hours and may keep the first signature.
    let old = (now_s() - 11 * HOUR_S).to_string();
    let signature = signature(KEY, &old, "repeated")?;
    let body = json!({ "signature": signature, "event-data": failed(&message, recipient) });
    for _ in 0..3 {
        rig.expect("mailgun", &body, 200).await?;
    }
    let (state, bounces) = rig.told(recipient, LOADTEST_KEY, "bounced").await?;
    ensure!(
        state == "bounced" && bounces == 1,
        "{state}, {bounces} bounces"
    );
    // A token that was seen proves nothing about another event.
    let other = "mg-token@case.example";
    let mut altered = body.clone();
    altered["event-data"] = failed(&campaign(rig, other).await?, other);
    rig.expect("mailgun", &altered, 200).await?;
    ensure_untouched(rig, other).await?;
    // What comes out of order does not undo what is final, and is kept.
    let delivered = event("delivered", &message, recipient);
    rig.expect("mailgun", &signed("late", &delivered)?, 200)
        .await?;
    let (state, delivered) = rig.told(recipient, LOADTEST_KEY, "delivered").await?;
    ensure!(
        state == "bounced" && delivered == 1,
        "{state}, {delivered} delivered"
    );
    Ok(())
}

/// A signature that was taken down, with another event behind it.
pub(super) async fn replayed(rig: &Rig) -> Result<()> {
    let (one, other) = ("mg-replayed@case.example", "mg-victim@case.example");
    let (sent, theirs) = (campaign(rig, one).await?, campaign(rig, other).await?);
    let good = signed("replayed", &event("delivered", &sent, one))?;
    rig.expect("mailgun", &good, 200).await?;
    let counted_before = rig.replays().await?;
    for event in [
        failed(&theirs, other),
        event("complained", &theirs, other),
        event("unsubscribed", &theirs, other),
        failed(&sent, one),
        event("complained", &sent, one),
    ] {
        let mut altered = good.clone();
        altered["event-data"] = event;
        rig.expect("mailgun", &altered, 200).await?;
    }
    ensure_untouched(rig, other).await?;
    let (state, bounces) = rig.told(one, LOADTEST_KEY, "bounced").await?;
    ensure!(
        state == "delivered" && bounces == 0,
        "{state}, {bounces} bounces"
    );
    // Neither address is suppressed.
    for recipient in [one, other] {
        campaign(rig, recipient).await?;
    }
    let counted = rig.replays().await? - counted_before;
    ensure!(counted == 5, "{counted} replays were counted");
    Ok(())
}

/// Signed well, but about mail that we did not send to that recipient by this provider.
pub(super) async fn altered(rig: &Rig) -> Result<()> {
    let (one, two) = ("mg-one@case.example", "mg-two@case.example");
    let message = campaign(rig, one).await?;
    campaign(rig, two).await?;
    let unknown = failed("nobody@news.example.com", two);
    rig.expect("mailgun", &signed("unknown", &unknown)?, 200)
        .await?;
    rig.expect("mailgun", &signed("mixed", &failed(&message, two))?, 200)
        .await?;
    ensure_untouched(rig, one).await?;
    ensure_untouched(rig, two).await?;
    // Neither address is suppressed.
    for recipient in [one, two] {
        campaign(rig, recipient).await?;
    }
    Ok(())
}

/// Signed well, and not to be understood: taken, since asking again would not help, and kept out
/// of the log.
pub(super) async fn unreadable(rig: &Rig) -> Result<()> {
    let recipient = "mg-unreadable@case.example";
    let message = campaign(rig, recipient).await?;
    for (number, strange) in [
        json!("canary-line\r\n{\"level\":\"error\"}"),
        json!("canary-é".repeat(125_000)),
        json!(["canary-list"]),
        json!(7),
    ]
    .into_iter()
    .enumerate()
    {
        let mut event = failed(&message, recipient);
        event["recipient"] = strange;
        rig.expect(
            "mailgun",
            &signed(&format!("strange{number}"), &event)?,
            200,
        )
        .await?;
    }
    let mut timeless = failed(&message, recipient);
    timeless["timestamp"] = json!(-1);
    rig.expect("mailgun", &signed("timeless", &timeless)?, 200)
        .await?;
    rig.expect("mailgun", &signed("empty", &json!({}))?, 200)
        .await?;
    ensure_untouched(rig, recipient).await?;
    ensure!(
        !rig.world.gateway.log().contains("canary-"),
        "it stands in the log"
    );
    let arguments = ["log", "--unreadable", "--config", "malote.toml"];
    let mut command = rig.world.gateway.command(&arguments)?;
    let said = run(&mut command, COMMAND_MAX).await?.success()?;
    for part in [
        "a recipient that is no address: {",
        "canary-line",
        "canary-list",
    ] {
        ensure!(said.contains(part), "{part}: {said}");
    }
    Ok(())
}

/// Once a complaint was answered, nothing leaves that waited for the same person.
pub(super) async fn waiting(rig: &Rig) -> Result<()> {
    let recipient = "mg-waiting@case.example";
    let complaint = event("complained", &campaign(rig, recipient).await?, recipient);
    let due = SystemClock::start().now().checked_add(DUE_IN)?.to_string();
    let message = json!({
        "from": "news@shop.example", "to": [recipient], "subject": "News", "text": "News.\n",
        "send_at": due,
    });
    let gateway = &rig.world.gateway;
    let path = "/v1/messages";
    let batch = json!({ "messages": vec![message.clone(); WAITING] });
    let request = gateway.request(Method::POST, "/v1/messages/batch", LOADTEST_KEY);
    let results = answered(request.json(&batch).send().await?, 200).await?;
    let results = results["results"].as_array().context("no results")?;
    let is_taken = |result: &&Value| result["status"] == 202;
    ensure!(results.iter().filter(is_taken).count() == WAITING);
    rig.expect("mailgun", &signed("waiting", &complaint)?, 200)
        .await?;
    eventually("nothing waits any more", SENT_MAX, async || {
        let request = gateway.request(Method::GET, path, LOADTEST_KEY);
        let request = request.query(&[("rcpt", recipient), ("state", "queued")]);
        let page = answered(request.send().await?, 200).await?;
        let rows = page["rows"].as_array();
        Ok(rows.is_some_and(Vec::is_empty).then_some(()))
    })
    .await?;
    // Mail that is due later than those leaves; those do not.
    let later = "mg-later@case.example";
    let mut message = message;
    message["to"] = json!([later]);
    let request = gateway.request(Method::POST, path, LOADTEST_KEY);
    answered(request.json(&message).send().await?, 202).await?;
    eventually("the one due later leaves", SENT_MAX, async || {
        Ok((rig.world.mailgun.count_to(later) > 0).then_some(()))
    })
    .await?;
    let count = rig.world.mailgun.count_to(recipient);
    ensure!(count == 1, "{count} left");
    Ok(())
}

/// What was answered 200 counts after a kill.
pub(super) async fn killed(rig: &mut Rig) -> Result<()> {
    let recipient = "mg-killed@case.example";
    let complaint = event("complained", &campaign(rig, recipient).await?, recipient);
    rig.expect("mailgun", &signed("killed", &complaint)?, 200)
        .await?;
    rig.world.gateway.kill()?;
    rig.world.gateway.boot().await?;
    let message = json!({
        "from": "news@shop.example", "to": [recipient], "subject": "News", "text": "News.\n",
    });
    let gateway = &rig.world.gateway;
    let request = gateway.request(Method::POST, "/v1/messages", LOADTEST_KEY);
    let answer = answered(request.json(&message).send().await?, 202).await?;
    ensure!(
        answer["recipients"][0]["status"] == "suppressed",
        "{answer}"
    );
    ensure!(rig.world.mailgun.count_to(recipient) == 1);
    Ok(())
}
