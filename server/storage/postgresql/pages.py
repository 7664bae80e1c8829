"""Builds the queries for pages of tasks (keyset pagination), and for a search of a text in two steps.

A page begins after the sort key of the last task of the page before; each part of a query follows an index in
the page's order. A search first reads the newest tasks, where a common text is found soon; a rarer one is
then looked up in the index of trigrams. PostgreSQL's planner would choose between the two by estimates that
are wrong by orders of magnitude, so `SEARCH_SETTINGS` leave it no choice.
"""

from collections.abc import Sequence
from typing import Any

from server.core.models import Stage
from server.core.ports import Filter
from server.storage.cursor import Cursor

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

Query = tuple[str, list[object]]  # SQL, and the values bound to it
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
LAST_NUMBER = "SELECT coalesce(max(number), 0) FROM tasks"
# Expressions in the place of plain columns keep the planner from other indexes than that of trigrams.
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
    """The query for a page of `wanted`, which looks for the folded `text` in each task that it reads."""
    narrow, of_list = (
        (" AND playlist_id = %s", [wanted.playlist_id]) if wanted.playlist_id is not None else ("", [])
    )
    narrow = " AND playlist_id IS NULL" if wanted.is_folded else narrow
    if wanted.sorting == "queue":
        return _merged(
            [
                _part(" AND stage = 'queued' AND priority = %s AND number > %s" + narrow, text, _QUEUE_ORDER,
                      limit, after.rank, after.number, *of_list),
                _part(" AND stage = 'queued' AND priority < %s" + narrow, text, _QUEUE_ORDER, limit,
                      after.rank, *of_list),
            ],
            _QUEUE_ORDER,
            limit,
        )  # fmt: skip
    if wanted.sorting == "ended":
        rank = min(after.rank, _LATEST)
        end = narrow + (_CONTAINING if text else "") + _ENDED_ORDER
        bound = [*of_list, *([text] if text else []), limit]
        ended: list[Query] = [
            part
            for stage in wanted.stages
            for part in (
                (_ENDED + _SAME_SECOND + end, [stage.value, rank, after.number, *bound]),
                (_ENDED + _EARLIER + end, [stage.value, rank, *bound]),
            )
        ]
        return _merged(ended, _ENDED_MERGED, limit)
    if wanted.sorting == "oldest":
        where = " AND stage = %s AND number > %s" + narrow
        return _merged(
            [
                _part(where, text, _OLDEST, limit, stage.value, after.number, *of_list)
                for stage in wanted.stages
            ],
            _OLDEST,
            limit,
        )
    if wanted.playlist_id is not None:
        where = " AND playlist_id = %s AND number < %s AND stage || '' = ANY(%s)"
        stages = _values(wanted.stages or tuple(Stage))
        return _part(where, text, _NEWEST, limit, wanted.playlist_id, after.number, stages)
    if not wanted.stages:
        return _part(" AND number < %s" + narrow, text, _NEWEST, limit, after.number)
    where = " AND stage = %s AND number < %s" + narrow
    stages = _values(list(dict.fromkeys(wanted.stages)))
    parts = [_part(where, text, _NEWEST, limit, stage, after.number) for stage in stages]
    return _merged(parts, _NEWEST, limit)


def window_query(stages: Sequence[Stage], text: str, first: int, end: int, limit: int) -> Query:
    """The first step of a search: tasks from number `first` on and before `end`."""
    where = " AND number >= %s AND number < %s AND stage || '' = ANY(%s)"
    return _part(where, text, _NEWEST, limit, first, end, _values(stages))


def indexed_query(stages: Sequence[Stage], text: str, end: int, limit: int) -> Query:
    final = [stage for stage in stages if stage.is_final]
    live = [stage for stage in stages if not stage.is_final]
    values = [grams_query(text), end, _values(final), text, end, _values(live), text, limit]
    return _INDEXED, values


def grams_query(text: str) -> str:
    """A `tsquery` for trigrams of `text`, spread over it, or for any that begins with a shorter `text`."""
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
