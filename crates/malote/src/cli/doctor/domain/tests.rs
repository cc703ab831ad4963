//! What an operator is told of whole zones.

use malote_core::provider::{SenderRecord, SenderRecordKind, SenderRecordPurpose};
use malote_core::stream::Class;

use super::super::facts::tests::facts;
use super::super::services;
use super::*;

/// A record of a key as long as an RSA key of 2048 bits.
fn key_record(name: &str) -> String {
    format!("TXT {name} v=DKIM1; k=rsa; p={}", "A".repeat(392))
}

fn sender(service: &'static str, class: Class) -> Sender {
    Sender {
        provider: service.try_into().unwrap(),
        service,
        account_domain: None,
        addresses: Default::default(),
        selectors: Vec::new(),
        keys: Vec::new(),
        return_path: None,
        classes: [class].into(),
    }
}

fn judged(senders: Vec<Sender>, told: &[SenderRecord], zone: &[&str]) -> Vec<Line> {
    let plan = DomainPlan {
        name: "shop.example".to_owned(),
        credentials: ["shop".to_owned()].into(),
        senders,
    };
    let mut lines = vec!["MX shop.example 10 m.test", "A m.test 192.0.2.1"];
    lines.extend(zone);
    let services = services::read().unwrap();
    let of = |_: &Sender| (!told.is_empty()).then_some(told);
    facts(&lines, |facts| judge(facts, &plan, &services, &of)).lines
}

fn level_of(lines: &[Line], check: &str) -> Level {
    let found = lines.iter().filter(|line| line.check == check);
    let level = found.map(|line| line.level).max();
    level.unwrap_or_else(|| panic!("nothing is said of {check}: {lines:#?}"))
}

fn relay() -> Sender {
    Sender {
        addresses: ["192.0.2.25".parse().unwrap()].into(),
        selectors: vec!["own".to_owned()],
        ..sender("smtp", Class::Transactional)
    }
}

#[test]
fn a_domain_with_everything_has_nothing_to_say_but_ok() {
    let mut bulk = sender("sendgrid", Class::Campaign);
    bulk.selectors = vec!["s7".to_owned()];
    let lines = judged(
        vec![relay(), bulk],
        &[],
        &[
            "TXT shop.example v=spf1 ip4:192.0.2.0/24 ~all",
            "TXT _dmarc.shop.example v=DMARC1; p=reject; rua=mailto:d@shop.example",
            &key_record("own._domainkey.shop.example"),
            &key_record("s7._domainkey.shop.example"),
        ],
    );
    assert!(
        lines.iter().all(|line| line.level == Level::Ok),
        "{lines:#?}"
    );
    let both = lines
        .iter()
        .find(|line| line.check == "alignment smtp")
        .unwrap();
    assert!(
        both.text.contains("DKIM") && both.text.contains("SPF"),
        "{both:?}"
    );
}

#[test]
fn an_empty_zone_is_told_what_to_publish() {
    let lines = judged(vec![relay(), sender("mailtrap", Class::Campaign)], &[], &[]);
    for check in ["SPF", "DKIM smtp", "DKIM mailtrap", "DMARC"] {
        assert_eq!(level_of(&lines, check), Level::Fault, "{check}");
    }
    assert_eq!(level_of(&lines, "alignment smtp"), Level::Warning);
    let lines_of_campaign = judged(vec![sender("postmark", Class::Campaign)], &[], &[]);
    assert_eq!(
        level_of(&lines_of_campaign, "alignment postmark"),
        Level::Unknown
    );
    let records: Vec<String> = lines
        .iter()
        .flat_map(|line| &line.publish)
        .map(|record| format!("{} {} {}", record.name, record.kind, record.value))
        .collect();
    for record in [
        "shop.example TXT v=spf1 ip4:192.0.2.25 ~all",
        "rwmt1._domainkey.shop.example CNAME rwmt1.dkim.smtp.mailtrap.live",
        "_dmarc.shop.example TXT v=DMARC1; p=none; rua=mailto:dmarc@shop.example",
    ] {
        assert!(
            records.iter().any(|found| found == record),
            "{record}: {records:#?}"
        );
    }
}

#[test]
fn reject_without_an_aligned_provider_is_said_for_the_whole_domain() {
    let zone = ["TXT _dmarc.shop.example v=DMARC1; p=reject; rua=mailto:d@shop.example"];
    let lines = judged(vec![sender("mailjet", Class::Transactional)], &[], &zone);
    // Mailjet may have a return path of its own, which the DNS alone does not tell.
    assert_eq!(level_of(&lines, "alignment mailjet"), Level::Unknown);
    let lines = judged(vec![relay()], &[], &zone);
    assert_eq!(level_of(&lines, "alignment smtp"), Level::Fault);
    assert!(
        lines
            .last()
            .unwrap()
            .text
            .contains("all mail from it is refused")
    );
}

#[test]
fn an_spf_record_that_lacks_an_address_is_given_whole() {
    let zone = ["TXT shop.example v=spf1 mx -all"];
    let lines = judged(vec![relay()], &[], &zone);
    let spf = lines.iter().find(|line| line.check == "SPF").unwrap();
    assert_eq!(spf.level, Level::Fault);
    assert_eq!(spf.publish[0].value, "v=spf1 mx ip4:192.0.2.25 -all");
}

#[test]
fn free_mail_is_one_fault_and_no_question() {
    let plan = DomainPlan {
        name: "uol.com.br".to_owned(),
        credentials: Default::default(),
        senders: vec![relay()],
    };
    let services = services::read().unwrap();
    let facts = Facts::default();
    let section = judge(&facts, &plan, &services, &|_| None);
    assert_eq!(section.lines.len(), 1);
    assert_eq!(section.lines[0].level, Level::Fault);
    assert!(facts.take_missing().is_empty());
}

fn told(name: &str, kind: SenderRecordKind, value: &str) -> SenderRecord {
    let purpose = match kind {
        SenderRecordKind::Mx => SenderRecordPurpose::MailFrom,
        SenderRecordKind::Txt | SenderRecordKind::Cname => SenderRecordPurpose::Dkim,
    };
    SenderRecord {
        sender: "shop.example".to_owned(),
        name: name.to_owned(),
        kind,
        value: value.to_owned(),
        purpose,
    }
}

#[test]
fn what_a_service_told_is_compared_word_for_word() {
    let cname = SenderRecordKind::Cname;
    let wanted = [
        told("t1._domainkey.shop.example", cname, "t1.dkim.amazonses.com"),
        told("t2._domainkey.shop.example", cname, "t2.dkim.amazonses.com"),
        told(
            "mail.shop.example",
            SenderRecordKind::Mx,
            "feedback-smtp.eu-west-1.amazonses.com",
        ),
    ];
    let key = key_record("t1._domainkey.shop.example");
    let zone = [
        "CNAME t1._domainkey.shop.example t1.dkim.amazonses.com",
        &key,
        "CNAME t2._domainkey.shop.example other.dkim.amazonses.com",
        "MX mail.shop.example 10 feedback-smtp.eu-west-1.amazonses.com",
        "TXT mail.shop.example v=spf1 include:amazonses.com ~all",
        "TXT amazonses.com v=spf1 ip4:199.255.192.0/22 -all",
    ];
    let lines = judged(vec![sender("ses", Class::Campaign)], &wanted, &zone);
    let dkim = lines.iter().find(|line| line.check == "DKIM ses").unwrap();
    assert_eq!(dkim.level, Level::Fault);
    assert_eq!(dkim.publish.len(), 1);
    assert_eq!(dkim.publish[0].value, "t2.dkim.amazonses.com");
    let aligned = lines
        .iter()
        .find(|line| line.check == "alignment ses")
        .unwrap();
    assert_eq!(aligned.level, Level::Ok, "{aligned:?}");
    assert!(
        aligned.text.contains("MAIL FROM at mail.shop.example"),
        "{aligned:?}"
    );
}

#[test]
fn strict_alignment_takes_no_parent() {
    let mut mailgun = sender("mailgun", Class::Campaign);
    mailgun.account_domain = Some("mg.shop.example".to_owned());
    mailgun.selectors = vec!["mx".to_owned()];
    let key = key_record("mx._domainkey.mg.shop.example");
    let base = [
        key.as_str(),
        "TXT mg.shop.example v=spf1 include:mailgun.org ~all",
        "TXT mailgun.org v=spf1 ip4:198.51.100.0/24 ~all",
    ];
    for (modes, level) in [
        ("", Level::Ok),
        ("; adkim=s; aspf=s", Level::Fault),
        ("; adkim=s", Level::Ok),
    ] {
        let record = format!("TXT _dmarc.shop.example v=DMARC1; p=quarantine{modes}");
        let mut zone = base.to_vec();
        zone.push(&record);
        let lines = judged(vec![mailgun.clone()], &[], &zone);
        assert_eq!(
            level_of(&lines, "alignment mailgun"),
            level,
            "{modes}: {lines:#?}"
        );
    }
}

#[test]
fn a_selector_that_only_the_service_knows_is_no_fault_of_the_zone() {
    let lines = judged(vec![sender("sparkpost", Class::Transactional)], &[], &[]);
    assert_eq!(level_of(&lines, "DKIM sparkpost"), Level::Unknown);
    assert_eq!(level_of(&lines, "alignment sparkpost"), Level::Unknown);
}

#[test]
fn a_silent_name_server_makes_no_fault() {
    let zone = [
        "TXT shop.example ?",
        "TXT _dmarc.shop.example ?",
        "TXT own._domainkey.shop.example ?",
    ];
    let lines = judged(vec![relay()], &[], &zone);
    let levels = lines
        .iter()
        .filter(|line| line.check != "MX")
        .map(|line| line.level);
    assert!(
        levels.into_iter().all(|level| level == Level::Unknown),
        "{lines:#?}"
    );
}

#[test]
fn a_key_of_our_own_must_be_the_one_that_is_published() {
    let name = "m1._domainkey.shop.example";
    let own = SenderRecord {
        sender: "shop.example".to_owned(),
        name: name.to_owned(),
        kind: SenderRecordKind::Txt,
        value: format!("v=DKIM1; k=rsa; p={}", "A".repeat(392)),
        purpose: SenderRecordPurpose::Dkim,
    };
    let signed = || Sender {
        selectors: Vec::new(),
        keys: vec![own.clone()],
        ..relay()
    };
    let other = format!("TXT {name} v=DKIM1; k=rsa; p={}", "B".repeat(392));
    for (record, level) in [
        (key_record(name), Level::Ok),
        (other, Level::Fault),
        ("TXT shop.example x".to_owned(), Level::Fault),
    ] {
        let lines = judged(vec![signed()], &[], &[&record]);
        assert_eq!(level_of(&lines, "DKIM smtp"), level, "{record}");
        let line = lines.iter().find(|line| line.check == "DKIM smtp").unwrap();
        assert!(line.text.contains("[dkim] wants"), "{line:?}");
        let wanted = (level == Level::Fault).then_some(&own.value);
        assert_eq!(line.publish.first().map(|one| &one.value), wanted);
        let passes = level_of(&lines, "alignment smtp");
        assert_eq!(passes == Level::Ok, level == Level::Ok, "{record}");
    }
}

#[test]
fn where_mail_from_is_ours_its_domain_decides_and_not_the_senders() {
    let returning = || Sender {
        return_path: Some("bounces.shop.example".to_owned()),
        ..relay()
    };
    let covered = "TXT bounces.shop.example v=spf1 ip4:192.0.2.25 -all";
    let relaxed = "TXT _dmarc.shop.example v=DMARC1; p=reject; rua=mailto:d@shop.example";
    let strict = format!("{relaxed}; aspf=s");
    for (zone, passes) in [
        (vec![covered, relaxed], true),
        (vec![covered, &strict], false),
        (
            vec!["TXT shop.example v=spf1 ip4:192.0.2.25 -all", relaxed],
            false,
        ),
        (
            vec![
                "TXT bounces.shop.example v=spf1 ip4:192.0.2.26 -all",
                relaxed,
            ],
            false,
        ),
    ] {
        let lines = judged(vec![returning()], &[], &zone);
        let level = level_of(&lines, "alignment smtp");
        assert_eq!(level == Level::Ok, passes, "{zone:?}: {lines:#?}");
        let spf = lines.iter().find(|line| line.check == "SPF smtp").unwrap();
        assert!(spf.text.contains("bounces.shop.example"), "{spf:?}");
    }
}
