-- The feed: one row for every event, in the order in which events became durable. Row ids are
-- never given out twice, so a reader's place never meets another event. at: when it became durable.
CREATE TABLE feed (
    id INTEGER PRIMARY KEY,
    delivery INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    at INTEGER NOT NULL
) STRICT;

-- Where an event stands in the feed.
ALTER TABLE events ADD COLUMN feed INTEGER NOT NULL DEFAULT 0;

INSERT INTO feed (id, delivery, seq, at)
    SELECT row_number() OVER (ORDER BY at, delivery, seq), delivery, seq, at FROM events;
CREATE UNIQUE INDEX feed_numbered ON feed (delivery, seq);
UPDATE events SET feed = (SELECT id FROM feed
    WHERE feed.delivery = events.delivery AND feed.seq = events.seq);
DROP INDEX feed_numbered;

-- What a service told, as it told it.
CREATE TABLE raw_events (
    feed INTEGER PRIMARY KEY,
    raw BLOB NOT NULL
) STRICT;

UPDATE events SET blame = CASE blame
        WHEN 'message' THEN 'content' WHEN 'provider' THEN 'infrastructure' ELSE 'unknown' END
    WHERE blame IN ('message', 'provider', 'unclear');

-- The https address of List-Unsubscribe, if it takes one-click posts.
ALTER TABLE messages ADD COLUMN one_click TEXT;

-- cursor: events up to this place have been looked at for this outlet.
CREATE TABLE outlets (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    cursor INTEGER NOT NULL,
    waiting INTEGER NOT NULL DEFAULT 0,
    failing_since INTEGER,
    last_error TEXT,
    enabled_at INTEGER,
    disabled_at INTEGER,
    disabled_reason TEXT,
    absent_since INTEGER
) STRICT;

-- Events that wait to be told. due_at is there for the first one of each message only: the others
-- wait for it.
CREATE TABLE outbox (
    outlet INTEGER NOT NULL,
    feed INTEGER NOT NULL,
    message INTEGER NOT NULL,
    due_at INTEGER,
    attempts INTEGER NOT NULL DEFAULT 0,
    first_at INTEGER,
    last_error TEXT,
    PRIMARY KEY (outlet, feed)
) STRICT, WITHOUT ROWID;
CREATE INDEX outbox_due ON outbox (outlet, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX outbox_message ON outbox (message, outlet, feed);
