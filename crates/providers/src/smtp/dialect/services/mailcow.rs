//! Mailcow.

use crate::smtp::config::Protection;
use crate::smtp::dialect::{Defaults, Dialect, Host, User};

/// Mailcow.
pub(crate) static MAILCOW: Dialect = Dialect {
    name: "mailcow",
    host: Host::Given,
    tls: Protection::Implicit,
    user: User::Given,
    bounds: Defaults::PLAIN,
};
