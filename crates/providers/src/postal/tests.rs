//! Postal against its error table, a scripted peer, and faulty tables.

mod sends;
mod verdicts;
mod webhooks;
