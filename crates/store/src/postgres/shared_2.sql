-- Idempotency keys of nodes that each keep a queue of their own. home: the store that the message
-- is in, or is about to go into. instance: the process that reserved it. message: none while it is
-- not known what became of it. statuses: a letter for each recipient. reserved_at: by malote.clock().
CREATE TABLE malote.keys (
    credential text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    home text COLLATE "C" NOT NULL,
    instance bytea NOT NULL,
    fingerprint bytea,
    message bytea,
    stream text,
    statuses text,
    reserved_at bigint NOT NULL,
    PRIMARY KEY (credential, key)
) WITH (fillfactor = 70);
CREATE INDEX keys_reserved ON malote.keys (reserved_at);
CREATE INDEX keys_open ON malote.keys (home, reserved_at) WHERE message IS NULL;

-- wish: what somebody asked of the node, and the transaction that did.
ALTER TABLE malote.nodes ADD COLUMN wish text NOT NULL DEFAULT '';
ALTER TABLE malote.nodes ADD COLUMN wished_by bigint NOT NULL DEFAULT 0;
