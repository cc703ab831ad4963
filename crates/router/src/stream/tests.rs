//! The order of the tests that put a message into its stream.
