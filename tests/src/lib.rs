//! The end-to-end tests live in this package; it has no code of its own.
