//! Microsoft 365.

use crate::smtp::config::Protection;
use crate::smtp::dialect::{Defaults, Dialect, Host, User};

/// Microsoft 365.
pub(crate) static MICROSOFT365: Dialect = Dialect {
    name: "microsoft365",
    host: Host::ByRegion(&[("global", "smtp.office365.com")]),
    tls: Protection::StartTls,
    user: User::Given,
    bounds: Defaults {
        recipients_max: 500,
        message_bytes_max: 35000000,
        connections_max: 1,
        messages_per_connection_max: 30,
    },
};
