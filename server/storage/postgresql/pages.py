"""Builds the queries for pages of tasks (keyset pagination), and for a search of a text in two steps.

A page begins after the sort key of the last task of the page before; each part of a query follows an index in
the page's order. A search first reads the newest tasks, where a common text is found soon; a rarer text
is then looked up in the index of trigrams. PostgreSQL's planner would choose between the two by estimates
that are wrong by orders of magnitude, so `SEARCH_SETTINGS` leave it no choice.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from server.core.entry_status import REMOVAL, ListActions
from server.core.ports import Filter
from server.core.task import Stage
from server.storage.cursor import Cursor
from server.storage.entry_rows import POSTGRESQL, EntrySql
from server.storage.task_queries import Query, TaskSql

WINDOW = 20_000  # tasks that the first step looks through
GRAM = 3
MOST_GRAMS = 32  # of a long text: the index only narrows the search down
# The second step may only use a bitmap scan of the index. `work_mem` keeps the bitmap exact to the row:
# otherwise rows would be checked again, and making the trigrams of one costs 0.1 ms.
SEARCH_SETTINGS = (
    "work_mem = '64MB'",
    "enable_seqscan = off",
    "enable_indexscan = off",
    "enable_indexonlyscan = off",
    "max_parallel_workers_per_gather = 0",
    "jit = off",
)

Row = Sequence[Any]  # number, priority, status

_COLUMNS = "SELECT number, priority, status FROM tasks WHERE NOT removed"
_NEWEST = " ORDER BY number DESC LIMIT %s"
_OLDEST = " ORDER BY number LIMIT %s"
_QUEUE_ORDER = " ORDER BY priority DESC, number LIMIT %s"
_ENDED = """
    SELECT number, extract(epoch FROM ended_at)::bigint AS rank, status FROM tasks WHERE NOT removed
        AND stage = %s AND ended_at IS NOT NULL"""
_SAME_SECOND = " AND ended_at = to_timestamp(%s) AND number < %s"  # thousands may have ended in one
_EARLIER = " AND ended_at < to_timestamp(%s)"
_ENDED_ORDER = " ORDER BY ended_at DESC, number DESC LIMIT %s"
_ENDED_MERGED = " ORDER BY rank DESC, number DESC LIMIT %s"
_LATEST = 253_402_300_799  # the last second of the year 9999
_CONTAINING = " AND position(%s IN search) > 0"
_MERGED = "SELECT * FROM ({}) AS merged"
_OF_OWNER = " AND owner = %s"
_OF_OTHERS = " AND (playlist_id IS NULL OR playlist_id <> ALL(%s))"
_ERROR_CODE = """substring(status FROM '"error_code":"([a-z0-9_]+)"')"""
TASKS = TaskSql(POSTGRESQL, "%s", "NOT removed", "", _OF_OTHERS, list, _ERROR_CODE)
NO_ACTIONS: Mapping[str, ListActions] = MappingProxyType({})
LAST_NUMBER = "SELECT coalesce(max(number), 0) FROM tasks"
# Expressions in the place of plain columns keep the planner from other indexes than that of trigrams.
_INDEXED = """
    WITH found AS MATERIALIZED (
        SELECT number, priority, status FROM tasks
        WHERE ended_at IS NOT NULL AND grams(search) @@ %s::tsquery
            AND (NOT removed) IS TRUE AND number + 0 < %s AND {}
            AND position(%s IN search) > 0
        UNION ALL
        SELECT number, priority, status FROM tasks
        WHERE ended_at IS NULL AND NOT removed AND number < %s AND {}
            AND position(%s IN search) > 0
    ) SELECT * FROM found ORDER BY number DESC LIMIT %s"""


def page_query(
    wanted: Filter, text: str, after: Cursor, limit: int, actions: Mapping[str, ListActions] = NO_ACTIONS
) -> Query:
    """Return the query for a page of `wanted`, which looks for the folded `text` in each task that it reads.

    Of lists with `actions` all rows are read: indexes by stage have the entries under the stages of their
    rows, which may be outdated.
    """
    lists = set(actions) if wanted.playlist_id is None else {wanted.playlist_id} & set(actions)
    lists = set() if wanted.is_folded else lists
    order = {"queue": _QUEUE_ORDER, "ended": _ENDED_MERGED, "oldest": _OLDEST, "newest": _NEWEST}[
        wanted.sorting
    ]
    parts = [
        query
        for playlist_id in sorted(lists)
        if (query := _of_list(playlist_id, actions[playlist_id], wanted, text, after, limit))
    ]
    if wanted.playlist_id is None or not lists:
        parts += _of_others(wanted, text, after, limit, sorted(lists))
    return _merged(parts or [(_COLUMNS + " AND false", [])], order, limit)


def _of_list(
    playlist_id: str, acted: ListActions, wanted: Filter, text: str, after: Cursor, limit: int
) -> Query | None:
    """Return the query for entries of a list by what they show; None if they are removed with the list."""
    if acted[-1][0] == REMOVAL:
        return None
    entries, rank, values = EntrySql(acted, POSTGRESQL), "priority", list[object]([playlist_id])
    order, name = _NEWEST, "priority"
    match wanted.sorting:
        case "queue":
            rank, order = entries.urgency, _QUEUE_ORDER
            where = f"({rank} = %s AND number > %s OR {rank} < %s)"
            values += [after.rank, after.number, after.rank]
        case "ended":
            rank, order, name = f"extract(epoch FROM {entries.ended_at})::bigint", _ENDED_MERGED, "rank"
            where = f"({rank} = %s AND number < %s OR {rank} < %s)"
            values += [after.rank, after.number, after.rank]
        case "oldest":
            order, where = _OLDEST, "number > %s"
            values.append(after.number)
        case "newest":
            where = "number < %s"
            values.append(after.number)
    sql = f"SELECT number, {rank} AS {name}, status FROM tasks "  # noqa: S608
    sql += f"WHERE playlist_id = %s AND NOT removed AND {where}"
    sql += f" AND {entries.in_stages(wanted.stages)}" if wanted.stages else ""
    if wanted.owner is not None:
        sql, values = sql + _OF_OWNER, [*values, wanted.owner]
    if text:
        return sql + _CONTAINING + order, [*values, text, limit]
    return sql + order, [*values, limit]


def _of_others(wanted: Filter, text: str, after: Cursor, limit: int, without: Sequence[str]) -> list[Query]:
    """Return the queries for all tasks except entries of the lists `without`."""
    narrow, of_list = "", list[object]()
    if wanted.playlist_id is not None:
        narrow, of_list = " AND playlist_id = %s", [wanted.playlist_id]
    elif wanted.is_folded:
        narrow = " AND playlist_id IS NULL"
    elif without:
        narrow, of_list = _OF_OTHERS, [list(without)]
    mine: list[object] = [] if wanted.owner is None else [wanted.owner]
    of_owner = _OF_OWNER if mine else ""
    narrow, of_list = narrow + of_owner, [*of_list, *mine]
    if wanted.sorting == "queue":
        return [
            _part(" AND stage = 'queued' AND priority = %s AND number > %s" + narrow, text, _QUEUE_ORDER,
                  limit, after.rank, after.number, *of_list),
            _part(" AND stage = 'queued' AND priority < %s" + narrow, text, _QUEUE_ORDER, limit,
                  after.rank, *of_list),
        ]  # fmt: skip
    if wanted.sorting == "ended":
        rank = min(after.rank, _LATEST)
        end = narrow + (_CONTAINING if text else "") + _ENDED_ORDER
        bound = [*of_list, *([text] if text else []), limit]
        return [
            part
            for stage in wanted.stages
            for part in (
                (_ENDED + _SAME_SECOND + end, [stage.value, rank, after.number, *bound]),
                (_ENDED + _EARLIER + end, [stage.value, rank, *bound]),
            )
        ]
    if wanted.sorting == "oldest":
        where = " AND stage = %s AND number > %s" + narrow
        return [
            _part(where, text, _OLDEST, limit, stage.value, after.number, *of_list) for stage in wanted.stages
        ]
    if wanted.playlist_id is not None:
        where = " AND playlist_id = %s AND number < %s AND stage || '' = ANY(%s)" + of_owner
        stages = _values(wanted.stages or tuple(Stage))
        return [_part(where, text, _NEWEST, limit, wanted.playlist_id, after.number, stages, *mine)]
    if not wanted.stages:
        return [_part(" AND number < %s" + narrow, text, _NEWEST, limit, after.number, *of_list)]
    where = " AND stage = %s AND number < %s" + narrow
    stages = _values(list(dict.fromkeys(wanted.stages)))
    return [_part(where, text, _NEWEST, limit, stage, after.number, *of_list) for stage in stages]


def window_query(
    stages: Sequence[Stage],
    text: str,
    first: int,
    end: int,
    limit: int,
    actions: Mapping[str, ListActions] = NO_ACTIONS,
) -> Query:
    """The first step of a search: tasks from number `first` on and before `end`."""
    where = f" AND number >= %s AND number < %s AND {_in_stages(stages, actions)}"
    return _part(where, text, _NEWEST, limit, first, end, *_of_stages(stages, actions))


def indexed_query(
    stages: Sequence[Stage],
    text: str,
    end: int,
    limit: int,
    actions: Mapping[str, ListActions] = NO_ACTIONS,
) -> Query:
    if actions:  # the rows of ended entries may be among unfinished ones, and the reverse
        either = _in_stages(stages, actions)
        values = _of_stages(stages, actions)
        sql = _INDEXED.format(either, either)
        return sql, [grams_query(text), end, *values, text, end, *values, text, limit]
    final = [stage for stage in stages if stage.is_final]
    live = [stage for stage in stages if not stage.is_final]
    sql = _INDEXED.format("stage || '' = ANY(%s)", "stage = ANY(%s)")
    return sql, [grams_query(text), end, _values(final), text, end, _values(live), text, limit]


def _in_stages(stages: Sequence[Stage], actions: Mapping[str, ListActions]) -> str:
    """SQL: whether a task is in one of `stages`; its values are those of `_of_stages`."""
    if not actions:
        return "stage || '' = ANY(%s)"
    lists = " ".join(
        f"WHEN playlist_id = %s THEN {EntrySql(acted, POSTGRESQL).in_stages(stages)}"
        for acted in actions.values()
    )
    return f"CASE {lists} ELSE stage || '' = ANY(%s) END"


def _of_stages(stages: Sequence[Stage], actions: Mapping[str, ListActions]) -> list[object]:
    return [*actions, _values(stages)]


def grams_query(text: str) -> str:
    """Return a `tsquery` for trigrams from all over `text`, or for all that begin with a shorter `text`."""
    if len(text) < GRAM:
        return _quoted(text) + ":*"
    grams = list(dict.fromkeys(text[i : i + GRAM] for i in range(len(text) - GRAM + 1)))
    return " & ".join(_quoted(gram) for gram in grams[:: len(grams) // MOST_GRAMS + 1])


def _merged(parts: Sequence[Query], order: str, limit: int) -> Query:
    sql = " UNION ALL ".join("(" + sql + ")" for sql, _ in parts)
    values = [value for _, bound in parts for value in bound]
    return _MERGED.format(sql) + order, [*values, limit]


def _part(where: str, text: str, order: str, limit: int, *values: object) -> Query:
    if text:
        return _COLUMNS + where + _CONTAINING + order, [*values, text, limit]
    return _COLUMNS + where + order, [*values, limit]


def _values(stages: Sequence[Stage]) -> list[str]:
    return [stage.value for stage in stages]


def _quoted(gram: str) -> str:
    return "'" + gram.replace("\\", "\\\\").replace("'", "''") + "'"
