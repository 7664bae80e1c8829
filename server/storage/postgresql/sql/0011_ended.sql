-- What has ended is listed with the last ended first.
CREATE INDEX tasks_stage_ended ON tasks (stage, ended_at, number) WHERE ended_at IS NOT NULL AND NOT removed;
