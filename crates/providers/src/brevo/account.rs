//! What Brevo tells of the account and its senders.

use malote_core::provider::{Account, Reply, SendError, Verdict, bounded};
use serde::Deserialize;

use super::classify::classify;
use crate::http::Answer;

#[derive(Deserialize)]
struct AccountDocument {
    #[serde(default)]
    plan: Vec<Plan>,
    relay: Option<Relay>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Plan {
    #[serde(rename = "type")]
    kind: Option<String>,
    credits_type: Option<String>,
    credits: Option<f64>,
}

#[derive(Deserialize)]
struct Relay {
    enabled: Option<bool>,
}

#[derive(Deserialize)]
struct Domains {
    domains: Vec<Domain>,
}

#[derive(Deserialize)]
pub(super) struct Domain {
    domain_name: String,
    authenticated: Option<bool>,
}

#[derive(Deserialize)]
struct Senders {
    senders: Vec<Sender>,
}

#[derive(Deserialize)]
struct Sender {
    email: Option<String>,
    active: Option<bool>,
}

/// Reads an answer to a question that carries no mail.
///
/// # Errors
/// What a send would have been told; what would have left it in doubt is only a service out of
/// order.
pub(super) fn read<T: serde::de::DeserializeOwned>(
    answer: &Answer,
    now: jiff::Timestamp,
) -> Result<T, SendError> {
    if answer.status == 200 {
        return answer.json().ok_or_else(|| {
            let reply = Reply::new(Some(200), None, "answered nonsense");
            SendError::new(Verdict::Transient, reply)
        });
    }
    let mut error = match classify(answer, 1, now) {
        Ok(receipt) => SendError::new(Verdict::Transient, receipt.reply),
        Err(error) => error,
    };
    let is_of_account = matches!(
        error.verdict,
        Verdict::ProviderUnusable | Verdict::Throttled { .. } | Verdict::QuotaSpent { .. }
    );
    if !is_of_account {
        error.verdict = Verdict::Transient;
    }
    Err(error)
}

/// Reads the answer to `GET /account`. The service counts down credits; it tells no rate and no
/// quota.
///
/// # Errors
/// If key or account are not good.
pub(super) fn account(answer: &Answer, now: jiff::Timestamp) -> Result<Account, SendError> {
    let document: AccountDocument = read(answer, now)?;
    if document
        .relay
        .is_some_and(|relay| relay.enabled == Some(false))
    {
        let what =
            "transactional mail is not activated for this account; ask the service's support";
        let reply = Reply::new(Some(200), None, what);
        return Err(SendError::new(Verdict::ProviderUnusable, reply));
    }
    let notes = document.plan.iter().filter_map(|plan| {
        let is_mail = plan.kind.as_deref() != Some("sms")
            && plan.credits_type.as_deref() == Some("sendLimit");
        let credits = plan.credits.filter(|_| is_mail)?;
        let kind = plan.kind.as_deref().unwrap_or("untold");
        Some(format!(
            "plan {}: {credits:.0} mails left",
            bounded(kind, 32)
        ))
    });
    Ok(Account {
        note: notes.collect::<Vec<_>>().join("; "),
        ..Account::default()
    })
}

/// The domains of the account, by the answer to `GET /senders/domains`; `None` if the key may not
/// ask.
///
/// # Errors
/// If key or account are not good.
pub(super) fn domains(
    answer: &Answer,
    now: jiff::Timestamp,
) -> Result<Option<Vec<Domain>>, SendError> {
    if answer.status == 403 {
        return Ok(None);
    }
    read::<Domains>(answer, now).map(|read| Some(read.domains))
}

impl Domain {
    /// Whether mail of any sender of this domain is taken.
    pub(super) fn lets_all_send(&self, domain: &str) -> bool {
        self.authenticated == Some(true) && self.domain_name.eq_ignore_ascii_case(domain)
    }
}

/// The domains of the single senders that may send, by the answer to `GET /senders`.
///
/// # Errors
/// If key or account are not good.
pub(super) fn sender_domains(
    answer: &Answer,
    now: jiff::Timestamp,
) -> Result<Vec<String>, SendError> {
    let senders = read::<Senders>(answer, now)?.senders;
    let active = senders
        .into_iter()
        .filter(|sender| sender.active == Some(true));
    let domains = active.filter_map(|sender| {
        let email = sender.email?;
        email
            .rsplit_once('@')
            .map(|(_, domain)| domain.to_lowercase())
    });
    Ok(domains.collect())
}
