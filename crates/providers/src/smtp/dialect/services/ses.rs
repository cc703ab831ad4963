//! Amazon SES.

use crate::smtp::config::Protection;
use crate::smtp::dialect::{Defaults, Dialect, Host, User};

/// Amazon SES.
pub(crate) static SES: Dialect = Dialect {
    name: "ses",
    host: Host::Aws,
    tls: Protection::Implicit,
    user: User::Given,
    bounds: Defaults {
        recipients_max: 50,
        message_bytes_max: 40000000,
        connections_max: 20,
        messages_per_connection_max: 1000,
    },
};
