//! Tracking of opens and clicks: the message's wish, else its stream's, arrives at the service.

use anyhow::{Context, Result, ensure};
use malote_tests::{LOADTEST_KEY, SHOP_KEY, Service, SmtpClient, World, text_message};
use serde_json::json;

use crate::{SENT_MAX, campaigns_by, ensure_once, order};

/// What a service was told of this recipient's message, by the names of its options.
fn told(service: &Service, recipient: &str, names: [&str; 2]) -> Result<[Option<String>; 2]> {
    let messages = service.sandbox.messages_to(recipient);
    let options = &ensure_once(&messages)?.options;
    let value = |name: &str| {
        let found = options.iter().find(|(option, _)| option == name);
        found.map(|(_, value)| value.clone())
    };
    Ok(names.map(value))
}

fn words(opens: &str, clicks: &str) -> [Option<String>; 2] {
    [Some(opens.to_owned()), Some(clicks.to_owned())]
}

/// Streams that want nothing tracked; campaigns leave by Mailgun.
async fn world_without_tracking() -> Result<World> {
    World::start_with(|config| {
        for stream in ["[streams.transactional]", "[streams.campaign]"] {
            let keys = format!("{stream}\ntrack_opens = false\ntrack_clicks = false");
            config.replace(stream, &keys)?;
        }
        campaigns_by(config, "{ provider = \"mailgun\", pool = \"news\" }")
    })
    .await
}

#[tokio::test]
async fn the_message_says_what_is_tracked_and_else_its_stream() -> Result<()> {
    let world = world_without_tracking().await?;
    for (recipient, tracking, expected) in [
        ("a@x.example", json!(null), words("DISABLED", "DISABLED")),
        (
            "b@x.example",
            json!({ "clicks": true }),
            words("DISABLED", "ENABLED"),
        ),
        (
            "c@x.example",
            json!({ "opens": true, "clicks": true }),
            words("ENABLED", "ENABLED"),
        ),
    ] {
        let mut message = order(recipient);
        message["tracking"] = tracking;
        world.gateway.submit(&message).await?;
        let gateway = &world.gateway;
        gateway
            .reached(recipient, SHOP_KEY, &["sent"], SENT_MAX)
            .await?;
        let names = ["OpenTrackingEnabled", "ClickTrackingEnabled"];
        let told = told(&world.ses, recipient, names)?;
        ensure!(told == expected, "{recipient}: {told:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_field_of_the_message_switches_by_smtp_and_a_misspelled_one_is_refused() -> Result<()> {
    let world = world_without_tracking().await?;
    for (recipient, field, code) in [
        ("a@x.example", "X-Malote-Track-Opens: yes", 250),
        ("b@x.example", "X-Malote-Track-Opens: on", 550),
    ] {
        let mut client = SmtpClient::connect(world.gateway.doors().plain).await?;
        let text = text_message("news@shop.example", recipient, "tracked");
        for (line, expected) in [
            ("MAIL FROM:<b@shop.example>\r\n".to_owned(), 250),
            (format!("RCPT TO:<{recipient}>\r\n"), 250),
            ("DATA\r\n".to_owned(), 354),
            (format!("{field}\r\n{text}\r\n.\r\n"), code),
        ] {
            let reply = client.say(&line).await?;
            ensure!(reply.code == expected, "{line}: {reply:?}");
        }
    }
    let gateway = &world.gateway;
    gateway
        .reached("a@x.example", LOADTEST_KEY, &["sent"], SENT_MAX)
        .await?;
    let names = ["o:tracking-opens", "o:tracking-clicks"];
    let told = told(&world.mailgun, "a@x.example", names)?;
    ensure!(told == words("yes", "no"), "{told:?}");
    let messages = world.mailgun.sandbox.messages_to("a@x.example");
    let raw = ensure_once(&messages)?
        .raw
        .as_ref()
        .context("no raw form")?;
    let raw = String::from_utf8_lossy(raw).to_lowercase();
    ensure!(!raw.contains("x-malote"), "{raw}");
    Ok(())
}
