"""Brings a database to this server's schema, one node at a time, and refuses one that it cannot work with.

A script that was released is never edited; the next number is added. Each is applied in one transaction
together with its number. That transaction waits for a lock for `LOCKED_WITHIN` at most, then lets others pass
and tries again. Such a script must not build an index on a table that may be large: all nodes would wait.

A script with the line `-- concurrently` runs outside of a transaction, statement by statement, while other
nodes work; its statements end with `;` at the end of a line. Its number is written last. As a kill may leave
any part of it done, it must be possible to apply the script again from its beginning.

Servers of two neighbouring releases work on one schema: a release only adds to it,
and the next one takes away what the release before still needed. A script that takes something away says
`-- oldest server: <n>`: servers whose newest script has a lower number cannot work with the schema any more.
"""

import asyncio
import logging
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable

from psycopg import AsyncConnection, DatabaseError, ProgrammingError
from psycopg.errors import DeadlockDetected, LockNotAvailable

from server.core.unusable import DatabaseUnusable
from server.storage.postgresql.advisory_locks import MIGRATE, locked_in_turn
from server.storage.postgresql.connection import PLACE, one_line

log = logging.getLogger(__name__)

LOCKED_WITHIN = 1.0  # seconds: all requests on a table wait behind a migration that waits for its lock
RETRY_LOCK_AFTER = 2.0  # seconds, in which waiting requests pass
GIVE_UP_AFTER = 120.0  # seconds
NOT_OURS = "belongs to another program: name an empty database"
_SCRIPT = re.compile(r"(?P<number>\d{4})_[a-z0-9_]+\.sql")
_OLDEST = re.compile(r"^-- oldest server: (?P<number>\d+)$", re.MULTILINE)
_CONCURRENTLY = re.compile(r"^-- concurrently$", re.MULTILINE)
_INCLUDE = re.compile(r"^-- include (?P<package>\w+)/(?P<path>\S+)$", re.MULTILINE)
_TABLE = """
    CREATE TABLE IF NOT EXISTS schema (
        version integer NOT NULL,
        oldest_server integer NOT NULL,
        is_one boolean PRIMARY KEY DEFAULT true CHECK (is_one)
    )"""
_SET = """
    INSERT INTO schema (version, oldest_server) VALUES (%(version)s, %(oldest)s)
    ON CONFLICT (is_one) DO UPDATE SET
        version = %(version)s, oldest_server = greatest(schema.oldest_server, %(oldest)s)"""


@dataclass(frozen=True, slots=True)
class Script:
    number: int
    sql: str

    @property
    def concurrent(self) -> list[str]:
        """The statements of a script that runs outside of a transaction."""
        if not _CONCURRENTLY.search(self.sql):
            return []
        return [each for each in re.split(r"(?<=;)$", self.sql, flags=re.MULTILINE) if ";" in each]

    @property
    def oldest_server(self) -> int:
        found = _OLDEST.search(self.sql)
        return int(found["number"]) if found else 0


def released_scripts() -> list[Script]:
    return scripts_in(resources.files("server.storage.postgresql") / "sql")


def scripts_in(folder: Traversable) -> list[Script]:
    """Return the scripts in the order of their numbers; other files in the folder are ignored."""
    found = [(name, file) for file in folder.iterdir() if (name := _SCRIPT.fullmatch(file.name))]
    scripts = []
    for name, file in found:
        # Each `-- include` line is replaced by a file of an installed package.
        whole = _INCLUDE.sub(
            lambda line: resources.files(line["package"]).joinpath(line["path"]).read_text("utf-8"),
            file.read_text("utf-8"),
        )
        scripts.append(Script(int(name["number"]), whole))
    return sorted(scripts, key=lambda script: script.number)


async def migrate(db: AsyncConnection, scripts: Sequence[Script]) -> int:
    """Apply the scripts that this database lacks; return its new version. Raises `DatabaseUnusable`."""
    async with locked_in_turn(db, MIGRATE):
        version = await verify(db, newest=scripts[-1].number)
        for script in scripts:
            if script.number > version:
                await _apply(db, script)
    return max(version, scripts[-1].number)


async def verify(db: AsyncConnection, newest: int) -> int:
    """Return the version, 0 for an empty database. Raises `DatabaseUnusable` if a server cannot use it."""
    row = await (await db.execute("SHOW server_encoding")).fetchone()
    if not row or row[0] != "UTF8":
        raise DatabaseUnusable(PLACE, f"is encoded in {row and row[0]}: make one with ENCODING 'UTF8'")
    if db.info.server_version < 150000:
        raise DatabaseUnusable(
            PLACE, f"is PostgreSQL {db.info.server_version // 10000}: 15 or newer is needed"
        )
    found = await (await db.execute("SELECT to_regclass('schema'), to_regclass('tasks')")).fetchone()
    schema, tasks = found or (None, None)
    version = oldest_server = 0
    if schema:
        try:
            row = await (await db.execute("SELECT version, oldest_server FROM schema")).fetchone()
        except ProgrammingError:
            raise DatabaseUnusable(PLACE, NOT_OURS) from None
        version, oldest_server = row or (0, 0)
    if oldest_server > newest:
        raise DatabaseUnusable(
            PLACE, f"is of a newer server (schema {version}, this one knows {newest}): update this one"
        )
    if tasks and not version:
        raise DatabaseUnusable(PLACE, NOT_OURS)
    return int(version)


async def _apply(db: AsyncConnection, script: Script) -> None:
    if script.concurrent:
        log.info("the database is brought to schema %s while other nodes work", script.number)
    give_up, is_logged = time.monotonic() + GIVE_UP_AFTER, False
    while True:
        try:
            for statement in script.concurrent:
                await db.execute(statement.encode())
            async with db.transaction():
                await db.execute("SET LOCAL client_min_messages = warning")
                await db.execute(f"SET LOCAL lock_timeout = {LOCKED_WITHIN * 1000:.0f}".encode())
                await db.execute(_TABLE)
                if not script.concurrent:
                    # No values: with values, psycopg sends one statement only.
                    await db.execute(script.sql.encode())
                await db.execute(_SET, {"version": script.number, "oldest": script.oldest_server})
        except DatabaseError as error:
            is_locked = isinstance(error, LockNotAvailable | DeadlockDetected)
            if not is_locked or time.monotonic() > give_up:
                why = f"could not be brought to schema {script.number}, it is unchanged ({one_line(error)})"
                raise DatabaseUnusable(PLACE, why) from error
            if not is_logged:
                log.info("schema %s waits for other transactions: %s", script.number, one_line(error))
            is_logged = True
        else:
            return
        await asyncio.sleep(RETRY_LOCK_AFTER)
