"""Backs up and checks the database, also while nodes run on it.

The backup is made by `pg_dump`, which has to be at least as new as the PostgreSQL server.
"""

import asyncio
import os
import re
import shutil
import subprocess
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from server.core.unusable import DatabaseUnusable
from server.storage.atomic_file import new_file
from server.storage.postgresql.connection import PLACE, POOLER, connected, explain_errors, one_line
from server.storage.postgresql.migrations import released_scripts, verify

HEARD_WITHIN = 2.0  # seconds in which a notification has to arrive
_DEBIAN = Path("/usr/lib/postgresql")
_VERSION = re.compile(rb"\(PostgreSQL\) (\d+)")


async def backup(url: str, target: Path) -> None:
    """Write one snapshot to the new file `target`, whole or not at all; raises `DatabaseUnusable`.

    To restore: `pg_restore` into an empty database.
    """
    with explain_errors():
        async with connected(url) as db:
            needed = db.info.server_version // 10000
    program = await asyncio.to_thread(_find, needed)
    async with new_file(target) as part:
        parts = conninfo_to_dict(url)
        password = parts.pop("password", None)  # command lines can be read by everybody
        environment = {**os.environ, **({"PGPASSWORD": str(password)} if password else {})}
        where = make_conninfo(**{name: str(value) for name, value in parts.items()})
        process = await asyncio.create_subprocess_exec(
            *(program, "--format=custom", "--no-password", f"--file={part}", f"--dbname={where}"),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        try:
            _, complaint = await process.communicate()
        except BaseException:
            process.kill()
            await process.wait()
            raise
        if process.returncode:
            raise DatabaseUnusable(
                PLACE, f"could not be copied ({one_line(complaint.decode(errors='replace'))})"
            )


async def check(url: str) -> str:
    """Describe the database in a few words, without a change or a lock. Raises `DatabaseUnusable` if a server
    could not work with it.
    """
    newest = released_scripts()[-1].number
    with explain_errors():
        async with connected(url) as db, connected(url) as other:
            version = await verify(db, newest)
            # A notification, on a channel that no node listens to, has to reach another connection.
            channel = f"clipwire_check_{os.getpid()}"
            await db.execute(f"LISTEN {channel}".encode())
            await other.execute("SELECT pg_notify(%s, '')", (channel,))
            if not [one async for one in db.notifies(timeout=HEARD_WITHIN, stop_after=1)]:
                raise DatabaseUnusable(PLACE, POOLER)
            what = f"PostgreSQL {db.info.parameter_status('server_version')}, UTF8, announcements arrive"
    if not version:
        return f"{what}; it is empty: tables will be made"
    return f"{what}; it is in order (schema {version}, this server knows {newest})"


def _find(needed: int) -> str:
    """Return the oldest `pg_dump` that is new enough. Raises `DatabaseUnusable` if there is none."""
    known: dict[int, str] = {}
    found = shutil.which("pg_dump")
    for program in (*([found] if found else []), *map(str, sorted(_DEBIAN.glob("*/bin/pg_dump")))):
        try:
            said = subprocess.run([program, "--version"], capture_output=True, timeout=10).stdout  # noqa: S603
        except (OSError, subprocess.TimeoutExpired):
            continue
        version = _VERSION.search(said)
        if version and int(version[1]) >= needed:
            known[int(version[1])] = program
    if not known:
        how = "pg_dump --format=custom --file=FILE DATABASE"
        why = f"is PostgreSQL {needed}, and no pg_dump of that or a newer version is here"
        raise DatabaseUnusable(
            PLACE, f"{why}: install postgresql-client-{needed}, or where there is one run {how}"
        )
    return known[min(known)]
