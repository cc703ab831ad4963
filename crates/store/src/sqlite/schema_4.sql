-- Where a suppression comes from. An address that reads hash:HEX was erased; it is found by its hash.
ALTER TABLE suppressions ADD COLUMN source TEXT NOT NULL DEFAULT 'operator';
UPDATE suppressions SET source = 'provider:' || provider WHERE provider IS NOT NULL;

-- The lists of one scope and of one credential are read in the order of addresses.
DROP INDEX suppressions_scope;
CREATE INDEX suppressions_scope ON suppressions (scope, address);
CREATE INDEX suppressions_owner ON suppressions (credential, address, scope)
    WHERE credential IS NOT NULL;

-- 1: the body holds an erased address and goes as soon as the message is settled.
ALTER TABLE messages ADD COLUMN erased INTEGER NOT NULL DEFAULT 0;
CREATE INDEX messages_erased ON messages (pk) WHERE erased = 1;
