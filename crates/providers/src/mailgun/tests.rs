//! Mailgun against its error table, a misbehaving peer, and forged webhooks.

mod sends;
mod verdicts;
mod webhooks;
