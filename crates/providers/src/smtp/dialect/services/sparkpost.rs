//! SparkPost.

use crate::smtp::config::Protection;
use crate::smtp::dialect::{Defaults, Dialect, Host, User};

/// SparkPost.
pub(crate) static SPARKPOST: Dialect = Dialect {
    name: "sparkpost",
    host: Host::ByRegion(&[
        ("us", "smtp.sparkpostmail.com"),
        ("eu", "smtp.eu.sparkpostmail.com"),
    ]),
    tls: Protection::StartTls,
    user: User::Fixed("SMTP_Injection"),
    bounds: Defaults {
        recipients_max: 1000,
        message_bytes_max: 20000000,
        connections_max: 20,
        messages_per_connection_max: 100,
    },
};
