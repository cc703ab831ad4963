//! Postfix.

use crate::smtp::config::Protection;
use crate::smtp::dialect::{Defaults, Dialect, Host, User};

/// Postfix.
pub(crate) static POSTFIX: Dialect = Dialect {
    name: "postfix",
    host: Host::Given,
    tls: Protection::StartTls,
    user: User::Given,
    bounds: Defaults::PLAIN,
};
