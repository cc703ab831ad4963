//! What the service tells of an API key: whether it is good, whether it is locked, and from which
//! addresses it may send.

use jiff::Timestamp;
use malote_core::provider::{
    About, Account, Finding, SendError, SenderRecord, SenderRecordKind, SenderRecordPurpose,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::classify::unwell;
use crate::http::Answer;
use crate::records::record;

/// Most rows that the service gives in one answer (REST API, "Filtering").
pub(crate) const ROWS_MAX: usize = 1000;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Rows<T> {
    pub(super) data: Vec<T>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Sender {
    email: String,
    status: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Key {
    #[serde(rename = "APIKey")]
    api_key: String,
    #[serde(default)]
    runlevel: String,
    /// A boolean; the guides show it as text.
    #[serde(default)]
    is_active: Value,
}

/// What a domain must show in the DNS (REST API, `dns`).
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DomainRecords {
    domain: String,
    #[serde(rename = "DKIMRecordName", default)]
    dkim_name: String,
    #[serde(rename = "DKIMRecordValue", default)]
    dkim_value: String,
}

/// The keys of these sender domains, as far as the account has them and the key may ask.
pub(crate) fn keys(answer: &Answer, senders: &[String]) -> Vec<SenderRecord> {
    let known: Vec<DomainRecords> = rows(answer).unwrap_or_default();
    let of = |sender: &String| {
        let mut known = known.iter();
        let own = known.find(|own| own.domain.eq_ignore_ascii_case(sender))?;
        let (kind, purpose) = (SenderRecordKind::Txt, SenderRecordPurpose::Dkim);
        let is_told = !own.dkim_name.is_empty() && !own.dkim_value.is_empty();
        is_told.then(|| record(sender, &own.dkim_name, kind, &own.dkim_value, purpose))
    };
    senders.iter().filter_map(of).collect()
}

fn rows<T: DeserializeOwned>(answer: &Answer) -> Option<Vec<T>> {
    let rows: Option<Rows<T>> = answer.json();
    rows.filter(|_| answer.status == 200).map(|rows| rows.data)
}

/// Reads the answer to any question: that it is one proves the key.
///
/// # Errors
/// If the key is not good or the service is out of reach.
pub(crate) fn known(answer: &Answer, now: Timestamp) -> Result<Account, SendError> {
    let note = match answer.status {
        200 if rows::<Sender>(answer).is_some() => "",
        404 | 405 => "the endpoint does not know GET /v3/REST/sender: the key was not checked",
        _ => return Err(unwell(answer, now)),
    };
    Ok(Account {
        note: note.to_owned(),
        ..Account::default()
    })
}

/// Whether the key is locked, if the service says so; a key of a subaccount may not ask.
pub(crate) fn locked(answer: &Answer, api_key: &str) -> Vec<Finding> {
    let keys: Vec<Key> = rows(answer).unwrap_or_default();
    let Some(key) = keys.iter().find(|key| key.api_key == api_key) else {
        return Vec::new();
    };
    let is_inactive = matches!(&key.is_active, Value::Bool(false))
        || key.is_active.as_str().is_some_and(|text| text == "false");
    let what = match key.runlevel.as_str() {
        _ if is_inactive => "the API key is not active: activate it in the account's settings",
        "Softlock" => "the API key is locked for maintenance: some mail may not be taken",
        "Hardlock" => "the API key is locked: ask Mailjet's support",
        _ => return Vec::new(),
    };
    vec![Finding {
        about: About::Account,
        text: what.to_owned(),
    }]
}

/// The sender domains of which no address may send.
///
/// # Errors
/// If the service does not answer with its senders.
pub(crate) fn missing_senders(
    answer: &Answer,
    domains: &[String],
    now: Timestamp,
) -> Result<Vec<Finding>, SendError> {
    let Some(senders) = rows::<Sender>(answer) else {
        return Err(unwell(answer, now));
    };
    if senders.len() >= ROWS_MAX {
        // There may be more; nothing can be said of a domain that is not among these.
        return Ok(Vec::new());
    }
    let may_send = |domain: &&String| {
        senders.iter().any(|sender| {
            let of_sender = sender.email.rsplit('@').next().unwrap_or_default();
            sender.status == "Active" && of_sender.eq_ignore_ascii_case(domain)
        })
    };
    let missing = domains.iter().filter(|domain| !may_send(domain));
    let finding = |domain: &String| Finding {
        about: About::Sender(domain.clone()),
        text: format!("no address of {domain} is an active sender: add *@{domain} and validate it"),
    };
    Ok(missing.map(finding).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_s_key_is_told_with_its_name_and_others_are_left_out() {
        let answer = Answer {
            status: 200,
            body: r#"{"Count":2,"Data":[
                {"Domain":"x.test","DKIMRecordName":"mailjet._domainkey.x.test.",
                    "DKIMRecordValue":"k=rsa; p=AQ"},
                {"Domain":"y.test","DKIMRecordName":"","DKIMRecordValue":""}],"Total":2}"#
                .into(),
            is_whole: true,
            ..Answer::default()
        };
        let senders = ["X.test", "y.test", "z.test"].map(str::to_owned);
        let [key] = &keys(&answer, &senders)[..] else {
            panic!("one key");
        };
        assert_eq!(key.name, "mailjet._domainkey.x.test");
        assert_eq!(
            (key.sender.as_str(), key.value.as_str()),
            ("x.test", "k=rsa; p=AQ")
        );
    }
}
