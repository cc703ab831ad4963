//! Against a scripted peer on loopback, and the table of answers.

mod accounts;
mod messages;
mod sends;
mod verdicts;
mod webhooks;
