//! SES against its error table and against a misbehaving peer.

mod credentials;
mod events;
mod sends;
mod verdicts;
pub(super) mod webhooks;
