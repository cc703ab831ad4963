//! SES against its error table and against a misbehaving peer.

mod credentials;
mod sends;
mod verdicts;
