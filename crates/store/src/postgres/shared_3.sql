-- A soft bounce is counted once, however often it is told. event: what tells it from others; empty
-- for those that older nodes count.
ALTER TABLE malote.soft_bounces ADD COLUMN event bytea NOT NULL DEFAULT '';
ALTER TABLE malote.soft_bounces DROP CONSTRAINT soft_bounces_pkey;
ALTER TABLE malote.soft_bounces ADD PRIMARY KEY (hash, at, event);

-- As older nodes call it.
CREATE OR REPLACE FUNCTION malote.count_soft_bounce(
    of_hash bytea, bounced_at bigint, since bigint, OUT n bigint
) LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO malote.soft_bounces AS b (hash, at, n) VALUES (of_hash, bounced_at, 1)
        ON CONFLICT (hash, at, event) DO UPDATE SET n = b.n + 1;
    DELETE FROM malote.soft_bounces b WHERE b.hash = of_hash AND b.at < since;
    SELECT coalesce(sum(b.n), 0) INTO n FROM malote.soft_bounces b WHERE b.hash = of_hash;
END $$;
