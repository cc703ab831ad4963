-- Times are microseconds since 1970 as callers gave them; only sessions use the server's clock.
-- A delivery is its message's id and its index. States are the numbers of columns.rs: 0 scheduled,
-- 1 queued, 2 sending, 3 sent, 4 delivered, 5 deferred, 6 held, 7 bounced, 8 suppressed, 9 expired,
-- 10 cancelled, 11 unknown, 12 quarantined.
CREATE TABLE malote.lanes (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    class text NOT NULL,
    stream text NOT NULL,
    route text NOT NULL,
    UNIQUE (class, stream, route)
);

-- One row for every process that leases. Once ended it never leases or settles again.
CREATE TABLE malote.sessions (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    node uuid NOT NULL,
    beat_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at timestamptz
);

CREATE TABLE malote.messages (
    id uuid PRIMARY KEY,
    credential text NOT NULL,
    channel text NOT NULL,
    stream text NOT NULL,
    class text NOT NULL,
    stream_reason text NOT NULL,
    mail_from text,
    from_address text NOT NULL,
    message_id_header text NOT NULL,
    campaign text,
    tracking_hash text,
    one_click text,
    extra text,
    size_bytes bigint NOT NULL,
    accepted_at bigint NOT NULL,
    expires_at bigint NOT NULL,
    -- When expiry is looked at again: later than expires_at if only held mail is left.
    check_at bigint NOT NULL,
    deliveries integer NOT NULL,
    unsettled integer NOT NULL,
    settled_at bigint,
    -- 0 dropped, 1 in bodies, 2 in body_chunks
    body_place smallint NOT NULL,
    body_sum bigint NOT NULL,
    -- The body holds an erased address and goes as soon as the message is settled.
    erased boolean NOT NULL DEFAULT false,
    -- The order of acceptance: ids of one millisecond have none.
    place bigint GENERATED ALWAYS AS IDENTITY
) WITH (fillfactor = 80);
CREATE INDEX messages_expiring ON malote.messages (check_at) WHERE settled_at IS NULL;
CREATE INDEX messages_settled ON malote.messages (body_place, settled_at)
    WHERE settled_at IS NOT NULL;
CREATE INDEX messages_erased ON malote.messages (id) WHERE erased;
CREATE INDEX messages_internal ON malote.messages (id) WHERE channel = 'internal';

CREATE TABLE malote.bodies (
    message uuid PRIMARY KEY,
    body bytea NOT NULL
);
ALTER TABLE malote.bodies ALTER COLUMN body SET STORAGE EXTERNAL;

-- Larger bodies, written piece by piece before their message; a piece without one is swept.
CREATE TABLE malote.body_chunks (
    message uuid NOT NULL,
    place integer NOT NULL,
    octets bytea NOT NULL,
    PRIMARY KEY (message, place)
);
ALTER TABLE malote.body_chunks ALTER COLUMN octets SET STORAGE EXTERNAL;

CREATE TABLE malote.tags (
    tag text NOT NULL,
    message uuid NOT NULL,
    PRIMARY KEY (tag, message)
);

-- What does not change while a delivery waits. A recipient that reads hash:HEX was erased. state and the counts stand here once it is done;
-- until then state is NULL, and they stand in jobs.
CREATE TABLE malote.deliveries (
    message uuid NOT NULL,
    idx integer NOT NULL,
    lane bigint NOT NULL,
    state smallint,
    attempts integer NOT NULL DEFAULT 0,
    calls integer NOT NULL DEFAULT 0,
    crashes integer NOT NULL DEFAULT 0,
    last_seq integer NOT NULL DEFAULT 0,
    progress text,
    recipient text NOT NULL,
    recipient_hash bigint NOT NULL,
    notify smallint,
    orcpt text,
    route_reason text NOT NULL,
    mailbox_provider text,
    PRIMARY KEY (message, idx)
) WITH (fillfactor = 85);
CREATE INDEX deliveries_recipient ON malote.deliveries (recipient_hash, message, idx);

-- The hot table: deliveries that wait, are under way, or that somebody has to decide on.
CREATE TABLE malote.jobs (
    message uuid NOT NULL,
    idx integer NOT NULL,
    lane bigint NOT NULL,
    state smallint NOT NULL,
    due_at bigint,
    session bigint,
    prior_state smallint,
    -- What the provider told while the attempt was still under way.
    told_state smallint,
    attempts integer NOT NULL DEFAULT 0,
    calls integer NOT NULL DEFAULT 0,
    crashes integer NOT NULL DEFAULT 0,
    last_seq integer NOT NULL DEFAULT 0,
    progress text,
    PRIMARY KEY (message, idx)
) PARTITION BY HASH (message);
CREATE INDEX jobs_waiting ON malote.jobs (lane, state, due_at) WHERE state IN (0, 1, 5);
CREATE INDEX jobs_leased ON malote.jobs (session) WHERE state = 2;
CREATE INDEX jobs_aside ON malote.jobs (state, message, idx) WHERE state IN (6, 11, 12);
DO $$
BEGIN
    FOR part IN 0..7 LOOP
        EXECUTE format(
            'CREATE TABLE malote.jobs_%s PARTITION OF malote.jobs
                 FOR VALUES WITH (MODULUS 8, REMAINDER %s)
                 WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01,
                     autovacuum_vacuum_threshold = 500, autovacuum_vacuum_cost_delay = 0,
                     autovacuum_analyze_scale_factor = 0.05)',
            part, part);
    END LOOP;
END $$;

CREATE VIEW malote.delivery_now AS
    SELECT d.message, d.idx, d.recipient, d.recipient_hash, d.notify, d.orcpt, d.route_reason,
        d.mailbox_provider,
        coalesce(j.lane, d.lane) AS lane, coalesce(d.state, j.state) AS state, j.due_at,
        coalesce(j.attempts, d.attempts) AS attempts, coalesce(j.calls, d.calls) AS calls,
        coalesce(j.crashes, d.crashes) AS crashes,
        CASE WHEN j.message IS NULL THEN d.progress ELSE j.progress END AS progress,
        j.prior_state
    FROM malote.deliveries d LEFT JOIN malote.jobs j ON j.message = d.message AND j.idx = d.idx;

-- Attempts and events are kept in parts, one for every day of message ids (their first 48 bits are
-- milliseconds), so that retention drops whole parts.
CREATE TABLE malote.attempts (
    message uuid NOT NULL,
    idx integer NOT NULL,
    number integer NOT NULL,
    provider text NOT NULL,
    pool text NOT NULL,
    started_at bigint NOT NULL,
    ended_at bigint,
    reason text NOT NULL,
    outcome text,
    reply_code integer,
    reply_enhanced text,
    reply_text text,
    provider_message_id text,
    PRIMARY KEY (message, idx, number)
) PARTITION BY RANGE (message);
CREATE INDEX attempts_provider_message ON malote.attempts (provider_message_id)
    WHERE provider_message_id IS NOT NULL;

-- feed: the event's place, given out in the order of writing. A reader stays below the places of
-- transactions under way. durable_at: when it was written, by the caller's clock; at: by the clock
-- of who told. raw: what a service told, as it told it.
CREATE SEQUENCE malote.feed_places;
CREATE TABLE malote.events (
    message uuid NOT NULL,
    idx integer NOT NULL,
    seq integer NOT NULL,
    feed bigint NOT NULL,
    at bigint NOT NULL,
    durable_at bigint NOT NULL,
    kind text NOT NULL,
    blame text,
    provider text,
    detail text NOT NULL,
    raw bytea,
    PRIMARY KEY (message, idx, seq)
) PARTITION BY RANGE (message);
CREATE INDEX events_feed ON malote.events (feed);

CREATE FUNCTION malote.day_start(day integer) RETURNS uuid LANGUAGE sql IMMUTABLE AS
    $$ SELECT (lpad(to_hex(day::bigint * 86400000), 12, '0') || repeat('0', 20))::uuid $$;

-- Makes the parts of a day. Attached, since that waits for nobody who reads or writes.
CREATE FUNCTION malote.make_day(day integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    parent text;
    part text;
BEGIN
    PERFORM pg_advisory_xact_lock(7241866, 1);
    FOREACH parent IN ARRAY ARRAY['events', 'attempts'] LOOP
        part := parent || '_' || day;
        IF to_regclass(format('malote.%I', part)) IS NULL THEN
            EXECUTE format('CREATE TABLE malote.%I (LIKE malote.%I INCLUDING ALL)', part, parent);
            EXECUTE format(
                'ALTER TABLE malote.%I ATTACH PARTITION malote.%I FOR VALUES FROM (%L) TO (%L)',
                parent, part, malote.day_start(day), malote.day_start(day + 1));
        END IF;
    END LOOP;
END $$;

-- Drops the parts of a day of which no message is left, or tells that there is one.
CREATE FUNCTION malote.drop_day(day integer) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(7241866, 1);
    IF EXISTS (SELECT 1 FROM malote.messages
        WHERE id >= malote.day_start(day) AND id < malote.day_start(day + 1)) THEN
        RETURN false;
    END IF;
    EXECUTE format('DROP TABLE IF EXISTS malote.%I, malote.%I', 'events_' || day, 'attempts_' || day);
    RETURN true;
END $$;

-- The last place whose events became durable before a time, found by halving: there is no index by
-- time, since places stand nearly in its order.
CREATE FUNCTION malote.feed_before(before bigint, head bigint) RETURNS bigint
LANGUAGE plpgsql STABLE AS $$
DECLARE
    low bigint := 0;
    high bigint := head;
    middle bigint;
    place bigint;
    told_at bigint;
BEGIN
    WHILE low < high LOOP
        middle := low + (high - low) / 2;
        SELECT feed, durable_at INTO place, told_at FROM malote.events
            WHERE feed > middle AND feed <= head ORDER BY feed LIMIT 1;
        IF NOT FOUND OR told_at >= before THEN
            high := middle;
        ELSE
            low := place;
        END IF;
    END LOOP;
    RETURN low;
END $$;

CREATE TABLE malote.event_keys (
    key bytea PRIMARY KEY,
    at bigint NOT NULL
);
CREATE INDEX event_keys_at ON malote.event_keys (at);

CREATE TABLE malote.unreadable (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    provider text NOT NULL,
    at bigint NOT NULL,
    part text NOT NULL
);

CREATE TABLE malote.idempotency (
    credential text NOT NULL,
    key text NOT NULL,
    fingerprint bytea,
    message uuid NOT NULL,
    created_at bigint NOT NULL,
    PRIMARY KEY (credential, key)
);
CREATE INDEX idempotency_at ON malote.idempotency (created_at);

-- Changes of the number of deliveries by lane and state, written with the change that they count
-- and summed up now and then: one row for all would be a lock that everybody waits for. Lane 0,
-- state -1 counts the octets of unsettled bodies.
CREATE TABLE malote.counts (
    lane bigint NOT NULL,
    state smallint NOT NULL,
    n bigint NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000,
    autovacuum_vacuum_cost_delay = 0);

-- cursor: events up to this place have been looked at for this outlet. session: which node tells it.
CREATE TABLE malote.outlets (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    cursor bigint NOT NULL,
    waiting bigint NOT NULL DEFAULT 0,
    failing_since bigint,
    last_error text,
    enabled_at bigint,
    disabled_at bigint,
    disabled_reason text,
    absent_since bigint,
    session bigint
);

-- Events that wait to be told. due_at is there for the first one of each message only: the others
-- wait for it.
CREATE TABLE malote.outbox (
    outlet bigint NOT NULL,
    feed bigint NOT NULL,
    message uuid NOT NULL,
    idx integer NOT NULL,
    seq integer NOT NULL,
    durable_at bigint NOT NULL,
    due_at bigint,
    attempts integer NOT NULL DEFAULT 0,
    first_at bigint,
    last_error text,
    PRIMARY KEY (outlet, feed)
);
CREATE INDEX outbox_due ON malote.outbox (outlet, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX outbox_message ON malote.outbox (message, outlet, feed);
