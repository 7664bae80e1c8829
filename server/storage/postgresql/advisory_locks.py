"""Advisory locks, which all nodes share: each is a pair of numbers, the first of which is ours."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from psycopg import AsyncConnection

OURS = 0x436C7077  # "Clpw"
MIGRATE = 1
ADD = 2  # held while numbers are given and places in the queue are counted
SWEEP = 3  # one node at a time sweeps
ADMIT = 4  # held while waiting tasks are given jobs


@asynccontextmanager
async def locked(db: AsyncConnection, lock: int) -> AsyncIterator[None]:
    """Hold `lock` for the session, over several transactions; a lost connection releases it as well."""
    await db.execute("SELECT pg_advisory_lock(%s, %s)", (OURS, lock))
    try:
        yield
    finally:
        if not db.closed:
            await db.execute("SELECT pg_advisory_unlock(%s, %s)", (OURS, lock))
