//! What a service adds to plain SMTP: where it is, how one logs in, and what it can carry.

pub(crate) mod services;

use super::config::Protection;

/// A service, as data. Plain SMTP is one that adds nothing.
pub(crate) struct Dialect {
    /// The preset's name, and the native kind's where there is one.
    pub(crate) name: &'static str,
    /// Where the service is.
    pub(crate) host: Host,
    /// How its connections are protected.
    pub(crate) tls: Protection,
    /// Who logs in.
    pub(crate) user: User,
    /// What it can carry.
    pub(crate) bounds: Defaults,
}

/// Where a service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Host {
    /// Where the table says: a server of one's own.
    Given,
    /// At one of these, by `region`; the first is the default.
    ByRegion(&'static [(&'static str, &'static str)]),
    /// At `email-smtp.{region}.amazonaws.com`.
    Aws,
}

/// Who logs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum User {
    /// Whom the table names.
    Given,
    /// Always this one; the key is the password.
    Fixed(&'static str),
    /// The same token is user and password.
    Token,
}

/// What stands where the table says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Defaults {
    /// Recipients in one transaction.
    pub(crate) recipients_max: u16,
    /// Octets in one message.
    pub(crate) message_bytes_max: u64,
    /// Connections of each class.
    pub(crate) connections_max: u16,
    /// Messages on one connection.
    pub(crate) messages_per_connection_max: u32,
}

impl Defaults {
    /// What any server should take: RFC 5321 4.5.3.1.8 asks for 100 recipients, and Postfix allows
    /// one client 50 connections, which both classes together stay below. The size is what the
    /// server says in EHLO.
    pub(crate) const PLAIN: Self = Self {
        recipients_max: 100,
        message_bytes_max: 100 << 20,
        connections_max: 20,
        messages_per_connection_max: 1000,
    };
}

/// Any server.
pub(crate) static PLAIN: Dialect = Dialect {
    name: "smtp",
    host: Host::Given,
    tls: Protection::Implicit,
    user: User::Given,
    bounds: Defaults::PLAIN,
};
