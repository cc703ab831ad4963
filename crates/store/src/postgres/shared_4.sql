-- As take_quota, with less ahead of use the less is left: what a call needs now is granted as long as
-- it is there, and beyond it up to what is wanted, at most one of so many shares of what is left.
CREATE FUNCTION malote.take_quota_4(
    for_account text, need bigint, want bigint, shares bigint, asked_at bigint, node_clock bigint,
    starts bigint[], caps bigint[],
    OUT units bigint, OUT free_at bigint
) LANGUAGE plpgsql AS $$
DECLARE
    ahead bigint := malote.clock() - node_clock;
    this_hour bigint := (asked_at + ahead) / 3600000000;
    start_hour bigint;
    remaining bigint;
    least_remaining bigint;
    oldest bigint;
BEGIN
    INSERT INTO malote.quota_accounts AS a (account, takes) VALUES (for_account, 1)
        ON CONFLICT (account) DO UPDATE SET takes = a.takes + 1;
    FOR i IN 1 .. cardinality(starts) LOOP
        start_hour := malote.window_hour(starts[i], ahead);
        -- Never booked before a window that the caller counts in.
        this_hour := greatest(this_hour, start_hour);
        SELECT greatest(0, caps[i] - coalesce(sum(q.used), 0)), min(q.hour) FILTER (WHERE q.used > 0)
            INTO remaining, oldest
            FROM malote.quotas q WHERE q.account = for_account AND q.hour >= start_hour;
        IF remaining < need AND oldest IS NOT NULL THEN
            -- The hour in which a window begins counts whole: its units leave with its end.
            free_at := greatest(free_at,
                (oldest + 1) * 3600000000 + (asked_at - starts[i]) - ahead);
        END IF;
        least_remaining := least(least_remaining, remaining);
    END LOOP;
    -- Without a window nothing bounds it: least() leaves out what is null.
    units := least(least_remaining, greatest(need, least(want, least_remaining / shares)));
    IF units > 0 THEN
        INSERT INTO malote.quotas AS q (account, hour, used) VALUES (for_account, this_hour, units)
            ON CONFLICT (account, hour) DO UPDATE SET used = q.used + excluded.used;
    END IF;
END $$;
