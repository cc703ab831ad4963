//! What Resend tells of key, rate, quota and domains, as far as the key may ask.

use std::collections::BTreeMap;

use malote_core::provider::{
    About, Account, Finding, Reply, SendError, SenderRecord, Verdict, bounded,
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::classify::refusal;
use super::send::Resend;
use crate::api::Line;
use crate::http::Answer;
use crate::records::{kind_of, purpose_of, record};

/// Domains of one page.
const PAGE_SIZE: u16 = 100;
/// Most sender domains whose records are asked for.
const SENDERS_MAX: usize = 100;
/// Most pages that one inspection reads.
const PAGES_MAX: usize = 20;

#[derive(Deserialize)]
struct Usage {
    emails: EmailUsage,
}

#[derive(Deserialize)]
struct EmailUsage {
    daily: Option<Quota>,
    monthly: Option<Quota>,
}

#[derive(Deserialize)]
struct Quota {
    used: u64,
    limit: Option<u64>,
}

#[derive(Deserialize)]
struct Domains {
    data: Vec<Domain>,
    #[serde(default)]
    has_more: bool,
}

#[derive(Deserialize)]
struct Domain {
    id: String,
    name: String,
    status: String,
    #[serde(default)]
    capabilities: Option<DomainCapabilities>,
}

#[derive(Deserialize)]
struct DomainCapabilities {
    #[serde(default)]
    sending: Option<String>,
}

impl Domain {
    /// Why mail from it is refused.
    fn obstacle(&self) -> Option<&'static str> {
        let sending = self
            .capabilities
            .as_ref()
            .and_then(|c| c.sending.as_deref());
        if sending == Some("disabled") {
            return Some("sending from it is disabled: enable it at the service");
        }
        let is_verified = self.status == "verified";
        (!is_verified).then_some("its DNS records are not verified: verify the domain")
    }
}

/// Asks for the domains, which only a key with full access may see; a refusal for that alone
/// proves the key as well. Then for the usage, which not every team can ask for.
pub(super) async fn check(resend: &Resend, line: Line<'_>) -> Result<Account, SendError> {
    let answer = line.ask(resend.get("/domains", Some("limit=1"))).await?;
    let mut notes = Vec::new();
    if is_sending_key(&answer) {
        notes.push("a sending key: the domains are not known".to_owned());
    } else if matches!(answer.status, 404 | 405) {
        notes.push("the endpoint tells nothing of the domains".to_owned());
    } else if answer.status != 200 {
        return Err(unanswered(&answer, line));
    }
    let mut account = Account {
        per_second: per_second(&answer),
        ..Account::default()
    };
    let answer = line.ask(resend.get("/usage", None)).await?;
    if let Some(usage) = answer.json::<Usage>().filter(|_| answer.status == 200) {
        let daily = usage.emails.daily;
        account.per_day = daily.as_ref().and_then(|daily| daily.limit);
        account.sent_last_day = daily.map(|daily| daily.used);
        if let Some(Quota {
            used,
            limit: Some(limit),
        }) = usage.emails.monthly
        {
            notes.push(format!("{used} of {limit} used this month"));
        }
    }
    account.note = bounded(&notes.join("; "), 200);
    Ok(account)
}

/// Calls a second; recipients can only be more. `10` or `10, 10;w=1`, the window a second where
/// none is named (draft-ietf-httpapi-ratelimit-headers-06, and the service's words).
fn per_second(answer: &Answer) -> Option<f64> {
    let value = answer.header("ratelimit-limit")?;
    let calls: f64 = value.split([',', ';']).next()?.trim().parse().ok()?;
    let window = value
        .split([',', ';'])
        .find_map(|part| part.trim().strip_prefix("w="));
    let window: f64 = window.map_or(Some(1.0), |seconds| seconds.parse().ok())?;
    let rate = calls / window;
    (rate.is_finite() && rate > 0.0).then_some(rate)
}

/// Looks at the senders' domains, and whether the team has any: without one it may mail itself
/// alone.
pub(super) async fn inspect(
    resend: &Resend,
    line: Line<'_>,
    senders: &[String],
) -> Result<Vec<Finding>, SendError> {
    let Some(domains) = domains(resend, line).await? else {
        return Ok(Vec::new());
    };
    let mut findings = Vec::new();
    if domains.values().all(|domain| domain.obstacle().is_some()) {
        findings.push(Finding {
            about: About::Account,
            text: "no domain is verified, so the account may mail its owner alone: verify one"
                .to_owned(),
        });
    }
    for sender in senders {
        let domain = sender
            .rsplit('@')
            .next()
            .unwrap_or(sender)
            .to_ascii_lowercase();
        let obstacle = match domains.get(&domain) {
            Some(known) => known.obstacle(),
            None => Some("it is not among the account's domains: add and verify it"),
        };
        if let Some(obstacle) = obstacle {
            let text = bounded(&format!("{domain}: {obstacle}"), 300);
            let about = About::Sender(domain);
            findings.push(Finding { about, text });
        }
    }
    Ok(findings)
}

#[derive(Deserialize)]
struct DomainRecords {
    #[serde(default)]
    records: Vec<DomainRecord>,
}

#[derive(Deserialize)]
struct DomainRecord {
    /// Below the domain, or whole.
    #[serde(default)]
    name: String,
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    value: String,
    /// `SPF` and `DKIM` are about mail that is sent.
    #[serde(default)]
    record: String,
}

/// The records of the senders' domains: the key, and the return path.
pub(super) async fn sender_records(
    resend: &Resend,
    line: Line<'_>,
    senders: &[String],
) -> Result<Vec<SenderRecord>, SendError> {
    let Some(domains) = domains(resend, line).await? else {
        return Ok(Vec::new());
    };
    let mut records = Vec::new();
    for sender in senders.iter().take(SENDERS_MAX) {
        let Some(domain) = domains.get(&sender.to_ascii_lowercase()) else {
            continue;
        };
        let id = utf8_percent_encode(&domain.id, NON_ALPHANUMERIC);
        let answer = line
            .ask(resend.get(&format!("/domains/{id}"), None))
            .await?;
        let told = answer.json::<DomainRecords>();
        let told = told.filter(|_| answer.status == 200);
        let told = told.map(|told| told.records).unwrap_or_default();
        records.extend(told.iter().filter_map(|told| of_domain(sender, told)));
    }
    Ok(records)
}

fn of_domain(sender: &str, told: &DomainRecord) -> Option<SenderRecord> {
    if !matches!(told.record.as_str(), "SPF" | "DKIM") {
        return None;
    }
    let name = match told.name.ends_with(sender) {
        true => told.name.clone(),
        false => format!("{}.{sender}", told.name),
    };
    let kind = kind_of(&told.kind)?;
    let purpose = purpose_of(&name, kind)?;
    Some(record(sender, &name, kind, &told.value, purpose))
}

/// The domains by name; `None` if they cannot be asked for.
async fn domains(
    resend: &Resend,
    line: Line<'_>,
) -> Result<Option<BTreeMap<String, Domain>>, SendError> {
    let mut domains = BTreeMap::new();
    let mut query = format!("limit={PAGE_SIZE}");
    for _ in 0..PAGES_MAX {
        let answer = line.ask(resend.get("/domains", Some(&query))).await?;
        if is_sending_key(&answer) || matches!(answer.status, 404 | 405) {
            return Ok(None);
        }
        let page = answer.json::<Domains>().filter(|_| answer.status == 200);
        let page = page.ok_or_else(|| unanswered(&answer, line))?;
        let last = page.data.last().map(|domain| domain.id.clone());
        let named = page
            .data
            .into_iter()
            .map(|d| (d.name.to_ascii_lowercase(), d));
        domains.extend(named);
        let Some(last) = last.filter(|_| page.has_more) else {
            break;
        };
        let after = utf8_percent_encode(&last, NON_ALPHANUMERIC);
        query = format!("limit={PAGE_SIZE}&after={after}");
    }
    Ok(Some(domains))
}

#[derive(Deserialize)]
struct Refused {
    name: String,
}

fn is_sending_key(answer: &Answer) -> bool {
    let refused: Option<Refused> = answer.json();
    answer.status == 401 && refused.is_some_and(|refused| refused.name == "restricted_api_key")
}

/// No mail is in doubt.
fn unanswered(answer: &Answer, line: Line<'_>) -> SendError {
    if answer.status == 200 {
        let reply = Reply::new(Some(200), None, "the service answered nonsense");
        return SendError::new(Verdict::Transient, reply);
    }
    let mut error = refusal(answer, 1, line.now);
    if error.verdict == Verdict::Unknown {
        error.verdict = Verdict::Transient;
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_below_the_domain_and_what_is_not_about_sending_is_left_out() {
        for (record, name, kind, shown) in [
            (
                "DKIM",
                "resend._domainkey",
                "TXT",
                Some("resend._domainkey.x.test Txt Dkim"),
            ),
            (
                "DKIM",
                "k._domainkey.x.test",
                "CNAME",
                Some("k._domainkey.x.test Cname Dkim"),
            ),
            ("SPF", "send", "MX", Some("send.x.test Mx MailFrom")),
            ("SPF", "send", "TXT", None),
            ("Receiving", "x.test", "MX", None),
            ("Tracking", "links", "CNAME", None),
        ] {
            let told = DomainRecord {
                name: name.to_owned(),
                kind: kind.to_owned(),
                value: "value".to_owned(),
                record: record.to_owned(),
            };
            let found = of_domain("x.test", &told);
            let found = found.map(|r| format!("{} {:?} {:?}", r.name, r.kind, r.purpose));
            assert_eq!(found.as_deref(), shown, "{record} {name}");
        }
    }
}
