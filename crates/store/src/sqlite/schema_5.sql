-- What was first said under an event's key: the event, and whether what follows from it was done.
-- Keys of earlier versions name none, and nothing follows from them any more.
ALTER TABLE event_keys ADD COLUMN delivery INTEGER;
ALTER TABLE event_keys ADD COLUMN seq INTEGER;
ALTER TABLE event_keys ADD COLUMN followed INTEGER NOT NULL DEFAULT 1;

-- A soft bounce is counted once, however often it is told. event: what tells it from others; empty
-- for those that were counted before this version.
CREATE TABLE soft_bounces_5 (
    hash BLOB NOT NULL,
    at INTEGER NOT NULL,
    event BLOB NOT NULL,
    n INTEGER NOT NULL,
    PRIMARY KEY (hash, at, event)
) STRICT, WITHOUT ROWID;
INSERT INTO soft_bounces_5 (hash, at, event, n) SELECT hash, at, x'', n FROM soft_bounces;
DROP TABLE soft_bounces;
ALTER TABLE soft_bounces_5 RENAME TO soft_bounces;
