//! Exim.

use crate::smtp::config::Protection;
use crate::smtp::dialect::{Defaults, Dialect, Host, User};

/// Exim.
pub(crate) static EXIM: Dialect = Dialect {
    name: "exim",
    host: Host::Given,
    tls: Protection::StartTls,
    user: User::Given,
    bounds: Defaults::PLAIN,
};
