//! `preset = "..."`: the services whose SMTP the adapter knows.

use serde::Deserialize;

use super::dialect::{Dialect, services};

/// A service whose host, port, protection, bounds, header fields and answers are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// Mailcow, a mail server of one's own.
    Mailcow,
    /// Exim, a mail server of one's own.
    Exim,
    /// Postfix, a mail server of one's own.
    Postfix,
    /// Amazon SES.
    Ses,
    /// Mailgun.
    Mailgun,
    /// SendGrid.
    Sendgrid,
    /// Postmark.
    Postmark,
    /// SparkPost.
    Sparkpost,
    /// Elastic Email.
    Elasticemail,
    /// SMTP2GO.
    Smtp2go,
    /// Postal, a mail server of one's own.
    Postal,
    /// Brevo.
    Brevo,
    /// Resend.
    Resend,
    /// Mailjet.
    Mailjet,
    /// Mailtrap.
    Mailtrap,
    /// Microsoft 365, by a mailbox's own submission.
    Microsoft365,
    /// Google Workspace's SMTP relay.
    Google,
}

impl Preset {
    /// What is known of the service.
    pub(crate) const fn dialect(self) -> &'static Dialect {
        match self {
            Self::Mailcow => &services::MAILCOW,
            Self::Exim => &services::EXIM,
            Self::Postfix => &services::POSTFIX,
            Self::Ses => &services::SES,
            Self::Mailgun => &services::MAILGUN,
            Self::Sendgrid => &services::SENDGRID,
            Self::Postmark => &services::POSTMARK,
            Self::Sparkpost => &services::SPARKPOST,
            Self::Elasticemail => &services::ELASTICEMAIL,
            Self::Smtp2go => &services::SMTP2GO,
            Self::Postal => &services::POSTAL,
            Self::Brevo => &services::BREVO,
            Self::Resend => &services::RESEND,
            Self::Mailjet => &services::MAILJET,
            Self::Mailtrap => &services::MAILTRAP,
            Self::Microsoft365 => &services::MICROSOFT365,
            Self::Google => &services::GOOGLE,
        }
    }
}
