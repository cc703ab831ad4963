//! Every table that moves, in the order in which it moves: what rows name comes before them.
//! Sessions stay behind: what was under way is taken over by whoever starts on the target.

use crate::migrate::table::Kind::{Blob, Class, Count, Id, Int, State, Text, Time};
use crate::migrate::table::{Column, Table, may, must};
use crate::migrate::tables_shared as shared;

/// The table whose rows are pieces of bodies, which engines keep in ways of their own.
pub(crate) const BODIES: &str = "bodies";
/// Not a table, but numbers that are never given out again.
pub(crate) const NUMBERS: &str = "numbers";

/// All of them.
pub(crate) const TABLES: [Table; 21] = [
    LANES,
    MESSAGES,
    PIECES,
    TAGS,
    DELIVERIES,
    ATTEMPTS,
    EVENTS,
    EVENT_KEYS,
    UNREADABLE,
    IDEMPOTENCY,
    OUTLETS,
    OUTBOX,
    shared::QUOTAS,
    shared::WARMUPS,
    shared::BREAKERS,
    shared::SWITCHES,
    shared::SUPPRESSIONS,
    shared::SOFT_BOUNCES,
    shared::GUARD_COUNTS,
    shared::GUARD_RECORDS,
    NEXT_NUMBERS,
];

const LANES: Table = Table {
    name: "lanes",
    columns: &[
        must("id", Count),
        must("class", Class),
        must("stream", Text),
        must("route", Text),
    ],
    sqlite_read: "SELECT id, class, stream, route FROM lanes ORDER BY id",
    sqlite_write: &["INSERT INTO lanes (id, class, stream, route) VALUES (?1, ?2, ?3, ?4)"],
    postgres_read: "SELECT id, class, stream, route FROM malote.lanes ORDER BY id",
    postgres_write: "INSERT INTO malote.lanes (id, class, stream, route) OVERRIDING SYSTEM VALUE
        SELECT id, class, stream, route FROM u",
};

const MESSAGE: [Column; 24] = [
    must("id", Id),
    must("place", Count),
    must("credential", Text),
    must("channel", Text),
    must("stream", Text),
    must("class", Class),
    must("stream_reason", Text),
    may("mail_from", Text),
    must("from_address", Text),
    must("message_id_header", Text),
    may("campaign", Text),
    may("tracking_hash", Text),
    may("one_click", Text),
    may("extra", Text),
    must("size_bytes", Count),
    must("accepted_at", Time),
    must("expires_at", Time),
    must("check_at", Time),
    must("deliveries", Count),
    must("unsettled", Count),
    may("settled_at", Time),
    must("has_body", Count),
    must("body_sum", Int),
    must("erased", Count),
];

/// `place` is the order of acceptance, the row id in SQLite.
const MESSAGES: Table = Table {
    name: "messages",
    columns: &MESSAGE,
    sqlite_read: "SELECT id, pk, credential, channel, stream, class, stream_reason, mail_from,
            from_address, message_id_header, campaign, tracking_hash, one_click, extra, size_bytes,
            accepted_at, expires_at, check_at, deliveries, unsettled, settled_at, body_place <> 0,
            body_sum, erased
        FROM messages ORDER BY pk",
    sqlite_write: &[
        "INSERT INTO messages (id, pk, credential, channel, stream, class, stream_reason, mail_from,
            from_address, message_id_header, campaign, tracking_hash, one_click, extra, size_bytes,
            accepted_at, expires_at, check_at, deliveries, unsettled, settled_at, body_place,
            body_sum, erased)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18,
            ?19, ?20, ?21, CASE WHEN ?22 = 0 THEN 0 WHEN ?15 <= {inline} THEN 1 ELSE 2 END, ?23,
            ?24)",
    ],
    postgres_read: "SELECT uuid_send(id), place, credential, channel, stream, class, stream_reason,
            mail_from, from_address, message_id_header, campaign, tracking_hash, one_click, extra,
            size_bytes, accepted_at, expires_at, check_at, deliveries::bigint, unsettled::bigint,
            settled_at, (body_place <> 0)::integer::bigint, body_sum, erased::integer::bigint
        FROM malote.messages ORDER BY id",
    postgres_write: "INSERT INTO malote.messages (id, place, credential, channel, stream, class,
            stream_reason, mail_from, from_address, message_id_header, campaign, tracking_hash,
            one_click, extra, size_bytes, accepted_at, expires_at, check_at, deliveries, unsettled,
            settled_at, body_place, body_sum, erased) OVERRIDING SYSTEM VALUE
        SELECT encode(id, 'hex')::uuid, place, credential, channel, stream, class, stream_reason,
            mail_from, from_address, message_id_header, campaign, tracking_hash, one_click, extra,
            size_bytes, accepted_at, expires_at, check_at, deliveries, unsettled, settled_at,
            CASE WHEN has_body = 0 THEN 0 WHEN size_bytes <= {inline} THEN 1 ELSE 2 END, body_sum,
            erased = 1
        FROM u",
};

/// `sqlite_read` names the bodies, whose pieces the engine cuts or reads from files.
const PIECES: Table = Table {
    name: BODIES,
    columns: &[
        must("message", Id),
        must("piece", Count),
        must("size", Count),
        must("sum", Int),
        may("octets", Blob),
    ],
    sqlite_read: "SELECT m.id, m.body_place, m.size_bytes, m.body_sum, b.body
        FROM messages m LEFT JOIN bodies b ON b.message = m.pk AND m.body_place = 1
        WHERE m.body_place <> 0 ORDER BY m.pk",
    sqlite_write: &["INSERT INTO bodies (message, body) SELECT pk, ?5 FROM messages WHERE id = ?1"],
    postgres_read:
        "SELECT uuid_send(m.id), coalesce(p.piece, 0), m.size_bytes, m.body_sum, p.octets
        FROM malote.messages m LEFT JOIN LATERAL (
            SELECT 0::bigint AS piece, b.body AS octets FROM malote.bodies b
                WHERE m.body_place = 1 AND b.message = m.id
            UNION ALL
            SELECT c.place::bigint, c.octets FROM malote.body_chunks c
                WHERE m.body_place = 2 AND c.message = m.id
        ) AS p ON true
        WHERE m.body_place <> 0 ORDER BY m.id, p.piece",
    postgres_write: ", small AS (INSERT INTO malote.bodies (message, body)
            SELECT encode(message, 'hex')::uuid, octets FROM u WHERE size <= {inline})
        INSERT INTO malote.body_chunks (message, place, octets)
        SELECT encode(message, 'hex')::uuid, piece, octets FROM u WHERE size > {inline}",
};

const TAGS: Table = Table {
    name: "tags",
    columns: &[must("message", Id), must("tag", Text)],
    sqlite_read: "SELECT m.id, t.tag FROM tags t JOIN messages m ON m.pk = t.message
        ORDER BY t.tag, t.message",
    sqlite_write: &["INSERT INTO tags (message, tag) SELECT pk, ?2 FROM messages WHERE id = ?1"],
    postgres_read: "SELECT uuid_send(t.message), t.tag FROM malote.tags t
        JOIN malote.messages m ON m.id = t.message ORDER BY t.tag, t.message",
    postgres_write: "INSERT INTO malote.tags (message, tag)
        SELECT encode(message, 'hex')::uuid, tag FROM u",
};

/// Due times and what an attempt under way has told stand where they mean something: engines leave
/// them behind differently. Who leases on the target takes over what was under way.
const DELIVERIES: Table = Table {
    name: "deliveries",
    columns: &[
        must("message", Id),
        must("idx", Count),
        must("lane", Count),
        must("state", State),
        may("due_at", Time),
        may("prior_state", State),
        may("told_state", State),
        must("attempts", Count),
        must("calls", Count),
        must("crashes", Count),
        must("last_seq", Count),
        must("recipient", Text),
        must("recipient_hash", Int),
        may("notify", Count),
        may("orcpt", Text),
        must("route_reason", Text),
        may("mailbox_provider", Text),
        may("progress", Text),
    ],
    sqlite_read: "SELECT m.id, d.id & 65535, d.lane, d.state,
            CASE WHEN d.state IN (0, 1, 2, 5) THEN d.due_at END,
            CASE WHEN d.state = 2 THEN d.prior_state END,
            CASE WHEN d.state = 2 THEN d.told_state END, d.attempts, d.calls, d.crashes,
            (SELECT coalesce(max(e.seq), 0) FROM events e WHERE e.delivery = d.id), d.recipient,
            d.recipient_hash, d.notify, d.orcpt, d.route_reason, d.mailbox_provider, d.progress
        FROM deliveries d LEFT JOIN messages m ON m.pk = d.id >> 16 ORDER BY d.id",
    sqlite_write: &[
        "INSERT INTO deliveries (id, lane, state, due_at, prior_state, told_state, attempts, calls,
            crashes, recipient, recipient_hash, notify, orcpt, route_reason, mailbox_provider,
            progress, session)
         VALUES ((SELECT pk FROM messages WHERE id = ?1) * 65536 + ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9,
            ?10, ?12, ?13, ?14, ?15, ?16, ?17, ?18, CASE WHEN ?4 = 2 THEN 0 END)",
    ],
    postgres_read: "SELECT uuid_send(m.id), d.idx::bigint, coalesce(j.lane, d.lane),
            coalesce(d.state, j.state)::bigint,
            CASE WHEN d.state IS NULL AND j.state IN (0, 1, 2, 5) THEN j.due_at END,
            CASE WHEN d.state IS NULL AND j.state = 2 THEN j.prior_state END::bigint,
            CASE WHEN d.state IS NULL AND j.state = 2 THEN j.told_state END::bigint,
            (CASE WHEN d.state IS NULL THEN j.attempts ELSE d.attempts END)::bigint,
            (CASE WHEN d.state IS NULL THEN j.calls ELSE d.calls END)::bigint,
            (CASE WHEN d.state IS NULL THEN j.crashes ELSE d.crashes END)::bigint,
            (CASE WHEN d.state IS NULL THEN j.last_seq ELSE d.last_seq END)::bigint,
            d.recipient, d.recipient_hash, d.notify::bigint, d.orcpt, d.route_reason,
            d.mailbox_provider, CASE WHEN d.state IS NULL THEN j.progress ELSE d.progress END
        FROM malote.deliveries d LEFT JOIN malote.messages m ON m.id = d.message
        LEFT JOIN malote.jobs j ON j.message = d.message AND j.idx = d.idx
        ORDER BY d.message, d.idx",
    postgres_write: ", kept AS (INSERT INTO malote.deliveries (message, idx, lane, state, attempts,
            calls, crashes, last_seq, progress, recipient, recipient_hash, notify, orcpt,
            route_reason, mailbox_provider)
        SELECT encode(message, 'hex')::uuid, idx, lane,
            CASE WHEN state NOT IN (0, 1, 2, 5, 6, 11, 12) THEN state END, attempts, calls, crashes,
            last_seq, CASE WHEN state NOT IN (0, 1, 2, 5, 6, 11, 12) THEN progress END, recipient,
            recipient_hash, notify, orcpt, route_reason, mailbox_provider FROM u)
        INSERT INTO malote.jobs (message, idx, lane, state, due_at, session, prior_state,
            told_state, attempts, calls, crashes, last_seq, progress)
        SELECT encode(message, 'hex')::uuid, idx, lane, state, due_at,
            CASE WHEN state = 2 THEN (SELECT max(id) FROM malote.sessions) END, prior_state,
            told_state, attempts, calls, crashes, last_seq, progress
        FROM u WHERE state IN (0, 1, 2, 5, 6, 11, 12)",
};

const ATTEMPTS: Table = Table {
    name: "attempts",
    columns: &[
        must("message", Id),
        must("idx", Count),
        must("number", Count),
        must("provider", Text),
        must("pool", Text),
        must("started_at", Time),
        may("ended_at", Time),
        must("reason", Text),
        may("outcome", Text),
        may("reply_code", Int),
        may("reply_enhanced", Text),
        may("reply_text", Text),
        may("provider_message_id", Text),
    ],
    sqlite_read: "SELECT m.id, a.delivery & 65535, a.number, a.provider, a.pool, a.started_at,
            a.ended_at, a.reason, a.outcome, a.reply_code, a.reply_enhanced, a.reply_text,
            a.provider_message_id
        FROM attempts a CROSS JOIN messages m ON m.pk = a.delivery >> 16
        ORDER BY a.delivery, a.number",
    sqlite_write: &[
        "INSERT INTO attempts (delivery, number, provider, pool, started_at, ended_at, reason,
            outcome, reply_code, reply_enhanced, reply_text, provider_message_id)
         VALUES ((SELECT pk FROM messages WHERE id = ?1) * 65536 + ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9,
            ?10, ?11, ?12, ?13)",
    ],
    postgres_read: "SELECT uuid_send(a.message), a.idx::bigint, a.number::bigint, a.provider,
            a.pool, a.started_at, a.ended_at, a.reason, a.outcome, a.reply_code::bigint,
            a.reply_enhanced, a.reply_text, a.provider_message_id
        FROM malote.attempts a JOIN malote.messages m ON m.id = a.message
        ORDER BY a.message, a.idx, a.number",
    postgres_write: "INSERT INTO malote.attempts (message, idx, number, provider, pool, started_at,
            ended_at, reason, outcome, reply_code, reply_enhanced, reply_text, provider_message_id)
        SELECT encode(message, 'hex')::uuid, idx, number, provider, pool, started_at, ended_at,
            reason, outcome, reply_code, reply_enhanced, reply_text, provider_message_id FROM u",
};

/// `feed` is the place that readers hold, so it stays what it is.
const EVENTS: Table = Table {
    name: "events",
    columns: &[
        must("message", Id),
        must("idx", Count),
        must("seq", Count),
        must("feed", Count),
        must("at", Time),
        must("durable_at", Time),
        must("kind", Text),
        may("blame", Text),
        may("provider", Text),
        must("detail", Text),
        may("raw", Blob),
    ],
    sqlite_read: "SELECT m.id, e.delivery & 65535, e.seq, e.feed, e.at, coalesce(f.at, e.at),
            e.kind, e.blame, e.provider, e.detail, r.raw
        FROM events e CROSS JOIN messages m ON m.pk = e.delivery >> 16
        LEFT JOIN feed f ON f.id = e.feed LEFT JOIN raw_events r ON r.feed = e.feed
        ORDER BY e.delivery, e.seq",
    sqlite_write: &[
        "INSERT INTO events (delivery, seq, feed, at, kind, blame, provider, detail)
         VALUES ((SELECT pk FROM messages WHERE id = ?1) * 65536 + ?2, ?3, ?4, ?5, ?7, ?8, ?9, ?10)",
        "INSERT INTO feed (id, delivery, seq, at)
         VALUES (?4, (SELECT pk FROM messages WHERE id = ?1) * 65536 + ?2, ?3, ?6)",
        "INSERT INTO raw_events (feed, raw) SELECT ?4, ?11 WHERE ?11 IS NOT NULL",
    ],
    postgres_read: "SELECT uuid_send(e.message), e.idx::bigint, e.seq::bigint, e.feed, e.at,
            e.durable_at, e.kind, e.blame, e.provider, e.detail, e.raw
        FROM malote.events e JOIN malote.messages m ON m.id = e.message
        ORDER BY e.message, e.idx, e.seq",
    postgres_write: "INSERT INTO malote.events (message, idx, seq, feed, at, durable_at, kind,
            blame, provider, detail, raw)
        SELECT encode(message, 'hex')::uuid, idx, seq, feed, at, durable_at, kind, blame, provider,
            detail, raw FROM u",
};

const EVENT_KEYS: Table = Table {
    name: "event_keys",
    columns: &[
        must("key", Blob),
        must("at", Time),
        may("message", Id),
        may("idx", Count),
        may("seq", Count),
        must("followed", Count),
    ],
    sqlite_read: "SELECT k.key, k.at, m.id, iif(m.id IS NULL, NULL, k.delivery & 65535), k.seq,
            k.followed
        FROM event_keys k LEFT JOIN messages m ON m.pk = k.delivery >> 16 ORDER BY k.key",
    sqlite_write: &["INSERT INTO event_keys (key, at, delivery, seq, followed)
         VALUES (?1, ?2, (SELECT pk FROM messages WHERE id = ?3) * 65536 + ?4, ?5, ?6)"],
    postgres_read: "SELECT k.key, k.at, uuid_send(m.id),
            (CASE WHEN m.id IS NOT NULL THEN k.idx END)::bigint, k.seq::bigint,
            k.followed::int::bigint
        FROM malote.event_keys k LEFT JOIN malote.messages m ON m.id = k.message ORDER BY k.key",
    postgres_write: "INSERT INTO malote.event_keys (key, at, message, idx, seq, followed)
        SELECT key, at, encode(message, 'hex')::uuid, idx, seq, followed <> 0 FROM u",
};

const UNREADABLE: Table = Table {
    name: "unreadable",
    columns: &[
        must("id", Count),
        must("provider", Text),
        must("at", Time),
        must("part", Text),
    ],
    sqlite_read: "SELECT id, provider, at, part FROM unreadable ORDER BY id",
    sqlite_write: &["INSERT INTO unreadable (id, provider, at, part) VALUES (?1, ?2, ?3, ?4)"],
    postgres_read: "SELECT id, provider, at, part FROM malote.unreadable ORDER BY id",
    postgres_write: "INSERT INTO malote.unreadable (id, provider, at, part) OVERRIDING SYSTEM VALUE
        SELECT id, provider, at, part FROM u",
};

const IDEMPOTENCY: Table = Table {
    name: "idempotency",
    columns: &[
        must("message", Id),
        must("credential", Text),
        must("key", Text),
        may("fingerprint", Blob),
        must("created_at", Time),
    ],
    sqlite_read: "SELECT message, credential, key, fingerprint, created_at FROM idempotency
        ORDER BY credential, key",
    sqlite_write: &[
        "INSERT INTO idempotency (message, credential, key, fingerprint, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5)",
    ],
    postgres_read: "SELECT uuid_send(message), credential, key, fingerprint, created_at
        FROM malote.idempotency ORDER BY credential, key",
    postgres_write: "INSERT INTO malote.idempotency (message, credential, key, fingerprint,
            created_at)
        SELECT encode(message, 'hex')::uuid, credential, key, fingerprint, created_at FROM u",
};

const OUTLETS: Table = Table {
    name: "outlets",
    columns: &[
        must("id", Count),
        must("name", Text),
        must("cursor", Count),
        must("waiting", Count),
        may("failing_since", Time),
        may("last_error", Text),
        may("enabled_at", Time),
        may("disabled_at", Time),
        may("disabled_reason", Text),
        may("absent_since", Time),
    ],
    sqlite_read: "SELECT id, name, cursor, waiting, failing_since, last_error, enabled_at,
            disabled_at, disabled_reason, absent_since FROM outlets ORDER BY id",
    sqlite_write: &[
        "INSERT INTO outlets (id, name, cursor, waiting, failing_since, last_error, enabled_at,
            disabled_at, disabled_reason, absent_since)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    ],
    postgres_read: "SELECT id, name, cursor, waiting, failing_since, last_error, enabled_at,
            disabled_at, disabled_reason, absent_since FROM malote.outlets ORDER BY id",
    postgres_write: "INSERT INTO malote.outlets (id, name, cursor, waiting, failing_since,
            last_error, enabled_at, disabled_at, disabled_reason, absent_since)
            OVERRIDING SYSTEM VALUE
        SELECT id, name, cursor, waiting, failing_since, last_error, enabled_at, disabled_at,
            disabled_reason, absent_since FROM u",
};

const OUTBOX: Table = Table {
    name: "outbox",
    columns: &[
        must("message", Id),
        must("outlet", Count),
        must("feed", Count),
        must("idx", Count),
        must("seq", Count),
        must("durable_at", Time),
        may("due_at", Time),
        must("attempts", Count),
        may("first_at", Time),
        may("last_error", Text),
    ],
    sqlite_read: "SELECT m.id, o.outlet, o.feed, f.delivery & 65535, f.seq, f.at, o.due_at,
            o.attempts, o.first_at, o.last_error
        FROM outbox o LEFT JOIN messages m ON m.pk = o.message LEFT JOIN feed f ON f.id = o.feed
        ORDER BY o.outlet, o.feed",
    sqlite_write: &[
        "INSERT INTO outbox (outlet, feed, message, due_at, attempts, first_at, last_error)
         VALUES (?2, ?3, (SELECT pk FROM messages WHERE id = ?1), ?7, ?8, ?9, ?10)",
    ],
    postgres_read: "SELECT uuid_send(message), outlet, feed, idx::bigint, seq::bigint, durable_at,
            due_at, attempts::bigint, first_at, last_error
        FROM malote.outbox ORDER BY outlet, feed",
    postgres_write:
        "INSERT INTO malote.outbox (outlet, feed, message, idx, seq, durable_at, due_at,
            attempts, first_at, last_error)
        SELECT outlet, feed, encode(message, 'hex')::uuid, idx, seq, durable_at, due_at, attempts,
            first_at, last_error FROM u",
};

/// The next place in the feed, and the next place of a message in the order of acceptance.
const NEXT_NUMBERS: Table = Table {
    name: NUMBERS,
    columns: &[must("name", Text), must("value", Count)],
    sqlite_read: "SELECT 'next_feed', max(
            coalesce((SELECT value FROM meta WHERE key = 'next_feed'), 1),
            coalesce((SELECT max(id) FROM feed), 0) + 1)
        UNION ALL SELECT 'next_message', max(
            coalesce((SELECT value FROM meta WHERE key = 'next_message'), 1),
            coalesce((SELECT max(pk) FROM messages), 0) + 1)",
    sqlite_write: &["INSERT INTO meta (key, value) VALUES (?1, ?2)
         ON CONFLICT (key) DO UPDATE SET value = max(value, ?2)"],
    postgres_read: "SELECT 'next_feed', last_value + is_called::integer FROM malote.feed_places
        UNION ALL
        SELECT 'next_message', last_value + is_called::integer FROM malote.messages_place_seq",
    // A sequence that says that it was not called would be taken for one at 0.
    postgres_write: "SELECT setval(CASE name WHEN 'next_feed' THEN 'malote.feed_places'
            ELSE 'malote.messages_place_seq' END::regclass, value - 1) FROM u WHERE value > 1",
};
