//! What Resend tells of key, rate, quota and domains, as far as the key may ask.

use std::collections::BTreeMap;

use malote_core::provider::{About, Account, Finding, Reply, SendError, Verdict, bounded};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::classify::refusal;
use super::send::Resend;
use crate::api::Line;
use crate::http::Answer;

/// Domains of one page.
const PAGE_SIZE: u16 = 100;
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
