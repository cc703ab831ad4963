//! What SMTP2GO tells of the key, the month's allowance and the verified senders.

use jiff::Timestamp;
use malote_core::provider::{
    About, Finding, Reply, SendError, SenderRecord, SenderRecordKind, SenderRecordPurpose, Verdict,
    bounded,
};
use serde::Deserialize;

use super::classify::{Document, THROTTLED_WAIT};
use crate::http::Answer;
use crate::records::record;

/// Emails a month of the free plan, which is the smallest; it sends 200 of them a day.
const FREE_PLAN_EMAILS: i64 = 1000;

/// An answer to a question that carries no mail.
#[derive(Debug)]
pub(super) enum Told<T> {
    /// It is answered.
    Yes(T),
    /// The key may not ask that, but it is one.
    NotAllowed,
    /// No such call.
    NotThere,
}

#[derive(Deserialize)]
struct Envelope<T> {
    data: T,
}

/// Where the month stands (`stats/email_cycle`).
#[derive(Debug, Deserialize)]
pub(super) struct Cycle {
    cycle_end: Option<String>,
    cycle_remaining: Option<i64>,
    cycle_max: Option<i64>,
}

/// `api_keys/view`, asked for one key.
pub(super) type Keys = Vec<Key>;

#[derive(Debug, Deserialize)]
pub(super) struct Key {
    status: Option<String>,
}

/// `domain/view`.
#[derive(Debug, Deserialize)]
pub(super) struct Domains {
    #[serde(default)]
    domains: Vec<DomainRow>,
}

#[derive(Debug, Deserialize)]
struct DomainRow {
    domain: Domain,
}

#[derive(Debug, Deserialize)]
struct Domain {
    fulldomain: Option<String>,
    #[serde(default)]
    dkim_verified: bool,
    #[serde(default)]
    rpath_verified: bool,
    dkim_selector: Option<String>,
    dkim_value: Option<String>,
    rpath_selector: Option<String>,
    rpath_value: Option<String>,
}

impl Domain {
    /// The records that the service does not find.
    fn missing(&self) -> Vec<&'static str> {
        let records = [
            ("DKIM", self.dkim_verified),
            ("return-path", self.rpath_verified),
        ];
        let missing = records.iter().filter(|(_, is_there)| !is_there);
        missing.map(|(name, _)| *name).collect()
    }
}

impl Domains {
    /// The records of these domains: one for the key, one for the return path.
    pub(super) fn records(&self, senders: &[String]) -> Vec<SenderRecord> {
        let of = |sender: &String| {
            let own = self.domains.iter().map(|row| &row.domain);
            let own = own.filter(|domain| domain.is_called(sender));
            own.flat_map(|domain| domain.records(sender))
                .collect::<Vec<_>>()
        };
        senders.iter().flat_map(of).collect()
    }
}

impl Domain {
    fn is_called(&self, name: &str) -> bool {
        let own = self.fulldomain.as_deref();
        own.is_some_and(|own| own.eq_ignore_ascii_case(name))
    }

    fn records(&self, sender: &str) -> impl Iterator<Item = SenderRecord> {
        let key = self.dkim_selector.as_ref().zip(self.dkim_value.as_ref());
        let key = key.map(|(selector, value)| {
            let name = format!("{selector}._domainkey.{sender}");
            record(
                sender,
                &name,
                SenderRecordKind::Cname,
                value,
                SenderRecordPurpose::Dkim,
            )
        });
        let path = self.rpath_selector.as_ref().zip(self.rpath_value.as_ref());
        let path = path.map(|(label, value)| {
            let name = format!("{label}.{sender}");
            record(
                sender,
                &name,
                SenderRecordKind::Cname,
                value,
                SenderRecordPurpose::MailFrom,
            )
        });
        key.into_iter().chain(path)
    }
}

/// `single_sender_emails/view`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct SingleSenders {
    #[serde(default)]
    senders: Vec<SingleSender>,
}

#[derive(Debug, Deserialize)]
struct SingleSender {
    email_address: Option<String>,
    #[serde(default)]
    verified: bool,
}

impl SingleSenders {
    fn has_one_of(&self, domain: &str) -> bool {
        self.senders.iter().any(|sender| {
            let address = sender.email_address.as_deref().unwrap_or_default();
            let own = address.rsplit_once('@').map(|(_, own)| own);
            sender.verified && own.is_some_and(|own| own.eq_ignore_ascii_case(domain))
        })
    }
}

/// Reads an answer.
///
/// # Errors
/// If the service is out of order or refuses the key.
pub(super) fn read<T: serde::de::DeserializeOwned>(
    answer: &Answer,
    now: Timestamp,
) -> Result<Told<T>, SendError> {
    let document: Document = answer.json().unwrap_or_default();
    let verdict = match answer.status {
        200 => match answer.json::<Envelope<T>>() {
            Some(read) => return Ok(Told::Yes(read.data)),
            None => Verdict::Transient,
        },
        // Not allowed is 400 here, and so is a key that is none.
        400 | 403 if document.is_permission_denied() => return Ok(Told::NotAllowed),
        404 | 405 => return Ok(Told::NotThere),
        400..=403 => Verdict::ProviderUnusable,
        429 => Verdict::Throttled {
            after: Some(answer.retry_after(now).unwrap_or(THROTTLED_WAIT)),
        },
        _ => Verdict::Transient,
    };
    let text = document.error_text().unwrap_or_else(|| answer.text());
    let reply = Reply::new(Some(answer.status), document.code(), &text);
    Err(SendError::new(verdict, reply))
}

/// # Errors
/// If a key that may call these paths may not send.
pub(super) fn may_send(paths: &[String]) -> Result<(), SendError> {
    let lacks = |path: &str| !paths.iter().any(|own| own.eq_ignore_ascii_case(path));
    let missing: Vec<&str> = ["/email/send", "/email/mime"]
        .into_iter()
        .filter(|path| lacks(path))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let text = format!(
        "the key may not call {}: allow it at the service, under API Keys",
        missing.join(" nor ")
    );
    let reply = Reply::new(Some(200), None, &text);
    Err(SendError::new(Verdict::ProviderUnusable, reply))
}

impl Cycle {
    /// One line for the operator.
    pub(super) fn note(&self) -> String {
        match (self.cycle_remaining, self.cycle_max) {
            (Some(remaining), Some(max)) => format!("{remaining} of the month's {max} are left"),
            _ => String::new(),
        }
    }

    /// What mail will fail on.
    pub(super) fn finding(&self) -> Option<Finding> {
        let max = self.cycle_max.filter(|max| *max > 0)?;
        let text = if self.cycle_remaining? <= 0 {
            let end = self.cycle_end.as_deref().unwrap_or("a date untold");
            format!("the month's {max} are sent, until {}", bounded(end, 40))
        } else if max <= FREE_PLAN_EMAILS {
            format!(
                "a free account takes {max} emails a month; upgrade it before mail depends on it"
            )
        } else {
            return None;
        };
        Some(Finding {
            about: About::Account,
            text,
        })
    }
}

/// A key that exists and delivers nothing.
pub(super) fn stopped_key(keys: &Keys) -> Option<Finding> {
    let [key] = keys.as_slice() else {
        return None;
    };
    let text = match key.status.as_deref()? {
        "sandbox" => "the key is in sandbox mode: SMTP2GO delivers nothing",
        "blocked" => "the key is blocked: SMTP2GO takes no mail",
        _ => return None,
    };
    Some(Finding {
        about: About::Account,
        text: format!("{text}; allow it at the service, under API Keys"),
    })
}

/// The senders of which neither the domain nor an address is verified.
pub(super) fn unverified(
    senders: &[String],
    domains: &Domains,
    singles: &SingleSenders,
) -> Vec<Finding> {
    let finding = |sender: &String| {
        let known = domains.domains.iter().map(|row| &row.domain).find(|known| {
            let name = known.fulldomain.as_deref().unwrap_or_default();
            name.eq_ignore_ascii_case(sender)
        });
        let text = match known.map(Domain::missing) {
            Some(missing) if missing.is_empty() => return None,
            _ if singles.has_one_of(sender) => return None,
            None => "is not among the account's sender domains: add and verify it there".to_owned(),
            Some(missing) => format!(
                "is not verified: the service does not find its {} record",
                missing.join(" and ")
            ),
        };
        Some(Finding {
            about: About::Sender(bounded(sender, 255)),
            text,
        })
    };
    senders.iter().filter_map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_s_own_selectors_become_records() {
        let domains: Domains = serde_json::from_str(
            r#"{"domains":[{"domain":{"fulldomain":"X.test","dkim_selector":"s123",
                "dkim_value":"dkim.smtp2go.net","rpath_selector":"em123",
                "rpath_value":"return.smtp2go.net"}},{"domain":{"fulldomain":"y.test"}}]}"#,
        )
        .unwrap();
        let senders = ["x.test", "y.test", "z.test"].map(str::to_owned);
        let records = domains.records(&senders);
        let shown = records
            .iter()
            .map(|r| format!("{} {:?} {}", r.name, r.purpose, r.value));
        assert_eq!(
            shown.collect::<Vec<_>>(),
            [
                "s123._domainkey.x.test Dkim dkim.smtp2go.net",
                "em123.x.test MailFrom return.smtp2go.net",
            ]
        );
    }
}
