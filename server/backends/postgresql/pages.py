"""Pages of tasks, and the search of a text in two steps.

A page begins behind the last task of the one before, by value; each part of a query follows an index in the
page's order. A search first looks through the newest tasks, where a text that is common is found soon; what
is rarer is then asked of the index of trigrams. PostgreSQL would choose between the two by estimates that
are wrong by orders of magnitude, so it is not let: see `SEARCH_SETTINGS`.
"""

from collections.abc import Sequence
from typing import Any

from server.backends.cursor import Cursor
from server.models import Stage
from server.ports import Filter

WINDOW = 20_000  # tasks that the first step looks through
GRAM = 3
MOST_GRAMS = 32  # of a long text; the index only narrows down
# The second step: only a bitmap of the index, exact to the row: to make its trigrams costs 0.1 ms.
SEARCH_SETTINGS = (
    "work_mem = '64MB'",
    "enable_seqscan = off",
    "enable_indexscan = off",
    "enable_indexonlyscan = off",
    "max_parallel_workers_per_gather = 0",
    "jit = off",
)

Query = tuple[str, list[object]]  # SQL, and the values bound to it
Row = Sequence[Any]  # number, priority, status

_COLUMNS = "SELECT number, priority, status FROM tasks WHERE NOT removed"
_NEWEST = " ORDER BY number DESC LIMIT %s"
_QUEUE_ORDER = " ORDER BY priority DESC, number LIMIT %s"
_CONTAINING = " AND position(%s IN search) > 0"
_MERGED = "SELECT * FROM ({}) AS merged"
LAST_NUMBER = "SELECT coalesce(max(number), 0) FROM tasks"
# Expressions in the place of plain columns keep other indexes than that of trigrams out.
_INDEXED = """
    WITH found AS MATERIALIZED (
        SELECT number, priority, status FROM tasks
        WHERE ended_at IS NOT NULL AND grams(search) @@ %s::tsquery
            AND (NOT removed) IS TRUE AND number + 0 < %s AND stage || '' = ANY(%s)
            AND position(%s IN search) > 0
        UNION ALL
        SELECT number, priority, status FROM tasks
        WHERE ended_at IS NULL AND NOT removed AND number < %s AND stage = ANY(%s)
            AND position(%s IN search) > 0
    ) SELECT * FROM found ORDER BY number DESC LIMIT %s"""


def page_query(wanted: Filter, text: str, after: Cursor, limit: int) -> Query:
    """All that is wanted, in its order; `text` is folded, and looked for in each task."""
    if wanted.is_queue:
        narrow, of_list = (" AND playlist_id = %s", [wanted.playlist_id]) if wanted.playlist_id else ("", [])
        return _merged(
            [
                _part(" AND stage = 'queued' AND priority = %s AND number > %s" + narrow, text, _QUEUE_ORDER,
                      limit, after.priority, after.number, *of_list),
                _part(" AND stage = 'queued' AND priority < %s" + narrow, text, _QUEUE_ORDER, limit,
                      after.priority, *of_list),
            ],
            _QUEUE_ORDER,
            limit,
        )  # fmt: skip
    if wanted.playlist_id:
        where = " AND playlist_id = %s AND number < %s AND stage || '' = ANY(%s)"
        stages = _values(wanted.stages or tuple(Stage))
        return _part(where, text, _NEWEST, limit, wanted.playlist_id, after.number, stages)
    if not wanted.stages:
        return _part(" AND number < %s", text, _NEWEST, limit, after.number)
    where = " AND stage = %s AND number < %s"
    stages = _values(list(dict.fromkeys(wanted.stages)))
    parts = [_part(where, text, _NEWEST, limit, stage, after.number) for stage in stages]
    return _merged(parts, _NEWEST, limit)


def window_query(stages: Sequence[Stage], text: str, first: int, end: int, limit: int) -> Query:
    """Those from number `first` on and before `end`."""
    where = " AND number >= %s AND number < %s AND stage || '' = ANY(%s)"
    return _part(where, text, _NEWEST, limit, first, end, _values(stages))


def indexed_query(stages: Sequence[Stage], text: str, end: int, limit: int) -> Query:
    final = [stage for stage in stages if stage.is_final]
    live = [stage for stage in stages if not stage.is_final]
    values = [grams_query(text), end, _values(final), text, end, _values(live), text, limit]
    return _INDEXED, values


def grams_query(text: str) -> str:
    """As a `tsquery`: all trigrams of a text, spread over it, or those that begin with a shorter one."""
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
