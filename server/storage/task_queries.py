"""Queries on tasks that both databases answer alike: counts by state, and the ids in one stage.

Entries of lists on which clients have acted are read by what they show (`server.storage.entry_rows`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from server.core.entry_status import ListActions
from server.core.task import Stage
from server.storage.entry_rows import EntrySql, StatusSql

Query = tuple[str, list[object]]  # SQL, and the values bound to it
# For `stage IN (...)`.
FINAL_STAGES = ", ".join(f"'{stage}'" for stage in Stage if stage.is_final)
UNFINISHED_STAGES = ", ".join(f"'{stage}'" for stage in Stage if not stage.is_final)


@dataclass(frozen=True, slots=True)
class TaskSql:
    """How one database writes these queries: `mark` stands for a bound value, `is_there` tells a task that is
    not removed, `list_index` names the index of a list's entries where the planner would take another one,
    `of_no_list` tells a task in none of the lists that `bound_lists` binds, and `error_code` is a row's.
    """

    entries: StatusSql
    mark: str
    is_there: str
    list_index: str
    of_no_list: str
    bound_lists: Callable[[list[str]], object]
    error_code: str


def count_query(tasks: TaskSql, actions: Mapping[str, ListActions], owner: str | None = None) -> Query:
    """Return a query for rows of a state and a number of tasks; the numbers of one state are to be added."""
    of_owner, owners = _of_owner(tasks, owner)
    parts = [f"SELECT stage, count(*) FROM tasks WHERE {tasks.is_there}{of_owner} GROUP BY stage"]  # noqa: S608
    values = list[object](owners)
    for playlist_id, acted in actions.items():
        for state, sign in (("stage", "-"), (EntrySql(acted, tasks.entries).state, "")):
            parts.append(
                f"SELECT {state}, {sign}count(*) FROM tasks{tasks.list_index} "  # noqa: S608
                f"WHERE playlist_id = {tasks.mark} AND {tasks.is_there}{of_owner} GROUP BY 1"
            )
            values += [playlist_id, *owners]
    return " UNION ALL ".join(parts), values


def ids_query(
    tasks: TaskSql,
    stage: Stage,
    error_code: str | None,
    limit: int,
    actions: Mapping[str, ListActions],
    owner: str | None = None,
) -> Query:
    """Return the query for rows of an id and a number: the oldest tasks in `stage`, and with `error_code` if
    one is given.
    """
    of_owner, owners = _of_owner(tasks, owner)
    sql = f"SELECT task_id, number FROM tasks WHERE stage = {tasks.mark} AND {tasks.is_there}"  # noqa: S608
    sql += tasks.of_no_list + of_owner
    values: list[object] = [stage.value, tasks.bound_lists(list(actions)), *owners]
    if error_code is not None:
        sql += f" AND {tasks.error_code} = {tasks.mark} AND ended_at IS NOT NULL"
        values.append(error_code)
    parts = [sql]
    for playlist_id, acted in actions.items():
        entries = EntrySql(acted, tasks.entries)
        sql = f"SELECT task_id, number FROM tasks{tasks.list_index} WHERE playlist_id = {tasks.mark} "  # noqa: S608
        sql += f"AND {tasks.is_there}{of_owner} AND {entries.in_stages([stage])}"
        values += [playlist_id, *owners]
        if error_code is not None:
            sql += f" AND {entries.error_code(tasks.error_code)} = {tasks.mark}"
            values.append(error_code)
        parts.append(sql)
    return f"{' UNION ALL '.join(parts)} ORDER BY number LIMIT {tasks.mark}", [*values, limit]


def _of_owner(tasks: TaskSql, owner: str | None) -> tuple[str, list[object]]:
    return ("", []) if owner is None else (f" AND owner = {tasks.mark}", [owner])
