//! What `GetAccount` tells of the account.

use jiff::Timestamp;
use malote_core::provider::{Account, Reply, SendError, Verdict};
use serde::Deserialize;

use super::classify::{Sent, SesError, classify};
use crate::http::Answer;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AccountDocument {
    send_quota: Option<SendQuota>,
    sending_enabled: Option<bool>,
    production_access_enabled: Option<bool>,
    enforcement_status: Option<String>,
}

#[derive(Deserialize)]
struct SendQuota {
    #[serde(rename = "Max24HourSend")]
    max_24_hour_send: Option<f64>,
    #[serde(rename = "MaxSendRate")]
    max_send_rate: Option<f64>,
    #[serde(rename = "SentLast24Hours")]
    sent_last_24_hours: Option<f64>,
}

/// Reads the answer.
///
/// # Errors
/// If keys or account are not good. Not if the keys may send but not call `GetAccount`, and not if
/// the endpoint does not know the call (emulators answer 404): both say nothing about sending.
pub(crate) fn read(answer: &Answer, now: Timestamp) -> Result<Account, SendError> {
    if answer.status == 200 {
        let Some(document) = answer.json::<AccountDocument>() else {
            let reply = Reply::new(Some(200), None, "GetAccount answered nonsense");
            return Err(SendError::new(Verdict::Transient, reply));
        };
        return account(document);
    }
    let error = SesError::read(answer);
    let may_not_ask = error.code.starts_with("AccessDenied") && error.text.contains("GetAccount");
    if may_not_ask {
        return Ok(untold(
            "the keys may not call ses:GetAccount: rate and quota are not known",
        ));
    }
    if answer.status == 404 {
        return Ok(untold(
            "the endpoint does not know GetAccount: rate and quota are not known",
        ));
    }
    match classify(answer, Sent::default(), now) {
        Err(mut error) => {
            if error.verdict == Verdict::Unknown {
                error.verdict = Verdict::Transient;
            }
            Err(error)
        }
        Ok(_) => Ok(untold(
            "GetAccount answered like a send: rate and quota are not known",
        )),
    }
}

fn untold(note: &str) -> Account {
    Account {
        note: note.to_owned(),
        ..Account::default()
    }
}

fn account(document: AccountDocument) -> Result<Account, SendError> {
    let status = document.enforcement_status.unwrap_or_default();
    if document.sending_enabled == Some(false) || status == "SHUTDOWN" {
        let text = format!("sending is disabled for the account (enforcement {status})");
        let reply = Reply::new(Some(200), None, &text);
        return Err(SendError::new(Verdict::ProviderUnusable, reply));
    }
    let mut notes = Vec::new();
    if document.production_access_enabled == Some(false) {
        notes.push("sandbox: only verified recipients");
    }
    if status == "PROBATION" {
        notes.push("account is on probation");
    }
    let quota = document.send_quota;
    let of = |pick: fn(&SendQuota) -> Option<f64>| quota.as_ref().and_then(pick);
    Ok(Account {
        per_second: of(|q| q.max_send_rate).filter(|rate| *rate > 0.0 && rate.is_finite()),
        // -1 is unlimited.
        per_day: of(|q| q.max_24_hour_send).and_then(count),
        sent_last_day: of(|q| q.sent_last_24_hours).and_then(count),
        note: notes.join("; "),
    })
}

/// The API counts in doubles.
fn count(value: f64) -> Option<u64> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range is checked, and fractions of a mail do not count"
    )]
    (0.0..=1e15).contains(&value).then_some(value as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, error_type: &str, body: &str) -> Answer {
        let mut answer = Answer {
            status,
            is_whole: true,
            ..Answer::default()
        };
        answer.body = body.to_owned().into();
        if !error_type.is_empty() {
            answer
                .headers
                .insert("x-amzn-errortype", error_type.parse().unwrap());
        }
        answer
    }

    fn read_at(answer: &Answer) -> Result<Account, Verdict> {
        read(answer, "2026-11-22T00:00:00Z".parse().unwrap()).map_err(|error| error.verdict)
    }

    const GOOD: &str = include_str!("../../testdata/ses_get_account_2026.json");

    #[test]
    fn rate_and_quota_are_learnt() {
        let account = read_at(&answer(200, "", GOOD)).unwrap();
        assert_eq!(account.per_second, Some(14.0));
        assert_eq!(
            (account.per_day, account.sent_last_day),
            (Some(50_000), Some(1_234))
        );
        assert_eq!(account.note, "");
        let sandbox = GOOD
            .replace(
                "\"ProductionAccessEnabled\": true",
                "\"ProductionAccessEnabled\": false",
            )
            .replace("50000.0", "-1.0")
            .replace("HEALTHY", "PROBATION");
        let account = read_at(&answer(200, "", &sandbox)).unwrap();
        assert_eq!(account.per_day, None);
        assert!(account.note.contains("sandbox") && account.note.contains("probation"));
    }

    #[test]
    fn a_stopped_account_is_unusable() {
        for stopped in [
            GOOD.replace("\"SendingEnabled\": true", "\"SendingEnabled\": false"),
            GOOD.replace("HEALTHY", "SHUTDOWN"),
        ] {
            assert_eq!(
                read_at(&answer(200, "", &stopped)),
                Err(Verdict::ProviderUnusable)
            );
        }
    }

    #[test]
    fn not_being_told_is_no_fault_and_bad_keys_are() {
        let denied = r#"{"message":"User: x is not authorized to perform: ses:GetAccount"}"#;
        assert!(read_at(&answer(403, "AccessDeniedException", denied)).is_ok());
        assert!(read_at(&answer(404, "", "<html>not found")).is_ok());
        for (status, code, verdict) in [
            (403, "SignatureDoesNotMatch", Verdict::ProviderUnusable),
            (
                403,
                "UnrecognizedClientException",
                Verdict::ProviderUnusable,
            ),
            (
                429,
                "TooManyRequestsException",
                Verdict::Throttled { after: None },
            ),
            (500, "InternalServiceError", Verdict::Transient),
            (502, "", Verdict::Transient),
            (200, "", Verdict::Transient),
        ] {
            assert_eq!(
                read_at(&answer(status, code, "nonsense")),
                Err(verdict),
                "{code}"
            );
        }
    }
}
