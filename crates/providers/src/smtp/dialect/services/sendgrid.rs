//! SendGrid.

use crate::smtp::config::Protection;
use crate::smtp::dialect::{Defaults, Dialect, Host, User};

/// SendGrid.
pub(crate) static SENDGRID: Dialect = Dialect {
    name: "sendgrid",
    host: Host::ByRegion(&[
        ("global", "smtp.sendgrid.net"),
        ("eu", "smtp.eu.sendgrid.net"),
    ]),
    tls: Protection::Implicit,
    user: User::Fixed("apikey"),
    bounds: Defaults {
        recipients_max: 1000,
        message_bytes_max: 20000000,
        connections_max: 20,
        messages_per_connection_max: 5000,
    },
};
