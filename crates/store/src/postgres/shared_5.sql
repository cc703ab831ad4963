-- Takes units of rates that must all leave room for them, by their names, each with the nanoseconds
-- from one of its units to the next. A unit has a time, at most so much ahead of now. first and clock
-- are nanoseconds since 1970; from one unit to the next it is the longest of the periods. If that is
-- longer than ahead, a unit is not given close to its time: who is too late for it would wait for as
-- long. wait: in microseconds, until there is one more. What was lost in a crash lies before its end,
-- so nobody waits for the disk.
CREATE FUNCTION malote.take_rates_5(
    accounts text[], periods bigint[], want bigint, ahead bigint,
    OUT units bigint, OUT first bigint, OUT clock bigint, OUT wait bigint
) LANGUAGE plpgsql AS $$
DECLARE
    step bigint;
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    -- In one order, so that no two takings wait for each other.
    INSERT INTO malote.rates AS r (account, reached)
        SELECT a.name, 0 FROM unnest(accounts) AS a(name) ORDER BY a.name
        ON CONFLICT (account) DO UPDATE SET reached = r.reached;
    clock := malote.clock() * 1000;
    -- Nothing is given further ahead: what reaches further was given by a clock that was set back.
    SELECT max(a.period), greatest(clock, max(least(r.reached, clock + ahead) + a.period))
        INTO step, first
        FROM unnest(accounts, periods) AS a(name, period)
        JOIN malote.rates r ON r.account = a.name;
    IF step > ahead AND first < clock + ahead / 2 THEN
        first := clock + ahead;
    END IF;
    units := CASE WHEN first > clock + ahead THEN 0
        ELSE least(want, (clock + ahead - first) / step + 1) END;
    wait := greatest(0, first + units * step - ahead - clock + 999) / 1000;
    IF units > 0 THEN
        UPDATE malote.rates r SET reached = first + (units - 1) * step
            WHERE r.account = ANY (accounts);
    END IF;
END $$;

-- As older nodes call it, who use at once what they get: nothing while units are given ahead of now.
-- Of what is kept free for transactional streams they get none beside the whole.
CREATE OR REPLACE FUNCTION malote.take_rate(
    for_account text, want bigint, period bigint, burst bigint, OUT units bigint, OUT wait bigint
) LANGUAGE plpgsql AS $$
DECLARE
    now_ns bigint;
    taken_to bigint;
BEGIN
    IF for_account LIKE '% reserve' THEN
        units := 0;
        wait := 1000000;
        RETURN;
    END IF;
    PERFORM set_config('synchronous_commit', 'off', true);
    INSERT INTO malote.rates AS r (account, reached) VALUES (for_account, 0)
        ON CONFLICT (account) DO UPDATE SET reached = r.reached
        RETURNING r.reached INTO taken_to;
    now_ns := malote.clock() * 1000;
    taken_to := greatest(taken_to, now_ns - burst * period);
    units := least(want, greatest(0, (now_ns - taken_to) / period));
    taken_to := taken_to + units * period;
    wait := CASE WHEN units < want THEN greatest(1000, taken_to + period - now_ns) / 1000 ELSE 0 END;
    IF units > 0 THEN
        UPDATE malote.rates SET reached = taken_to WHERE account = for_account;
    END IF;
END $$;
