//! The suite that every engine of [`Spool`](crate::Spool) and [`Shared`](crate::Shared) passes:
//! one function per promise, over an engine that is new and empty.
//!
//! A function panics where a promise is broken.

pub mod mail;
