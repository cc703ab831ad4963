//! Mail in by SMTP (RFC 5321, 6409): a session without I/O and the server around it.

mod auth;
mod body;
mod command;
mod data;
mod parameters;
mod path;
mod proxy;
mod reply;
mod session;
mod trace;
