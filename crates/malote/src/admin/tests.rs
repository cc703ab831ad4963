//! The operators' door over real TCP, with a real engine, a store on disk and a capturing provider.

mod bench;

mod captured;
mod guard;
mod operators;
mod suppressions;
