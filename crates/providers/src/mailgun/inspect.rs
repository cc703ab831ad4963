//! What mail through the domain would fail on: one that is unverified or a sandbox, IP pools that do
//! not exist. A sending key may ask for neither.

use std::collections::BTreeMap;

use malote_core::name::PoolName;
use malote_core::provider::{About, Finding, SenderRecord, SenderRecordPurpose, bounded};
use serde::Deserialize;

use crate::http::Answer;
use crate::records::{kind_of, record};

#[derive(Deserialize)]
struct DomainDocument {
    domain: Domain,
}

#[derive(Deserialize)]
struct Domain {
    #[serde(default)]
    name: String,
    state: Option<String>,
    /// `custom` or `sandbox`.
    #[serde(rename = "type")]
    kind: Option<String>,
}

/// Keys looked at; a domain has one, and two while they are changed.
const KEYS_MAX: usize = 10;

#[derive(Deserialize)]
struct Records {
    #[serde(default)]
    sending_dns_records: Vec<Record>,
}

#[derive(Deserialize)]
struct Record {
    name: Option<String>,
    record_type: String,
    value: String,
}

#[derive(Deserialize)]
struct IpPools {
    ip_pools: Vec<IpPool>,
}

#[derive(Deserialize)]
struct IpPool {
    pool_id: String,
}

/// What the answer to `GET /v4/domains/DOMAIN` says that mail would fail on.
pub(super) fn of_domain(answer: &Answer) -> Vec<Finding> {
    let document: Option<DomainDocument> = answer.json();
    let Some(DomainDocument { domain }) = document.filter(|_| answer.status == 200) else {
        return Vec::new();
    };
    let name = bounded(&domain.name, 255);
    let mut texts = Vec::new();
    if domain.kind.as_deref() == Some("sandbox") {
        texts.push(format!(
            "{name} is a sandbox domain and may mail authorized recipients only: use a domain of \
             your own"
        ));
    }
    if let Some(state) = domain.state.as_deref().filter(|state| *state != "active") {
        let state = bounded(state, 32);
        texts.push(format!(
            "{name} is {state}: set its DNS records and verify it"
        ));
    }
    let findings = texts.into_iter().map(|text| Finding {
        about: About::Account,
        text,
    });
    findings.collect()
}

/// The DKIM keys in the answer to `GET /v4/domains/DOMAIN`, for each of these senders.
pub(super) fn keys(answer: &Answer, senders: &[String]) -> Vec<SenderRecord> {
    let told: Option<Records> = answer.json();
    let Some(told) = told.filter(|_| answer.status == 200) else {
        return Vec::new();
    };
    let named = told.sending_dns_records.iter();
    let named = named.filter_map(|record| Some((record.name.as_deref()?, record)));
    let keys = named.filter(|(name, _)| name.contains("._domainkey."));
    let mut records = Vec::new();
    for (name, told) in keys.take(KEYS_MAX) {
        let Some(kind) = kind_of(&told.record_type) else {
            continue;
        };
        let of =
            |sender: &String| record(sender, name, kind, &told.value, SenderRecordPurpose::Dkim);
        records.extend(senders.iter().map(of));
    }
    records
}

/// The pools whose id is not in the answer to `GET /v3/ip_pools`.
pub(super) fn missing_pools(answer: &Answer, ours: &BTreeMap<PoolName, String>) -> Vec<Finding> {
    let known: Option<IpPools> = answer.json();
    let Some(known) = known.filter(|_| answer.status == 200) else {
        return Vec::new();
    };
    let is_known = |id: &str| known.ip_pools.iter().any(|pool| pool.pool_id == id);
    let missing = ours.iter().filter(|(_, id)| !is_known(id));
    let finding = |(pool, id): (&PoolName, &String)| Finding {
        about: About::Pool(pool.clone()),
        text: format!(
            "the account has no IP pool with the id {id}: correct sending_ip_pool, which is a \
             pool's id and not its name"
        ),
    };
    missing.map(finding).collect()
}

#[cfg(test)]
mod tests {
    use malote_core::provider::SenderRecordKind;

    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        let mut answer = Answer {
            status,
            is_whole: true,
            ..Answer::default()
        };
        answer.body = body.to_owned().into();
        answer
    }

    #[test]
    fn an_unverified_and_a_sandbox_domain_are_found() {
        let good = r#"{"domain":{"name":"x.test","state":"active","type":"custom"}}"#;
        for (status, body, found) in [
            (200, good.to_owned(), None),
            (
                200,
                good.replace("active", "unverified"),
                Some("unverified"),
            ),
            (200, good.replace("custom", "sandbox"), Some("sandbox")),
            (200, "Mailgun Magnificent API".to_owned(), None),
            (401, "Forbidden".to_owned(), None),
        ] {
            let findings = of_domain(&answer(status, &body));
            assert_eq!(findings.len(), usize::from(found.is_some()), "{body}");
            let text = findings.first().map(|finding| finding.text.as_str());
            assert!(found.is_none_or(|found| text.unwrap().contains(found)));
        }
    }

    #[test]
    fn keys_are_told_from_other_records() {
        let body = r#"{"domain":{"name":"mg.x.test"},"sending_dns_records":[
            {"record_type":"TXT","name":"mg.x.test","value":"v=spf1 include:mailgun.org ~all"},
            {"record_type":"TXT","name":"mx._domainkey.mg.x.test","value":"k=rsa; p=AAAA","valid":"unknown"},
            {"record_type":"CNAME","name":"email.mg.x.test","value":"mailgun.org"}]}"#;
        let found = keys(&answer(200, body), &["x.test".to_owned()]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].name, "mx._domainkey.mg.x.test");
        assert_eq!(found[0].kind, SenderRecordKind::Txt);
        for (status, body) in [(401, body), (200, "{}"), (200, "Mailgun Magnificent API")] {
            assert!(keys(&answer(status, body), &["x.test".to_owned()]).is_empty());
        }
    }

    #[test]
    fn a_pool_is_known_by_its_id() {
        let list = r#"{"message":"success","ip_pools":[{"pool_id":"68d1","name":"news"}]}"#;
        let pools = |id: &str| BTreeMap::from([(PoolName::try_from("x").unwrap(), id.to_owned())]);
        assert!(missing_pools(&answer(200, list), &pools("68d1")).is_empty());
        assert_eq!(missing_pools(&answer(200, list), &pools("news")).len(), 1);
        for (status, body) in [(403, "{}"), (404, "{}"), (200, "nonsense")] {
            assert!(missing_pools(&answer(status, body), &pools("news")).is_empty());
        }
    }
}
