//! The tables of what nodes share: limits, breakers, switches, suppressions, the guard's.

use crate::migrate::table::Kind::{Blob, Count, Int, Real, Text, Time};
use crate::migrate::table::{Table, may, must};

pub(super) const QUOTAS: Table = Table {
    name: "quotas",
    columns: &[
        must("account", Text),
        must("hour", Int),
        must("used", Count),
    ],
    sqlite_read: "SELECT account, hour, used FROM quotas ORDER BY account, hour",
    sqlite_write: &["INSERT INTO quotas (account, hour, used) VALUES (?1, ?2, ?3)"],
    postgres_read: "SELECT account, hour, used FROM malote.quotas ORDER BY account, hour",
    postgres_write: "INSERT INTO malote.quotas (account, hour, used)
        SELECT account, hour, used FROM u",
};

pub(super) const WARMUPS: Table = Table {
    name: "warmups",
    columns: &[
        must("account", Text),
        must("day", Text),
        must("cap", Count),
        must("used", Count),
    ],
    sqlite_read: "SELECT account, day, cap, used FROM warmups ORDER BY account",
    sqlite_write: &["INSERT INTO warmups (account, day, cap, used) VALUES (?1, ?2, ?3, ?4)"],
    postgres_read: "SELECT account, day, cap, used FROM malote.warmups ORDER BY account",
    postgres_write: "INSERT INTO malote.warmups (account, day, cap, used)
        SELECT account, day, cap, used FROM u",
};

/// Those at rest stay behind: on PostgreSQL they are kept to tell other nodes.
pub(super) const BREAKERS: Table = Table {
    name: "breakers",
    columns: &[must("key", Text), must("state", Text)],
    sqlite_read: "SELECT key, state FROM breakers ORDER BY key",
    sqlite_write: &["INSERT INTO breakers (key, state) VALUES (?1, ?2)"],
    postgres_read: "SELECT key, state FROM malote.breakers WHERE state <> '' ORDER BY key",
    postgres_write: "INSERT INTO malote.breakers (key, state, writer)
        SELECT key, state, ''::bytea FROM u",
};

pub(super) const SWITCHES: Table = Table {
    name: "switches",
    columns: &[must("kind", Text), must("name", Text)],
    sqlite_read: "SELECT kind, name FROM switches ORDER BY kind, name",
    sqlite_write: &["INSERT INTO switches (kind, name) VALUES (?1, ?2)"],
    postgres_read: "SELECT kind, name FROM malote.switches ORDER BY kind, name",
    postgres_write: "INSERT INTO malote.switches (kind, name) SELECT kind, name FROM u",
};

pub(super) const SUPPRESSIONS: Table = Table {
    name: "suppressions",
    columns: &[
        must("hash", Blob),
        must("address", Text),
        must("scope", Text),
        must("reason", Text),
        must("detail", Text),
        may("provider", Text),
        may("credential", Text),
        must("created_at", Time),
        may("expires_at", Time),
        must("source", Text),
    ],
    sqlite_read: "SELECT hash, address, scope, reason, detail, provider, credential, created_at,
            expires_at, source FROM suppressions ORDER BY hash",
    sqlite_write: &[
        "INSERT INTO suppressions (hash, address, scope, reason, detail, provider, credential,
            created_at, expires_at, source) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    ],
    postgres_read: "SELECT hash, address, scope, reason, detail, provider, credential, created_at,
            expires_at, source FROM malote.suppressions ORDER BY hash",
    postgres_write: "INSERT INTO malote.suppressions (hash, address, scope, reason, detail,
            provider, credential, created_at, expires_at, source)
        SELECT hash, address, scope, reason, detail, provider, credential, created_at, expires_at,
            source FROM u",
};

pub(super) const SOFT_BOUNCES: Table = Table {
    name: "soft_bounces",
    columns: &[
        must("hash", Blob),
        must("at", Time),
        must("event", Blob),
        must("n", Count),
    ],
    sqlite_read: "SELECT hash, at, event, n FROM soft_bounces ORDER BY hash, at, event",
    sqlite_write: &["INSERT INTO soft_bounces (hash, at, event, n) VALUES (?1, ?2, ?3, ?4)"],
    postgres_read: "SELECT hash, at, event, n FROM malote.soft_bounces ORDER BY hash, at, event",
    postgres_write: "INSERT INTO malote.soft_bounces (hash, at, event, n)
        SELECT hash, at, event, n FROM u",
};

pub(super) const GUARD_COUNTS: Table = Table {
    name: "guard_counts",
    columns: &[
        must("stream", Text),
        must("campaign", Text),
        must("hour", Int),
        must("sends", Count),
        must("reported", Count),
        must("bounces", Count),
        must("complaints", Count),
    ],
    sqlite_read: "SELECT stream, campaign, hour, sends, reported, bounces, complaints
        FROM guard_counts ORDER BY stream, campaign, hour",
    sqlite_write: &[
        "INSERT INTO guard_counts (stream, campaign, hour, sends, reported, bounces, complaints)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    ],
    postgres_read: "SELECT stream, campaign, hour, sends, reported, bounces, complaints
        FROM malote.guard_counts ORDER BY stream, campaign, hour",
    postgres_write: "INSERT INTO malote.guard_counts (stream, campaign, hour, sends, reported,
            bounces, complaints)
        SELECT stream, campaign, hour, sends, reported, bounces, complaints FROM u",
};

pub(super) const GUARD_RECORDS: Table = Table {
    name: "guard_records",
    columns: &[
        must("stream", Text),
        must("campaign", Text),
        must("state", Text),
        must("since", Time),
        must("reason", Text),
        must("pace", Real),
        must("sends", Count),
        must("reported", Count),
        must("bounces", Count),
        must("complaints", Count),
    ],
    sqlite_read: "SELECT stream, campaign, state, since, reason, pace, sends, reported, bounces,
            complaints FROM guard_records ORDER BY stream, campaign",
    sqlite_write: &[
        "INSERT INTO guard_records (stream, campaign, state, since, reason, pace, sends, reported,
            bounces, complaints) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    ],
    postgres_read: "SELECT stream, campaign, state, since, reason, pace, sends, reported, bounces,
            complaints FROM malote.guard_records ORDER BY stream, campaign",
    postgres_write:
        "INSERT INTO malote.guard_records (stream, campaign, state, since, reason, pace,
            sends, reported, bounces, complaints)
        SELECT stream, campaign, state, since, reason, pace, sends, reported, bounces, complaints
        FROM u",
};
