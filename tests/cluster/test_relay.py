"""A change on one node reaches the clients of another."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, ExitStack
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from server.cluster import relay
from server.cluster.relay import Relay, open_relay
from server.core.errors import DatabaseAway
from server.core.task import TaskStatus
from server.core.unusable import DatabaseUnusable
from server.files.public_names import short_of
from server.storage.postgresql import PostgresStore, open_store
from server.storage.postgresql.announcing import News
from server.tasks.hub import Hub, Removed, Update, Waiter, Watcher
from tests.adding import add
from tests.cluster.breaking import Proxy, proxied
from tests.cluster.pooler import pooled
from tests.examples import downloading, finished, new_task, started


@dataclass
class Node:
    store: PostgresStore
    hub: Hub
    relay: Relay


def open_at(url: str) -> AbstractAsyncContextManager[PostgresStore]:
    return open_store(url, max_queued=1000, find_short=short_of)


@pytest.fixture
async def writing(clean_database: str) -> AsyncIterator[PostgresStore]:
    async with open_at(clean_database) as there:
        yield there


@pytest.fixture
async def proxy(clean_database: str) -> AsyncIterator[Proxy]:
    async with proxied(clean_database) as proxy:
        yield proxy


@pytest.fixture
async def node(writing: PostgresStore, proxy: Proxy) -> AsyncIterator[Node]:
    """A node that reaches the database through a proxy; `writing` stands for the other node, without a
    proxy.
    """
    async with AsyncExitStack() as stack:
        there = await stack.enter_async_context(open_at(proxy.url))
        hub = Hub()
        yield Node(there, hub, await stack.enter_async_context(open_relay(proxy.url, there, hub)))


async def comes(watcher: Watcher, wanted: Callable[[Update], bool]) -> list[Update]:
    """Return all updates that come, up to the first that `wanted` accepts."""
    found: list[Update] = []
    async with asyncio.timeout(20):
        while not any(map(wanted, found)):
            found += watcher.take()
            await asyncio.sleep(0.01)
    return found


async def comes_also(watcher: Watcher, wanted: Update, found: list[Update]) -> list[Update]:
    """Wait for one more update, unless it is already among those that were `found`; return all updates."""
    return found if wanted in found else found + await comes(watcher, lambda update: update == wanted)


def is_at(status: TaskStatus) -> Callable[[Update], bool]:
    return lambda update: update == status


async def save(there: PostgresStore, status: TaskStatus) -> TaskStatus:
    assert await there.save(status)
    return status


async def test_a_change_on_one_node_comes_to_who_watches_on_another(
    writing: PostgresStore, node: Node
) -> None:
    status = (await add(writing, new_task())).status
    watcher = Watcher()
    with node.hub.watch(status.task_id, watcher):
        for step in (started, downloading, finished):
            status = await save(writing, step(status))
            await comes(watcher, is_at(status))
        await writing.mark_removed(status.task_id)
        await comes(watcher, lambda update: update == Removed(status.task_id))


async def test_who_watches_all_hears_of_new_tasks(writing: PostgresStore, node: Node) -> None:
    watcher = Watcher()
    with node.hub.watch(None, watcher):
        status = (await add(writing, new_task())).status
        await comes(watcher, is_at(status))


async def test_what_nobody_watches_is_not_read(
    writing: PostgresStore, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Any] = []
    original = node.store.readable_statuses

    async def spied(ids: Any) -> Any:
        read.extend(ids)
        return await original(ids)

    monkeypatch.setattr(node.store, "readable_statuses", spied)
    watched, other = [(await add(writing, new_task())).status for _ in range(2)]
    watcher = Watcher()
    with node.hub.watch(watched.task_id, watcher):
        await save(writing, started(other))
        # This node's own recorder would tell the hub of this change.
        await save(node.store, ours := started(watched))
        await comes(watcher, is_at(await save(writing, downloading(ours))))
    assert {*read} == {watched.task_id}


async def test_after_a_gap_all_that_is_watched_is_read_again(
    writing: PostgresStore, node: Node, proxy: Proxy, clean_database: str
) -> None:
    statuses = [(await add(writing, new_task())).status for _ in range(4)]
    changed, gone, damaged, same = statuses
    watcher = Watcher()
    with ExitStack() as watches:
        for status in (damaged, gone, changed):
            watches.enter_context(node.hub.watch(status.task_id, watcher))
        with psycopg.connect(clean_database) as db:
            db.execute("UPDATE tasks SET status = '{' WHERE task_id = %s", (damaged.task_id,))
        proxy.cut()
        await writing.mark_removed(gone.task_id)
        now = await save(writing, started(changed))
        found = await comes_also(watcher, Removed(gone.task_id), await comes(watcher, is_at(now)))
    assert damaged.task_id not in {update.task_id for update in found}
    assert same.task_id not in {update.task_id for update in found}


async def test_after_a_gap_in_which_a_task_was_removed_a_feed_of_all_is_closed(
    writing: PostgresStore, node: Node, proxy: Proxy
) -> None:
    """The feed cannot be told which task was removed: its row is gone."""
    feed = Waiter()
    with node.hub.watch(None, feed):
        gone = (await add(writing, new_task())).status
        await comes(feed, is_at(gone))
        proxy.cut_before = lambda sent: b"LISTEN" in sent
        proxy.cut()
        await writing.mark_removed(gone.task_id)
        await writing.forget(gone.task_id)
        proxy.cut_before = lambda _: False
        async with asyncio.timeout(20):
            assert [update async for update in feed] == []
    assert feed.closed
    assert node.hub.changed_within(10) is None, "whoever listed before the gap has to list again"


async def test_a_gap_lasts_until_a_task_that_is_watched_can_be_read(
    writing: PostgresStore, node: Node, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    readable_statuses = node.store.readable_statuses
    errors = [DatabaseAway(), RuntimeError("a mistake")]

    async def fails_at_first(ids: Any) -> Any:
        if errors:
            raise errors.pop()
        return await readable_statuses(ids)

    watcher, status = Watcher(), (await add(writing, new_task())).status
    with node.hub.watch(status.task_id, watcher):
        monkeypatch.setattr(node.store, "readable_statuses", fails_at_first)
        proxy.cut()
        await comes(watcher, is_at(await save(writing, finished(status))))
    assert errors == []


async def test_a_log_out_in_a_gap_is_heard_after_it(writing: PostgresStore, node: Node, proxy: Proxy) -> None:
    ended: asyncio.Queue[str] = asyncio.Queue()
    for session_id in ("ends", "lasts"):
        await writing.sessions.begin(session_id, "scope")
    node.store.sessions.listen(ended.put_nowait, lambda: {"ends", "lasts"})
    proxy.cut_before = lambda sent: b"LISTEN" in sent
    proxy.cut()
    await writing.sessions.end("ends")
    proxy.cut_before = lambda _: False
    async with asyncio.timeout(20):
        assert await ended.get() == "ends"
    assert ended.empty()


async def test_a_log_out_is_heard_on_every_node(writing: PostgresStore, node: Node) -> None:
    heard = asyncio.Event()
    node.store.sessions.listen(lambda session_id: heard.set() if session_id == "session" else None, tuple)
    await writing.sessions.begin("session", "scope")
    assert await node.store.sessions.get("session")
    await writing.sessions.end("session")
    assert await node.store.sessions.get("session") is None
    async with asyncio.timeout(20):
        await heard.wait()


@pytest.mark.long
async def test_a_connection_that_is_silent_is_given_up(
    writing: PostgresStore, node: Node, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection stays open and nothing comes, as if the machine of the database had been switched
    off.
    """
    assert relay.SILENT + relay.ANSWER_WITHIN + relay.RETRY_AFTER < 10
    monkeypatch.setattr(relay, "SILENT", 0.5)
    monkeypatch.setattr(relay, "ANSWER_WITHIN", 0.5)
    proxy.cut()  # the next connection uses the shorter times
    status = (await add(writing, new_task())).status
    watcher = Watcher()
    with node.hub.watch(status.task_id, watcher):
        await comes(watcher, is_at(status := await save(writing, started(status))))
        proxy.hush()
        status = await save(writing, downloading(status))
        await comes(watcher, is_at(status))


async def test_a_node_that_does_not_hear_itself_does_not_start(
    writing: PostgresStore, clean_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A pooler accepts LISTEN, and passes no notification on.
    monkeypatch.setattr(relay, "CHANNEL", "elsewhere")
    with pytest.raises(
        DatabaseUnusable, match=r"^storage.database leads through a pooler in transaction mode:"
    ):
        await open_relay(clean_database, writing, Hub()).__aenter__()


async def test_a_node_on_a_busy_machine_that_hears_itself_late_does_start(
    writing: PostgresStore, clean_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "HELLO_WITHIN", 0.02)
    say = writing.say

    async def say_and_have_no_time(news: News) -> None:
        await say(news)
        keep_the_machine()

    def keep_the_machine() -> None:
        time.sleep(relay.MOST_HELLOS * relay.HELLO_WITHIN)

    monkeypatch.setattr(writing, "say", say_and_have_no_time)
    async with open_relay(clean_database, writing, Hub()):
        pass


async def test_a_real_pooler_in_transaction_mode_is_refused_in_seconds(clean_database: str) -> None:
    with pooled(clean_database) as url:
        async with open_at(url) as there:  # other statements work through the pooler
            await add(there, new_task())
            began = time.monotonic()
            with pytest.raises(DatabaseUnusable, match=r"^storage.database leads through a pooler [^\n]+$"):
                await open_relay(url, there, Hub()).__aenter__()
            assert time.monotonic() - began < relay.MOST_HELLOS * relay.HELLO_WITHIN + 1
