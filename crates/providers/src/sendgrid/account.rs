//! What SendGrid tells of key, credits, IP pools and senders, as far as the key may ask.

use std::collections::BTreeMap;

use malote_core::provider::{
    About, Account, Finding, Reply, SendError, SenderRecord, Verdict, bounded,
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::classify::{Sent, refusal};
use super::send::Sendgrid;
use crate::api::Line;
use crate::http::Answer;
use crate::records::{kind_of, purpose_of, record};

/// Most sender domains that one inspection asks about.
const SENDERS_MAX: usize = 100;
/// Entries of one page of verified senders. An account with more of them has its domain
/// authenticated.
const VERIFIED_SENDERS_MAX: u16 = 200;

#[derive(Deserialize)]
struct Scopes {
    scopes: Vec<String>,
}

#[derive(Deserialize)]
struct Credits {
    remain: i64,
    total: i64,
    used: i64,
    #[serde(default)]
    next_reset: Option<String>,
    #[serde(default)]
    reset_frequency: Option<String>,
}

#[derive(Deserialize)]
struct IpPool {
    name: String,
}

#[derive(Deserialize)]
struct AuthenticatedDomain {
    domain: String,
    #[serde(default)]
    valid: bool,
    /// `dkim1`, `mail_cname` and others, by which the domain was set up.
    #[serde(default)]
    dns: BTreeMap<String, DnsRecord>,
}

impl AuthenticatedDomain {
    fn records(&self) -> impl Iterator<Item = SenderRecord> {
        self.dns.values().filter_map(|told| {
            let kind = kind_of(&told.kind)?;
            let purpose = purpose_of(&told.host, kind)?;
            Some(record(&self.domain, &told.host, kind, &told.data, purpose))
        })
    }
}

#[derive(Deserialize)]
struct DnsRecord {
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    host: String,
    #[serde(default)]
    data: String,
}

#[derive(Deserialize)]
struct VerifiedSenders {
    results: Vec<VerifiedSender>,
}

#[derive(Deserialize)]
struct VerifiedSender {
    from_email: String,
    #[serde(default)]
    verified: bool,
}

#[derive(Deserialize)]
struct Plan {
    #[serde(rename = "type")]
    kind: String,
}

/// Asks for the key's scopes, which any key may ask for, and for the credits if it may ask for
/// those.
pub(super) async fn check(sendgrid: &Sendgrid, line: Line<'_>) -> Result<Account, SendError> {
    let answer = line.ask(sendgrid.get("/v3/scopes", None)).await?;
    if matches!(answer.status, 404 | 405) {
        return Ok(noted("the endpoint tells nothing of the key"));
    }
    let scopes: Scopes = read(&answer, line)?;
    let has = |scope: &str| scopes.scopes.iter().any(|given| given == scope);
    if !has("mail.send") {
        let reply = Reply::new(
            Some(answer.status),
            None,
            "the key lacks the scope mail.send",
        );
        return Err(SendError::new(Verdict::ProviderUnusable, reply));
    }
    if !has("user.credits.read") {
        return Ok(noted(
            "the key may not read its credits (scope user.credits.read)",
        ));
    }
    let answer = line.ask(sendgrid.get("/v3/user/credits", None)).await?;
    match answer.json::<Credits>().filter(|_| answer.status == 200) {
        Some(credits) => Ok(credits.account()),
        None => Ok(noted("the credits are not known")),
    }
}

impl Credits {
    /// Only what is renewed by the day fits an account's daily bound.
    fn account(&self) -> Account {
        let count = |n: i64| u64::try_from(n).ok();
        let every = self.reset_frequency.as_deref().unwrap_or("unknown");
        let is_daily = every == "daily";
        let next = self.next_reset.as_deref().unwrap_or("an unknown day");
        let note = format!(
            "{} of {} credits left until {next} (renewed: {every})",
            self.remain, self.total
        );
        Account {
            per_second: None,
            per_day: count(self.total).filter(|_| is_daily),
            sent_last_day: count(self.used).filter(|_| is_daily),
            note: bounded(&note, 200),
        }
    }
}

/// Looks at the plan, the IP pools and the senders' domains.
pub(super) async fn inspect(
    sendgrid: &Sendgrid,
    line: Line<'_>,
    senders: &[String],
) -> Result<Vec<Finding>, SendError> {
    let mut findings = Vec::new();
    let answer = line.ask(sendgrid.get("/v3/user/account", None)).await?;
    let plan: Option<Plan> = read_if_allowed(&answer, line)?;
    if plan.is_some_and(|plan| plan.kind == "free") {
        let text = "a free account takes 100 messages a day; upgrade it before mail depends on it";
        findings.push(finding(About::Account, text));
    }
    inspect_pools(sendgrid, line, &mut findings).await?;
    inspect_senders(sendgrid, line, senders, &mut findings).await?;
    Ok(findings)
}

async fn inspect_pools(
    sendgrid: &Sendgrid,
    line: Line<'_>,
    findings: &mut Vec<Finding>,
) -> Result<(), SendError> {
    let ours = &sendgrid.settings.ip_pools;
    if ours.is_empty() {
        return Ok(());
    }
    let answer = line.ask(sendgrid.get("/v3/ips/pools", None)).await?;
    let Some(known) = read_if_allowed::<Vec<IpPool>>(&answer, line)? else {
        return Ok(());
    };
    for (pool, name) in ours {
        if known.iter().all(|known| known.name != *name) {
            // sendgrid-python issue 1121: the service may take such mail and never send it.
            let text = format!(
                "there is no IP pool \"{name}\", and mail that names it can vanish: create it or \
                 correct ip_pool_name"
            );
            findings.push(finding(About::Pool(pool.clone()), &text));
        }
    }
    Ok(())
}

async fn inspect_senders(
    sendgrid: &Sendgrid,
    line: Line<'_>,
    senders: &[String],
    findings: &mut Vec<Finding>,
) -> Result<(), SendError> {
    let query = format!("limit={VERIFIED_SENDERS_MAX}");
    let call = sendgrid.get("/v3/verified_senders", Some(&query));
    let answer = line.ask(call).await?;
    let single: Option<VerifiedSenders> = read_if_allowed(&answer, line)?;
    let single = single.map(|list| list.results).unwrap_or_default();
    for sender in senders.iter().take(SENDERS_MAX) {
        let domain = domain_of(sender);
        let Some(known) = authenticated(sendgrid, line, &domain).await? else {
            return Ok(());
        };
        let mut same = known.iter();
        let is_single = |s: &VerifiedSender| s.verified && domain_of(&s.from_email) == domain;
        if same.clone().any(|d| d.valid) || single.iter().any(is_single) {
            continue;
        }
        let text = if same.next().is_some() {
            format!("the DNS records of {domain} are not validated yet: validate the domain")
        } else {
            format!("{domain} is not authenticated: authenticate it under sender authentication")
        };
        findings.push(finding(About::Sender(domain), &text));
    }
    Ok(())
}

/// What the account has set up for a domain; `None` if the key may not ask.
async fn authenticated(
    sendgrid: &Sendgrid,
    line: Line<'_>,
    domain: &str,
) -> Result<Option<Vec<AuthenticatedDomain>>, SendError> {
    let encoded = utf8_percent_encode(domain, NON_ALPHANUMERIC);
    let query = format!("domain={encoded}&limit=50");
    let call = sendgrid.get("/v3/whitelabel/domains", Some(&query));
    let answer = line.ask(call).await?;
    let known = read_if_allowed::<Vec<AuthenticatedDomain>>(&answer, line)?;
    Ok(known.map(|mut known| {
        known.retain(|own| own.domain.eq_ignore_ascii_case(domain));
        known
    }))
}

/// The records that the service wants to find: keys, and the return path.
pub(super) async fn sender_records(
    sendgrid: &Sendgrid,
    line: Line<'_>,
    senders: &[String],
) -> Result<Vec<SenderRecord>, SendError> {
    let mut records = Vec::new();
    for sender in senders.iter().take(SENDERS_MAX) {
        let domain = domain_of(sender);
        let Some(known) = authenticated(sendgrid, line, &domain).await? else {
            break;
        };
        records.extend(known.iter().flat_map(AuthenticatedDomain::records));
    }
    Ok(records)
}

fn domain_of(sender: &str) -> String {
    let domain = sender.rsplit('@').next().unwrap_or(sender);
    domain.to_ascii_lowercase()
}

fn finding(about: About, text: &str) -> Finding {
    Finding {
        about,
        text: bounded(text, 300),
    }
}

fn noted(note: &str) -> Account {
    Account {
        note: note.to_owned(),
        ..Account::default()
    }
}

/// `None` if the key may not ask, or the endpoint cannot be asked.
fn read_if_allowed<T: DeserializeOwned>(
    answer: &Answer,
    line: Line<'_>,
) -> Result<Option<T>, SendError> {
    match answer.status {
        401 | 403 | 404 | 405 => Ok(None),
        _ => read(answer, line).map(Some),
    }
}

fn read<T: DeserializeOwned>(answer: &Answer, line: Line<'_>) -> Result<T, SendError> {
    if answer.status == 200 {
        return answer.json().ok_or_else(|| {
            let reply = Reply::new(Some(200), None, "the service answered nonsense");
            SendError::new(Verdict::Transient, reply)
        });
    }
    let mut error = refusal(answer, Sent::default(), line.now);
    // No mail is in doubt.
    if error.verdict == Verdict::Unknown {
        error.verdict = Verdict::Transient;
    }
    Err(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_return_path_of_an_authenticated_domain_are_told_and_spf_is_not() {
        for (dns, records) in [
            (
                r#"{"mail_cname":{"type":"cname","host":"em1.x.test","data":"u1.wl.sendgrid.net"},
                    "dkim1":{"type":"cname","host":"s1._domainkey.x.test","data":"s1.u1"},
                    "dkim2":{"type":"cname","host":"S2._domainkey.x.test","data":"s2.u1"}}"#,
                [
                    "s1._domainkey.x.test Cname s1.u1 Dkim",
                    "s2._domainkey.x.test Cname s2.u1 Dkim",
                    "em1.x.test Cname u1.wl.sendgrid.net MailFrom",
                ]
                .as_slice(),
            ),
            (
                r#"{"mail_server":{"type":"mx","host":"em1.x.test","data":"mx.sendgrid.net"},
                    "subdomain_spf":{"type":"txt","host":"em1.x.test","data":"v=spf1 -all"},
                    "dkim":{"type":"txt","host":"m1._domainkey.x.test","data":"k=rsa; p=AQ"}}"#,
                &[
                    "m1._domainkey.x.test Txt k=rsa; p=AQ Dkim",
                    "em1.x.test Mx mx.sendgrid.net MailFrom",
                ],
            ),
        ] {
            let text = format!(r#"{{"domain":"x.test","valid":false,"dns":{dns}}}"#);
            let domain: AuthenticatedDomain = serde_json::from_str(&text).unwrap();
            let shown = |r: SenderRecord| {
                assert_eq!(r.sender, "x.test");
                format!("{} {:?} {} {:?}", r.name, r.kind, r.value, r.purpose)
            };
            let found: Vec<String> = domain.records().map(shown).collect();
            assert_eq!(found, records);
        }
    }
}
