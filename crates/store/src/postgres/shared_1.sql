-- takes: written by every taking, so that takings of an account follow one another under every
-- isolation level.
CREATE TABLE malote.quota_accounts (
    account text PRIMARY KEY,
    takes bigint NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE malote.quotas (
    account text NOT NULL,
    hour bigint NOT NULL,
    used bigint NOT NULL,
    PRIMARY KEY (account, hour)
) WITH (fillfactor = 50);

-- The hour in which a window begins that a node says, by the database's clock. ahead: by how much
-- that is ahead of the node's. Clocks within a second count as equal, or a day that begins at
-- midnight would begin in the hour before it on half of the nodes.
CREATE FUNCTION malote.window_hour(since bigint, ahead bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE
AS $$ SELECT (since + CASE WHEN abs(ahead) <= 1000000 THEN 0 ELSE ahead END) / 3600000000 $$;

-- Takes what every window leaves, at most what is wanted. asked_at is the caller's "now" and
-- node_clock its clock as it calls: by what the two clocks differ all that the caller says is put
-- right, so that the hour is the database's.
CREATE FUNCTION malote.take_quota(
    for_account text, want bigint, asked_at bigint, node_clock bigint,
    starts bigint[], caps bigint[],
    OUT units bigint, OUT free_at bigint
) LANGUAGE plpgsql AS $$
DECLARE
    ahead bigint := malote.clock() - node_clock;
    this_hour bigint := (asked_at + ahead) / 3600000000;
    start_hour bigint;
    remaining bigint;
    oldest bigint;
BEGIN
    INSERT INTO malote.quota_accounts AS a (account, takes) VALUES (for_account, 1)
        ON CONFLICT (account) DO UPDATE SET takes = a.takes + 1;
    units := want;
    FOR i IN 1 .. cardinality(starts) LOOP
        start_hour := malote.window_hour(starts[i], ahead);
        -- Never booked before a window that the caller counts in.
        this_hour := greatest(this_hour, start_hour);
        SELECT greatest(0, caps[i] - coalesce(sum(q.used), 0)), min(q.hour) FILTER (WHERE q.used > 0)
            INTO remaining, oldest
            FROM malote.quotas q WHERE q.account = for_account AND q.hour >= start_hour;
        IF remaining < want AND oldest IS NOT NULL THEN
            -- The hour in which a window begins counts whole: its units leave with its end.
            free_at := greatest(free_at,
                (oldest + 1) * 3600000000 + (asked_at - starts[i]) - ahead);
        END IF;
        units := least(units, remaining);
    END LOOP;
    IF units > 0 THEN
        INSERT INTO malote.quotas AS q (account, hour, used) VALUES (for_account, this_hour, units)
            ON CONFLICT (account, hour) DO UPDATE SET used = q.used + excluded.used;
    END IF;
END $$;

CREATE TABLE malote.warmups (
    account text PRIMARY KEY,
    day text NOT NULL,
    cap bigint NOT NULL,
    used bigint NOT NULL
);

-- state: empty for one at rest, kept so that others learn of it. epoch: of the last change.
-- writer: the node that wrote it. probe_until: until when a node has the one probe.
CREATE SEQUENCE malote.breaker_epochs;
CREATE TABLE malote.breakers (
    key text COLLATE "C" PRIMARY KEY,
    state text NOT NULL,
    epoch bigint NOT NULL DEFAULT nextval('malote.breaker_epochs'),
    writer bytea NOT NULL,
    probe_until bigint NOT NULL DEFAULT 0
);
CREATE INDEX breakers_epoch ON malote.breakers (epoch);

-- reached: up to when what was taken of a rate reaches, in nanoseconds since 1970.
CREATE TABLE malote.rates (
    account text PRIMARY KEY,
    reached bigint NOT NULL
) WITH (fillfactor = 50);

-- Takes of a rate what it leaves, at most what is wanted. A burst that was lost in a crash is no
-- harm, so nobody waits for the disk.
CREATE FUNCTION malote.take_rate(
    for_account text, want bigint, period bigint, burst bigint, OUT units bigint, OUT wait bigint
) LANGUAGE plpgsql AS $$
DECLARE
    now_ns bigint;
    taken_to bigint;
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    INSERT INTO malote.rates AS r (account, reached) VALUES (for_account, 0)
        ON CONFLICT (account) DO UPDATE SET reached = r.reached
        RETURNING r.reached INTO taken_to;
    now_ns := malote.clock() * 1000;
    taken_to := greatest(taken_to, now_ns - burst * period);
    units := least(want, (now_ns - taken_to) / period);
    taken_to := taken_to + units * period;
    wait := CASE WHEN units < want THEN greatest(1000, taken_to + period - now_ns) / 1000 ELSE 0 END;
    IF units > 0 THEN
        UPDATE malote.rates SET reached = taken_to WHERE account = for_account;
    END IF;
END $$;

-- instance: a process. configuration: a digest of what all nodes should have alike.
-- clock_ahead: of the node, in microseconds.
CREATE TABLE malote.nodes (
    instance bytea PRIMARY KEY,
    name text NOT NULL,
    version text NOT NULL,
    configuration text NOT NULL,
    state text NOT NULL,
    started_at bigint NOT NULL,
    beat_at bigint NOT NULL,
    clock_ahead bigint NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE malote.switches (
    kind text NOT NULL,
    name text NOT NULL,
    PRIMARY KEY (kind, name)
);

-- hash: 16 octets of a keyed hash of scope and address. An empty scope is the global one.
-- An address that reads hash:HEX was erased; it is found by its hash.
-- written_by: the transaction that wrote the row, so that nodes can ask for what came since.
CREATE TABLE malote.suppressions (
    hash bytea PRIMARY KEY,
    address text COLLATE "C" NOT NULL,
    scope text COLLATE "C" NOT NULL,
    reason text NOT NULL,
    detail text NOT NULL,
    provider text,
    credential text,
    created_at bigint NOT NULL,
    expires_at bigint,
    source text NOT NULL,
    written_by bigint NOT NULL DEFAULT pg_current_xact_id()::text::bigint
);
CREATE INDEX suppressions_address ON malote.suppressions (address, scope);
CREATE INDEX suppressions_scope ON malote.suppressions (scope, address);
CREATE INDEX suppressions_owner ON malote.suppressions (credential, address, scope)
    WHERE credential IS NOT NULL;
CREATE INDEX suppressions_written ON malote.suppressions (written_by);

CREATE TABLE malote.soft_bounces (
    hash bytea NOT NULL,
    at bigint NOT NULL,
    n bigint NOT NULL,
    PRIMARY KEY (hash, at)
);

CREATE FUNCTION malote.count_soft_bounce(
    of_hash bytea, bounced_at bigint, since bigint, OUT n bigint
) LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO malote.soft_bounces AS b (hash, at, n) VALUES (of_hash, bounced_at, 1)
        ON CONFLICT (hash, at) DO UPDATE SET n = b.n + 1;
    DELETE FROM malote.soft_bounces b WHERE b.hash = of_hash AND b.at < since;
    SELECT coalesce(sum(b.n), 0) INTO n FROM malote.soft_bounces b WHERE b.hash = of_hash;
END $$;

-- What the reputation guard counts. hour: since 1970. campaign: empty for mail without one.
CREATE TABLE malote.guard_counts (
    stream text COLLATE "C" NOT NULL,
    campaign text COLLATE "C" NOT NULL,
    hour bigint NOT NULL,
    sends bigint NOT NULL,
    reported bigint NOT NULL,
    bounces bigint NOT NULL,
    complaints bigint NOT NULL,
    PRIMARY KEY (stream, campaign, hour)
) WITH (fillfactor = 50);

-- What it has decided. campaign: empty for the whole stream.
CREATE TABLE malote.guard_records (
    stream text COLLATE "C" NOT NULL,
    campaign text COLLATE "C" NOT NULL,
    state text NOT NULL,
    since bigint NOT NULL,
    reason text NOT NULL,
    pace double precision NOT NULL,
    sends bigint NOT NULL,
    reported bigint NOT NULL,
    bounces bigint NOT NULL,
    complaints bigint NOT NULL,
    PRIMARY KEY (stream, campaign)
);
