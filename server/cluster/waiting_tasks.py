"""Conditions by which statements choose the tasks that may get a job now."""

from server.storage.entry_rows import has_taken_all

CLOCKS_DIFFER = 5.0  # seconds by which a node's estimate of the database's clock may be wrong

# A task is left to the action that withdrew its job, which decides what comes next; after ten seconds the
# action counts as dead. An entry waits until its row has taken all actions on its list.
WAITS = f"""
    stage = 'queued' AND job_id IS NULL AND NOT removed
        AND (withdrawn_at IS NULL OR withdrawn_at < now() - interval '10 s') AND {has_taken_all()}"""
# `due(status, %(longest)s)`: a task may begin at the `not_before` of its status, but its wait is capped at
# its delay, counted from now: after the database's clock was set back, or after a failover, it would
# otherwise wait for as long as the clocks differ. A scheduled task waits for its moment, without a cap.
IS_DUE = "coalesce(at <= now() OR at > latest + make_interval(secs => %(differ)s), true)"
