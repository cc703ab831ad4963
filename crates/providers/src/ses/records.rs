//! The DNS records that the service wants to find for a sender domain: the tokens of Easy DKIM, and
//! a MAIL FROM domain of one's own.

use malote_core::provider::{SendError, SenderRecord, SenderRecordKind, SenderRecordPurpose};

use super::inspect::{Identity, SENDERS_MAX, Told, identity_of};
use super::send::Ses;
use crate::records::record;

/// Where the keys of Easy DKIM are, unless the identity says otherwise.
const HOSTED_ZONE: &str = "dkim.amazonses.com";
/// Tokens looked at; the service gives three.
const TOKENS_MAX: usize = 10;

pub(super) async fn ask(ses: &Ses, senders: &[String]) -> Result<Vec<SenderRecord>, SendError> {
    let mut records = Vec::new();
    for sender in senders.iter().take(SENDERS_MAX) {
        match identity_of(ses, sender).await? {
            Told::Yes((domain, identity)) => {
                records.extend(of_identity(sender, domain, &identity, &ses.settings.region));
            }
            Told::NotThere => {}
            Told::Nothing => break,
        }
    }
    Ok(records)
}

fn of_identity(sender: &str, domain: &str, identity: &Identity, region: &str) -> Vec<SenderRecord> {
    let record =
        |name: String, kind, value: String, purpose| record(sender, &name, kind, &value, purpose);
    let mut records = Vec::new();
    if let Some(dkim) = &identity.dkim_attributes
        && dkim.signing_attributes_origin.as_deref() != Some("EXTERNAL")
    {
        let zone = dkim.signing_hosted_zone.as_deref().unwrap_or(HOSTED_ZONE);
        records.extend(dkim.tokens.iter().take(TOKENS_MAX).map(|token| {
            record(
                format!("{token}._domainkey.{domain}"),
                SenderRecordKind::Cname,
                format!("{token}.{zone}"),
                SenderRecordPurpose::Dkim,
            )
        }));
    }
    let mail_from = identity.mail_from_attributes.as_ref();
    if let Some(name) = mail_from.and_then(|attributes| attributes.mail_from_domain.as_deref()) {
        // Developer guide, "Using a custom MAIL FROM domain".
        records.push(record(
            name.to_owned(),
            SenderRecordKind::Mx,
            format!("feedback-smtp.{region}.amazonses.com"),
            SenderRecordPurpose::MailFrom,
        ));
    }
    records
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(identity: &str) -> Vec<String> {
        let identity: Identity = serde_json::from_str(identity).unwrap();
        let records = of_identity("news.x.test", "x.test", &identity, "sa-east-1");
        let shown = |r: SenderRecord| {
            assert_eq!(r.sender, "news.x.test");
            format!("{} {:?} {}", r.name, r.kind, r.value)
        };
        records.into_iter().map(shown).collect()
    }

    #[test]
    fn tokens_and_mail_from_become_records() {
        let found = records(
            r#"{"DkimAttributes":{"SigningEnabled":true,"SigningAttributesOrigin":"AWS_SES",
                "Tokens":["abc","def"]},
                "MailFromAttributes":{"MailFromDomain":"mail.x.test"}}"#,
        );
        assert_eq!(
            found,
            [
                "abc._domainkey.x.test Cname abc.dkim.amazonses.com",
                "def._domainkey.x.test Cname def.dkim.amazonses.com",
                "mail.x.test Mx feedback-smtp.sa-east-1.amazonses.com",
            ]
        );
    }

    #[test]
    fn a_zone_of_another_region_is_kept_and_a_key_of_one_s_own_is_no_token() {
        let zone =
            r#"{"DkimAttributes":{"SigningHostedZone":"z.dkim.amazonses.com","Tokens":["a"]}}"#;
        assert_eq!(
            records(zone),
            ["a._domainkey.x.test Cname a.z.dkim.amazonses.com"]
        );
        let own = r#"{"DkimAttributes":{"SigningAttributesOrigin":"EXTERNAL","Tokens":["own"]}}"#;
        assert!(records(own).is_empty() && records("{}").is_empty());
    }
}
