//! Postmark.

use crate::smtp::config::Protection;
use crate::smtp::dialect::{Defaults, Dialect, Host, User};

/// Postmark.
pub(crate) static POSTMARK: Dialect = Dialect {
    name: "postmark",
    host: Host::ByRegion(&[
        ("transactional", "smtp.postmarkapp.com"),
        ("broadcast", "smtp-broadcasts.postmarkapp.com"),
    ]),
    tls: Protection::StartTls,
    user: User::Token,
    bounds: Defaults {
        recipients_max: 50,
        message_bytes_max: 10000000,
        connections_max: 5,
        messages_per_connection_max: 1000,
    },
};
