//! Postal.

use crate::smtp::config::Protection;
use crate::smtp::dialect::{Defaults, Dialect, Host, User};

/// Postal.
pub(crate) static POSTAL: Dialect = Dialect {
    name: "postal",
    host: Host::Given,
    tls: Protection::StartTls,
    user: User::Fixed("malote"),
    bounds: Defaults {
        recipients_max: 50,
        message_bytes_max: 14000000,
        connections_max: 20,
        messages_per_connection_max: 1000,
    },
};
