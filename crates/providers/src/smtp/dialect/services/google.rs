//! Google Workspace.

use crate::smtp::config::Protection;
use crate::smtp::dialect::{Defaults, Dialect, Host, User};

/// Google Workspace.
pub(crate) static GOOGLE: Dialect = Dialect {
    name: "google",
    host: Host::ByRegion(&[("global", "smtp-relay.gmail.com")]),
    tls: Protection::StartTls,
    user: User::Given,
    bounds: Defaults {
        recipients_max: 100,
        message_bytes_max: 25000000,
        connections_max: 20,
        messages_per_connection_max: 100,
    },
};
