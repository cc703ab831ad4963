//! The suite of [`Spool`](crate::Spool), run on PostgreSQL.

use super::fresh;

crate::conformance_spool!(fresh);
