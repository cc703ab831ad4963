//! Mailjet.

use crate::smtp::config::Protection;
use crate::smtp::dialect::{Defaults, Dialect, Host, User};

/// Mailjet.
pub(crate) static MAILJET: Dialect = Dialect {
    name: "mailjet",
    host: Host::ByRegion(&[("global", "in-v3.mailjet.com")]),
    tls: Protection::Implicit,
    user: User::Given,
    bounds: Defaults {
        recipients_max: 50,
        message_bytes_max: 15000000,
        connections_max: 20,
        messages_per_connection_max: 1000,
    },
};
