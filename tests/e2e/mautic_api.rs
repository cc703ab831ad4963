//! Mautic's API at work: every contact of an address is marked, and of what a resubscribe takes back.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use malote_tests::{DncEntry, MAUTIC_KEY, Mautic, SmtpClient, World, eventually, text_message};
use reqwest::{Client, Method};

use crate::mautic_feedback::{NEWS, PLAIN, hand_over_with, report, table};
use crate::{SENT_MAX, campaigns_by, raw_text};

/// How soon Mautic knows.
const KNOWN_MAX: Duration = Duration::from_secs(20);
const BASE: &str = "https://mail.shop.example";

/// Until so many events were told.
async fn told(world: &World, count: u32) -> Result<()> {
    came_to(world, "told", count).await
}

/// Until so many came to this.
async fn came_to(world: &World, outcome: &str, count: u32) -> Result<()> {
    let labels = format!("{{outcome=\"{outcome}\",outlet=\"mautic/mautic\"}}");
    let line = format!("malote_outlet_told_total{labels} {count}");
    eventually(&line, KNOWN_MAX, async || {
        let request = world.gateway.admin(Method::GET, "/metrics");
        let text = request.send().await?.text().await?;
        Ok(text.lines().any(|own| own == line).then_some(()))
    })
    .await
}

/// Mautic asks for time from now on.
const BUSY: u32 = 1_000;

/// What is said while Mautic asks for time; then it answers as it should.
async fn while_busy(mautic: &Mautic, said: [(&str, &str); 2]) -> Result<()> {
    let asked = mautic.peer.requests().len();
    mautic.state().over_limit = BUSY;
    for (link, form) in said {
        post(link, form).await?;
        eventually("Mautic is asked", KNOWN_MAX, async || {
            Ok((mautic.peer.requests().len() > asked).then_some(()))
        })
        .await?;
    }
    mautic.state().over_limit = 0;
    Ok(())
}

/// A campaign's mail without a way to leave, and the gateway's own link in what Mailgun took.
async fn link_of_mail(world: &World, recipient: &str) -> Result<String> {
    let before = world.mailgun.count_to(recipient);
    let mut client = SmtpClient::connect(world.gateway.doors().plain).await?;
    let login = client.say(&format!("AUTH PLAIN {PLAIN}\r\n")).await?;
    ensure!(login.code == 235, "{login:?}");
    let text = text_message("news@shop.example", recipient, "news");
    let text = format!("X-EMAIL-ID: 42\r\nPrecedence: Bulk\r\n{text}");
    let reply = client.send("b@shop.example", &[recipient], &text).await?;
    ensure!(reply.code == 250, "{reply:?}");
    eventually("the campaign arrives", SENT_MAX, async || {
        Ok((world.mailgun.count_to(recipient) > before).then_some(()))
    })
    .await?;
    let taken = world.mailgun.sandbox.messages_to(recipient);
    let raw = raw_text(taken.last().context("nothing arrived")?)?;
    let raw: String = raw.split_whitespace().collect();
    let (_, rest) = raw.split_once(&format!("<{BASE}/u/")).context("no link")?;
    let ticket = rest.split('>').next().unwrap_or_default();
    Ok(format!("http://{}/u/{ticket}", world.gateway.doors().http))
}

async fn post(link: &str, form: &str) -> Result<()> {
    let request = Client::new().post(link).body(form.to_owned());
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    let status = request.send().await?.status();
    ensure!(status == 200, "{status}");
    Ok(())
}

fn entry(reason: i64, comments: &str) -> DncEntry {
    DncEntry {
        reason,
        channel_id: None,
        comments: comments.to_owned(),
    }
}

#[tokio::test]
async fn coming_back_takes_back_our_unsubscribe_and_nothing_else() -> Result<()> {
    let standing = [
        ("ana@one.example", None),
        (
            "bia@one.example",
            Some(entry(2, "malote: 550 5.1.1 no such user (ses)")),
        ),
        (
            "clara@one.example",
            Some(entry(1, "malote: complained (ses)")),
        ),
        ("dora@one.example", Some(entry(1, "User unsubscribed"))),
        ("eva@one.example", Some(entry(3, "by hand"))),
    ];
    let mautic = Mautic::start(&standing.clone().map(|(address, _)| address)).await?;
    for (contact, (_, own)) in mautic.state().contacts.iter_mut().zip(standing.clone()) {
        contact.1 = own;
    }
    let world = World::start_with(|config| {
        config.add(&table(&mautic, ""));
        config.add(&format!(
            "[unsubscribe]\nbase_url = \"{BASE}/\"\nsecret = \"another secret of this test\"\n"
        ));
        campaigns_by(config, NEWS)
    })
    .await?;
    let mut links = Vec::new();
    for (address, _) in &standing {
        links.push(link_of_mail(&world, address).await?);
    }
    for link in &links {
        post(link, "List-Unsubscribe=One-Click").await?;
    }
    told(&world, 5).await?;
    let of_ana = mautic.entry("ana@one.example").context("not told")?;
    ensure!(of_ana.reason == 1, "{of_ana:?}");
    let is_ours = of_ana.comments.starts_with("malote: unsubscribed");
    ensure!(is_ours, "{of_ana:?}");
    for link in &links {
        post(link, "Subscribe=Again").await?;
    }
    told(&world, 10).await?;
    ensure!(mautic.entry("ana@one.example").is_none());
    for (address, own) in &standing[1..] {
        let found = mautic.entry(address).context("an entry was lifted")?;
        let own = own.as_ref().context("no entry")?;
        let is_as_before = found.comments == own.comments && found.reason == own.reason;
        let is_in_place = found.reason == 1
            && own.reason != 1
            && found
                .comments
                .starts_with("malote: in place of another entry:");
        ensure!(is_as_before || is_in_place, "{address}: {found:?}");
    }
    Ok(())
}

#[tokio::test]
async fn mautic_ends_with_the_later_wish_whichever_it_is_told_last() -> Result<()> {
    const LEAVE: &str = "List-Unsubscribe=One-Click";
    const BACK: &str = "Subscribe=Again";
    let ana = "ana@one.example";
    let mautic = Mautic::start(&[ana]).await?;
    let world = World::start_with(|config| {
        config.add(&table(&mautic, ""));
        config.add(&format!(
            "[unsubscribe]\nbase_url = \"{BASE}/\"\nsecret = \"another secret of this test\"\n"
        ));
        campaigns_by(config, NEWS)
    })
    .await?;
    let (one, two) = (
        link_of_mail(&world, ana).await?,
        link_of_mail(&world, ana).await?,
    );
    let (one, two) = (one.as_str(), two.as_str());
    // She leaves by one mail and is back by another before Mautic has heard of it.
    while_busy(&mautic, [(one, LEAVE), (two, BACK)]).await?;
    came_to(&world, "overtaken", 1).await?;
    told(&world, 1).await?;
    ensure!(mautic.entry(ana).is_none(), "{:?}", mautic.entry(ana));
    // She leaves again, and what she takes back is told after her last word.
    post(one, LEAVE).await?;
    told(&world, 2).await?;
    let entry = mautic.entry(ana).context("not told")?;
    while_busy(&mautic, [(two, BACK), (one, LEAVE)]).await?;
    came_to(&world, "overtaken", 2).await?;
    told(&world, 3).await?;
    ensure!(mautic.entry(ana) == Some(entry), "{:?}", mautic.entry(ana));
    Ok(())
}

#[tokio::test]
async fn every_contact_of_an_address_is_marked_however_many_there_are() -> Result<()> {
    const NAMES: usize = 75;
    let mut addresses = vec!["o'brien@one.example"; NAMES];
    addresses.insert(40, "obrien@one.example");
    let mautic = Mautic::start(&addresses).await?;
    let world = World::start_with(|config| {
        config.add(&table(&mautic, ""));
        campaigns_by(config, NEWS)
    })
    .await?;
    let url = "https://mautic.example/email/unsubscribe/1";
    hand_over_with(&world, "o'brien@one.example", "6650f1a2b3c4d000000009", url).await?;
    let gateway = &world.gateway;
    gateway
        .reached("o'brien@one.example", MAUTIC_KEY, &["sent"], SENT_MAX)
        .await?;
    report(&world, "bounced", Some("550 5.1.1 user unknown")).await?;
    told(&world, 1).await?;
    let contacts = mautic.state().contacts.clone();
    let marked = contacts.iter().filter(|(address, entry)| {
        let is_ours = |entry: &DncEntry| (entry.reason, entry.channel_id) == (2, Some(42));
        address == "o'brien@one.example" && entry.as_ref().is_some_and(is_ours)
    });
    ensure!(marked.count() == NAMES, "{contacts:?}");
    ensure!(mautic.entry("obrien@one.example").is_none());
    let requests = mautic.peer.requests();
    let searches = requests.iter().filter(|request| request.method == "GET");
    ensure!(searches.count() == 2 && mautic.changes().len() == NAMES);
    Ok(())
}
