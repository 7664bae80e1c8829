"""Connections to the database, and the errors that are raised where it cannot be used.

A database may stop answering without closing its connections: its machine is off, or it hangs. So every wait
has a limit, and a query is ended by shutting down the socket: a cancel request would wait for the database,
too.
"""

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

import psycopg
from psycopg import AsyncConnection

from server.core.errors import DatabaseAway, DatabaseBusy, DiskFull, StorageFailed, StoreUnavailable
from server.core.unusable import DatabaseUnusable

PLACE = "storage.database"
POOLER = "leads through a pooler in transaction mode: use session mode or the server itself"
CONNECT_WITHIN = 4.0  # seconds
ANSWER_WITHIN = 5.0  # seconds that a statement may take before the database counts as away

ALWAYS = {
    "autocommit": True,
    "connect_timeout": round(CONNECT_WITHIN),
    "application_name": "clipwire",
    # A machine that is off is noticed within 20 seconds, on an idle connection as well.
    "keepalives_idle": 10,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 8000,  # milliseconds
}
# These override the settings of the server, the database and the role, so that a commit survives a power cut,
# a statement that has waited for a lock sees what was committed meanwhile, all texts can be sent, and an idle
# connection that listens is not ended.
SETTINGS = (
    "synchronous_commit = on",
    "timezone = 'UTC'",
    "default_transaction_isolation = 'read committed'",
    "client_encoding = 'UTF8'",
    "idle_session_timeout = 0",
)
# The database has ended a transaction of this process that took too long; see `STALL_TIMEOUTS` in `link`.
STALLED = (psycopg.errors.IdleInTransactionSessionTimeout, psycopg.errors.TransactionTimeout)
# This server is a standby, as another machine has taken over; or it takes no changes for now, as its disk is
# full. The connection may stay read-only when that is over, so another one is needed.
READ_ONLY = psycopg.errors.ReadOnlySqlTransaction
# The database is away, or this process was; the same statement may succeed later, on another connection.
OUTAGE = (
    psycopg.OperationalError,  # also: too many connections, starting up, shutting down
    READ_ONLY,
    *STALLED,
)
# Errors of a database that answers.
_OTHER_ERRORS: dict[type[psycopg.Error], type[StoreUnavailable]] = {
    psycopg.errors.DiskFull: DiskFull,
    psycopg.errors.IoError: StorageFailed,
    psycopg.errors.QueryCanceled: DatabaseBusy,
    psycopg.errors.LockNotAvailable: DatabaseBusy,
    psycopg.errors.DeadlockDetected: DatabaseBusy,
    psycopg.errors.SerializationFailure: DatabaseBusy,
    **dict.fromkeys(STALLED, DatabaseBusy),
}
_AWAY = (
    *OUTAGE,
    psycopg.InterfaceError,  # a connection is used after it was lost
    OSError,
    TimeoutError,
)
# Message with which a server refuses a connection -> advice. Messages are compared, since libpq does not give
# the SQLSTATE of a refused connection; a server with messages in another language is retried as if it were
# away.
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

    Raises `psycopg.OperationalError`; within `CONNECT_WITHIN` seconds for each host that is silent.
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
    """The database did not answer in time, and this process cut the connection."""


@contextmanager
def answering(db: AsyncConnection, within: float = ANSWER_WITHIN) -> Iterator[None]:
    """Sever the connection `db` if the block has not ended `within` seconds; it raises `Unanswered` then."""
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
    """Shut the socket of `db` down, so that a query that waits for its answer fails at once."""
    with (
        suppress(psycopg.OperationalError, OSError),  # it is lost already
        socket.socket(fileno=socket.dup(db.fileno())) as ours,
    ):
        ours.shutdown(socket.SHUT_RDWR)


@contextmanager
def translate_errors() -> Iterator[None]:
    """Turn PostgreSQL's errors into `StoreUnavailable`, if their cause is outside this program."""
    try:
        yield
    except _AWAY as error:
        kinds = (kind for known, kind in _OTHER_ERRORS.items() if isinstance(error, known))
        raise next(kinds, DatabaseAway)() from error


@contextmanager
def explain_errors() -> Iterator[None]:
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
    """Return advice if `error` is a refused connection, where a retry is useless; else None."""
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
