"""Advisory locks, which all nodes share: each is a pair of numbers; the first one stands for this program."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from psycopg import AsyncConnection

OURS = 0x436C7077  # "Clpw"
MIGRATE = 1
ADD = 2  # held while numbers are given and places in the queue are counted
SWEEP = 3  # one node at a time sweeps
ADMIT = 4  # held while waiting tasks are given jobs
DELIVER = 6  # held while deliveries are claimed: their receivers' tries are counted
CHECKS = 5  # held while subscriptions are claimed, and while the outcome of a check is stored


RETRY_EVERY = 0.2  # seconds


@asynccontextmanager
async def locked_in_turn(db: AsyncConnection, lock: int) -> AsyncIterator[None]:
    """Hold `lock` for the session, over several transactions; a lost connection releases it as well.

    This asks for the lock again and again: a statement that waits would be an open transaction, and the
    holder, if it builds an index concurrently, would wait for the end of that transaction.
    """
    while True:
        is_held = await db.execute("SELECT pg_try_advisory_lock(%s, %s)", (OURS, lock))
        if await is_held.fetchone() == (True,):
            break
        await asyncio.sleep(RETRY_EVERY)
    try:
        yield
    finally:
        if not db.closed:
            await db.execute("SELECT pg_advisory_unlock(%s, %s)", (OURS, lock))
