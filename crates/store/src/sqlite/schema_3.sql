-- What the reputation guard counts. hour: since 1970. campaign: empty for mail without one.
CREATE TABLE guard_counts (
    stream TEXT NOT NULL,
    campaign TEXT NOT NULL,
    hour INTEGER NOT NULL,
    sends INTEGER NOT NULL,
    reported INTEGER NOT NULL,
    bounces INTEGER NOT NULL,
    complaints INTEGER NOT NULL,
    PRIMARY KEY (stream, campaign, hour)
) STRICT, WITHOUT ROWID;

-- What it has decided. campaign: empty for the whole stream.
CREATE TABLE guard_records (
    stream TEXT NOT NULL,
    campaign TEXT NOT NULL,
    state TEXT NOT NULL,
    since INTEGER NOT NULL,
    reason TEXT NOT NULL,
    pace REAL NOT NULL,
    sends INTEGER NOT NULL,
    reported INTEGER NOT NULL,
    bounces INTEGER NOT NULL,
    complaints INTEGER NOT NULL,
    PRIMARY KEY (stream, campaign)
) STRICT, WITHOUT ROWID;
