//! The suite of what nodes share, run on PostgreSQL.

use super::fresh;

crate::conformance_shared!(fresh);
