-- What every part stands on. Times are microseconds since 1970.
CREATE TABLE malote.meta (
    key text PRIMARY KEY,
    value bytea NOT NULL
);

-- The clock of the database, which decides wherever clocks of nodes could differ.
CREATE FUNCTION malote.clock() RETURNS bigint LANGUAGE sql VOLATILE
AS $$ SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint $$;
