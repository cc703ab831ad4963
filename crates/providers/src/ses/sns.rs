//! Amazon SNS over HTTPS: the envelope, which URLs in it may be used, and what is signed.
//!
//! Anybody can own a topic and anybody can post here, so nothing is fetched and nothing is believed
//! before topic and URLs are those of the configuration: URLs are compared whole against what the
//! topic's region makes them, not taken apart.

use malote_core::webhook::{WebhookRefusal, WebhookRequest};
use percent_encoding::percent_decode_str;
use serde::Deserialize;

use super::config::{dns_suffix, is_region};

/// Longest `SubscribeURL`.
const URL_BYTES_MAX: usize = 2048;
const MESSAGE_ID_BYTES_MAX: usize = 100;

/// A topic of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Topic {
    arn: String,
    region: String,
}

impl Topic {
    /// Parses `arn:aws:sns:REGION:ACCOUNT:NAME` (`aws`, `aws-cn` or `aws-us-gov`).
    pub(crate) fn parse(arn: &str) -> Option<Self> {
        let parts: Vec<&str> = arn.split(':').collect();
        let [scheme, partition, service, region, account, name] = parts.as_slice() else {
            return None;
        };
        let is_partition = match *partition {
            "aws-cn" => region.starts_with("cn-"),
            "aws-us-gov" => region.starts_with("us-gov-"),
            "aws" => !region.starts_with("cn-"),
            _ => false,
        };
        let is_name = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        let is_good = *scheme == "arn"
            && *service == "sns"
            && is_partition
            && is_region(region)
            && account.len() == 12
            && account.bytes().all(|b| b.is_ascii_digit())
            && (1..=256).contains(&name.len())
            && name.bytes().all(is_name);
        is_good.then(|| Self {
            arn: arn.to_owned(),
            region: (*region).to_owned(),
        })
    }

    /// The whole ARN.
    pub(crate) fn arn(&self) -> &str {
        &self.arn
    }

    /// The region's host.
    pub(crate) fn host(&self) -> String {
        format!("sns.{}.{}", self.region, dns_suffix(&self.region))
    }

    /// The names that the region's signing certificate may bear, as AWS's SDK for Java has them
    /// (`SnsHostProvider`, 2026): most regions share one, opt-in regions, China and GovCloud have
    /// their own; newer certificates name the region's host beside it.
    pub(crate) fn certificate_names(&self) -> Vec<String> {
        let suffix = dns_suffix(&self.region);
        let region = match self.region.as_str() {
            "us-gov-east-1" => "us-gov-west-1",
            region => region,
        };
        vec![
            format!("sns.{suffix}"),
            self.host(),
            format!("sns-signing.{}.{suffix}", self.region),
            format!("sns-{region}.{suffix}"),
        ]
    }

    /// Whether this is where the region's signing certificates are.
    pub(crate) fn is_certificate_url(&self, url: &str) -> bool {
        let prefix = format!("https://{}/SimpleNotificationService-", self.host());
        let id = url
            .strip_prefix(&prefix)
            .and_then(|rest| rest.strip_suffix(".pem"));
        id.is_some_and(|id| {
            id.len() == 32 && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        })
    }

    /// Whether this is the region's own confirmation of a subscription to this topic.
    pub(crate) fn is_subscribe_url(&self, url: &str, token: &str) -> bool {
        let prefix = format!("https://{}/?", self.host());
        let Some(query) = url
            .strip_prefix(&prefix)
            .filter(|_| url.len() <= URL_BYTES_MAX)
        else {
            return false;
        };
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._~%:=&+".contains(&b);
        if !query.bytes().all(allowed) {
            return false;
        }
        let is_once = |name: &str, value: &str| {
            let mut values = query
                .split('&')
                .filter_map(|pair| pair.split_once('='))
                .filter(|(own, _)| *own == name);
            let first = values
                .next()
                .map(|(_, text)| percent_decode_str(text).decode_utf8_lossy());
            first.is_some_and(|text| text == value) && values.next().is_none()
        };
        is_once("Action", "ConfirmSubscription")
            && is_once("TopicArn", &self.arn)
            && is_once("Token", token)
    }
}

/// What SNS posts.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Envelope {
    #[serde(rename = "Type")]
    pub kind: Kind,
    pub message_id: String,
    pub topic_arn: String,
    pub subject: Option<String>,
    pub message: String,
    pub timestamp: String,
    pub signature_version: String,
    pub signature: String,
    #[serde(rename = "SigningCertURL")]
    pub signing_cert_url: String,
    #[serde(rename = "SubscribeURL")]
    pub subscribe_url: Option<String>,
    pub token: Option<String>,
}

/// What kind of post it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) enum Kind {
    Notification,
    SubscriptionConfirmation,
    UnsubscribeConfirmation,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Notification => "Notification",
            Self::SubscriptionConfirmation => "SubscriptionConfirmation",
            Self::UnsubscribeConfirmation => "UnsubscribeConfirmation",
        }
    }
}

impl Envelope {
    /// Reads a post; nothing in it is believed yet.
    ///
    /// # Errors
    /// [`WebhookRefusal::Unverified`] if it is no signed post of SNS; [`WebhookRefusal::Forbidden`]
    /// if its header fields say another thing than its body.
    pub(crate) fn read(request: &WebhookRequest) -> Result<Self, WebhookRefusal> {
        let is_raw = request.header("x-amz-sns-rawdelivery");
        if is_raw.is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            let why = "raw message delivery carries no signature; turn it off";
            return Err(WebhookRefusal::Unverified(why));
        }
        let envelope: Self = serde_json::from_slice(&request.body)
            .map_err(|_| WebhookRefusal::Unverified("not a signed message of SNS"))?;
        let is_id = (1..=MESSAGE_ID_BYTES_MAX).contains(&envelope.message_id.len())
            && envelope.message_id.bytes().all(|b| b.is_ascii_graphic());
        if !is_id {
            return Err(WebhookRefusal::Unverified("not a message id of SNS"));
        }
        let agrees = |name: &str, value: &str| request.header(name).is_none_or(|own| own == value);
        let does_agree = agrees("x-amz-sns-message-type", envelope.kind.as_str())
            && agrees("x-amz-sns-message-id", &envelope.message_id)
            && agrees("x-amz-sns-topic-arn", &envelope.topic_arn);
        if !does_agree {
            return Err(WebhookRefusal::Forbidden("header and body disagree"));
        }
        Ok(envelope)
    }

    /// What is signed (SNS developer guide, "Verifying message signatures"): name and value of
    /// these members, a line each, values as JSON decodes them; `None` if one is missing.
    pub(crate) fn signed_text(&self) -> Option<String> {
        let mut text = String::with_capacity(self.message.len() + 1024);
        let mut add = |name: &str, value: &str| {
            for part in [name, "\n", value, "\n"] {
                text.push_str(part);
            }
        };
        add("Message", &self.message);
        add("MessageId", &self.message_id);
        match self.kind {
            Kind::Notification => {
                if let Some(subject) = &self.subject {
                    add("Subject", subject);
                }
                add("Timestamp", &self.timestamp);
            }
            Kind::SubscriptionConfirmation | Kind::UnsubscribeConfirmation => {
                add("SubscribeURL", self.subscribe_url.as_ref()?);
                add("Timestamp", &self.timestamp);
                add("Token", self.token.as_ref()?);
            }
        }
        add("TopicArn", &self.topic_arn);
        add("Type", self.kind.as_str());
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_parsed_strictly_and_know_their_regions_names() {
        for (arn, host, name) in [
            (
                "arn:aws:sns:us-east-1:123456789012:malote",
                "sns.us-east-1.amazonaws.com",
                "sns.amazonaws.com",
            ),
            (
                "arn:aws-cn:sns:cn-north-1:123456789012:a",
                "sns.cn-north-1.amazonaws.com.cn",
                "sns-cn-north-1.amazonaws.com.cn",
            ),
            (
                "arn:aws-us-gov:sns:us-gov-east-1:123456789012:a",
                "sns.us-gov-east-1.amazonaws.com",
                "sns-us-gov-west-1.amazonaws.com",
            ),
            (
                "arn:aws:sns:me-south-1:123456789012:a",
                "sns.me-south-1.amazonaws.com",
                "sns-signing.me-south-1.amazonaws.com",
            ),
        ] {
            let topic = Topic::parse(arn).unwrap();
            assert_eq!(topic.host(), host);
            assert!(
                topic.certificate_names().iter().any(|own| own == name),
                "{arn}"
            );
        }
        for bad in [
            "",
            "malote",
            "arn:aws:sqs:us-east-1:123456789012:malote",
            "arn:aws:sns:us-east-1:12:malote",
            "arn:aws:sns:us.evil-1:123456789012:malote",
            "arn:aws:sns:us-east-1:123456789012:",
            "arn:aws:sns:us-east-1:123456789012:a:b",
            "arn:aws:sns:cn-north-1:123456789012:a",
            "arn:aws:sns:us-east-1:123456789012:*",
        ] {
            assert_eq!(Topic::parse(bad), None, "{bad}");
        }
    }
}
