-- What was first said under an event's key: the event, and whether what follows from it was done.
-- Keys of earlier versions, and of older nodes, name none, and nothing follows from them.
ALTER TABLE malote.event_keys ADD COLUMN message uuid;
ALTER TABLE malote.event_keys ADD COLUMN idx integer;
ALTER TABLE malote.event_keys ADD COLUMN seq integer;
ALTER TABLE malote.event_keys ADD COLUMN followed boolean NOT NULL DEFAULT true;
