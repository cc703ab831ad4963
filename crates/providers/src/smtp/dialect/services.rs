//! The services, one file each. An answer that nobody has documented or shown is not in here.

mod brevo;
mod elasticemail;
mod google;
mod mailgun;
mod mailjet;
mod mailtrap;
mod microsoft365;
mod own;
mod postal;
mod postmark;
mod resend;
mod sendgrid;
mod ses;
mod smtp2go;
mod sparkpost;

pub(crate) use brevo::BREVO;
pub(crate) use elasticemail::ELASTICEMAIL;
pub(crate) use google::GOOGLE;
pub(crate) use mailgun::MAILGUN;
pub(crate) use mailjet::MAILJET;
pub(crate) use mailtrap::MAILTRAP;
pub(crate) use microsoft365::MICROSOFT365;
pub(crate) use own::{EXIM, MAILCOW, POSTFIX};
pub(crate) use postal::POSTAL;
pub(crate) use postmark::POSTMARK;
pub(crate) use resend::RESEND;
pub(crate) use sendgrid::SENDGRID;
pub(crate) use ses::SES;
pub(crate) use smtp2go::SMTP2GO;
pub(crate) use sparkpost::SPARKPOST;

use malote_core::provider::Verdict;

const THROTTLED: Verdict = Verdict::Throttled { after: None };
const QUOTA_SPENT: Verdict = Verdict::QuotaSpent { until: None };
