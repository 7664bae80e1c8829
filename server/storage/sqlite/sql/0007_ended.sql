-- What has ended is listed with the last ended first.
CREATE INDEX tasks_stage_ended ON tasks (stage, ended_at) WHERE ended_at IS NOT NULL AND removed = 0;
