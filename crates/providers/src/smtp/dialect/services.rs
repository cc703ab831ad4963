//! The services, one file each.

mod brevo;
mod elasticemail;
mod exim;
mod google;
mod mailcow;
mod mailgun;
mod mailjet;
mod mailtrap;
mod microsoft365;
mod postal;
mod postfix;
mod postmark;
mod resend;
mod sendgrid;
mod ses;
mod smtp2go;
mod sparkpost;

pub(crate) use brevo::BREVO;
pub(crate) use elasticemail::ELASTICEMAIL;
pub(crate) use exim::EXIM;
pub(crate) use google::GOOGLE;
pub(crate) use mailcow::MAILCOW;
pub(crate) use mailgun::MAILGUN;
pub(crate) use mailjet::MAILJET;
pub(crate) use mailtrap::MAILTRAP;
pub(crate) use microsoft365::MICROSOFT365;
pub(crate) use postal::POSTAL;
pub(crate) use postfix::POSTFIX;
pub(crate) use postmark::POSTMARK;
pub(crate) use resend::RESEND;
pub(crate) use sendgrid::SENDGRID;
pub(crate) use ses::SES;
pub(crate) use smtp2go::SMTP2GO;
pub(crate) use sparkpost::SPARKPOST;
