-- Statements of the busiest paths. The server keeps the plan of what stands in a function for as
-- long as a connection lives; a statement that leaves nothing in a session, as a pooler needs it,
-- is planned anew each time, which took a third of the server's time.
--
-- A plan made while the tables were empty would scan them for ever, so every one goes by indexes,
-- and `+ 0` keeps those of lanes and sessions out of what is looked for by message.
-- Never change one after a release, but add another beside it: older nodes go on calling it.

-- When the earliest delivery of a lane in each waiting state is due.
CREATE FUNCTION malote.due_1(bigint)
RETURNS TABLE (scheduled bigint, queued bigint, deferred bigint) LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
BEGIN
    RETURN QUERY SELECT
        (SELECT min(due_at) FROM malote.jobs
            WHERE state IN (0, 1, 5) AND lane = $1 AND state = 0),
        (SELECT min(due_at) FROM malote.jobs
            WHERE state IN (0, 1, 5) AND lane = $1 AND state = 1),
        (SELECT min(due_at) FROM malote.jobs
            WHERE state IN (0, 1, 5) AND lane = $1 AND state = 5);
END $$;

-- Messages with deliveries of a lane and state that are due, locked.
CREATE FUNCTION malote.candidates_1(bigint, smallint, bigint, bigint)
RETURNS TABLE (message uuid, size_bytes bigint) LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_sort = off
SET enable_hashjoin = off SET enable_mergejoin = off AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY SELECT j.message, m.size_bytes
        FROM malote.jobs j JOIN malote.messages m ON m.id = j.message
        WHERE j.state IN (0, 1, 5) AND j.lane = $1 AND j.state = $2 AND j.due_at <= $3
        ORDER BY j.due_at LIMIT $4 FOR NO KEY UPDATE OF m SKIP LOCKED;
END $$;

-- All due deliveries of these messages in a lane, locked.
CREATE FUNCTION malote.siblings_1(uuid[], bigint, bigint)
RETURNS TABLE (message uuid, idx integer, state smallint) LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
SET enable_hashjoin = off SET enable_mergejoin = off AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY SELECT j.message, j.idx, j.state
        FROM unnest($1) AS u(message) JOIN malote.jobs j ON j.message = u.message
        WHERE j.lane + 0 = $2 AND j.state + 0 IN (1, 5) AND j.due_at + 0 <= $3
        ORDER BY j.message, j.idx FOR UPDATE OF j SKIP LOCKED;
END $$;

-- Deliveries become those of a session.
CREATE FUNCTION malote.mark_1(uuid[], integer[], bigint) RETURNS void LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    UPDATE malote.jobs j SET prior_state = j.state, state = 2, session = $3
        FROM unnest($1, $2) AS u(message, idx) WHERE j.message = u.message AND j.idx = u.idx;
END $$;

-- What the engine has to know of deliveries that are under way.
CREATE FUNCTION malote.deliveries_1(uuid[], integer[])
RETURNS TABLE (message uuid, idx integer, stream text, recipient text, notify smallint, orcpt text,
    mailbox_provider text, attempts integer, calls integer, progress text, crashes integer)
LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
SET enable_hashjoin = off SET enable_mergejoin = off AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY SELECT d.message, d.idx, m.stream, d.recipient, d.notify, d.orcpt,
            d.mailbox_provider, j.attempts, j.calls, j.progress, j.crashes
        FROM unnest($1, $2) AS u(message, idx)
        JOIN malote.jobs j ON j.message = u.message AND j.idx = u.idx
        JOIN malote.deliveries d ON d.message = u.message AND d.idx = u.idx
        JOIN malote.messages m ON m.id = u.message;
END $$;

-- Deliveries that are under way, locked in one order.
CREATE FUNCTION malote.under_way_1(uuid[], integer[])
RETURNS TABLE (message uuid, idx integer, lane bigint, state smallint, due_at bigint,
    session bigint, prior_state smallint, told_state smallint, attempts integer, calls integer,
    crashes integer, last_seq integer, progress text) LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
SET enable_hashjoin = off SET enable_mergejoin = off AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY SELECT j.message, j.idx, j.lane, j.state, j.due_at, j.session, j.prior_state,
            j.told_state, j.attempts, j.calls, j.crashes, j.last_seq, j.progress
        FROM unnest($1, $2) AS u(message, idx)
        JOIN malote.jobs j ON j.message = u.message AND j.idx = u.idx
        WHERE j.state + 0 = 2 ORDER BY j.message, j.idx FOR UPDATE OF j;
END $$;

-- Attempts that are about to start, journaled. Answers how many deliveries are the session's.
CREATE FUNCTION malote.start_1(uuid[], integer[], integer[], bigint[], text[], text[], bigint[],
    text[]) RETURNS bigint LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    own bigint;
BEGIN
    UPDATE malote.jobs j SET calls = greatest(j.calls, u.number)
        FROM unnest($1, $2, $3, $4) AS u(message, idx, number, session)
        WHERE j.message = u.message AND j.idx = u.idx AND j.state + 0 = 2
            AND j.session + 0 = u.session;
    GET DIAGNOSTICS own = ROW_COUNT;
    INSERT INTO malote.attempts (message, idx, number, provider, pool, started_at, reason)
        SELECT * FROM unnest($1, $2, $3, $5, $6, $7, $8);
    RETURN own;
END $$;

-- Outcomes of attempts, journaled before or not.
CREATE FUNCTION malote.outcomes_1(uuid[], integer[], integer[], text[], text[], bigint[], text[],
    bigint[], text[], integer[], text[], text[], text[]) RETURNS void LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    INSERT INTO malote.attempts (message, idx, number, provider, pool, started_at, reason, ended_at,
            outcome, reply_code, reply_enhanced, reply_text, provider_message_id)
        SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
        ON CONFLICT (message, idx, number) DO UPDATE SET ended_at = excluded.ended_at,
            outcome = excluded.outcome, reply_code = excluded.reply_code,
            reply_enhanced = excluded.reply_enhanced, reply_text = excluded.reply_text,
            provider_message_id = excluded.provider_message_id;
END $$;

-- How deliveries ended for which nothing is to be done any more: they are no jobs.
CREATE FUNCTION malote.finish_1(uuid[], integer[], bigint[], smallint[], integer[], integer[],
    integer[], integer[], text[]) RETURNS void LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    DELETE FROM malote.jobs j USING unnest($1, $2) AS u(message, idx)
        WHERE j.message = u.message AND j.idx = u.idx;
    UPDATE malote.deliveries d SET lane = u.lane, state = u.state, attempts = u.attempts,
            calls = u.calls, crashes = u.crashes, last_seq = u.last_seq, progress = u.progress
        FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9) AS u(message, idx, lane, state, attempts,
            calls, crashes, last_seq, progress)
        WHERE d.message = u.message AND d.idx = u.idx;
END $$;

-- Counts on messages how many of their deliveries settled, and the octets of bodies that wait.
CREATE FUNCTION malote.settle_messages_1(uuid[], integer[], bigint[]) RETURNS void
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    WITH changed AS (
        UPDATE malote.messages m SET unsettled = m.unsettled + u.change,
                settled_at = CASE WHEN m.unsettled + u.change = 0 THEN u.at END
            FROM unnest($1, $2, $3) AS u(id, change, at) WHERE m.id = u.id
            RETURNING m.unsettled, u.change, m.size_bytes),
    octets AS (
        SELECT sum(CASE WHEN unsettled = 0 THEN -size_bytes
            WHEN unsettled = change THEN size_bytes ELSE 0 END) AS n FROM changed)
    INSERT INTO malote.counts (lane, state, n)
        SELECT 0, -1, n FROM octets WHERE n <> 0;
END $$;

-- Events at their places on timelines, and behind all others in the feed.
CREATE FUNCTION malote.events_1(uuid[], integer[], integer[], bigint[], bigint[], text[], text[],
    text[], text[], bytea[]) RETURNS void LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    INSERT INTO malote.events (message, idx, seq, feed, at, durable_at, kind, blame, provider,
            detail, raw)
        SELECT u.message, u.idx, u.seq, nextval('malote.feed_places'), u.at, u.durable_at, u.kind,
            u.blame, u.provider, u.detail, u.raw
        FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) AS u(message, idx, seq, at,
            durable_at, kind, blame, provider, detail, raw);
END $$;

CREATE FUNCTION malote.take_messages_1(uuid[], text[], text[], text[], text[], text[], text[],
    text[], text[], text[], text[], text[], text[], bigint[], bigint[], bigint[], integer[],
    integer[], bigint[], smallint[], bigint[], bytea[]) RETURNS void LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    INSERT INTO malote.messages (id, credential, channel, stream, class, stream_reason, mail_from,
            from_address, message_id_header, campaign, tracking_hash, one_click, extra, size_bytes,
            accepted_at, expires_at, check_at, deliveries, unsettled, settled_at, body_place,
            body_sum)
        SELECT u.id, u.credential, u.channel, u.stream, u.class, u.stream_reason, u.mail_from,
            u.from_address, u.message_id_header, u.campaign, u.tracking_hash, u.one_click, u.extra,
            u.size_bytes, u.accepted_at, u.expires_at, u.expires_at, u.deliveries, u.unsettled,
            u.settled_at, u.body_place, u.body_sum
        FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17,
            $18, $19, $20, $21) AS u(id, credential, channel, stream, class, stream_reason,
            mail_from, from_address, message_id_header, campaign, tracking_hash, one_click, extra,
            size_bytes, accepted_at, expires_at, deliveries, unsettled, settled_at, body_place,
            body_sum);
    INSERT INTO malote.bodies (message, body)
        SELECT u.id, u.body FROM unnest($1, $22) AS u(id, body) WHERE u.body IS NOT NULL;
END $$;

-- Deliveries with a state of their own are none for which anything is to be done.
CREATE FUNCTION malote.take_deliveries_1(uuid[], integer[], bigint[], smallint[], integer[], text[],
    bigint[], smallint[], text[], text[], text[], smallint[], bigint[]) RETURNS void
LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    INSERT INTO malote.deliveries (message, idx, lane, state, last_seq, recipient, recipient_hash,
            notify, orcpt, route_reason, mailbox_provider)
        SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11);
    INSERT INTO malote.jobs (message, idx, lane, state, due_at, last_seq)
        SELECT u.message, u.idx, u.lane, u.state, u.due_at, u.last_seq
        FROM unnest($1, $2, $3, $12, $13, $5) AS u(message, idx, lane, state, due_at, last_seq)
        WHERE u.state IS NOT NULL;
END $$;

-- Most bodies stand in their row whole: in pieces of 2 KiB aside, each with an entry in an index,
-- a body of 4 KiB took twice as long to write.
ALTER TABLE malote.bodies SET (toast_tuple_target = 8160);
