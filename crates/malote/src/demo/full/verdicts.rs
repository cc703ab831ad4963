//! What it all came to: who is suppressed, what Mautic and the app were told, what the metrics say.

use std::collections::{BTreeMap, BTreeSet};

use super::app::{Notice, Seen};
use super::company::Company;
use super::desk::{Life, Who};
use super::findings::Finding;
use super::mailer::EMAIL_ID;
use super::mautic::Asked;
use super::wait::last_seen;

/// Mautic's reasons on its do-not-contact list.
const UNSUBSCRIBED: i64 = 1;
const BOUNCED: i64 = 2;

/// The people who must not be written to any more.
struct Silenced {
    gone: String,
    nobody: String,
    angry: String,
    tired: String,
}

/// All of it.
pub(super) async fn all(company: &Company) -> anyhow::Result<Vec<Finding>> {
    let person =
        |service: &str, name: &str| Ok::<_, anyhow::Error>(company.service(service)?.person(name));
    let silenced = Silenced {
        gone: person("ses", "gone")?,
        nobody: person("relay", "nobody")?,
        angry: person("postmark", "angry")?,
        tired: person("sparkpost", "tired")?,
    };
    let mut findings = of_suppressions(company, &silenced).await?;
    findings.extend(of_mautic(company, &silenced).await?);
    findings.extend(of_the_app(company).await?);
    findings.extend(of_metrics(company).await?);
    Ok(findings)
}

async fn of_suppressions(company: &Company, silenced: &Silenced) -> anyhow::Result<Vec<Finding>> {
    let seen = company.desk.suppressions().await?;
    let mut expected = vec![
        format!("{} campaign complaint", silenced.angry),
        format!("{} everywhere hard_bounce", silenced.gone),
        format!("{} everywhere hard_bounce", silenced.nobody),
        format!("{} campaign unsubscribe", silenced.tired),
    ];
    expected.sort();
    let of_block = seen.iter().filter(|entry| entry.contains("block"));
    let of_block: Vec<String> = of_block.cloned().collect();
    Ok(vec![
        Finding::of(
            "suppressed addresses",
            "two dead ones everywhere, the complaint and the unsubscribe for campaigns; no other",
            (seen, expected),
        ),
        Finding::of(
            "suppressed for the IP block",
            "0 addresses",
            (of_block, Vec::new()),
        ),
    ])
}

async fn of_mautic(company: &Company, silenced: &Silenced) -> anyhow::Result<Vec<Finding>> {
    let add = |address: &String, reason| Asked::Add {
        address: address.clone(),
        reason,
        email: Some(EMAIL_ID),
    };
    let mut expected = vec![
        // The bounce, and the queued mail that was not sent for it.
        Asked::Search(silenced.gone.clone()),
        Asked::Search(silenced.gone.clone()),
        Asked::Search(silenced.angry.clone()),
        Asked::Search(silenced.tired.clone()),
        Asked::Search(silenced.nobody.clone()),
        add(&silenced.gone, BOUNCED),
        add(&silenced.nobody, BOUNCED),
        add(&silenced.angry, UNSUBSCRIBED),
        add(&silenced.tired, UNSUBSCRIBED),
    ];
    expected.sort();
    // The last refusal is the last that Mautic hears of: once it knows that and nothing waits, all
    // that came before has been told or passed over.
    let look = async || Ok((company.mautic.entries(), company.desk.waiting().await?));
    let is_over = |(entries, waiting): &(BTreeMap<String, _>, u64)| {
        entries.contains_key(&silenced.nobody) && *waiting == 0
    };
    let (entries, _) = last_seen(look, is_over).await?;
    let mut seen = company.mautic.asked();
    seen.sort();
    let is_of_block = |asked: &&Asked| match asked {
        Asked::Search(address) | Asked::Add { address, .. } => address.contains("block"),
        Asked::Other(_) => false,
    };
    let of_block: Vec<Asked> = seen.iter().filter(is_of_block).cloned().collect();
    let reasons = |(address, entry): (&String, &(i64, Option<u64>, String))| {
        (address.clone(), entry.0, entry.2.starts_with("malote: "))
    };
    let contacts: BTreeSet<_> = entries.iter().map(reasons).collect();
    let contact = |address: &String, reason| (address.clone(), reason, true);
    let expected_contacts = BTreeSet::from([
        contact(&silenced.gone, BOUNCED),
        contact(&silenced.nobody, BOUNCED),
        contact(&silenced.angry, UNSUBSCRIBED),
        contact(&silenced.tired, UNSUBSCRIBED),
    ]);
    Ok(vec![
        Finding::of(
            "requests to Mautic",
            format!(
                "exactly {}: 5 searches, 4 entries, each right",
                expected.len()
            ),
            (seen, expected),
        ),
        Finding::of(
            "requests to Mautic for the IP block",
            "0 requests",
            (of_block, Vec::new()),
        ),
        Finding::of(
            "contacts that Mautic will not write to",
            "2 bounced, 2 unsubscribed, with the reason beside it; no other",
            (contacts, expected_contacts),
        ),
    ])
}

async fn of_the_app(company: &Company) -> anyhow::Result<Vec<Finding>> {
    let mut lives = company.desk.lives(Who::Shop).await?;
    lives.extend(company.desk.lives(Who::Mautic).await?);
    let expected: BTreeMap<String, Vec<String>> = lives.iter().map(events_of).collect();
    let count: usize = expected.values().map(Vec::len).sum();
    let look = async || Ok((company.app.seen(), company.desk.waiting().await?));
    let is_over = |(seen, waiting): &(Seen, u64)| seen.taken.len() >= count && *waiting == 0;
    let (seen, _) = last_seen(look, is_over).await?;
    let told = by_message(&seen.taken);
    let sorted = |events: &BTreeMap<String, Vec<String>>| -> Vec<String> {
        let mut all: Vec<String> = events.values().flatten().cloned().collect();
        all.sort();
        all
    };
    Ok(vec![
        Finding::of(
            "signatures of the app's webhooks",
            format!(
                "{} requests, each signed (Standard Webhooks)",
                seen.taken.len() + seen.failed
            ),
            (seen.unsigned, 0),
        ),
        Finding::of(
            "the app failed once",
            "its first request was answered 500, and came again",
            (seen.failed, 1),
        ),
        Finding::of(
            "events that the app was told",
            format!(
                "{count} events of {} messages: every one, once",
                expected.len()
            ),
            (sorted(&told), sorted(&expected)),
        ),
        Finding::of(
            "their order",
            "that of each message's timeline",
            (told, expected),
        ),
    ])
}

/// The ids of a timeline's events.
fn events_of(life: &Life) -> (String, Vec<String>) {
    let simple = life.id.replace('-', "");
    let ids = (1..=life.events.len()).map(|seq| format!("evt_{simple}_0_{seq}"));
    (life.id.clone(), ids.collect())
}

fn by_message(taken: &[Notice]) -> BTreeMap<String, Vec<String>> {
    let mut told: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for notice in taken {
        let ids = told.entry(notice.message.clone()).or_default();
        ids.push(notice.id.clone());
    }
    told
}

async fn of_metrics(company: &Company) -> anyhow::Result<Vec<Finding>> {
    let metrics = company.desk.metrics().await?;
    let blocks: Vec<_> = company
        .reporters()
        .map(|service| {
            let labels = [
                ("kind", "bounced"),
                ("class", "reputation"),
                ("provider", service.name()),
            ];
            (
                service.name(),
                sum(&metrics, "malote_feedback_events_total", &labels),
            )
        })
        .collect();
    let at_mailgun = |name: &str| if name == "mailgun" { 2 } else { 1 };
    let expected = company
        .reporters()
        .map(|s| (s.name(), at_mailgun(s.name())));
    let told = |kind: &str, class: &str, provider: &str| {
        let labels = [("kind", kind), ("class", class), ("provider", provider)];
        sum(&metrics, "malote_feedback_events_total", &labels)
    };
    let others = [
        told("bounced", "recipient", "ses"),
        told("bounced", "mailbox_full", "sendgrid"),
        told("complained", "none", "postmark"),
        told("unsubscribed", "none", "sparkpost"),
    ];
    let suppressed =
        |reason: &str| sum(&metrics, "malote_suppressions_total", &[("reason", reason)]);
    let reasons = ["hard_bounce", "mailbox_full", "complaint", "unsubscribe"];
    let refused = [("provider", "smtp2go"), ("reason", "webhook_unverified")];
    Ok(vec![
        Finding::of(
            "metrics: bounces by whose fault",
            "reputation at all eight; recipient, mailbox_full, complaint, unsubscribe one each",
            ((blocks, others), (expected.collect(), [1; 4])),
        ),
        Finding::of(
            "metrics: suppressions by reason",
            "2 hard_bounce, 1 complaint, 1 unsubscribe",
            (reasons.map(suppressed), [2, 0, 1, 1]),
        ),
        Finding::of(
            "metrics: the forged webhook",
            "counted as not verified, at SMTP2GO",
            (
                sum(&metrics, "malote_http_webhooks_refused_total", &refused),
                1,
            ),
        ),
    ])
}

/// The sum of the samples of a metric that have these labels, in Prometheus' text form.
fn sum(metrics: &str, name: &str, labels: &[(&str, &str)]) -> u64 {
    let has_labels = |text: &str| {
        let has = |(key, value): &(&str, &str)| text.contains(&format!("{key}=\"{value}\""));
        labels.iter().all(has)
    };
    let samples = metrics.lines().filter_map(|line| {
        let (own, value) = line
            .strip_prefix(name)?
            .strip_prefix('{')?
            .split_once("} ")?;
        has_labels(own).then(|| value.parse::<f64>().ok()).flatten()
    });
    samples.map(|value| value as u64).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_summed_by_name_and_labels() {
        let metrics = "# TYPE a_total counter\na_total{kind=\"x\",provider=\"ses\"} 2\n\
                       a_total{kind=\"x\",provider=\"relay\"} 3\na_total_more{kind=\"x\"} 9\n\
                       a_total{kind=\"y\",provider=\"ses\"} 4\n";
        assert_eq!(sum(metrics, "a_total", &[("kind", "x")]), 5);
        assert_eq!(
            sum(metrics, "a_total", &[("kind", "x"), ("provider", "ses")]),
            2
        );
        assert_eq!(sum(metrics, "a_total", &[("kind", "z")]), 0);
        assert_eq!(sum(metrics, "b_total", &[]), 0);
    }

    #[test]
    fn what_the_app_took_is_kept_in_its_order_by_message() {
        let notice = |id: &str, message: &str| Notice {
            id: id.to_owned(),
            message: message.to_owned(),
        };
        let told = by_message(&[notice("2", "a"), notice("1", "b"), notice("1", "a")]);
        assert_eq!(told["a"], ["2", "1"]);
        assert_eq!(told["b"], ["1"]);
    }
}
