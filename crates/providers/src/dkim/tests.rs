//! Keys are read and judged; what an adapter is given to send is signed.

use std::sync::Mutex;

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{Ed25519KeyPair, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use malote_core::fault::Severity;

use super::*;

fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    let lines = lines.join("\n");
    format!("-----BEGIN PRIVATE KEY-----\n{lines}\n-----END PRIVATE KEY-----\n")
}

fn rsa() -> String {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
    pem(der.as_ref())
}

fn ed25519() -> String {
    let der = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    pem(der.as_ref())
}

fn one(selector: &str, key: &str) -> DkimConfig {
    DkimConfig {
        selector: Some(selector.to_owned()),
        key: Some(Secret::new(key.to_owned())),
        ..DkimConfig::default()
    }
}

fn build(tables: &[(&str, DkimConfig)]) -> (DkimKeys, Vec<String>) {
    let tables = tables.iter().cloned();
    let tables = tables
        .map(|(domain, table)| (domain.to_owned(), table))
        .collect();
    let mut faults = Vec::new();
    let keys = DkimKeys::build(&tables, &mut faults);
    let errors = faults.into_iter().filter(|f| f.severity == Severity::Error);
    (keys, errors.map(|fault| fault.path).collect())
}

#[test]
fn both_kinds_of_key_are_read_and_their_records_told() {
    let mut table = one("r1", &rsa());
    table.keys = vec![DkimKeyConfig {
        selector: "e1".into(),
        key: Some(Secret::new(ed25519())),
        ..DkimKeyConfig::default()
    }];
    let (keys, errors) = build(&[("shop.example", table)]);
    assert!(errors.is_empty(), "{errors:?}");
    let records = keys.records("shop.example");
    let names: Vec<_> = records.iter().map(|record| record.name.as_str()).collect();
    assert_eq!(
        names,
        ["r1._domainkey.shop.example", "e1._domainkey.shop.example"]
    );
    let rsa = records[0].value.strip_prefix("v=DKIM1; k=rsa; p=").unwrap();
    // SubjectPublicKeyInfo of 2048 bits.
    assert_eq!(STANDARD.decode(rsa).unwrap().len(), 294);
    let point = records[1].value.strip_prefix("v=DKIM1; k=ed25519; p=");
    assert_eq!(STANDARD.decode(point.unwrap()).unwrap().len(), 32);
}

#[test]
fn mail_of_a_domain_below_is_signed_by_the_nearest_key() {
    let (keys, _) = build(&[
        ("shop.example", one("a", &ed25519())),
        ("News.shop.example", one("b", &ed25519())),
    ]);
    for (domain, signer) in [
        ("shop.example", Some("shop.example")),
        ("mail.shop.example", Some("shop.example")),
        ("news.shop.example", Some("news.shop.example")),
        ("x.news.shop.example", Some("news.shop.example")),
        ("notshop.example", None),
        ("example", None),
    ] {
        assert_eq!(keys.of(domain).map(|(own, _)| own), signer, "{domain}");
    }
}

#[test]
fn every_fault_of_a_table_has_its_path() {
    let twice = DkimConfig {
        keys: vec![DkimKeyConfig {
            selector: "a".into(),
            key: Some(Secret::new(ed25519())),
            ..DkimKeyConfig::default()
        }],
        ..one("a", &ed25519())
    };
    let (_, errors) = build(&[
        ("a b", one("a", &ed25519())),
        ("bad.example", one("a_b", "no key")),
        ("empty.example", DkimConfig::default()),
        ("twice.example", twice),
    ]);
    assert_eq!(
        errors,
        [
            "dkim.\"a b\"",
            "dkim.\"bad.example\".selector",
            "dkim.\"bad.example\".key",
            "dkim.\"empty.example\".selector",
            "dkim.\"empty.example\".key",
            "dkim.\"twice.example\".keys[0].selector",
        ]
    );
}

/// Keeps what it is given.
struct Kept(
    Mutex<Vec<bytes::Bytes>>,
    malote_core::provider::Capabilities,
);

#[async_trait::async_trait]
impl malote_core::provider::Provider for Kept {
    fn kind(&self) -> &'static str {
        "kept"
    }

    fn capabilities(&self) -> &malote_core::provider::Capabilities {
        &self.1
    }

    fn reports_by_mail(&self) -> bool {
        true
    }

    async fn send(
        &self,
        outgoing: &malote_core::provider::Outgoing,
    ) -> malote_core::provider::SendReport {
        self.0.lock().unwrap().push(outgoing.body.clone());
        Vec::new()
    }

    async fn check(
        &self,
    ) -> Result<malote_core::provider::Account, malote_core::provider::SendError> {
        Ok(malote_core::provider::Account::default())
    }
}

async fn sent(domain: &str, body: &str) -> String {
    let capabilities = malote_core::provider::Capabilities {
        message_bytes_max: 1 << 20,
        recipients_max: 1,
        envelope_sender: true,
        smtputf8: true,
        eight_bit: true,
        tracking: malote_core::tracking::TrackingSwitches::BOTH,
    };
    let kept = std::sync::Arc::new(Kept(Mutex::default(), capabilities));
    let (keys, _) = build(&[(domain, one("e1", &ed25519()))]);
    let clock = std::sync::Arc::new(malote_core::clock::SystemClock::start());
    let signing = signing(kept.clone(), std::sync::Arc::new(keys), clock);
    let mut outgoing = crate::correlation::tests::outgoing(&["x@dest.example"]);
    outgoing.body = body.replace('\n', "\r\n").into_bytes().into();
    assert!(
        signing.reports_by_mail(),
        "MAIL FROM is a return address all the same"
    );
    signing.send(&outgoing).await;
    let body = kept.0.lock().unwrap().pop().unwrap();
    String::from_utf8(body.to_vec()).unwrap()
}

#[tokio::test]
async fn a_message_is_signed_over_what_leaves_and_only_by_its_own_domain() {
    let body = "From: Shop <a@shop.example>\nSubject: x\nX-Own: y\nDKIM-Signature: v=1; old\n\
                List-Unsubscribe-Post: List-Unsubscribe=One-Click\nMIME-Version: 1.0\n\
                Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\nÉ\n";
    let signed = sent("shop.example", body).await;
    let begin = "DKIM-Signature: v=1; a=ed25519-sha256; s=e1; d=shop.example;\r\n";
    assert!(signed.starts_with(begin), "{signed}");
    let head = signed
        .split("\r\nFrom: Shop")
        .next()
        .unwrap()
        .replace("\r\n\t", "");
    let names = head.split("h=").nth(1).unwrap().split(';').next().unwrap();
    let mut names: Vec<_> = names.split(':').map(str::trim).collect();
    assert_eq!(names.iter().filter(|name| **name == "From").count(), 2);
    names.sort_unstable();
    names.dedup();
    assert_eq!(
        names,
        [
            "Content-Transfer-Encoding",
            "Content-Type",
            "From",
            "List-Unsubscribe-Post",
            "MIME-Version",
            "Subject"
        ]
    );
    assert!(
        !head.contains(";l=") && !head.contains("; l=") && head.contains("bh="),
        "{head}"
    );
    // What no later server has to encode, and the client's own signature with it.
    assert!(signed.is_ascii(), "{signed}");
    assert!(
        signed.contains("\r\nDKIM-Signature: v=1; old\r\n"),
        "{signed}"
    );
    let other = sent("other.example", body).await;
    assert_eq!(other, body.replace('\n', "\r\n"));
}
