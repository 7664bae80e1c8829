"""Publishes changes of other nodes to this node's hub.

The relay first listens, then reads all tasks that are watched here, and from then on those that are
announced: so no change is missed, and `revision` removes the overlap. After a gap in the listening it starts
over, and ends the watchers of all tasks, which then list these anew: the row of a task that was removed in
the gap may be gone. An announced task that is not watched here, or whose revision was read already, needs no
query. The others are read by one query at a time, for all tasks announced during the query before.

Decisions: docs/decisions/cluster.md
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Protocol

import psycopg
from psycopg import AsyncConnection, Notify

from server.core.errors import StoreUnavailable
from server.core.unusable import DatabaseUnusable
from server.storage.postgresql.announcing import (
    CHANNEL,
    ActedOnList,
    Changed,
    Gone,
    Hello,
    LoggedOut,
    QueueChanged,
    Signal,
    unpack,
)
from server.storage.postgresql.connection import PLACE, POOLER, answering, connect, one_line, sever
from server.storage.postgresql.store import PostgresStore
from server.tasks.hub import Hub

log = logging.getLogger(__name__)

SILENT = 5.0  # seconds without an announcement, after which the connection is tested
ANSWER_WITHIN = 2.0  # seconds in which the connection has to answer the test
RETRY_AFTER = 0.5  # seconds, to listen or to read
LISTENS_WITHIN = 20.0  # seconds that a start waits for the relay to listen
HELLO_WITHIN = 0.3  # seconds after which a `Hello` that has not arrived is sent again
MOST_HELLOS = 8
BATCH = 500  # tasks in one query


class Removals(Protocol):
    """An object that is told of tasks that other nodes have removed, also of those that are not watched
    here.
    """

    def publish_removal(self, task_id: str) -> None: ...

    def missed(self) -> None:
        """Called after a gap in the listening: removals may have been missed."""
        ...


@asynccontextmanager
async def open_relay(
    url: str, store: PostgresStore, hub: Hub, removals: "Removals | None" = None
) -> AsyncIterator["Relay"]:
    """Open the relay. Raises `DatabaseUnusable` if this node does not receive its own announcements."""
    relay = Relay(url, store, hub, removals)
    tasks = [
        asyncio.create_task(relay.listen(), name="relay, listening"),
        asyncio.create_task(relay.read(), name="relay, reading"),
    ]
    try:
        await relay.test_listening()
        yield relay
    finally:
        relay.stop()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


class Relay:
    """Listens to announcements. `silence`: seconds since the connection's last sign of life, or since missed
    changes should have been read.
    """

    def __init__(self, url: str, store: PostgresStore, hub: Hub, removals: Removals | None = None) -> None:
        self._url = url
        self._store = store
        self._hub = hub
        self._removals = removals
        self._db: AsyncConnection | None = None
        self._stopping = False
        self._complained = False
        self._heard = time.monotonic()
        self._listens = asyncio.Event()
        self._hello_heard = asyncio.Event()  # set when this node's `Hello` has arrived
        self._gone: list[str] = []  # removed tasks whose owner has to be looked up
        self._due: dict[str, int] = {}  # tasks to read -> the lowest revision that their rows must have
        self._read: dict[str, int] = {}  # revisions that were read of watched tasks
        self._wake = asyncio.Event()

    @property
    def silence(self) -> float:
        return time.monotonic() - self._heard

    async def test_listening(self) -> None:
        """Test whether this node receives its own announcements; raises `DatabaseUnusable` if not.

        The limit `HELLO_WITHIN` begins after an announcement was sent, so a slow send does not count.
        """
        for _ in range(MOST_HELLOS):
            if not await _is_set(self._listens, LISTENS_WITHIN):
                raise DatabaseUnusable(PLACE, "cannot be listened to: there is no answer")
            try:
                await self._store.say(Hello())
            except StoreUnavailable as exc:
                why = f"cannot be used ({one_line(exc.__cause__ or exc)})"
                raise DatabaseUnusable(PLACE, why) from exc
            if await _is_set(self._hello_heard, HELLO_WITHIN):
                return
        raise DatabaseUnusable(PLACE, POOLER)

    def stop(self) -> None:
        self._stopping = True
        if self._db:
            sever(self._db)  # a cancelled wait would send the database a cancel request, and wait

    async def listen(self) -> None:
        """Listen until `stop`, with a new connection after each error."""
        while not self._stopping:
            try:
                await self._listen()
            except (psycopg.Error, OSError, TimeoutError) as error:
                self._complain("the announcements of other nodes are not heard", error)
            except StoreUnavailable as error:
                self._complain("what was missed cannot be read yet", error.__cause__ or error)
            except Exception:
                log.exception("the listening begins anew")
            await asyncio.sleep(RETRY_AFTER)

    def _complain(self, what: str, why: BaseException) -> None:
        """Log the error, once per outage."""
        if not self._stopping and not self._complained:
            log.warning("%s: %s", what, one_line(why) or type(why).__name__)
        self._complained = True

    async def read(self) -> None:
        """Read and publish announced tasks; never returns."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            due, self._due = self._due, {}
            gone, self._gone = self._gone, []
            try:
                if gone:
                    await self._publish_removals(gone)
                    gone = []
                await self._publish(list(due))
            except StoreUnavailable:
                self._due, self._gone = due | self._due, [*gone, *self._gone]
                self._wake.set()
                await asyncio.sleep(RETRY_AFTER)
            except Exception:
                log.exception("a change of another node was not relayed")

    async def _listen(self) -> None:
        """Connect, catch up and listen, until the connection is lost."""
        self._db = db = await connect(self._url)
        try:
            with answering(db):
                await db.execute(f"LISTEN {CHANNEL}".encode())
            self._listens.set()
            began = time.monotonic()
            # Catch up with announcements from before this connection.
            if self._removals:
                self._removals.missed()
            # The queue may have been paused or resumed meanwhile: those who watch it check that.
            self._hub.queue_changed()
            self._hub.missed()
            self._store.signals.give_all()
            await self._store.sessions.catch_up()
            self._read = {}
            ids = [task_id for task_id in self._hub.watched_ids() if task_id is not None]
            for start in range(0, len(ids), BATCH):
                await self._publish(ids[start : start + BATCH])
            self._complained = False
            self._heard = began  # only after catching up: if that fails, the gap continues
            while True:
                async for notify in db.notifies(timeout=SILENT):
                    self._heard = time.monotonic()
                    self._take(notify)
                with answering(db, ANSWER_WITHIN):
                    await db.execute(b"SELECT 1")
                self._heard = time.monotonic()
        finally:
            self._db = None
            self._listens.clear()
            await db.close()

    def _take(self, notify: Notify) -> None:
        sender, news = unpack(notify.payload)
        if sender == self._store.writer.name:  # this node's recorder has already published the change
            self._hello_heard.set()
            for one in news:
                if isinstance(one, Signal):
                    self._store.signals.give(one.name)
            return
        for one in news:
            match one:
                case Gone(task_id):
                    self._read.pop(task_id, None)
                    self._due.pop(task_id, None)
                    if self._hub.asks_for_owners:
                        self._gone.append(task_id)
                        self._wake.set()
                    else:
                        self._hub.publish_removal(task_id)
                    if self._removals:
                        self._removals.publish_removal(task_id)
                case LoggedOut(session_id):
                    self._store.sessions.heard(session_id)
                case Signal(name):
                    self._store.signals.give(name)
                case QueueChanged():
                    self._hub.queue_changed()
                case ActedOnList():
                    # Publish entries at once to those who watch them; their rows may be written much later.
                    self._due |= {name: self._due.get(name, 0) for name in self._hub.watched_ids() if name}
                    self._wake.set()
                case Changed(task_id, revision):
                    self._hub.publish(task_id)
                    if self._hub.is_watched(task_id) and revision > self._read.get(task_id, 0):
                        self._due[task_id] = max(revision, self._due.get(task_id, 0))
                        self._wake.set()

    async def _publish_removals(self, task_ids: Sequence[str]) -> None:
        owners = await self._store.owners(task_ids) if self._hub.asks_for_owners else {}
        for task_id in task_ids:
            self._hub.publish_removal(task_id, owners.get(task_id))

    async def _publish(self, task_ids: Collection[str]) -> None:
        """Publish the tasks as they are stored; a damaged row is skipped."""
        found = await self._store.readable_statuses(task_ids)
        for task_id in task_ids:
            if status := found.get(task_id):
                self._read[task_id] = status.revision
                self._hub.publish(status)
        await self._publish_removals([task_id for task_id in task_ids if task_id not in found])
        if len(self._read) > 2 * BATCH:
            self._read = {
                name: revision for name, revision in self._read.items() if self._hub.is_watched(name)
            }


async def _is_set(event: asyncio.Event, within: float) -> bool:
    with suppress(TimeoutError):
        async with asyncio.timeout(within):
            await event.wait()
    return event.is_set()
