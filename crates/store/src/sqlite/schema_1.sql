-- Times are microseconds since 1970. A delivery's id is its message's pk * 65536 + index.
-- States are the numbers of sqlite/columns.rs: 0 scheduled, 1 queued, 2 sending, 3 sent,
-- 4 delivered, 5 deferred, 6 held, 7 bounced, 8 suppressed, 9 expired, 10 cancelled, 11 unknown,
-- 12 quarantined.
CREATE TABLE migrations (
    version INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    applied_at INTEGER NOT NULL
) STRICT;

CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value ANY NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE lanes (
    id INTEGER PRIMARY KEY,
    class TEXT NOT NULL,
    stream TEXT NOT NULL,
    route TEXT NOT NULL,
    UNIQUE (class, stream, route)
) STRICT;

CREATE TABLE messages (
    pk INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    credential TEXT NOT NULL,
    channel TEXT NOT NULL,
    stream TEXT NOT NULL,
    class TEXT NOT NULL,
    stream_reason TEXT NOT NULL,
    mail_from TEXT,
    from_address TEXT NOT NULL,
    message_id_header TEXT NOT NULL,
    campaign TEXT,
    tracking_hash TEXT,
    extra TEXT,
    size_bytes INTEGER NOT NULL,
    accepted_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    -- When expiry is looked at again: later than expires_at if only held mail is left.
    check_at INTEGER NOT NULL,
    deliveries INTEGER NOT NULL,
    unsettled INTEGER NOT NULL,
    settled_at INTEGER,
    -- 0 dropped by retention, 1 in bodies, 2 in a file
    body_place INTEGER NOT NULL,
    body_sum INTEGER NOT NULL
) STRICT;
CREATE INDEX messages_expiring ON messages (check_at) WHERE settled_at IS NULL;
CREATE INDEX messages_settled ON messages (body_place, settled_at) WHERE settled_at IS NOT NULL;

CREATE TABLE bodies (
    message INTEGER PRIMARY KEY,
    body BLOB NOT NULL
) STRICT;

CREATE TABLE tags (
    tag TEXT NOT NULL,
    message INTEGER NOT NULL,
    PRIMARY KEY (tag, message)
) STRICT, WITHOUT ROWID;

CREATE TABLE deliveries (
    id INTEGER PRIMARY KEY,
    lane INTEGER NOT NULL,
    state INTEGER NOT NULL,
    due_at INTEGER,
    session INTEGER,
    prior_state INTEGER,
    -- What the provider told while the attempt was still under way.
    told_state INTEGER,
    attempts INTEGER NOT NULL DEFAULT 0,
    calls INTEGER NOT NULL DEFAULT 0,
    crashes INTEGER NOT NULL DEFAULT 0,
    recipient TEXT NOT NULL,
    recipient_hash INTEGER NOT NULL,
    notify INTEGER,
    orcpt TEXT,
    route_reason TEXT NOT NULL,
    mailbox_provider TEXT,
    progress TEXT
) STRICT;
-- The queries repeat these WHERE terms word for word, or SQLite would not use the index.
CREATE INDEX deliveries_waiting ON deliveries (lane, state, due_at) WHERE state IN (0, 1, 5);
CREATE INDEX deliveries_leased ON deliveries (session) WHERE state = 2;
CREATE INDEX deliveries_aside ON deliveries (state) WHERE state IN (6, 11, 12);
CREATE INDEX deliveries_recipient ON deliveries (recipient_hash);

CREATE TABLE attempts (
    delivery INTEGER NOT NULL,
    number INTEGER NOT NULL,
    provider TEXT NOT NULL,
    pool TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    ended_at INTEGER,
    reason TEXT NOT NULL,
    outcome TEXT,
    reply_code INTEGER,
    reply_enhanced TEXT,
    reply_text TEXT,
    provider_message_id TEXT,
    PRIMARY KEY (delivery, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX attempts_provider_message ON attempts (provider_message_id)
    WHERE provider_message_id IS NOT NULL;

CREATE TABLE events (
    delivery INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    blame TEXT,
    provider TEXT,
    detail TEXT NOT NULL,
    PRIMARY KEY (delivery, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE event_keys (
    key BLOB PRIMARY KEY,
    at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX event_keys_at ON event_keys (at);

CREATE TABLE unreadable (
    id INTEGER PRIMARY KEY,
    provider TEXT NOT NULL,
    at INTEGER NOT NULL,
    part TEXT NOT NULL
) STRICT;

CREATE TABLE idempotency (
    credential TEXT NOT NULL,
    key TEXT NOT NULL,
    fingerprint BLOB,
    message BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (credential, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_at ON idempotency (created_at);

-- Deliveries by lane and state, kept in the same transaction as the change that they count.
CREATE TABLE counters (
    lane INTEGER NOT NULL,
    state INTEGER NOT NULL,
    n INTEGER NOT NULL,
    PRIMARY KEY (lane, state)
) STRICT, WITHOUT ROWID;

CREATE TABLE quotas (
    account TEXT NOT NULL,
    hour INTEGER NOT NULL,
    used INTEGER NOT NULL,
    PRIMARY KEY (account, hour)
) STRICT, WITHOUT ROWID;

CREATE TABLE warmups (
    account TEXT PRIMARY KEY,
    day TEXT NOT NULL,
    cap INTEGER NOT NULL,
    used INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE breakers (
    key TEXT PRIMARY KEY,
    state TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE switches (
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    PRIMARY KEY (kind, name)
) STRICT, WITHOUT ROWID;

-- hash: 16 octets of a keyed hash of scope and address. An empty scope is the global one.
CREATE TABLE suppressions (
    hash BLOB PRIMARY KEY,
    address TEXT NOT NULL,
    scope TEXT NOT NULL,
    reason TEXT NOT NULL,
    detail TEXT NOT NULL,
    provider TEXT,
    credential TEXT,
    created_at INTEGER NOT NULL,
    expires_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX suppressions_address ON suppressions (address, scope);
CREATE INDEX suppressions_scope ON suppressions (scope);

CREATE TABLE soft_bounces (
    hash BLOB NOT NULL,
    at INTEGER NOT NULL,
    n INTEGER NOT NULL,
    PRIMARY KEY (hash, at)
) STRICT, WITHOUT ROWID;
