//! Mail that leaves by an SMTP server of one's own is signed, and dkimpy verifies every signature over
//! what arrived, with the records that `malote dkim record` tells to publish.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use malote_tests::{Gateway, LOADTEST_KEY, SmtpClient, World, repository, run, text_message, tool};
use rcgen::{KeyPair, PKCS_ED25519, PKCS_RSA_SHA256, RsaKeySize};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{SENT_MAX, campaigns_by};

const COMMAND_MAX: Duration = Duration::from_secs(30);
const RELAY: &str = "{ provider = \"relay\", pool = \"bulk\" }";

/// Keys of both kinds in files that only we may read, and the table that names them.
struct Keys {
    folder: TempDir,
}

impl Keys {
    fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let rsa = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?;
        let ed25519 = KeyPair::generate_for(&PKCS_ED25519)?;
        for (name, key) in [("rsa.pem", rsa), ("ed25519.pem", ed25519)] {
            private(&folder.path().join(name), &key.serialize_pem())?;
        }
        Ok(Self { folder })
    }

    fn table(&self) -> String {
        let folder = self.folder.path().display();
        format!(
            "[dkim.\"shop.example\"]\nselector = \"r1\"\nkey_file = \"{folder}/rsa.pem\"\n\
             keys = [{{ selector = \"e1\", key_file = \"{folder}/ed25519.pem\" }}]\n"
        )
    }
}

fn private(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text)?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    Ok(std::fs::set_permissions(path, mode)?)
}

async fn malote(gateway: &Gateway, arguments: &[&str]) -> Result<malote_tests::Outcome> {
    let with_config = ["--config", "malote.toml"];
    let arguments: Vec<&str> = arguments.iter().chain(&with_config).copied().collect();
    run(&mut gateway.command(&arguments)?, COMMAND_MAX).await
}

/// The records to publish, by name.
async fn records(gateway: &Gateway) -> Result<Value> {
    let arguments = ["dkim", "record", "shop.example", "--json"];
    let said = malote(gateway, &arguments).await?.success()?;
    let said: Value = serde_json::from_str(&said)?;
    let mut records = serde_json::Map::new();
    for record in said["records"].as_array().context("no records")? {
        let name = record["name"].as_str().context("no name")?;
        records.insert(name.to_owned(), record["value"].clone());
    }
    Ok(records.into())
}

/// What dkimpy says of each signature of a message.
async fn verdicts(message: &[u8], records: &Value) -> Result<Vec<Value>> {
    let folder = tempfile::tempdir()?;
    let (mail, names) = (folder.path().join("mail"), folder.path().join("records"));
    std::fs::write(&mail, message)?;
    std::fs::write(&names, records.to_string())?;
    let mut command = Command::new(tool("python3")?);
    command.arg(repository().join("tests/clients/dkim_verify.py"));
    let said = run(command.arg(&mail).arg(&names), COMMAND_MAX)
        .await?
        .success()?;
    Ok(serde_json::from_str(&said)?)
}

/// Sends a message by the relay and answers what arrived.
async fn arrived(world: &World, recipient: &str, text: &str) -> Result<Vec<u8>> {
    let mut client = SmtpClient::connect(world.gateway.doors().plain).await?;
    let reply = client.send("b@shop.example", &[recipient], text).await?;
    ensure!(reply.code == 250, "{reply:?}");
    world
        .gateway
        .reached(recipient, LOADTEST_KEY, &["sent"], SENT_MAX)
        .await?;
    let taken = world.relay.sandbox.messages_to(recipient);
    let raw = taken.first().and_then(|taken| taken.raw.clone());
    Ok(raw.context("nothing arrived")?.to_vec())
}

/// Messages with what canonicalization and encoding could get wrong.
fn messages() -> Vec<(&'static str, String)> {
    let plain = text_message("news@shop.example", "plain@one.example", "n1");
    let text = |to: &str, fields: &str, body: &str| {
        format!(
            "From: News <news@shop.example>\r\nTo: {to}@one.example\r\nSubject:  spaced \t out \r\n\
             Date: Fri, 02 Jan 2026 03:04:05 +0000\r\nMessage-ID: <{to}@shop.example>\r\n\
             List-Unsubscribe: <https://shop.example/u/1>,\r\n <mailto:u@shop.example>\r\n\
             List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\nMIME-Version: 1.0\r\n{fields}\r\n{body}"
        )
    };
    let utf8 = "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n";
    let long = format!("{}\r\n", "long ".repeat(400));
    vec![
        ("plain", plain),
        ("spaces", text("spaces", "", "a  b\t c \r\n \r\n\r\n\r\n")),
        ("empty", text("empty", "", "")),
        (
            "eightbit",
            text("eightbit", utf8, "Olá, não é?\r\n.\r\n..\r\n"),
        ),
        ("longline", text("longline", utf8, &long)),
        (
            "signed",
            text(
                "signed",
                "DKIM-Signature: v=1; a=rsa-sha256; d=other.example; s=x; h=from; bh=eA==; b=eA==\r\n",
                "hi\r\n",
            ),
        ),
        (
            "large",
            text(
                "large",
                "",
                &"0123456789 0123456789 0123456789\r\n".repeat(20_000),
            ),
        ),
    ]
}

#[tokio::test]
async fn every_signature_is_verified_over_what_arrived() -> Result<()> {
    let keys = Keys::new()?;
    let world = World::start_with(|config| {
        config.add(&keys.table());
        campaigns_by(config, RELAY)
    })
    .await?;
    let records = records(&world.gateway).await?;
    for (name, text) in messages() {
        let raw = arrived(&world, &format!("{name}@one.example"), &text).await?;
        let said = verdicts(&raw, &records).await?;
        let own: Vec<&Value> = said
            .iter()
            .filter(|one| one["domain"] == "shop.example")
            .collect();
        let signed = own
            .iter()
            .map(|one| (one["algorithm"].as_str(), one["selector"].as_str()));
        let expected = [
            (Some("rsa-sha256"), Some("r1")),
            (Some("ed25519-sha256"), Some("e1")),
        ];
        ensure!(signed.eq(expected), "{name}: {said:?}");
        ensure!(
            own.iter().all(|one| one["is_good"] == true),
            "{name}: {said:?}"
        );
        ensure!(
            said.len() == own.len() + usize::from(name == "signed"),
            "{name}: {said:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_second_from_or_another_text_fails_the_signature() -> Result<()> {
    let keys = Keys::new()?;
    let world = World::start_with(|config| {
        config.add(&keys.table());
        campaigns_by(config, RELAY)
    })
    .await?;
    let records = records(&world.gateway).await?;
    let text = text_message("news@shop.example", "ana@one.example", "n1");
    let raw = arrived(&world, "ana@one.example", &text).await?;
    let raw = String::from_utf8(raw)?;
    for forged in [
        format!("From: Bank <a@bank.example>\r\n{raw}"),
        raw.replace("Hello.", "Goodbye."),
        raw.replace("ana@one.example", "bob@one.example"),
    ] {
        ensure!(forged != raw, "nothing was changed");
        let said = verdicts(forged.as_bytes(), &records).await?;
        ensure!(said.iter().all(|one| one["is_good"] == false), "{said:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_campaign_gets_a_feedback_id_that_is_signed_and_keeps_its_own() -> Result<()> {
    let keys = Keys::new()?;
    let world = World::start_with(|config| {
        config.add(&keys.table());
        config.replace(
            "[streams.campaign]",
            "[streams.campaign]\nfeedback_id = \"acme-mail\"",
        )?;
        campaigns_by(config, RELAY)
    })
    .await?;
    let records = records(&world.gateway).await?;
    for (recipient, fields, expected) in [
        ("none@one.example", "", "42:campaign:loadtest:acme-mail"),
        (
            "own@one.example",
            "Feedback-ID: a:b:c:mautic\r\n",
            "a:b:c:mautic",
        ),
    ] {
        let text = text_message("news@shop.example", recipient, "n1");
        let raw = arrived(
            &world,
            recipient,
            &format!("X-EMAIL-ID: 42\r\n{fields}{text}"),
        )
        .await?;
        let said = verdicts(&raw, &records).await?;
        let is_signed = |one: &Value| {
            let fields = one["fields"].as_array();
            one["is_good"] == true && fields.is_some_and(|all| all.contains(&json!("Feedback-ID")))
        };
        ensure!(said.len() == 2 && said.iter().all(is_signed), "{said:?}");
        let raw = String::from_utf8(raw)?;
        ensure!(raw.matches("Feedback-ID: ").count() == 1, "{raw}");
        ensure!(
            raw.contains(&format!("\r\nFeedback-ID: {expected}\r\n")),
            "{raw}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn nothing_is_signed_where_the_table_says_no_or_the_domain_has_no_key() -> Result<()> {
    let keys = Keys::new()?;
    for (table, from) in [
        ("shop.example", "news@elsewhere.example"),
        ("", "news@shop.example"),
    ] {
        let world = World::start_with(|config| {
            config.add(&keys.table());
            if table.is_empty() {
                config.replace(
                    "[providers.relay.smtp]",
                    "[providers.relay.smtp]\ndkim = false",
                )?;
            }
            campaigns_by(config, RELAY)
        })
        .await?;
        let text = text_message(from, "ana@one.example", "n1");
        let raw = arrived(&world, "ana@one.example", &text).await?;
        ensure!(
            !String::from_utf8(raw)?.contains("DKIM-Signature"),
            "signed"
        );
    }
    Ok(())
}

/// An RSA key of this size in a file that everybody may read, and the table that names it.
async fn open_key(folder: &Path, bits: &str) -> Result<String> {
    let file = folder.join("open.pem");
    let mut openssl = Command::new("openssl");
    openssl.args(["genrsa", "-out"]).arg(&file).arg(bits);
    run(&mut openssl, COMMAND_MAX).await?.success()?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(&file, mode)?;
    let file = file.display();
    Ok(format!(
        "[dkim.\"news.example\"]\nselector = \"w1\"\nkey_file = \"{file}\"\n"
    ))
}

/// Whether a report has this at this key, with its place.
fn says(report: &Value, key: &str, part: &str) -> bool {
    let mut faults = report["faults"].as_array().into_iter().flatten();
    faults.any(|fault| {
        let is_said = fault["message"]
            .as_str()
            .is_some_and(|said| said.contains(part));
        fault["key"] == key && is_said && fault["line"].is_u64()
    })
}

#[tokio::test]
async fn check_tells_small_keys_open_files_and_sender_domains_without_a_key() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let table = open_key(folder.path(), "2048").await?;
    let world = World::start_with(|config| {
        config.add(&table);
        campaigns_by(config, RELAY)
    })
    .await?;
    let gateway = &world.gateway;
    let said = malote(gateway, &["check", "--json"]).await?.success()?;
    let report: Value = serde_json::from_str(&said)?;
    let key = "dkim.\"news.example\".key_file";
    ensure!(
        says(&report, key, "every user of this machine can read"),
        "{report:#}"
    );
    let senders = "credentials.shop.from_domains[0]";
    ensure!(
        says(&report, senders, "no key signs mail from shop.example"),
        "{report:#}"
    );
    let record = malote(gateway, &["dkim", "record", "news.example"])
        .await?
        .success()?;
    ensure!(
        record.starts_with("w1._domainkey.news.example. IN TXT ( \"v=DKIM1; k=rsa; p="),
        "{record}"
    );
    let none = malote(gateway, &["dkim", "record", "shop.example"]).await?;
    ensure!(none.status == Some(3), "{none:?}");
    open_key(folder.path(), "1024").await?;
    let said = malote(gateway, &["check", "--json"]).await?;
    ensure!(said.status == Some(2), "{said:?}");
    let report: Value = serde_json::from_str(&said.stdout)?;
    ensure!(
        says(&report, key, "is an RSA key under 2048 bits"),
        "{report:#}"
    );
    Ok(())
}
