//! The suite of both traits, run on SQLite.

use super::fresh;

crate::conformance_spool!(fresh);
crate::conformance_shared!(fresh);
