//! Mailgun.

use crate::smtp::config::Protection;
use crate::smtp::dialect::{Defaults, Dialect, Host, User};

/// Mailgun.
pub(crate) static MAILGUN: Dialect = Dialect {
    name: "mailgun",
    host: Host::ByRegion(&[("us", "smtp.mailgun.org"), ("eu", "smtp.eu.mailgun.org")]),
    tls: Protection::Implicit,
    user: User::Given,
    bounds: Defaults {
        recipients_max: 1000,
        message_bytes_max: 25000000,
        connections_max: 20,
        messages_per_connection_max: 1000,
    },
};
