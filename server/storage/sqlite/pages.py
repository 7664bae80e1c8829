"""Builds the query for a page of tasks (keyset pagination), also of those that contain a text.

A page begins after the sort key of the last task of the page before. Each of the queries that make a page
follows an index in the page's order, so the last page costs what the first does; SQLite merges them as it
reads.

A text is found anywhere in title, uploader or URL, whatever its case, among a million tasks. An index of
trigrams (SQLite's FTS5) names the tasks that may hold the text; `instr` then decides. A text of one or two
characters, which many Chinese words are, stands for all trigrams that begin with it.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from types import MappingProxyType

from server.core.entry_status import REMOVAL, ListActions
from server.core.ports import Filter
from server.core.task import Stage
from server.storage.cursor import Cursor
from server.storage.entry_rows import SQLITE, EntrySql
from server.storage.sqlite.connection import Reader
from server.storage.task_queries import Query, TaskSql

GRAM = 3
MOST_GRAMS = 64  # trigrams of a long text: the index only narrows the search down, `instr` decides
# If more trigrams than this begin with a text, it is so common that reading the newest tasks finds it soon.
MOST_BEGINNINGS = 2000

_COLUMNS = "SELECT number, priority, status FROM tasks "
_ALL = _COLUMNS + "WHERE removed = 0 AND number < ?"
_STAGE = _COLUMNS + "WHERE stage = ? AND removed = 0 AND number < ?"
# Left to itself, SQLite would take the index of stages here and sort.
_QUEUED = "SELECT number, priority, status FROM tasks INDEXED BY tasks_queue "
_QUEUE_SAME = _QUEUED + "WHERE stage = 'queued' AND removed = 0 AND priority = ? AND number > ?"
_QUEUE_LOWER = _QUEUED + "WHERE stage = 'queued' AND removed = 0 AND priority < ?"
_PLAYLIST = (
    "SELECT number, priority, status FROM tasks INDEXED BY tasks_playlist "
    "WHERE playlist_id = ? AND removed = 0 AND number < ? AND stage IN (SELECT value FROM json_each(?))"
)
_OF_PLAYLIST = " AND playlist_id = ?"
_OF_OWNER = " AND owner = ?"
_OF_NO_PLAYLIST = " AND playlist_id IS NULL"
_OF_OTHERS = " AND (playlist_id IS NULL OR playlist_id NOT IN (SELECT value FROM json_each(?)))"
_MATCHING = (
    # CROSS keeps SQLite from reading the table first. The index knows trigrams only: `instr` decides.
    "SELECT tasks_text.rowid AS number, priority, status FROM tasks_text CROSS JOIN tasks "
    "ON tasks.number = tasks_text.rowid WHERE tasks_text MATCH ? AND tasks_text.rowid < ? AND removed = 0"
)
_OLDER = _COLUMNS + "WHERE stage = ? AND removed = 0 AND number > ?"
_ENDED = (
    "SELECT number, ended_at, status FROM tasks INDEXED BY tasks_stage_ended WHERE stage = ? "
    "AND ended_at IS NOT NULL AND removed = 0 AND "
)
TASKS = TaskSql(
    SQLITE, "?", "removed = 0", " INDEXED BY tasks_playlist", _OF_OTHERS, json.dumps, "error_code"
)
_CONTAINING = " AND instr(search, ?) > 0"
_ORDERS = {
    "newest": " ORDER BY number DESC LIMIT ?",
    "oldest": " ORDER BY number LIMIT ?",
    "queue": " ORDER BY priority DESC, number LIMIT ?",
    "ended": " ORDER BY ended_at DESC, number DESC LIMIT ?",
}


class Unindexed(Enum):
    """Why final tasks are not looked up in the index."""

    READ = "the index would name nearly all of them: they are read, from the newest on"
    NONE = "no final tasks are wanted, or none has the text"


Match = str | Unindexed  # an expression of FTS5, or why there is none


async def match_expression(db: Reader, text: str, stages: Sequence[Stage]) -> Match:
    """Return the FTS5 expression for the folded `text` in tasks of `stages`, or why the index is not used."""
    if not text:
        return Unindexed.READ
    if not any(stage.is_final for stage in stages):
        return Unindexed.NONE
    if len(text) >= GRAM:
        # Trigrams from all over the text, since the beginnings of URLs are alike.
        grams = list(dict.fromkeys(text[i : i + GRAM] for i in range(len(text) - GRAM + 1)))
        wanted = [_quoted(gram) for gram in grams[:: len(grams) // MOST_GRAMS + 1]]
    else:  # a task contains a shorter text if it contains a trigram that begins with it
        if len(text) == 1 and text.isascii() and text.isalnum():
            # Nearly every URL has this text, and the index would take long to find that out.
            return Unindexed.READ
        sql = "SELECT term FROM tasks_trigrams WHERE term >= ? AND term < ? LIMIT ?"
        rows = await db.fetch(sql, (text, text + "\U0010ffff", MOST_BEGINNINGS + 1))
        if len(rows) > MOST_BEGINNINGS:
            return Unindexed.READ
        if not rows:
            return Unindexed.NONE
        wanted = [_any_of(term for (term,) in rows)]
    # The indexed text of a final task ends with a mark for its stage (see the column `words`).
    final = [stage for stage in Stage if stage.is_final]
    if not set(stages).issuperset(final):
        wanted.append(_any_of("\x01" + stage.value[:2] for stage in final if stage in stages))
    return " AND ".join(wanted)


def page_query(
    wanted: Filter,
    text: str,
    match: Match,
    after: Cursor,
    limit: int,
    actions: Mapping[str, ListActions] = MappingProxyType({}),
) -> Query | None:
    """Return SQL and its values for rows of number, rank and status; None if there is nothing to find.

    A person's own tasks are found by indexes that begin with the owner, so that they cost what they cost a
    server that has no others; a text is looked for in each of them.

    `text` is folded; `match` is what `match_expression` made of it. Of lists with `actions` all rows are
    read: their entries are not where the other indexes have them.
    """
    lists = set(actions) if wanted.playlist_id is None else {wanted.playlist_id} & set(actions)
    lists = set() if wanted.is_folded else lists
    queries = [
        _containing(text, *query)
        for playlist_id in sorted(lists)
        if (query := _of_list(playlist_id, actions[playlist_id], wanted, after))
    ]
    if wanted.playlist_id is None or not lists:
        queries += _queries(wanted, text, match, after, lists)
    if not queries:
        return None
    values = [value for _, bound in queries for value in bound]
    return " UNION ALL ".join(sql for sql, _ in queries) + _ORDERS[wanted.sorting], [*values, limit]


def _of_list(playlist_id: str, acted: ListActions, wanted: Filter, after: Cursor) -> Query | None:
    """Return the query for entries of a list by what they show; None if they are removed with the list."""
    if acted[-1][0] == REMOVAL:
        return None
    entries, number = EntrySql(acted, SQLITE), "number > ?" if wanted.sorting == "oldest" else "number < ?"
    rank, values = "priority", list[object]([playlist_id])
    if wanted.sorting == "queue":
        rank, where = entries.urgency, f"({entries.urgency} = ? AND number > ? OR {entries.urgency} < ?)"
        values += [after.rank, after.number, after.rank]
    elif wanted.sorting == "ended":
        rank, where = entries.ended_at, f"({entries.ended_at} = ? AND number < ? OR {entries.ended_at} < ?)"
        values += [after.rank, after.number, after.rank]
    else:
        where = number
        values.append(after.number)
    name = "ended_at" if wanted.sorting == "ended" else "priority"
    sql = f"SELECT number, {rank} AS {name}, status FROM tasks INDEXED BY tasks_playlist "  # noqa: S608
    sql += f"WHERE playlist_id = ? AND removed = 0 AND {where}"
    if wanted.owner is not None:
        sql, values = sql + _OF_OWNER, [*values, wanted.owner]
    return (f"{sql} AND {entries.in_stages(wanted.stages)}" if wanted.stages else sql), values


def _queries(
    wanted: Filter, text: str, match: Match, after: Cursor, without: Collection[str]
) -> Iterator[Query]:
    """Yield the queries for all tasks except entries of the lists `without`."""
    playlist_id = wanted.playlist_id
    narrow, value = (_OF_PLAYLIST, list[object]([playlist_id])) if playlist_id is not None else ("", [])
    narrow = _OF_NO_PLAYLIST if wanted.is_folded else narrow
    if without:
        narrow, value = _OF_OTHERS, [json.dumps(sorted(without))]
    same, lower, ended = _QUEUE_SAME, _QUEUE_LOWER, _ENDED
    if wanted.owner is not None:
        narrow, value = narrow + _OF_OWNER, [*value, wanted.owner]
        same, lower = (sql.replace("tasks_queue", "tasks_owner_stage") for sql in (same, lower))
        ended = ended.replace("tasks_stage_ended", "tasks_owner_stage_ended")
    if wanted.sorting == "queue":
        yield _containing(text, same + narrow, [after.rank, after.number, *value])
        yield _containing(text, lower + narrow, [after.rank, *value])
    elif wanted.sorting == "ended":
        for stage in wanted.stages:
            # Thousands may have ended in one second.
            last: list[object] = [stage.value, after.rank, after.number, *value]
            yield _containing(text, ended + "ended_at = ? AND number < ?" + narrow, last)
            yield _containing(text, ended + "ended_at < ?" + narrow, [stage.value, after.rank, *value])
    elif wanted.sorting == "oldest":
        for stage in wanted.stages:
            yield _containing(text, _OLDER + narrow, [stage.value, after.number, *value])
    elif playlist_id is not None:
        stages = json.dumps([stage.value for stage in wanted.stages or Stage])
        sql, mine = (_OF_OWNER, [wanted.owner]) if wanted.owner is not None else ("", [])
        yield _containing(text, _PLAYLIST + sql, [playlist_id, after.number, stages, *mine])
    elif match is not Unindexed.READ:  # the index knows final tasks only
        live = [stage for stage in wanted.stages or tuple(Stage) if not stage.is_final]
        yield from _of_stages(live, text, after, narrow, value)
        if isinstance(match, str):
            yield _containing(text, _MATCHING + narrow, [match, after.number, *value])
    elif wanted.stages:
        yield from _of_stages(wanted.stages, text, after, narrow, value)
    else:
        yield _containing(text, _ALL + narrow, [after.number, *value])


def _of_stages(
    stages: Sequence[Stage], text: str, after: Cursor, narrow: str, value: Sequence[object]
) -> Iterator[Query]:
    for stage in dict.fromkeys(stages):
        yield _containing(text, _STAGE + narrow, [stage.value, after.number, *value])


def _containing(text: str, sql: str, values: list[object]) -> Query:
    return (sql + _CONTAINING, [*values, text]) if text else (sql, values)


def _any_of(terms: Iterable[str]) -> str:
    return f"({' OR '.join(map(_quoted, terms))})"


def _quoted(term: str) -> str:
    return '"' + term.replace('"', '""') + '"'
