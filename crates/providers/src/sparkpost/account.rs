//! What SparkPost tells of the account, its sender domains and its IP pools.

use malote_core::provider::{
    About, Account, Finding, Reply, SendError, SenderRecord, SenderRecordKind, SenderRecordPurpose,
    Verdict, bounded,
};
use serde::Deserialize;

use crate::http::{Answer, verdict_of_status};
use crate::records::record;

/// The plan of an account on trial.
const TEST_PLAN: &str = "test";

#[derive(Deserialize)]
struct Results<T> {
    results: T,
}

#[derive(Deserialize)]
pub(super) struct AccountDocument {
    status: Option<String>,
    #[serde(default)]
    status_reason_category: Option<String>,
    usage: Option<Usage>,
    pending_cancellation: Option<PendingCancellation>,
    subscription: Option<Subscription>,
}

/// The plan.
#[derive(Deserialize)]
struct Subscription {
    code: Option<String>,
}

#[derive(Deserialize)]
struct Usage {
    day: Option<Period>,
    month: Option<Period>,
}

#[derive(Deserialize)]
struct Period {
    used: Option<u64>,
    limit: Option<u64>,
}

#[derive(Deserialize)]
struct PendingCancellation {
    effective_date: Option<String>,
}

#[derive(Deserialize)]
struct SendingDomain {
    status: Option<DomainStatus>,
    dkim: Option<Dkim>,
}

/// The key with which the service signs.
#[derive(Deserialize)]
struct Dkim {
    public: Option<String>,
    selector: Option<String>,
    /// Another domain than the sender's, where one signs for several.
    signing_domain: Option<String>,
}

#[derive(Deserialize)]
struct DomainStatus {
    ownership_verified: Option<bool>,
    compliance_status: Option<String>,
}

#[derive(Deserialize)]
struct IpPool {
    id: String,
}

/// An answer to a question that carries no mail.
#[derive(Debug)]
pub(super) enum Told<T> {
    /// It is answered.
    Yes(T),
    /// The key may not ask that, or is no key.
    NotAllowed,
    /// No such thing.
    NotThere,
}

/// Reads the results of an answer.
///
/// # Errors
/// If the service is out of order or refuses.
fn read<T: serde::de::DeserializeOwned>(answer: &Answer) -> Result<Told<T>, SendError> {
    let reply = |text: &str| Reply::new(Some(answer.status), None, text);
    match answer.status {
        200 => match answer.json::<Results<T>>() {
            Some(read) => Ok(Told::Yes(read.results)),
            None => Err(SendError::new(
                Verdict::Transient,
                reply("answered nonsense"),
            )),
        },
        403 => Ok(Told::NotAllowed),
        404 => Ok(Told::NotThere),
        status => {
            let verdict = verdict_of_status(status, true, None);
            let is_of_account = matches!(
                verdict,
                Verdict::ProviderUnusable | Verdict::Throttled { .. }
            );
            let verdict = match is_of_account {
                true => verdict,
                false => Verdict::Transient,
            };
            Err(SendError::new(verdict, reply(&answer.text())))
        }
    }
}

/// Reads the answer to `GET /account`.
///
/// # Errors
/// As [`read`].
pub(super) fn account(answer: &Answer) -> Result<Told<AccountDocument>, SendError> {
    read(answer)
}

impl AccountDocument {
    /// Rate and quota.
    ///
    /// # Errors
    /// If the account may not send.
    pub(super) fn judged(self) -> Result<Account, SendError> {
        let status = self.status.as_deref().unwrap_or("active");
        let why = self.status_reason_category.as_deref().unwrap_or_default();
        let told = bounded(format!("the account is {status} {why}").trim_end(), 120);
        if matches!(status, "suspended" | "terminated" | "cancelled") {
            let reply = Reply::new(Some(200), None, &told);
            return Err(SendError::new(Verdict::ProviderUnusable, reply));
        }
        let mut notes = Vec::new();
        if status != "active" {
            notes.push(told);
        }
        let day = self.usage.as_ref().and_then(|usage| usage.day.as_ref());
        let month = self.usage.as_ref().and_then(|usage| usage.month.as_ref());
        if let Some(Period {
            used: Some(used),
            limit: Some(limit),
        }) = month
            && used >= limit
        {
            notes.push(format!("the month's {limit} are sent"));
        }
        Ok(Account {
            per_second: None,
            per_day: day.and_then(|day| day.limit),
            sent_last_day: day.and_then(|day| day.used),
            note: notes.join("; "),
        })
    }

    /// What mail will fail on.
    pub(super) fn findings(&self) -> Vec<Finding> {
        let mut texts = Vec::new();
        if let Some(ends) = &self.pending_cancellation {
            let when = ends.effective_date.as_deref().unwrap_or("a date untold");
            let when = bounded(when, 40);
            texts.push(format!("the account is cancelled and ends at {when}"));
        }
        let plan = self.subscription.as_ref();
        if plan.is_some_and(|plan| plan.code.as_deref() == Some(TEST_PLAN)) {
            let text =
                "a test account takes 500 emails a month; upgrade it before mail depends on it";
            texts.push(text.to_owned());
        }
        let findings = texts.into_iter().map(|text| Finding {
            about: About::Account,
            text,
        });
        findings.collect()
    }
}

/// What is wrong with a sender domain, by the answer to `GET /sending-domains/DOMAIN`.
///
/// # Errors
/// As [`read`].
pub(super) fn sender_fault(answer: &Answer) -> Result<Option<&'static str>, SendError> {
    let domain = match read::<SendingDomain>(answer)? {
        Told::Yes(domain) => domain,
        Told::NotThere => {
            return Ok(Some(
                "is no sending domain of this account; add it there and verify it",
            ));
        }
        Told::NotAllowed => return Ok(None),
    };
    let Some(status) = domain.status else {
        return Ok(None);
    };
    let fault = match (
        status.ownership_verified,
        status.compliance_status.as_deref(),
    ) {
        (_, Some("blocked")) => Some("is blocked by the service; ask its support"),
        (Some(false), _) => Some("is not verified at the service; set its DNS records there"),
        (Some(true) | None, _) => None,
    };
    Ok(fault)
}

/// The record of a sender domain's key, by the same answer.
///
/// # Errors
/// As [`read`].
pub(super) fn key_of(answer: &Answer, sender: &str) -> Result<Option<SenderRecord>, SendError> {
    let Told::Yes(SendingDomain {
        dkim: Some(dkim), ..
    }) = read(answer)?
    else {
        return Ok(None);
    };
    let (Some(public), Some(selector)) = (dkim.public, dkim.selector) else {
        return Ok(None);
    };
    let signing = dkim.signing_domain.as_deref().unwrap_or(sender);
    let name = format!("{selector}._domainkey.{signing}");
    let value = format!("v=DKIM1; k=rsa; h=sha256; p={public}");
    let (kind, purpose) = (SenderRecordKind::Txt, SenderRecordPurpose::Dkim);
    Ok(Some(record(sender, &name, kind, &value, purpose)))
}

/// The ids of the IP pools, by the answer to `GET /ip-pools`; `None` if the key may not ask.
///
/// # Errors
/// As [`read`].
pub(super) fn ip_pools(answer: &Answer) -> Result<Option<Vec<String>>, SendError> {
    match read::<Vec<IpPool>>(answer)? {
        Told::Yes(pools) => Ok(Some(pools.into_iter().map(|pool| pool.id).collect())),
        Told::NotAllowed | Told::NotThere => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_under_the_domain_that_signs() {
        for (dkim, record) in [
            (
                r#"{"public":"AQ","selector":"scph1"}"#,
                Some("scph1._domainkey.x.test"),
            ),
            (
                r#"{"public":"AQ","selector":"s","signing_domain":"y.test"}"#,
                Some("s._domainkey.y.test"),
            ),
            (r#"{"selector":"s"}"#, None),
            ("null", None),
        ] {
            let body = format!(r#"{{"results":{{"dkim":{dkim}}}}}"#);
            let answer = Answer {
                status: 200,
                body: body.into(),
                is_whole: true,
                ..Answer::default()
            };
            let found = key_of(&answer, "x.test").unwrap();
            assert_eq!(found.as_ref().map(|own| own.name.as_str()), record);
            let value = "v=DKIM1; k=rsa; h=sha256; p=AQ";
            assert!(found.is_none_or(|own| own.value == value && own.sender == "x.test"));
        }
    }
}
