//! The header fields by which services take orders: pools, recipients, options.

/// What their names begin with, at SES, Mailgun, SendGrid, SparkPost, Postmark, Mailtrap, Brevo,
/// Elastic Email, SMTP2GO, Postal, Mandrill and Mailjet.
pub const PROVIDER_CONTROL_PREFIXES: [&str; 16] = [
    "X-SES-",
    "X-Mailgun-",
    "X-SMTPAPI",
    "X-SendGrid-",
    "X-SG-",
    "X-MSYS-",
    "X-PM-",
    "X-MT-",
    "X-Mailin-",
    "X-Sib-",
    "X-ElasticEmail-",
    "X-Smtp2go-",
    "X-Postal-",
    "X-MC-",
    "X-MJ-",
    "X-Mailjet-",
];

/// Whether a field's name begins so, in whatever case (RFC 5322 1.2.2).
#[must_use]
pub fn has_prefix(name: &str, prefix: &str) -> bool {
    name.get(..prefix.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}
