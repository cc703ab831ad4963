//! `preset = "..."`: the services whose SMTP the adapter knows.

use serde::Deserialize;

use super::dialect::{Dialect, services};
use crate::Documented;

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

/// The answers that each preset's service documents, by the preset's name; each begins with what
/// was asked, as in `RCPT TO: text`.
pub(crate) fn documented() -> impl Iterator<Item = (&'static str, &'static [Documented])> {
    let dialects = Preset::ALL.into_iter().map(Preset::dialect);
    dialects.map(|dialect| (dialect.name, dialect.documented))
}

impl Preset {
    /// Each of them.
    pub(crate) const ALL: [Self; 17] = [
        Self::Mailcow,
        Self::Exim,
        Self::Postfix,
        Self::Ses,
        Self::Mailgun,
        Self::Sendgrid,
        Self::Postmark,
        Self::Sparkpost,
        Self::Elasticemail,
        Self::Smtp2go,
        Self::Postal,
        Self::Brevo,
        Self::Resend,
        Self::Mailjet,
        Self::Mailtrap,
        Self::Microsoft365,
        Self::Google,
    ];

    /// Whether mail arrives there without anybody to sign it: a mail server that has no DKIM unless
    /// it is added. The services sign with keys that they publish, Mailcow and Postal with their own.
    pub(crate) const fn leaves_signing_to_us(self) -> bool {
        match self {
            Self::Exim | Self::Postfix => true,
            Self::Mailcow
            | Self::Ses
            | Self::Mailgun
            | Self::Sendgrid
            | Self::Postmark
            | Self::Sparkpost
            | Self::Elasticemail
            | Self::Smtp2go
            | Self::Postal
            | Self::Brevo
            | Self::Resend
            | Self::Mailjet
            | Self::Mailtrap
            | Self::Microsoft365
            | Self::Google => false,
        }
    }

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

#[cfg(test)]
mod tests {
    use malote_core::fault::Severity;

    use crate::smtp::SmtpConfig;
    use crate::smtp::config::{Protection, Settings};

    fn check(table: &str) -> (Option<Settings>, Vec<String>) {
        let table: SmtpConfig = toml::from_str(table).unwrap();
        let mut faults = Vec::new();
        let settings = table.check("t", &mut faults);
        let errors = faults.iter().filter(|f| f.severity == Severity::Error);
        (settings, errors.map(ToString::to_string).collect())
    }

    /// Table, host, port, `recipients_max`, `connections_max`.
    const FILLED: [(&str, &str, u16, u16, usize); 10] = [
        ("preset = 'sendgrid'", "smtp.sendgrid.net", 465, 500, 20),
        (
            "preset = 'sendgrid'\nregion = 'eu'\nport = 2525\ntls = 'starttls'\nrecipients_max = 7",
            "smtp.eu.sendgrid.net",
            2525,
            7,
            20,
        ),
        ("preset = 'postmark'", "smtp.postmarkapp.com", 587, 50, 5),
        (
            "preset = 'postmark'\nregion = 'broadcast'\nconnections_max = 2",
            "smtp-broadcasts.postmarkapp.com",
            587,
            50,
            2,
        ),
        (
            "preset = 'ses'\nregion = 'sa-east-1'\nuser = 'u'",
            "email-smtp.sa-east-1.amazonaws.com",
            465,
            50,
            20,
        ),
        (
            "preset = 'ses'\nregion = 'cn-north-1'\nuser = 'u'",
            "email-smtp.cn-north-1.amazonaws.com.cn",
            465,
            50,
            20,
        ),
        (
            "preset = 'ses'\nhost = 'vpce-1.email-smtp.us-east-1.vpce.amazonaws.com'\nuser = 'u'",
            "vpce-1.email-smtp.us-east-1.vpce.amazonaws.com",
            465,
            50,
            20,
        ),
        (
            "preset = 'microsoft365'\nuser = 'u'",
            "smtp.office365.com",
            587,
            100,
            1,
        ),
        (
            "preset = 'mailcow'\nhost = 'mail.example.com'\nuser = 'u'",
            "mail.example.com",
            465,
            1000,
            20,
        ),
        (
            "preset = 'exim'\nhost = '127.0.0.1'\ntls = 'none'\nuser = 'u'",
            "127.0.0.1",
            25,
            100,
            20,
        ),
    ];

    #[test]
    fn a_preset_fills_what_is_not_given_and_what_is_given_wins() {
        for (table, host, port, recipients_max, connections_max) in FILLED {
            let (settings, errors) = check(&format!("{table}\npassword = 'k'"));
            assert_eq!(errors, Vec::<String>::new(), "{table}");
            let settings = settings.unwrap();
            let endpoint = &settings.endpoint;
            assert_eq!(
                (endpoint.host.as_str(), endpoint.port),
                (host, port),
                "{table}"
            );
            assert_eq!(settings.recipients_max, recipients_max, "{table}");
            assert_eq!(settings.bounds.connections_max, connections_max, "{table}");
            assert_eq!(endpoint.tls == Protection::None, port == 25, "{table}");
        }
    }

    #[test]
    fn places_that_do_not_exist_are_told_with_those_that_do() {
        for (table, fault) in [
            ("preset = 'mailcow'", "t.host: is required"),
            ("preset = 'ses'", "t.region: is missing"),
            (
                "preset = 'ses'\nregion = 'mars'",
                "t.region: is not a region",
            ),
            (
                "preset = 'mailgun'\nregion = 'mars'",
                "t.region: must be \"us\" or \"eu\"",
            ),
            (
                "preset = 'resend'\nregion = 'eu'",
                "t.region: must be \"global\"",
            ),
            (
                "preset = 'exim'\nhost = 'mx.test'\nregion = 'eu'",
                "t.region: needs a preset",
            ),
            (
                "host = 'mx.test'\nregion = 'eu'",
                "t.region: needs a preset",
            ),
        ] {
            let (settings, errors) = check(table);
            assert!(settings.is_none(), "{table}");
            assert!(
                errors.len() == 1 && errors[0].starts_with(fault),
                "{errors:?}"
            );
        }
        let unknown = toml::from_str::<SmtpConfig>("preset = 'sendgird'").unwrap_err();
        assert!(unknown.to_string().contains("sendgrid"), "{unknown}");
    }
}
