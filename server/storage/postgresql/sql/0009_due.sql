-- What has to be known of a status to give its task a job. A row that is damaged, or that another release wrote in
-- its own way, says nothing here: in a query of many rows a cast that fails would be the end of all of them.

-- When the task may begin by its own word, and when at the latest where clocks differ: `longest` seconds from now
-- if it does not say how long it is to wait, never for one that waits for a moment. Nulls: at once.
CREATE FUNCTION due(status text, longest float8, OUT at timestamptz, OUT latest timestamptz)
    STABLE LANGUAGE plpgsql AS $$
DECLARE
    told json;
BEGIN
    told := status::json;
    at := (told ->> 'not_before')::timestamptz;
    latest := CASE WHEN told ->> 'waiting' = 'scheduled' THEN 'infinity'
        ELSE now() + make_interval(secs => coalesce((told ->> 'delay')::float8, longest)) END;
EXCEPTION WHEN data_exception THEN
    at := NULL;
    latest := NULL;
END $$;

-- Whether the task is a list whose entries are known, for which it waits.
CREATE FUNCTION is_expanded(status text) RETURNS boolean
    IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN
    RETURN coalesce((status::json ->> 'expanded')::boolean, false);
EXCEPTION WHEN data_exception THEN
    RETURN false;
END $$;
