-- The code of a task's failure, as the JSON says it: nothing is stored twice, and a damaged row has none.
ALTER TABLE tasks ADD COLUMN error_code TEXT GENERATED ALWAYS AS (
    CASE WHEN json_valid(status) THEN json_extract(status, '$.error_code') END
) VIRTUAL;
CREATE INDEX tasks_error_code ON tasks (error_code, stage, number) WHERE ended_at IS NOT NULL AND removed = 0;
