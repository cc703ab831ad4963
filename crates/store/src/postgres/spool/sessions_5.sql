-- What a session may no longer do once it has ended: its process may live on and not know of it.
-- Whether it has is asked where the work is written, by one look at an index a batch.

-- As mark_1, unless the session has ended. Answers whether it is open.
CREATE FUNCTION malote.mark_5(uuid[], integer[], bigint) RETURNS boolean LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
BEGIN
    IF EXISTS (SELECT FROM malote.sessions s WHERE s.id = $3 AND s.ended_at IS NULL) THEN
        PERFORM malote.mark_1($1, $2, $3);
        RETURN true;
    END IF;
    RETURN false;
END $$;

-- As start_1, unless one of the sessions has ended: that one is answered, and nothing is written.
CREATE FUNCTION malote.start_5(uuid[], integer[], integer[], bigint[], text[], text[], bigint[],
    text[], OUT own bigint, OUT ended bigint) LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
BEGIN
    SELECT u.id INTO ended FROM (SELECT DISTINCT unnest($4) AS id) AS u
        WHERE NOT EXISTS
            (SELECT FROM malote.sessions s WHERE s.id = u.id AND s.ended_at IS NULL)
        LIMIT 1;
    IF ended IS NULL THEN
        own := malote.start_1($1, $2, $3, $4, $5, $6, $7, $8);
    END IF;
END $$;
