//! Elastic Email.

use crate::smtp::config::Protection;
use crate::smtp::dialect::{Defaults, Dialect, Host, User};

/// Elastic Email.
pub(crate) static ELASTICEMAIL: Dialect = Dialect {
    name: "elasticemail",
    host: Host::ByRegion(&[("global", "smtp.elasticemail.com")]),
    tls: Protection::Implicit,
    user: User::Given,
    bounds: Defaults {
        recipients_max: 50,
        message_bytes_max: 20000000,
        connections_max: 10,
        messages_per_connection_max: 1000,
    },
};
