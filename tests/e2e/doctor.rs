//! `malote doctor` tells what stands between a configuration and the inbox, from what services and
//! the DNS say.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use malote_sandbox::Kind;
use malote_tests::{
    Config, Dns, Gateway, Mautic, Outcome, SHOP_KEY, Service, TlsFront, answered, free_port,
    provider_tables, run, webhook_table,
};
use rcgen::{KeyPair, PKCS_ED25519};
use serde_json::{Value, json};

/// How long one run may take on a busy machine.
const RUN_MAX: Duration = Duration::from_secs(60);

/// What a good zone has beside what a test changes. The relay sends from 192.0.2.25.
const COMMON: &str = "
MX shop.example 10 mx.shop.example
A mx.shop.example 192.0.2.10
PTR 25.2.0.192.in-addr.arpa out.shop.example
A out.shop.example 192.0.2.25
A 2.0.0.127.zen.spamhaus.org 127.0.0.2
";

fn key(name: &str) -> String {
    format!("TXT {name} v=DKIM1; k=rsa; p={}\n", "A".repeat(392))
}

fn good_zone() -> String {
    format!(
        "{COMMON}{}
TXT shop.example v=spf1 ip4:192.0.2.0/24 ~all
TXT _dmarc.shop.example v=DMARC1; p=reject; rua=mailto:dmarc@shop.example
",
        key("own._domainkey.shop.example")
    )
}

/// A gateway that sends by a relay, and these tables; its doctor asks `dns`.
async fn gateway(dns: &Dns, relay: &Service, tables: &str) -> Result<Gateway> {
    let doctor = format!(
        "[doctor]\nown_ips = [\"192.0.2.25\"]\ndnsbls = [\"zen.spamhaus.org\"]\n\
         dns_server = \"{}\"\n[doctor.dkim_selectors]\nrelay = [\"own\"]\n",
        dns.address
    );
    let relay = provider_tables(Kind::Smtp, "relay", relay.address);
    let route = match tables.contains("[routes.main]") {
        true => "",
        false => "[routes.main]\nstrategy = \"failover\"\ntargets = [{ provider = \"relay\" }]\n",
    };
    Gateway::start(Config::rehearsal(&format!(
        "{relay}{route}{tables}{doctor}"
    ))?)
    .await
}

async fn doctor(gateway: &Gateway, arguments: &[&str]) -> Result<Outcome> {
    let all: Vec<&str> = ["doctor", "--config", "malote.toml"]
        .iter()
        .chain(arguments)
        .copied()
        .collect();
    run(&mut gateway.command(&all)?, RUN_MAX).await
}

fn ensure_says(outcome: &Outcome, words: &[&str]) -> Result<()> {
    for word in words {
        ensure!(
            outcome.stdout.contains(word),
            "no {word:?} in\n{}\n{}",
            outcome.stdout,
            outcome.stderr
        );
    }
    Ok(())
}

/// The level of each line of a JSON report that is about this check, the worst last.
fn levels<'a>(report: &'a Value, part: &str, check: &str) -> Vec<&'a str> {
    let sections = report[part].as_array().into_iter().flatten();
    let lines = sections.flat_map(|section| section["lines"].as_array().into_iter().flatten());
    let own = lines.filter(|line| line["check"] == check);
    own.filter_map(|line| line["level"].as_str()).collect()
}

#[tokio::test]
async fn a_domain_with_everything_in_place_ends_with_0_and_says_why() -> Result<()> {
    let dns = Dns::start(&good_zone()).await?;
    let relay = Service::start(Kind::Smtp).await?;
    let gateway = gateway(&dns, &relay, "").await?;
    let outcome = doctor(&gateway, &[]).await?;
    ensure!(outcome.status == Some(0), "{outcome:?}");
    ensure_says(
        &outcome,
        &[
            "DOMAIN shop.example  written by shop; sent by relay (transactional)",
            "ADDRESS 192.0.2.25  in [doctor] own_ips",
            "out.shop.example, which leads back to it",
            "not listed",
            "by DKIM, d=shop.example and by SPF",
            "https://talosintelligence.com/reputation_center/lookup?search=shop.example",
            "0 faults, 0 warnings",
        ],
    )?;
    ensure!(!outcome.stdout.contains('\x1b'), "colours in a file");
    ensure!(outcome.stderr.is_empty(), "{}", outcome.stderr);
    Ok(())
}

#[tokio::test]
async fn an_empty_zone_ends_with_1_and_prints_the_records_to_publish() -> Result<()> {
    let dns = Dns::start("A 25.2.0.192.zen.spamhaus.org 127.255.255.254").await?;
    let relay = Service::start(Kind::Smtp).await?;
    let gateway = gateway(&dns, &relay, "").await?;
    let outcome = doctor(&gateway, &[]).await?;
    ensure!(outcome.status == Some(1), "{outcome:?}");
    ensure_says(
        &outcome,
        &[
            "FAULT    MX",
            "shop.example has neither an MX nor an address",
            "publish: shop.example. TXT \"v=spf1 ip4:192.0.2.25 ~all\"",
            "there is no key at own._domainkey.shop.example",
            "publish: _dmarc.shop.example. TXT \"v=DMARC1; p=none; rua=mailto:dmarc@shop.example\"",
            "it has no name (PTR)",
            "unknown  list zen.spamhaus.org",
            "asked through a public name server",
        ],
    )?;
    ensure!(outcome.stderr.contains("faults"), "{}", outcome.stderr);
    Ok(())
}

#[tokio::test]
async fn what_receivers_give_up_on_is_told_apart_from_what_nobody_knows() -> Result<()> {
    let includes: Vec<String> = (0..11).map(|n| format!("include:i{n}.test")).collect();
    let records: Vec<String> = (0..11)
        .map(|n| format!("TXT i{n}.test v=spf1 ip4:192.0.2.{n} -all"))
        .collect();
    let zone = format!(
        "{COMMON}
TXT shop.example v=spf1 {} ip4:192.0.2.25 -all
{}
SERVFAIL _dmarc.shop.example
CNAME own._domainkey.shop.example a.test
CNAME a.test b.test
{}
TXT two.example v=spf1 -all
TXT two.example v=spf1 ~all
MX two.example 0 .
TXT _dmarc.two.example v=DMARC1; p=rejct\x1b[2J
",
        includes.join(" "),
        records.join("\n"),
        key("b.test")
    )
    .replace("MX two.example 0 .", "A two.example 192.0.2.11");
    let dns = Dns::start(&zone).await?;
    let relay = Service::start(Kind::Smtp).await?;
    let gateway = gateway(&dns, &relay, "").await?;
    let outcome = doctor(&gateway, &["--json"]).await?;
    ensure!(outcome.status == Some(1), "{outcome:?}");
    let report: Value = serde_json::from_str(&outcome.stdout).context(outcome.stdout.clone())?;
    for (check, level) in [
        ("SPF", "fault"),
        ("DKIM relay", "ok"),
        ("DMARC", "unknown"),
        ("alignment relay", "ok"),
    ] {
        let found = levels(&report, "domains", check);
        ensure!(found == [level], "{check}: {found:?} in {report}");
    }
    ensure!(outcome.stdout.contains("11 look-ups"), "{report}");
    ensure!(
        outcome.stdout.contains("ServFail") || outcome.stdout.contains("Server Failure"),
        "{report}"
    );
    ensure!(dns.over_tcp() > 0, "the long key came whole without TCP");
    let other = doctor(&gateway, &["--domain", "two.example"]).await?;
    ensure_says(
        &other,
        &[
            "two.example has 2 SPF records",
            "cannot be read",
            "permerror",
        ],
    )?;
    ensure!(!other.stdout.contains(['\x1b', '\r']), "{:?}", other.stdout);
    Ok(())
}

#[tokio::test]
async fn a_name_server_that_says_nothing_is_waited_for_in_bounds() -> Result<()> {
    let silent = [
        "shop.example",
        "_dmarc.shop.example",
        "own._domainkey.shop.example",
    ]
    .map(|name| format!("SILENT {name}\n"));
    let dns =
        Dns::start(&format!("{COMMON}{}", silent.concat()).replace("MX shop", "MX other")).await?;
    let relay = Service::start(Kind::Smtp).await?;
    let gateway = gateway(&dns, &relay, "").await?;
    let started = Instant::now();
    let outcome = doctor(&gateway, &[]).await?;
    ensure!(
        started.elapsed() < Duration::from_secs(40),
        "{:?}",
        started.elapsed()
    );
    ensure_says(
        &outcome,
        &["unknown  SPF", "unknown  DMARC", "no answer within 5 s"],
    )?;
    ensure!(
        outcome.status == Some(0),
        "silence is no fault: {outcome:?}"
    );
    Ok(())
}

#[tokio::test]
async fn an_account_that_may_not_mail_everybody_is_a_fault_and_its_webhook_is_asked_for()
-> Result<()> {
    let dns = Dns::start(&good_zone()).await?;
    let relay = Service::start(Kind::Smtp).await?;
    let ses = Service::start_on(Kind::Ses, ([127, 0, 0, 1], 0).into(), |config| {
        config.account.is_limited = true;
    })
    .await?;
    let mut tables = provider_tables(Kind::Ses, "ses", ses.address);
    tables.push_str(
        "[routes.main]\nstrategy = \"failover\"\n\
         targets = [{ provider = \"relay\" }, { provider = \"ses\" }]\n",
    );
    let gateway = gateway(&dns, &relay, &tables).await?;
    let outcome = doctor(&gateway, &[]).await?;
    ensure!(outcome.status == Some(1), "{outcome:?}");
    ensure_says(
        &outcome,
        &[
            "PROVIDER ses  ses",
            "the account is in the sandbox",
            "200 of 200 in 24 hours are left",
            "WARNING  webhook",
            "https://GATEWAY/v1/webhooks/ses",
        ],
    )?;
    let one = doctor(&gateway, &["--provider", "relay", "--json"]).await?;
    ensure!(one.status == Some(0), "{one:?}");
    let wrong = doctor(&gateway, &["--provider", "sess"]).await?;
    ensure!(wrong.status == Some(2), "{wrong:?}");
    ensure!(wrong.stderr.contains("there are relay, ses"), "{wrong:?}");
    ensure!(ses.sandbox.stats().messages == 0, "mail was sent");
    Ok(())
}

#[tokio::test]
async fn the_last_event_is_known_after_a_kill_and_without_a_gateway() -> Result<()> {
    let dns = Dns::start(&good_zone()).await?;
    let relay = Service::start(Kind::Smtp).await?;
    let brevo = Service::start(Kind::Brevo).await?;
    let folder = tempfile::tempdir()?;
    let tables = format!(
        "{}{}[routes.main]\nstrategy = \"failover\"\ntargets = [{{ provider = \"brevo\" }}]\n",
        provider_tables(Kind::Brevo, "brevo", brevo.address),
        webhook_table("brevo", &brevo, folder.path())?,
    );
    let mut gateway = gateway(&dns, &relay, &tables).await?;
    // What answers at the service's URL: nobody, this gateway, then the gateway without the webhook.
    let reached = async |gateway: &Gateway| {
        let report = doctor(gateway, &["--provider", "brevo", "--json"]).await?;
        let report: Value = serde_json::from_str(&report.stdout)?;
        let levels = levels(&report, "providers", "reachable");
        anyhow::Ok(
            levels
                .iter()
                .map(|&level| level.to_owned())
                .collect::<Vec<_>>(),
        )
    };
    ensure!(reached(&gateway).await?.is_empty(), "no place is known");
    let listen = format!("listen = \"{}\"", gateway.doors().http);
    let public = |place: &str| format!("{listen}\npublic_url = \"http://{place}\"");
    let (own, away) = (
        gateway.doors().http.to_string(),
        format!("127.0.0.1:{}", free_port()?),
    );
    gateway.set_config(|config| config.replace(&listen, &public(&own)))?;
    ensure!(reached(&gateway).await? == ["ok"], "it is this gateway");
    gateway
        .set_config(|config| config.replace(&public(&own), &public(&brevo.address.to_string())))?;
    ensure!(reached(&gateway).await? == ["fault"], "it is somebody else");
    gateway
        .set_config(|config| config.replace(&public(&brevo.address.to_string()), &public(&away)))?;
    ensure!(reached(&gateway).await? == ["warning"], "it is nobody");
    let seen = async |gateway: &Gateway| {
        let report = doctor(gateway, &["--provider", "brevo", "--json"]).await?;
        let report: Value = serde_json::from_str(&report.stdout)?;
        let levels = levels(&report, "providers", "last event");
        anyhow::Ok(levels.iter().map(|&level| level.to_owned()).collect())
    };
    let before: Vec<String> = seen(&gateway).await?;
    ensure!(before == ["unknown"], "{before:?}");
    let recipient = "ana@one.example";
    gateway.submit(&crate::order(recipient)).await?;
    let sent = gateway.reached(recipient, SHOP_KEY, &["sent"], crate::SENT_MAX);
    sent.await?;
    let hook = format!("http://{}/v1/webhooks/brevo", gateway.doors().http);
    let emit = format!("http://{}/_sandbox/event", brevo.address);
    let event = json!({ "event": "delivered", "url": hook });
    let client = reqwest::Client::builder().no_proxy().build()?;
    let told = answered(client.post(emit).json(&event).send().await?, 200).await?;
    ensure!(told["status"] == 200, "{told}");
    let ok = vec!["ok".to_owned()];
    ensure!(seen(&gateway).await? == ok, "at once");
    gateway.kill()?;
    gateway.boot().await?;
    ensure!(seen(&gateway).await? == ok, "after a kill");
    gateway.stop().await?;
    ensure!(seen(&gateway).await? == ok, "without a gateway");
    Ok(())
}

/// What mail of one's own needs besides: a key that signs, a domain that mail comes back to, and a page
/// behind the links, which is reached by TLS.
async fn own_mail(dns: &Dns, relay: &Service) -> Result<(Gateway, TlsFront)> {
    let key = KeyPair::generate_for(&PKCS_ED25519)?.serialize_pem();
    let relay = provider_tables(Kind::Smtp, "relay", relay.address);
    let tables = format!(
        "{relay}[routes.main]\nstrategy = \"failover\"\ntargets = [{{ provider = \"relay\" }}]\n\
         [doctor]\nown_ips = [\"192.0.2.25\"]\ndnsbls = []\ndns_server = \"{}\"\n\
         [[smtp.listeners]]\nlisten = \"127.0.0.1:{}\"\nrole = \"bounce\"\ntls = \"none\"\n\
         verp_domain = \"back.shop.example\"\nverp_secret = \"a secret of this test alone\"\n\
         [dkim.\"shop.example\"]\nselector = \"m1\"\nkey = \"\"\"{key}\"\"\"\n",
        dns.address,
        free_port()?,
    );
    let mut config = Config::rehearsal(&tables)?;
    let front = TlsFront::start(config.doors.http).await?;
    front.trusted_by(&mut config);
    config.add(&format!(
        "[unsubscribe]\nbase_url = \"https://127.0.0.1:{}\"\nsecret = \"a secret of this test\"\n",
        front.address.port()
    ));
    Ok((Gateway::start(config).await?, front))
}

/// A zone where only what is sent in the gateway's own way passes, with these lines.
fn own_zone(more: &str) -> String {
    format!(
        "{COMMON}
TXT shop.example v=spf1 -all
TXT _dmarc.shop.example v=DMARC1; p=reject; rua=mailto:dmarc@shop.example
{more}
"
    )
}

#[tokio::test]
async fn keys_return_addresses_and_links_of_ones_own_are_looked_at() -> Result<()> {
    let empty = Dns::start(&own_zone(&key("m1._domainkey.shop.example"))).await?;
    let relay = Service::start(Kind::Smtp).await?;
    let (mut gateway, front) = own_mail(&empty, &relay).await?;
    let outcome = doctor(&gateway, &[]).await?;
    ensure!(outcome.status == Some(1), "{outcome:?}");
    let arguments = [
        "dkim",
        "record",
        "shop.example",
        "--json",
        "--config",
        "malote.toml",
    ];
    let record = run(&mut gateway.command(&arguments)?, RUN_MAX)
        .await?
        .success()?;
    let record: Value = serde_json::from_str(&record)?;
    let wanted = record["records"][0]["value"]
        .as_str()
        .context("no record")?;
    ensure_says(
        &outcome,
        &[
            "1 of the 1 records that [dkim] wants are not there or hold something else",
            &format!("publish: m1._domainkey.shop.example. TXT \"{wanted}\""),
            "p=reject: receivers refuse this mail",
            "RETURN PATH back.shop.example  in MAIL FROM of what relay sends",
            "bounces and complaints by mail are lost",
            "publish: back.shop.example. MX 10 ",
            "publish: back.shop.example. TXT \"v=spf1 ip4:192.0.2.25 ~all\"",
            "mailbox providers mistrust links without a name",
            "the page answers, by https",
            "a post without a ticket is answered as it should be",
        ],
    )?;
    // What was said to publish is published.
    let published = format!(
        "TXT m1._domainkey.shop.example {wanted}\nMX back.shop.example 10 mx.shop.example\n\
         TXT back.shop.example v=spf1 ip4:192.0.2.25 ~all"
    );
    let dns = Dns::start(&own_zone(&published)).await?;
    gateway.set_config(|config| {
        config.replace(&empty.address.to_string(), &dns.address.to_string())
    })?;
    let outcome = doctor(&gateway, &[]).await?;
    ensure!(outcome.status == Some(0), "{outcome:?}");
    ensure_says(
        &outcome,
        &[
            "1 of 1 records are as [dkim] wants them",
            "by DKIM, d=shop.example and by SPF, MAIL FROM at back.shop.example",
            "not needed here: MAIL FROM is at back.shop.example",
        ],
    )?;
    // Behind the links is nobody.
    drop(front);
    let outcome = doctor(&gateway, &[]).await?;
    ensure_says(&outcome, &["WARNING  one click", "none from here"])?;
    Ok(())
}

#[tokio::test]
async fn a_mautic_whose_contacts_may_be_seen_and_not_edited_is_a_fault() -> Result<()> {
    let dns = Dns::start(&good_zone()).await?;
    let relay = Service::start(Kind::Smtp).await?;
    let mautic = Mautic::start(&["ana@one.example"]).await?;
    let gateway = gateway(&dns, &relay, &mautic.table("shop")).await?;
    let outcome = doctor(&gateway, &[]).await?;
    ensure!(outcome.status == Some(0), "{outcome:?}");
    ensure_says(&outcome, &["answers with contacts; may edit them"])?;
    mautic.state().may_edit = false;
    let outcome = doctor(&gateway, &[]).await?;
    ensure!(outcome.status == Some(1), "{outcome:?}");
    ensure_says(&outcome, &["lead:leads:editother", "view and edit others'"])
}

#[tokio::test]
async fn one_click_hosts_are_connected_to_and_a_mailbox_is_left_to_the_operator() -> Result<()> {
    let dns = Dns::start(&good_zone()).await?;
    let relay = Service::start(Kind::Smtp).await?;
    let mautic = Mautic::start(&["ana@one.example"]).await?;
    let sinks = "sinks = [\"one_click\", \"dsn\"]\none_click_hosts = [\"127.0.0.1\"]\n\
                 dsn_to = \"bounces@shop.example\"\ndsn_provider = \"relay\"\n";
    let table = format!("{}{sinks}", mautic.table("shop"));
    let mut gateway = gateway(&dns, &relay, &table).await?;
    let outcome = doctor(&gateway, &[]).await?;
    ensure!(outcome.status == Some(0), "{outcome:?}");
    ensure_says(
        &outcome,
        &[
            "one_click: 127.0.0.1 takes connections",
            "no address was asked",
            "unknown  peer",
            "dsn: no mailbox can be asked whether Mautic reads it",
            "mail to bounces@shop.example arrives and is fetched",
        ],
    )?;
    let nobody = format!("http://127.0.0.1:{}", free_port()?);
    gateway.set_config(|config| config.replace(&mautic.peer.url(), &nobody))?;
    let outcome = doctor(&gateway, &[]).await?;
    ensure!(outcome.status == Some(1), "{outcome:?}");
    ensure_says(
        &outcome,
        &[
            "FAULT    peer",
            "one_click: 127.0.0.1: ",
            "see malote outlets",
        ],
    )?;
    ensure!(mautic.peer.requests().is_empty(), "something was asked");
    Ok(())
}
