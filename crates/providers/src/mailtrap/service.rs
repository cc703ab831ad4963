//! The calls: one send, and the questions that `check` and `inspect` ask.

use async_trait::async_trait;
use http::Method;
use http::header::{AUTHORIZATION, HeaderMap};
use jiff::Timestamp;
use malote_core::provider::{
    About, Account, Capabilities, Finding, Outgoing, Reply, SendError, SendReport, SenderRecord,
    SenderRecordPurpose, Verdict, bounded,
};
use malote_core::tracking::TrackingSwitches;
use reqwest::Url;
use serde::Deserialize;

use super::classify::{Document, classify};
use super::config::Settings;
use super::request::{MESSAGE_BYTES_MAX, RECIPIENTS_MAX, body};
use crate::api::{Line, Service, json_call};
use crate::http::{Answer, Call, sensitive};
use crate::parts::{listed_order, take_apart};
use crate::records::{kind_of, purpose_of, record};

/// An account at Mailtrap.
pub(super) struct Mailtrap {
    pub(super) settings: Settings,
    capabilities: Capabilities,
}

/// The account's sender domains.
#[derive(Debug, Deserialize)]
struct Domains {
    data: Vec<Domain>,
}

#[derive(Debug, Deserialize)]
struct Domain {
    domain_name: Option<String>,
    compliance_status: Option<String>,
    dns_verified: Option<bool>,
    #[serde(default)]
    dns_records: Vec<DnsRecord>,
}

/// A record that the service wants to find, its name whole in `domain`.
#[derive(Debug, Deserialize)]
struct DnsRecord {
    domain: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    value: Option<String>,
}

impl Domain {
    fn is_called(&self, name: &str) -> bool {
        let own = self.domain_name.as_deref();
        own.is_some_and(|own| own.eq_ignore_ascii_case(name))
    }

    /// The keys: what else there is proves the domain or is the same for everybody.
    fn keys(&self, sender: &str) -> impl Iterator<Item = SenderRecord> {
        self.dns_records.iter().filter_map(move |told| {
            let (name, value) = (told.domain.as_deref()?, told.value.as_deref()?);
            let kind = kind_of(told.kind.as_deref()?)?;
            let purpose = purpose_of(name, kind)?;
            let is_key = purpose == SenderRecordPurpose::Dkim;
            is_key.then(|| record(sender, name, kind, value, purpose))
        })
    }

    /// What mail from this domain would fail on.
    fn finding(&self, sender: &str) -> Option<Finding> {
        let about_sender = || About::Sender(bounded(sender, 255));
        let status = self.compliance_status.as_deref();
        let (about, text) = match status {
            Some("compliant") => return None,
            // An account told nothing of compliance in older versions of the API.
            None if self.dns_verified == Some(true) => return None,
            None | Some("unverified_dns") => (
                about_sender(),
                "is not verified: the service does not find its DNS records".to_owned(),
            ),
            Some("demo") => (
                About::Account,
                format!("{sender} is a demo domain: it mails nobody but the account's owner"),
            ),
            Some("demo_exhausted") => (
                About::Account,
                format!("{sender} is a demo domain whose allowance is used up"),
            ),
            Some("missing_company_info") => (
                About::Account,
                "the company's information is missing: fill it in at the service".to_owned(),
            ),
            Some(other) => (
                about_sender(),
                format!(
                    "may not send: its status at the service is {}",
                    bounded(other, 64)
                ),
            ),
        };
        Some(Finding { about, text })
    }
}

impl Mailtrap {
    pub(super) const fn new(settings: Settings) -> Self {
        Self {
            settings,
            capabilities: Capabilities {
                message_bytes_max: MESSAGE_BYTES_MAX,
                recipients_max: RECIPIENTS_MAX,
                envelope_sender: false,
                smtputf8: false,
                eight_bit: true,
                tracking: TrackingSwitches::ACCOUNT,
            },
        }
    }

    pub(super) fn call(&self, endpoint: &Url, path: &str, body: Option<Vec<u8>>) -> Call {
        let mut headers = HeaderMap::new();
        let token = format!("Bearer {}", self.settings.api_token.expose());
        if let Some(token) = sensitive(&token) {
            headers.insert(AUTHORIZATION, token);
        }
        let method = match body {
            Some(_) => Method::POST,
            None => Method::GET,
        };
        json_call(method, endpoint, path, headers, body)
    }

    /// Asks the account API. `None` if it tells this token nothing.
    ///
    /// # Errors
    /// If the token is refused or the service is out of reach.
    async fn ask(&self, line: Line<'_>, path: &str) -> Result<Option<Answer>, SendError> {
        let call = self.call(&self.settings.account_endpoint, path, None);
        let answer = line.ask(call).await?;
        let verdict = match answer.status {
            200 => return Ok(Some(answer)),
            // A token that may send need not be allowed to ask.
            403..=405 => return Ok(None),
            401 => Verdict::ProviderUnusable,
            429 => Verdict::Throttled {
                after: answer.retry_after(line.now),
            },
            _ => Verdict::Transient,
        };
        let text = answer.json().and_then(|d: Document| d.error_text());
        let text = text.unwrap_or_else(|| answer.text());
        let reply = Reply::new(Some(answer.status), None, &text);
        Err(SendError::new(verdict, reply))
    }
}

#[async_trait]
impl Service for Mailtrap {
    fn kind(&self) -> &'static str {
        "mailtrap"
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn request(&self, outgoing: &Outgoing) -> Result<Call, SendError> {
        let parts = take_apart(outgoing).await?;
        let body = body(outgoing, &parts)?;
        Ok(self.call(&self.settings.endpoint, "/api/send", Some(body)))
    }

    /// The service's list of ids follows To, then Cc, then Bcc.
    fn report(&self, outgoing: &Outgoing, answer: &Answer, now: Timestamp) -> SendReport {
        let results = classify(answer, outgoing.recipients.len(), now);
        let mut report: Vec<_> = listed_order(outgoing).into_iter().zip(results).collect();
        report.sort_by_key(|(position, _)| *position);
        report.into_iter().map(|(_, result)| result).collect()
    }

    async fn check(&self, line: Line<'_>) -> Result<Account, SendError> {
        let note = match self.ask(line, "/api/accounts").await? {
            Some(_) => "",
            None => "a token that may only send: the account is not known",
        };
        Ok(Account {
            note: note.to_owned(),
            ..Account::default()
        })
    }

    async fn inspect(&self, line: Line<'_>, senders: &[String]) -> Result<Vec<Finding>, SendError> {
        let answer = self.ask(line, "/api/domains").await?;
        let Some(Domains { data }) = answer.and_then(|answer| answer.json()) else {
            return Ok(Vec::new());
        };
        let findings = senders.iter().filter_map(|sender| {
            let known = data.iter().find(|domain| domain.is_called(sender));
            match known {
                Some(domain) => domain.finding(sender),
                None => Some(Finding {
                    about: About::Sender(bounded(sender, 255)),
                    text: "is not among the account's domains: add and verify it there".to_owned(),
                }),
            }
        });
        Ok(findings.collect())
    }

    async fn sender_records(
        &self,
        line: Line<'_>,
        senders: &[String],
    ) -> Result<Vec<SenderRecord>, SendError> {
        let answer = self.ask(line, "/api/domains").await?;
        let Some(Domains { data }) = answer.and_then(|answer| answer.json()) else {
            return Ok(Vec::new());
        };
        let of = |sender: &String| -> Vec<SenderRecord> {
            let own = data.iter().find(|domain| domain.is_called(sender));
            own.into_iter().flat_map(|own| own.keys(sender)).collect()
        };
        Ok(senders.iter().flat_map(of).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_domain_s_records_the_keys_are_told() {
        let domain: Domain = serde_json::from_str(
            r#"{"domain_name":"x.test","dns_verified":false,"dns_records":[
                {"key":"verification","domain":"ve6wza2rbpe60x7z.x.test","type":"CNAME",
                    "value":"smtp.mailtrap.live","name":"ve6wza2rbpe60x7z"},
                {"key":"dkim1","domain":"rwmt1._domainkey.x.test","type":"CNAME",
                    "value":"rwmt1.dkim.smtp.mailtrap.live","name":"rwmt1._domainkey"},
                {"key":"dmarc","domain":"_dmarc.x.test","type":"TXT","value":"v=DMARC1; p=none"},
                {"key":"new"}]}"#,
        )
        .unwrap();
        let keys: Vec<_> = domain.keys("x.test").collect();
        let [key] = &keys[..] else {
            panic!("{keys:?}");
        };
        assert_eq!(key.name, "rwmt1._domainkey.x.test");
        assert_eq!(key.value, "rwmt1.dkim.smtp.mailtrap.live");
    }
}
