//! A message posted by an app reaches its provider, and its timeline tells so.

use anyhow::Result;
use malote_tests::{SHOP_KEY, World, answered, eventually};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{SENT_MAX, ensure_once, order, raw_text, send_order};

#[tokio::test]
async fn a_posted_message_leaves_by_its_streams_first_target() -> Result<()> {
    let world = World::start().await?;
    let timeline = send_order(&world, "ana@one.example").await?;
    let messages = world.ses.sandbox.messages_to("ana@one.example");
    let taken = ensure_once(&messages)?;
    assert_eq!(taken.pool.as_deref(), Some("transactional"));
    let delivery = &timeline["deliveries"][0];
    assert_eq!(timeline["stream"], "transactional");
    assert_eq!(delivery["provider"], "ses");
    assert_eq!(delivery["pool"], "tx");
    assert_eq!(delivery["provider_message_id"], taken.id.as_str());
    assert_eq!(delivery["attempts"][0]["outcome"], "sent");
    assert!(raw_text(taken)?.contains("Thank you."));
    assert!(taken.header("Date").is_some() && taken.header("Message-ID").is_some());
    Ok(())
}

#[tokio::test]
async fn a_hidden_recipient_stands_in_nobodys_copy() -> Result<()> {
    let world = World::start().await?;
    let mut message = order("to@one.example");
    message["cc"] = json!(["cc@one.example"]);
    message["bcc"] = json!(["hidden@one.example"]);
    let id = world.gateway.submit(&message).await?;
    let all = ["to@one.example", "cc@one.example", "hidden@one.example"];
    eventually("all three are served", SENT_MAX, async || {
        let is_done = all.iter().all(|rcpt| world.ses.count_to(rcpt) > 0);
        Ok(is_done.then_some(()))
    })
    .await?;
    for recipient in all {
        let messages = world.ses.sandbox.messages_to(recipient);
        let text = raw_text(ensure_once(&messages)?)?;
        assert!(!text.contains("hidden@"), "{text}");
        assert!(text.contains("to@one.example") && text.contains("cc@one.example"));
    }
    let timeline = world.gateway.message(&id, SHOP_KEY).await?;
    assert_eq!(timeline["deliveries"].as_array().map(Vec::len), Some(3));
    Ok(())
}

#[tokio::test]
async fn a_raw_message_goes_to_its_envelope_byte_for_byte() -> Result<()> {
    let world = World::start().await?;
    let body = "From: orders@shop.example\r\nTo: somebody@else.example\r\nSubject: raw\r\n\
                Date: Fri, 02 Jan 2026 03:04:05 +0000\r\nMessage-ID: <raw@shop.example>\r\n\
                X-Odd:   three  spaces\r\n\r\nbody \r\n..\r\n";
    let request = world
        .gateway
        .request(Method::POST, "/v1/messages/raw", SHOP_KEY)
        .header("content-type", "message/rfc822")
        .header("x-malote-mail-from", "bounces@shop.example")
        .header("x-malote-rcpt", "real@one.example")
        .header("x-malote-rcpt", "other@one.example");
    answered(request.body(body).send().await?, 202).await?;
    for recipient in ["real@one.example", "other@one.example"] {
        eventually("the raw message arrives", SENT_MAX, async || {
            Ok((world.ses.count_to(recipient) > 0).then_some(()))
        })
        .await?;
        let messages = world.ses.sandbox.messages_to(recipient);
        assert_eq!(raw_text(ensure_once(&messages)?)?, body);
    }
    assert_eq!(world.ses.count_to("somebody@else.example"), 0);
    Ok(())
}

#[tokio::test]
async fn a_batch_answers_for_each_message() -> Result<()> {
    let world = World::start().await?;
    let mut foreign = order("b@one.example");
    foreign["from"] = "x@elsewhere.example".into();
    let batch = json!({ "messages": [order("a@one.example"), foreign, order("c@one.example")] });
    let request = world
        .gateway
        .request(Method::POST, "/v1/messages/batch", SHOP_KEY);
    let answer = answered(request.json(&batch).send().await?, 200).await?;
    let statuses: Vec<_> = answer["results"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|result| result["status"].as_u64())
        .collect();
    assert_eq!(statuses, [Some(202), Some(422), Some(202)]);
    assert!(answer["results"][1]["problem"].is_object());
    eventually("the good ones arrive", SENT_MAX, async || {
        let count = |rcpt| world.ses.count_to(rcpt);
        let is_done = count("a@one.example") + count("c@one.example") == 2;
        Ok(is_done.then_some(()))
    })
    .await?;
    assert_eq!(world.ses.count_to("b@one.example"), 0);
    Ok(())
}

#[tokio::test]
async fn the_same_key_is_the_same_message() -> Result<()> {
    let world = World::start().await?;
    let post = async |recipient: &str| -> Result<(u16, Value)> {
        let request = world
            .gateway
            .request(Method::POST, "/v1/messages", SHOP_KEY)
            .header("idempotency-key", "order-7");
        let answer = request.json(&order(recipient)).send().await?;
        Ok((answer.status().as_u16(), answer.json().await?))
    };
    let (first, again) = (post("a@one.example").await?, post("a@one.example").await?);
    assert_eq!((first.0, again.0), (202, 202));
    assert_eq!(first.1["id"], again.1["id"]);
    let (status, problem) = post("b@one.example").await?;
    assert_eq!(status, 422, "{problem}");
    eventually("it arrives", SENT_MAX, async || {
        Ok((world.ses.count_to("a@one.example") > 0).then_some(()))
    })
    .await?;
    assert_eq!(world.ses.sandbox.stats().messages, 1);
    Ok(())
}

#[tokio::test]
async fn what_is_refused_points_at_its_field_and_is_never_sent() -> Result<()> {
    let world = World::start().await?;
    let mut injected = order("a@one.example");
    injected["subject"] = "x\r\nBcc: e@x.example".into();
    let mut two = order("a@one.example, b@one.example");
    two["text"] = "x".into();
    let mut unknown = order("a@one.example");
    unknown["bccc"] = json!([]);
    for (message, status, place) in [
        (injected, 422, "/subject"),
        (two, 422, "/to/0"),
        (unknown, 400, "bccc"),
    ] {
        let request = world
            .gateway
            .request(Method::POST, "/v1/messages", SHOP_KEY);
        let answer = request.json(&message).send().await?;
        assert_eq!(answer.status().as_u16(), status, "{message}");
        let text = answer.text().await?;
        assert!(text.contains(place), "{text}");
    }
    let wrong = world.gateway.request(Method::POST, "/v1/messages", "wrong");
    let answer = wrong.json(&order("a@one.example")).send().await?;
    assert_eq!(answer.status().as_u16(), 401);
    send_order(&world, "good@one.example").await?;
    assert_eq!(world.ses.sandbox.stats().messages, 1);
    Ok(())
}
