"""Connections to the database, and what is said where it cannot be used: at the start, and later.

A database may go away without a word: its machine is off, or it hangs. Nothing here waits for it without a
limit, and what is asked of it is cut off by shutting the socket: a query that is cancelled politely would
go on waiting.
"""

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

import psycopg
from psycopg import AsyncConnection

from server.backends.unusable import DatabaseUnusable
from server.errors import DatabaseAway, DatabaseBusy, DiskFull, StorageFailed, StoreUnavailable

PLACE = "storage.database"
CONNECT_WITHIN = 4.0  # seconds
ANSWER_WITHIN = 5.0  # seconds that a statement may take before the database counts as away

ALWAYS = {
    "autocommit": True,
    "connect_timeout": round(CONNECT_WITHIN),
    "application_name": "clipwire",
    # A machine that is off is noticed within 20 seconds also where nothing is asked.
    "keepalives_idle": 10,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 8000,  # milliseconds
}
# Whatever the server, the database or the role is set to: what was answered survives a power cut, who waited
# for a lock then sees what was committed meanwhile, all texts come through, and who listens may be silent.
SETTINGS = (
    "synchronous_commit = on",
    "timezone = 'UTC'",
    "default_transaction_isolation = 'read committed'",
    "client_encoding = 'UTF8'",
    "idle_session_timeout = 0",
)
# The database ended a transaction of this process, which had kept others waiting for too long; see `link`.
STOOD_STILL = (psycopg.errors.IdleInTransactionSessionTimeout, psycopg.errors.TransactionTimeout)
# Errors whose reason is not that the database is away.
_OTHERWISE: dict[type[psycopg.Error], type[StoreUnavailable]] = {
    psycopg.errors.DiskFull: DiskFull,
    psycopg.errors.IoError: StorageFailed,
    psycopg.errors.QueryCanceled: DatabaseBusy,
    psycopg.errors.LockNotAvailable: DatabaseBusy,
    psycopg.errors.DeadlockDetected: DatabaseBusy,
    psycopg.errors.SerializationFailure: DatabaseBusy,
    **dict.fromkeys(STOOD_STILL, DatabaseBusy),
}
_AWAY = (
    psycopg.OperationalError,  # also: too many connections, starting up, shutting down
    psycopg.InterfaceError,  # used after it was lost
    psycopg.errors.ReadOnlySqlTransaction,  # another machine has taken over
    *STOOD_STILL,
    OSError,
    TimeoutError,
)
# What a server that is there says to those it does not let in -> what helps. libpq does not give the SQLSTATE
# of a connection that was refused; a server that speaks another language is waited for.
_ANSWERS = (
    (r'database ".*" does not exist|no such database', "create it, or name another one"),
    (
        r'role ".*" (does not exist|is not permitted to log in)|no such user',
        "create it, or name another user",
    ),
    (r"password authentication failed|no password supplied", "correct the password there, or in PGPASSWORD"),
    (r"no pg_hba\.conf entry", "have its pg_hba.conf let this machine in"),
)


async def connect(url: str, *settings: str) -> AsyncConnection:
    """A connection whose commits survive a power cut, with `settings` of its own (`work_mem = '64MB'`).

    Raises `psycopg.OperationalError`; within `CONNECT_WITHIN` seconds, but for several hosts that are silent.
    """
    db = await AsyncConnection.connect(url, **ALWAYS)  # type: ignore[arg-type]
    try:
        with answering(db):
            await db.execute("; ".join(f"SET {setting}" for setting in (*SETTINGS, *settings)).encode())
    except BaseException:
        await db.close()
        raise
    return db


class Unanswered(psycopg.OperationalError):
    """It was us who gave up."""


@contextmanager
def answering(db: AsyncConnection, within: float = ANSWER_WITHIN) -> Iterator[None]:
    """Lose the connection `db` if the block has not ended `within` seconds; it raises `Unanswered` then."""
    loop = asyncio.get_running_loop()
    timer = loop.call_later(within, sever, db)
    try:
        yield
    except psycopg.OperationalError as error:
        if loop.time() >= timer.when():
            raise Unanswered(f"no answer within {within:g} s") from error
        raise
    finally:
        timer.cancel()


def sever(db: AsyncConnection) -> None:
    """Whoever waits for an answer on `db` hears at once that the connection is lost."""
    with (
        suppress(psycopg.OperationalError, OSError),  # it is lost already
        socket.socket(fileno=socket.dup(db.fileno())) as ours,
    ):
        ours.shutdown(socket.SHUT_RDWR)


@contextmanager
def available() -> Iterator[None]:
    """Turn PostgreSQL's errors into `StoreUnavailable`, if their reason lies outside: for a server."""
    try:
        yield
    except _AWAY as error:
        kinds = (kind for known, kind in _OTHERWISE.items() if isinstance(error, known))
        raise next(kinds, DatabaseAway)() from error


@contextmanager
def explained() -> Iterator[None]:
    """Turn PostgreSQL's errors into `DatabaseUnusable`: for a start, or a command."""
    try:
        yield
    except _AWAY as error:
        why = f"cannot be reached ({one_line(error)})"
        if what_helps := advice(error):
            why = f"cannot be used ({one_line(error)}): {what_helps}"
        raise DatabaseUnusable(PLACE, why) from error
    except psycopg.Error as error:
        raise DatabaseUnusable(PLACE, f"cannot be used ({one_line(error)})") from error


def advice(error: BaseException) -> str | None:
    """What helps against `error` if the database has answered, so that it is in vain to wait; else None."""
    return next((what_helps for said, what_helps in _ANSWERS if re.search(said, str(error))), None)


def one_line(error: BaseException | str | None) -> str:
    return " ".join(str(error).split())


@asynccontextmanager
async def connected(url: str, *settings: str) -> AsyncIterator[AsyncConnection]:
    db = await connect(url, *settings)
    try:
        yield db
    finally:
        await db.close()
