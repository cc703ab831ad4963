//! One-click addresses (RFC 8058): who complains or unsubscribes at a service leaves by the very
//! mail's own link; nobody else does, and nothing else is called.

use std::time::Duration;

use anyhow::{Result, ensure};
use malote_tests::{Answer, Mautic, Peer, TlsFront, World, eventually};
use reqwest::Method;

use crate::mautic_feedback::{NEWS, entry, hand_over_with, report};
use crate::{SENT_MAX, campaigns_by};

/// Three attempts, with waits of at most five and ten seconds.
const KNOWN_MAX: Duration = Duration::from_secs(60);
/// Mautic is on this host, and allowed to be inside.
const INSIDE: &str = "one_click_hosts = [\"127.0.0.1\"]\nallow_private = true\n";

/// A gateway that trusts the front.
async fn world(front: &TlsFront, more: &str) -> Result<World> {
    let table = format!("[credentials.mautic.mautic]\nsinks = [\"one_click\"]\n{more}");
    World::start_with(|config| {
        config.add(&table);
        front.trusted_by(config);
        campaigns_by(config, NEWS)
    })
    .await
}

/// A Mautic with these contacts, each with a mail of its own hash, behind TLS.
async fn mautic(addresses: &[&str]) -> Result<(Mautic, TlsFront)> {
    let mautic = Mautic::start(addresses).await?;
    let hashes = addresses.iter().enumerate();
    mautic.state().hashes = hashes.map(|(at, own)| (hash(own), at + 1)).collect();
    let front = TlsFront::start(mautic.peer.address).await?;
    Ok((mautic, front))
}

fn hash(address: &str) -> String {
    format!("6650f1a2b3{:012}", address.len())
}

/// The address as Mautic 5 writes it.
fn path(address: &str) -> String {
    let written = address.replace('@', "%40");
    format!("/email/unsubscribe/{}/{written}/0f5c", hash(address))
}

/// Mail to this recipient with a one-click address on this host, until Mailgun has it.
async fn campaign(world: &World, recipient: &str, host: &str) -> Result<()> {
    let url = format!("https://{host}{}", path(recipient));
    hand_over_with(world, recipient, &hash(recipient), &url).await?;
    eventually("the campaign arrives", SENT_MAX, async || {
        Ok((world.mailgun.count_to(recipient) > 0).then_some(()))
    })
    .await
}

/// Until so many events were dropped since nobody may be told of them.
async fn refused(world: &World, count: u32) -> Result<()> {
    let line =
        format!("malote_outlet_told_total{{outcome=\"refused\",outlet=\"mautic/mautic\"}} {count}");
    eventually(&line, KNOWN_MAX, async || {
        let request = world.gateway.admin(Method::GET, "/metrics");
        let text = request.send().await?.text().await?;
        Ok(text.lines().any(|own| own == line).then_some(()))
    })
    .await
}

#[tokio::test]
async fn a_complaint_and_an_unsubscribe_are_one_post_each_as_rfc_8058_has_it() -> Result<()> {
    let (mautic, front) = mautic(&["ana@one.example", "jo@one.example"]).await?;
    let world = world(&front, INSIDE).await?;
    let host = front.address.to_string();
    for (recipient, event) in [
        ("ana@one.example", "complained"),
        ("jo@one.example", "unsubscribed"),
    ] {
        campaign(&world, recipient, &host).await?;
        report(&world, event, None).await?;
        let entry = entry(&mautic, recipient, KNOWN_MAX).await?;
        ensure!(entry.reason == 1, "{entry:?}");
    }
    let requests = mautic.peer.requests();
    ensure!(requests.len() == 2, "{requests:?}");
    for (request, recipient) in requests.iter().zip(["ana@one.example", "jo@one.example"]) {
        ensure!(request.method == "POST", "{request:?}");
        ensure!(request.target == path(recipient), "{request:?}");
        ensure!(request.body == "List-Unsubscribe=One-Click", "{request:?}");
        let field = |name: &str| request.headers.get(name).map(String::as_str);
        let form = "application/x-www-form-urlencoded";
        ensure!(field("content-type") == Some(form), "{request:?}");
        ensure!(field("host") == Some(&host), "{request:?}");
        // RFC 8058 3.2: no cookies, no HTTP authorization, no other context.
        for name in ["cookie", "authorization", "referer", "origin"] {
            ensure!(field(name).is_none(), "{request:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn trouble_is_waited_for_and_no_redirect_is_followed() -> Result<()> {
    let (mautic, front) = mautic(&["ana@one.example"]).await?;
    let elsewhere = Peer::start(|_| Answer::empty(200)).await?;
    let away = format!("Location: {}/caught\r\n", elsewhere.url());
    mautic.state().one_click_trouble =
        vec![Answer::empty(503), Answer::Reply(307, away, String::new())];
    let world = world(&front, INSIDE).await?;
    campaign(&world, "ana@one.example", &front.address.to_string()).await?;
    report(&world, "unsubscribed", None).await?;
    entry(&mautic, "ana@one.example", KNOWN_MAX).await?;
    let requests = mautic.peer.requests();
    ensure!(requests.len() == 3, "{requests:?}");
    ensure!(requests.iter().all(|r| *r == requests[0]), "{requests:?}");
    ensure!(elsewhere.requests().is_empty());
    Ok(())
}

#[tokio::test]
async fn a_host_that_nobody_named_is_never_called() -> Result<()> {
    let (mautic, front) = mautic(&["ana@one.example", "jo@one.example"]).await?;
    let world = world(&front, INSIDE).await?;
    // The same machine by another name.
    let host = format!("localhost:{}", front.address.port());
    campaign(&world, "jo@one.example", &host).await?;
    report(&world, "complained", None).await?;
    refused(&world, 1).await?;
    ensure!(mautic.peer.requests().is_empty());
    campaign(&world, "ana@one.example", &front.address.to_string()).await?;
    report(&world, "complained", None).await?;
    entry(&mautic, "ana@one.example", KNOWN_MAX).await?;
    ensure!(mautic.peer.requests().len() == 1);
    Ok(())
}

#[tokio::test]
async fn a_private_address_is_never_called_unless_the_operator_says_so() -> Result<()> {
    let (mautic, front) = mautic(&["ana@one.example", "jo@one.example"]).await?;
    let named = "one_click_hosts = [\"127.0.0.1\", \"localhost\"]\n";
    let world = world(&front, named).await?;
    let port = front.address.port();
    for (recipient, host, count) in [
        ("ana@one.example", "127.0.0.1", 1),
        ("jo@one.example", "localhost", 2),
    ] {
        campaign(&world, recipient, &format!("{host}:{port}")).await?;
        report(&world, "unsubscribed", None).await?;
        refused(&world, count).await?;
    }
    ensure!(mautic.peer.requests().is_empty());
    Ok(())
}

#[tokio::test]
async fn blocks_delays_and_bounces_unsubscribe_nobody() -> Result<()> {
    let names = [
        "a@o.example",
        "bb@o.example",
        "ccc@o.example",
        "dddd@o.example",
    ];
    let (mautic, front) = mautic(&names).await?;
    let world = world(&front, INSIDE).await?;
    let host = front.address.to_string();
    for (recipient, event, reply) in [
        (
            names[0],
            "bounced",
            Some("550 5.7.1 blocked using our block list (S3150)"),
        ),
        (names[1], "deferred", Some("451 4.7.1 try again later")),
        // A bounce is no wish: the sinks api and dsn have words for it.
        (names[2], "bounced", Some("550 5.1.1 user unknown")),
        (names[3], "complained", None),
    ] {
        campaign(&world, recipient, &host).await?;
        report(&world, event, reply).await?;
    }
    // The feed is told in order: whoever came before has been judged.
    entry(&mautic, names[3], KNOWN_MAX).await?;
    let requests = mautic.peer.requests();
    ensure!(requests.len() == 1, "{requests:?}");
    Ok(())
}
