//! Brevo.

use crate::smtp::config::Protection;
use crate::smtp::dialect::{Defaults, Dialect, Host, User};

/// Brevo.
pub(crate) static BREVO: Dialect = Dialect {
    name: "brevo",
    host: Host::ByRegion(&[("global", "smtp-relay.brevo.com")]),
    tls: Protection::Implicit,
    user: User::Given,
    bounds: Defaults {
        recipients_max: 99,
        message_bytes_max: 20000000,
        connections_max: 20,
        messages_per_connection_max: 1000,
    },
};
