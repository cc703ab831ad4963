//! SMTP2GO.

use crate::smtp::config::Protection;
use crate::smtp::dialect::{Defaults, Dialect, Host, User};

/// SMTP2GO.
pub(crate) static SMTP2GO: Dialect = Dialect {
    name: "smtp2go",
    host: Host::ByRegion(&[
        ("global", "mail.smtp2go.com"),
        ("us", "mail-us.smtp2go.com"),
        ("eu", "mail-eu.smtp2go.com"),
        ("au", "mail-au.smtp2go.com"),
    ]),
    tls: Protection::Implicit,
    user: User::Given,
    bounds: Defaults {
        recipients_max: 100,
        message_bytes_max: 50000000,
        connections_max: 20,
        messages_per_connection_max: 1000,
    },
};
