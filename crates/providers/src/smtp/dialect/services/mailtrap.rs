//! Mailtrap.

use crate::smtp::config::Protection;
use crate::smtp::dialect::{Defaults, Dialect, Host, User};

/// Mailtrap.
pub(crate) static MAILTRAP: Dialect = Dialect {
    name: "mailtrap",
    host: Host::ByRegion(&[
        ("transactional", "live.smtp.mailtrap.io"),
        ("bulk", "bulk.smtp.mailtrap.io"),
    ]),
    tls: Protection::StartTls,
    user: User::Fixed("api"),
    bounds: Defaults {
        recipients_max: 1000,
        message_bytes_max: 10000000,
        connections_max: 20,
        messages_per_connection_max: 1000,
    },
};
