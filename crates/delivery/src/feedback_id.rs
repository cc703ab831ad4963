//! The `Feedback-ID` field, by which Gmail's Postmaster Tools tell complaints by campaign, stream and
//! credential (support.google.com/mail/answer/6254652): up to three identifiers and the sender's,
//! which is last.

use malote_core::name::{CredentialName, StreamName};
use malote_store::MessageRecord;

use crate::policy::Policy;
use crate::prepare::Prepared;

/// Longest part, in octets.
const PART_BYTES_MAX: usize = 64;

/// Adds the field to a message that has none, where its stream is configured to.
pub(crate) fn add(policy: &Policy, record: &MessageRecord, prepared: &mut Prepared) {
    let Some(sender) = policy.feedback_ids.get(&record.stream) else {
        return;
    };
    let campaign = record.campaign.as_deref();
    let value = value(campaign, &record.stream, &record.credential, sender);
    prepared.add_missing("Feedback-ID", value);
}

/// The field's value: `campaign:stream:credential:sender`.
fn value(
    campaign: Option<&str>,
    stream: &StreamName,
    credential: &CredentialName,
    sender: &str,
) -> String {
    let campaign = part(campaign.unwrap_or_default());
    let (stream, credential) = (part(stream.as_str()), part(credential.as_str()));
    format!("{campaign}:{stream}:{credential}:{sender}")
}

/// Colons part the identifiers, and a field holds no control characters.
fn part(text: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let replaced = text.chars().map(|c| if allowed(c) { c } else { '-' });
    replaced.take(PART_BYTES_MAX).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(campaign: Option<&str>) -> String {
        let (stream, credential) = ("news".parse().unwrap(), "mautic".parse().unwrap());
        value(campaign, &stream, &credential, "acme-mail")
    }

    #[test]
    fn the_sender_is_last_and_what_is_missing_stays_empty() {
        assert_eq!(of(Some("42")), "42:news:mautic:acme-mail");
        assert_eq!(of(None), ":news:mautic:acme-mail");
        assert_eq!(of(Some("a:b c\r\n")), "a-b-c--:news:mautic:acme-mail");
    }

    proptest! {
        #[test]
        fn it_has_four_parts_of_one_line_whatever_the_campaign_is_called(campaign in ".*") {
            let value = of(Some(&campaign));
            prop_assert_eq!(value.split(':').count(), 4);
            prop_assert!(value.is_ascii() && value.len() < 128);
            prop_assert!(!value.contains(|c: char| c.is_ascii_control() || c == ' '));
        }
    }
}
