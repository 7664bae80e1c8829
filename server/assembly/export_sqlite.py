"""Reads all rows of a database, to be copied to another one; see `server.assembly.copying`.

Rows are not parsed here: those that another release wrote, and damaged ones, are copied as they are.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import aiosqlite

from server.core.unusable import DatabaseUnusable
from server.files.cookie_folder import LocalCookies
from server.storage.sqlite.connection import DATABASE, connect_from_outside, explain_errors
from server.storage.sqlite.data_dir_lock import LOCK, open_lock
from server.storage.sqlite.database_backup import is_there
from server.storage.sqlite.migrations import released_scripts, verify

BATCH = 500  # rows
_ROWS = """
    SELECT number, task_id, revision, stage, priority, request, status, short, idempotency,
        idempotency_request, search, ended_at, removed, playlist_id, playlist_index, wish, owner
    FROM tasks WHERE number > ? ORDER BY number LIMIT ?"""
_SESSIONS = "SELECT number, session_id, scope, ends_at, way, token_id, about FROM sessions ORDER BY number"
_DELIVERIES = """
    SELECT number, delivery_id, task_id, kind, target, status, attempts, step, last_error, next_at, receiver,
        claimed_until, subscription_id
    FROM deliveries ORDER BY number"""
_OF_SUBSCRIPTIONS = (
    "subscription_id", "number", "revision", "url", "source_key", "wish", "host", "manner", "scope",
    "wanted", "findings", "next_check_at", "lease_until", "check_no", "keep_at", "created_at",
    "search", "owner", "created_by",
)  # fmt: skip
_OF_ITEMS = (
    "subscription_id", "key", "number", "state", "reason", "published_at", "task_id", "manner",
    "not_before", "tries", "pinned", "found_at", "fetched_at", "about", "search",
)  # fmt: skip
_OF_FILE_SETS = (
    "set_id", "holder", "key", "task_id", "wanted", "state", "reason", "about", "show", "folder",
    "series", "day", "day_index", "shares", "not_before", "lease_until", "try_no", "tries", "placed_at",
)  # fmt: skip
# Tables that are the same in both databases -> how many of the first columns are the key, and all columns.
ALIKE: dict[str, tuple[int, tuple[str, ...]]] = {
    "media": (1, ("key", "fetched_at", "task_id", "manners", "about")),
    "aliases": (1, ("alias", "key")),
    "subscriptions": (1, _OF_SUBSCRIPTIONS),
    "items": (2, _OF_ITEMS),
    "source_hosts": (1, ("host", "next_look_at", "held_until", "holds")),
    "feeds": (1, ("subscription_id", "name")),
    "secrets": (1, ("name", "value")),
    "file_sets": (1, _OF_FILE_SETS),
    "list_actions": (2, ("playlist_id", "number", "told", "owed")),
    "shared_keys": (1, ("key", "hashes", "task_id")),
    "links": (1, ("link_id", "task_id", "kind", "name", "made_at", "expires_at")),
    "source_pictures": (2, ("subscription_id", "role", "body", "small")),
    "people": (1, ("name", "role", "password", "subject", "limits", "added_at", "leaving", "adopts")),
    "tokens": (1, ("token_id", "hash", "name", "label", "created_at", "expires_at", "used_at")),
    "versions": (1, ("subject", "version")),
    "downloaded": (2, ("name", "hour", "bytes")),
    "audit": (1, ("number", "at", "who", "what", "subject", "address", "request_id")),
    "placed": (1, ("folded", "path", "set_id", "kind", "size", "sha256", "state")),
}
# Tables with rows of some hundred thousand bytes -> how many rows are read at once.
_LARGE = {"source_pictures": 20}
_LAST_NUMBER = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = ?"


def batch_of(table: str) -> int:
    """Return how many rows of a table of `ALIKE` are read at once."""
    return min(BATCH, _LARGE.get(table, BATCH))


def page_of(table: str, last: Sequence[Any] | None, place: str) -> str:
    """The query for `ExportedRows.alike_after`; `place` is the database's placeholder."""
    parts, columns = ALIKE[table]
    key = ", ".join(columns[:parts])
    behind = f"WHERE ({key}) > ({', '.join([place] * len(last))})" if last else ""
    names = ", ".join(columns)
    return f"SELECT {names} FROM {table} {behind} ORDER BY {key} LIMIT {place}"  # noqa: S608


class Row(NamedTuple):
    """A task, column by column."""

    number: int
    task_id: str
    revision: int
    stage: str
    priority: int
    request: str
    status: str
    short: str | None
    idempotency: str | None
    idempotency_request: str | None
    search: str
    ended_at: int | None  # seconds since 1970
    removed: int
    playlist_id: str | None
    playlist_index: int | None
    wish: str | None
    owner: str | None


class SessionRow(NamedTuple):
    number: int
    session_id: str
    scope: str
    ends_at: float  # seconds since 1970
    way: str
    token_id: int | None
    about: str


class CookieRow(NamedTuple):
    """A cookie file; on one machine it lies on the disk, not in the database."""

    name: str
    put: str
    content: str


class PauseRow(NamedTuple):
    queue: str


class DeliveryRow(NamedTuple):
    """A delivery to a webhook or to people."""

    number: int
    delivery_id: str
    task_id: str | None
    kind: str
    target: str
    status: str
    attempts: int
    step: int
    last_error: str | None
    next_at: float | None  # seconds since 1970
    receiver: str
    claimed_until: float | None  # seconds since 1970
    subscription_id: str | None


class ExportedRows:
    """Reads the rows. `mended` has the numbers of tasks in which U+FFFD has replaced a NUL or invalid
    UTF-8.
    """

    def __init__(self, db: aiosqlite.Connection, cookies: Path) -> None:
        self._db = db
        self._cookies = cookies
        self.mended: set[int] = set()

    async def rows_after(self, number: int) -> list[Row]:
        """Up to `BATCH` rows of greater numbers, in their order; none at the end."""
        found = await self._db.execute_fetchall(_ROWS, (number, BATCH))
        return [Row(*self._texts(row[0], row)) for row in found]

    async def sessions(self) -> list[SessionRow]:
        return [SessionRow(*self._texts(0, row)) for row in await self._db.execute_fetchall(_SESSIONS)]

    async def cookies(self) -> list[CookieRow]:
        """Raises `DatabaseUnusable` if one cannot be read."""
        stored = LocalCookies(self._cookies)
        try:
            found = [(name, await stored.get(name)) for name in await stored.names()]
        except (OSError, ValueError) as error:
            raise DatabaseUnusable(self._cookies, f"cannot be read ({error})") from error
        return [CookieRow(name, cookies.put, cookies.text) for name, cookies in found if cookies]

    async def pauses(self) -> list[PauseRow]:
        found = await self._db.execute_fetchall("SELECT queue FROM pauses ORDER BY queue")
        return [PauseRow(*self._texts(0, row)) for row in found]

    async def deliveries(self) -> list[DeliveryRow]:
        return [DeliveryRow(*self._texts(0, row)) for row in await self._db.execute_fetchall(_DELIVERIES)]

    async def alike_after(self, table: str, last: Sequence[Any] | None) -> list[tuple[Any, ...]]:
        """Return the next rows of a table of `ALIKE` after the key `last`, in the order of keys."""
        values = (*(last or ()), batch_of(table))
        found = await self._db.execute_fetchall(page_of(table, last, "?"), values)
        return [tuple(self._texts(0, row)) for row in found]

    async def last_number(self, table: str) -> int:
        """Return the greatest number ever given to a row of the table: numbers are never reused."""
        [(last,)] = await self._db.execute_fetchall(_LAST_NUMBER, (table,))
        return int(last)

    def _texts(self, number: int, row: Sequence[Any]) -> list[Any]:
        """Return the row with texts that PostgreSQL accepts."""
        texts = list(row)
        for place, value in enumerate(row):
            if isinstance(value, bytes):
                texts[place] = value.decode(errors="replace").replace("\0", "\ufffd")
                if texts[place].encode() != value:
                    self.mended.add(number)
        return texts


@asynccontextmanager
async def open_source(data_dir: Path) -> AsyncIterator[ExportedRows]:
    """Read the database of `data_dir` without changing a byte of it; no server can start on it meanwhile.

    Raises `DataDirInUse`, at once if a server runs, and `DatabaseUnusable`.
    """
    path = data_dir / DATABASE
    if not is_there(path):
        raise DatabaseUnusable(path, "is not there: storage.data_dir names the installation that is copied")
    async with _held(data_dir):
        with explain_errors(path):
            async with connect_from_outside(path) as db:
                newest = released_scripts()[-1].number
                version = await verify(db, path, newest)
                if version < newest:
                    why = f"is of an older release (schema {version}, this one writes {newest})"
                    raise DatabaseUnusable(path, f"{why}: start this server on it once, then stop it")
                db.text_factory = bytes
                yield ExportedRows(db, data_dir / "cookies")


@asynccontextmanager
async def _held(data_dir: Path) -> AsyncIterator[None]:
    """Hold the lock on the directory, with our process id in the lock file; afterwards restore that file's
    content.
    """
    path = data_dir / LOCK
    before = path.read_bytes() if path.exists() else b""
    async with open_lock(data_dir, patience=0):
        try:
            yield
        finally:
            path.write_bytes(before)
