//! Resend.

use crate::smtp::config::Protection;
use crate::smtp::dialect::{Defaults, Dialect, Host, User};

/// Resend.
pub(crate) static RESEND: Dialect = Dialect {
    name: "resend",
    host: Host::ByRegion(&[("global", "smtp.resend.com")]),
    tls: Protection::Implicit,
    user: User::Fixed("resend"),
    bounds: Defaults {
        recipients_max: 50,
        message_bytes_max: 40000000,
        connections_max: 20,
        messages_per_connection_max: 1000,
    },
};
