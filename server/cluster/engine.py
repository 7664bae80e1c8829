"""The engine: procrastinate, which hands jobs to workers, one job for each task that may begin.

A task's job is made in the transaction that admits the task (see `admission`), is run by one worker, and is
deleted at the end of the attempt. The state of a task is stored in `tasks` alone.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import psycopg
from procrastinate import App, PsycopgConnector
from procrastinate.exceptions import ConnectorException
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from server.cluster.database import ClusterDatabase
from server.core.errors import StoreUnavailable
from server.storage.postgresql.connection import ALWAYS, OUTAGE, SETTINGS
from server.storage.postgresql.link import STALL_TIMEOUTS

log = logging.getLogger(__name__)

T = TypeVar("T")

DOWNLOADS = "downloads"  # the queue of jobs that any worker may run
DOWNLOAD = "download"  # the engine's task (a kind of job), which makes one attempt of a task of ours
WISHES = "clipwire_wishes"  # the channel that tells workers to look for recordings to finish, tasks to start
NEVER = 86_400  # seconds without a heartbeat after which the engine drops a worker; our `sweeper` is faster
RETRY_EVERY = 0.5  # seconds, while the database is away

Heard = Callable[[], None]


class SharedPool(AsyncConnectionPool):
    """The pool that the engine gets: it lends connections of `ClusterDatabase`. The engine opens one more
    connection, to listen on.
    """

    def __init__(self, database: ClusterDatabase) -> None:
        # Drop `autocommit`, which the engine passes itself when it connects.
        settings = {name: value for name, value in ALWAYS.items() if name != "autocommit"}
        super().__init__(database.url, kwargs=settings, open=False)
        self._database = database

    @asynccontextmanager
    async def connection(
        self,
        timeout: float | None = None,  # noqa: ASYNC109 - a pool's
    ) -> AsyncIterator[AsyncConnection]:
        async with self._database.connection() as db:
            yield db


class PatientConnector(PsycopgConnector):
    """A connector for procrastinate that retries while the database is away: otherwise the worker and its
    jobs would end.
    """

    def __init__(self, heard: Heard, **settings: Any) -> None:
        super().__init__(**settings)
        self._heard = heard

    async def execute_query_async(self, query: Any, **arguments: Any) -> None:
        try:
            await _patiently(lambda: super(PatientConnector, self).execute_query_async(query, **arguments))
        except ConnectorException as exc:
            if not isinstance(exc.__cause__, psycopg.errors.RaiseException):
                raise
            # A worker that was taken for dead by mistake tries to end its job, but the job is gone, as the
            # task has got a new one.
            log.info("the engine refuses a late report on a job: %s", exc.__cause__.diag.message_primary)

    async def execute_query_one_async(self, query: Any, **arguments: Any) -> dict[str, Any]:
        return await _patiently(
            lambda: super(PatientConnector, self).execute_query_one_async(query, **arguments)
        )

    async def execute_query_all_async(self, query: Any, **arguments: Any) -> list[dict[str, Any]]:
        return await _patiently(
            lambda: super(PatientConnector, self).execute_query_all_async(query, **arguments)
        )

    async def execute_query_all_async_with_connection(
        self, connection: AsyncConnection, query: Any, **arguments: Any
    ) -> list[dict[str, Any]]:
        work = super().execute_query_all_async_with_connection
        try:
            found: list[dict[str, Any]] = await work(connection, query, **arguments)
        except ConnectorException as exc:
            # The transaction is the caller's, and so the caller handles psycopg's errors, not the engine.
            if isinstance(exc.__cause__, (*OUTAGE, psycopg.InterfaceError)):
                raise exc.__cause__ from None
            raise
        return found

    async def listen_notify(self, on_notification: Any, channels: Iterable[str]) -> None:
        """Listen to `WISHES` on the engine's own listening connection, which saves another connection."""

        async def sort(*, channel: str, payload: str) -> None:
            if channel == WISHES:
                self._heard()
            else:
                await on_notification(channel=channel, payload=payload)

        everything = [*channels, WISHES]
        await _patiently(lambda: super(PatientConnector, self).listen_notify(sort, everything))


def queue_of(node_id: str) -> str:
    """The queue of jobs that only this node should run, as it has their partial files."""
    return f"node-{node_id}"


def queues_to_start(node_id: str) -> tuple[str, str]:
    """The queues of jobs that begin beyond all limits: on this node, which has their partial files, or on any
    node.
    """
    return f"{queue_of(node_id)}-start", "start"


def new_app(url: str, heard: Heard = lambda: None) -> App:
    """Make the engine's app; open it with `SharedPool`. `heard` is called for each notification on `WISHES`,
    while a worker runs.
    """
    logging.getLogger("procrastinate").setLevel(logging.WARNING)
    return App(connector=PatientConnector(heard, conninfo=url, configure=_configure))


def register(app: App, download: Callable[..., Awaitable[None]]) -> None:
    """Register the engine's task, so that `download(context, task_id)` is called with each job."""
    app.task(name=DOWNLOAD, queue=DOWNLOADS, pass_context=True)(download)


async def _configure(db: AsyncConnection) -> None:
    await db.set_autocommit(True)
    await db.execute("; ".join(f"SET {setting}" for setting in (*SETTINGS, *STALL_TIMEOUTS)).encode())


async def _patiently(query: Callable[[], Awaitable[T]]) -> T:
    waits = False
    while True:
        try:
            return await query()
        except (ConnectorException, StoreUnavailable) as exc:
            if isinstance(exc, ConnectorException) and not isinstance(exc.__cause__, OUTAGE):
                raise
            if not waits:
                log.info("the engine waits for the database: %s", exc.__cause__ or exc)
            waits = True
        await asyncio.sleep(RETRY_EVERY)
