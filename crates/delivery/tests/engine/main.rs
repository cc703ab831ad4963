//! The engine against a real store and scripted providers: one file per kind of promise.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a broken promise of the engine is a panic"
)]

mod counting;
mod crashes;
mod custody;
mod feedback;
mod lanes;
mod limits;
mod listener;
mod outages;
mod outbox;
mod rig;
mod script;
mod spread;
mod unknown;
mod verdicts;
