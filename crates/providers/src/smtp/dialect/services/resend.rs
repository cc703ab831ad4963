//! Resend by SMTP.

use malote_core::provider::Outgoing;
use malote_core::tracking::TrackingSwitches;
use sha2::{Digest as _, Sha256};

use crate::smtp::config::Protection;
use crate::smtp::dialect::fields::Fields;
use crate::smtp::dialect::{Defaults, Dialect, Host, MessageIdIn, User};

/// Resend. Its answers are documented nowhere.
pub(crate) static RESEND: Dialect = Dialect {
    name: "resend",
    host: Host::ByRegion(&[("global", "smtp.resend.com")]),
    tls: Protection::Implicit,
    user: User::Fixed("resend"),
    bounds: Defaults {
        recipients_max: 50,
        message_bytes_max: 40_000_000,
        ..Defaults::PLAIN
    },
    keeps_mail_from: false,
    judges_domain_at_mail: false,
    pool_key: None,
    fields,
    tracking: TrackingSwitches::ACCOUNT,
    rules: &[],
    by_message: None,
    message_id: MessageIdIn::Reply,
    documented: &[],
};

/// "Send emails with SMTP": a message that is sent again under its key, within a day, is not
/// delivered again. The key is of the message and of whom this transaction is for.
fn fields(fields: &mut Fields<'_>, outgoing: &Outgoing, _: Option<&str>) {
    let mut digest = Sha256::new();
    for recipient in &outgoing.recipients {
        digest.update(recipient.delivery.index.to_be_bytes());
    }
    let digest = digest.finalize();
    let to: String = digest[..8].iter().map(|b| format!("{b:02x}")).collect();
    let key = format!("malote/{}/{to}", outgoing.message.simple());
    fields.set("Resend-Idempotency-Key", &key);
}
