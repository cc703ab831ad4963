//! Mailjet against its error table and a scripted peer.

mod account;
mod sends;
mod verdicts;
mod webhooks;
