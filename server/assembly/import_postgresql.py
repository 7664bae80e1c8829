"""Copies the rows of another database into this one, in one transaction: all of them, or none.

The rows are compared with the source before the COMMIT, one by one. An interrupted copy can be repeated: it
finds either an empty database or exactly the rows of the source.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from psycopg import AsyncConnection

from server.assembly.export_sqlite import (
    ALIKE,
    BATCH,
    DeliveryRow,
    ExportedRows,
    Row,
    SessionRow,
    batch_of,
    page_of,
)
from server.core.unusable import DatabaseUnusable
from server.storage.postgresql.connection import PLACE, answering, connected, explain_errors
from server.storage.postgresql.migrations import migrate, released_scripts
from server.storage.task_rows import read_task

BATCH_WITHIN = 120.0  # seconds that one batch may take
_NAMES = (
    "number, task_id, revision, stage, priority, request, status, short, "
    "idempotency, idempotency_request, search"
)
_INSERT = f"""
    INSERT INTO tasks (host, {_NAMES}, ended_at, removed, playlist_id, playlist_index, wish, owner)
    SELECT host, {_NAMES}, to_timestamp(ended), removed = 1, playlist_id, playlist_index, wish, owner
    FROM unnest(%s::text[], %s::bigint[], %s::text[], %s::bigint[], %s::text[], %s::integer[], %s::text[],
                %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::float8[], %s::integer[],
                %s::text[], %s::integer[], %s::text[], %s::text[])
        AS old (host, {_NAMES}, ended, removed, playlist_id, playlist_index, wish, owner)"""  # noqa: S608
_ROWS = f"""
    SELECT {_NAMES}, extract(epoch FROM ended_at)::bigint, removed::integer, playlist_id, playlist_index,
        wish, owner
    FROM tasks WHERE number > %s ORDER BY number LIMIT %s"""  # noqa: S608
_INSERT_SESSIONS = """
    INSERT INTO sessions (number, session_id, scope, ends_at, way, token_id, about)
    SELECT number, session_id, scope, to_timestamp(ends), way, token_id, about
    FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::float8[], %s::text[], %s::bigint[], %s::text[])
        AS old (number, session_id, scope, ends, way, token_id, about)"""
_SESSIONS = """
    SELECT number, session_id, scope, extract(epoch FROM ends_at)::float8, way, token_id, about
    FROM sessions ORDER BY number"""
_INSERT_COOKIES = """
    INSERT INTO cookies (name, put, content) SELECT name, put, content
    FROM unnest(%s::text[], %s::text[], %s::text[]) AS old (name, put, content)"""
_COOKIES = "SELECT name, put, content FROM cookies ORDER BY name"
_INSERT_PAUSES = "INSERT INTO pauses (queue) SELECT queue FROM unnest(%s::text[]) AS old (queue)"
_PAUSES = "SELECT queue FROM pauses ORDER BY queue"
_OF_DELIVERIES = "number, delivery_id, task_id, kind, target, status, attempts, step, last_error"
_INSERT_DELIVERIES = f"""
    INSERT INTO deliveries ({_OF_DELIVERIES}, next_at, receiver, claimed_until, subscription_id)
    SELECT {_OF_DELIVERIES}, to_timestamp(next), receiver, to_timestamp(claimed), subscription_id
    FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::integer[],
                %s::integer[], %s::text[], %s::float8[], %s::text[], %s::float8[],
                %s::text[])
        AS old ({_OF_DELIVERIES}, next, receiver, claimed, subscription_id)"""  # noqa: S608
_DELIVERIES = f"""
    SELECT {_OF_DELIVERIES}, extract(epoch FROM next_at)::float8, receiver,
        extract(epoch FROM claimed_until)::float8, subscription_id
    FROM deliveries ORDER BY number"""  # noqa: S608
# Make the queue of jobs be filled from the tasks: no copied task has a job yet.
_FALL_BEHIND = "INSERT INTO backlog VALUES ('all')"
_HOLD = ("tasks", "sessions", "cookies", "pauses", *ALIKE)
_IS_EMPTY = f"SELECT NOT ({' OR '.join(f'EXISTS (SELECT FROM {table})' for table in _HOLD)})"  # noqa: S608
_ALONE = f"LOCK TABLE deliveries, {', '.join(_HOLD)} IN EXCLUSIVE MODE"
# The index of texts is dropped, and built at the end: updating it row by row takes most of the time.
_INDEX = "SELECT pg_get_indexdef('tasks_grams'::regclass)"
_WITHOUT_INDEX = "DROP INDEX tasks_grams"
_ROOM_FOR_INDEX = "SET LOCAL maintenance_work_mem = '256MB'"
_GO_ON = "SELECT setval(pg_get_serial_sequence(%s, %s), %s)"


async def holds_already(url: str, source: ExportedRows) -> bool:
    """Say whether the database has all rows of `source`; False if it is empty.

    Makes its tables if there are none. Raises `DatabaseUnusable`, also if it has other rows.
    """
    with explain_errors():
        async with connected(url) as db:
            await migrate(db, released_scripts())
            if await _is_empty(db):
                return False
            await _compare(db, source)
            return True


async def bring(url: str, source: ExportedRows) -> None:
    """Copy all rows of `source` into the database `url`, unless they are there. Raises `DatabaseUnusable`."""
    with explain_errors():
        async with connected(url) as db, db.transaction():
            with answering(db, BATCH_WITHIN):
                await db.execute(_ALONE)  # running nodes cannot write until the COMMIT
            if await _is_empty(db):
                [(index,)] = await (await db.execute(_INDEX)).fetchall()
                await db.execute(_WITHOUT_INDEX)
                last = 0
                while rows := await source.rows_after(last):
                    last = rows[-1].number
                    with_hosts = []
                    for row in rows:
                        host = ""
                        with suppress(ValueError):  # the row is damaged: nothing will be fetched for it
                            host = read_task(row.number, row.request, row.status).status.host
                        with_hosts.append((host, *row))
                    with answering(db, BATCH_WITHIN):
                        await db.execute(_INSERT.encode(), _columns(with_hosts))
                await db.execute(_ROOM_FOR_INDEX)
                await db.execute(index.encode())  # takes minutes for millions of rows
                await db.execute(_FALL_BEHIND)
                if sessions := await source.sessions():
                    await db.execute(_INSERT_SESSIONS, _columns(sessions))
                    await db.execute(_GO_ON, ("sessions", "number", sessions[-1].number))
                if cookies := await source.cookies():
                    await db.execute(_INSERT_COOKIES, _columns(cookies))
                if pauses := await source.pauses():
                    await db.execute(_INSERT_PAUSES, _columns(pauses))
                if deliveries := await source.deliveries():
                    await db.execute(_INSERT_DELIVERIES.encode(), _columns(deliveries))
                    await db.execute(_GO_ON, ("deliveries", "number", deliveries[-1].number))
                for table, (parts, columns) in ALIKE.items():
                    names = ", ".join(columns)
                    insert = f"INSERT INTO {table} ({names}) VALUES ({', '.join(['%s'] * len(columns))})"  # noqa: S608
                    behind = None
                    while found := await source.alike_after(table, behind):
                        behind = found[-1][:parts]
                        with answering(db, BATCH_WITHIN):
                            async with db.cursor() as cursor:
                                await cursor.executemany(insert.encode(), found)
                for table, column in (("tokens", "token_id"), ("audit", "number")):
                    if last_of := await source.last_number(table):
                        await db.execute(_GO_ON, (table, column, last_of))
                if number := max(last, await source.last_number("tasks")):
                    await db.execute(_GO_ON, ("tasks", "number", number))
            await _compare(db, source)


def _untimed(row: DeliveryRow) -> DeliveryRow:
    """Return the row without its times: PostgreSQL rounds them, so they cannot be compared."""
    return row._replace(next_at=None, claimed_until=None)


async def _is_empty(db: AsyncConnection) -> bool:
    row = await (await db.execute(_IS_EMPTY)).fetchone()
    return bool(row and row[0])


async def _compare(db: AsyncConnection, source: ExportedRows) -> None:
    """Compare the copied rows with the source. Raises `DatabaseUnusable` at the first difference."""
    last, are_left = 0, True
    while are_left:
        ours = await source.rows_after(last)
        with answering(db, BATCH_WITHIN):
            theirs = [Row(*row) for row in await (await db.execute(_ROWS.encode(), (last, BATCH))).fetchall()]
        if ours != theirs:
            raise _other(f"task number {min(row.number for row in {*ours} ^ {*theirs})}")
        are_left = bool(ours)
        last = ours[-1].number if ours else last
    found = [SessionRow(*row) for row in await (await db.execute(_SESSIONS)).fetchall()]
    known = await source.sessions()
    is_same = [row._replace(ends_at=0) for row in found] == [row._replace(ends_at=0) for row in known]
    # PostgreSQL rounds the ends to microseconds.
    ends = zip(found, known, strict=False)
    if not is_same or any(abs(one.ends_at - other.ends_at) >= 0.001 for one, other in ends):
        raise _other("log-ins")
    if [tuple(row) for row in await source.cookies()] != await (await db.execute(_COOKIES)).fetchall():
        raise _other("cookies")
    if [tuple(row) for row in await source.pauses()] != await (await db.execute(_PAUSES)).fetchall():
        raise _other("a pause of the queue")

    due = [DeliveryRow(*row) for row in await (await db.execute(_DELIVERIES.encode())).fetchall()]
    known_due = await source.deliveries()
    if [_untimed(row) for row in due] != [_untimed(row) for row in known_due]:
        raise _other("deliveries to webhooks")
    for table in ALIKE:
        behind, are_left, parts = None, True, ALIKE[table][0]
        while are_left:
            here = await source.alike_after(table, behind)
            query, values = page_of(table, behind, "%s"), (*(behind or ()), batch_of(table))
            with answering(db, BATCH_WITHIN):
                there = await (await db.execute(query.encode(), values)).fetchall()
            if here != there:
                raise _other(table)
            are_left = bool(here)
            behind = here[-1][:parts] if here else behind


def _other(what: str) -> DatabaseUnusable:
    return DatabaseUnusable(PLACE, f"holds other rows than those that are copied ({what}): name an empty one")


def _columns(rows: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]
