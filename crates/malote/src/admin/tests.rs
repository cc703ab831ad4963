//! The operators door over real TCP.
