"""WebSockets with slow readers, and many of them."""

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, closing
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient

from server.api import keys, push
from server.api.payload import text_frame
from server.app import create_app
from server.core.errors import AppError
from server.core.process_request import ProcessRequest
from server.core.task import Stage, TaskStatus
from server.settings import DownloadSettings, Settings, StorageSettings
from server.tasks.hub import Hub, Removed, Update, Watcher
from server.tasks.service import RequestedTask
from tests.adding import accept
from tests.api.test_dear_requests import LONGEST_TURN
from tests.api.test_dear_requests import turns as turns_of_the_loop

Client = TestClient[web.Request, web.Application]
REQUEST = ProcessRequest(url="http://127.0.0.9:9/video.mp4", auto_start=False)
Headers = Mapping[str, str]
CLOSED_WITH_1000 = b"\x88\x02\x03\xe8"
FLOOD_WITHIN = 60  # seconds that are enough on a busy machine


@pytest.fixture
async def client(aiohttp_client: Callable[[web.Application], Awaitable[Client]], tmp_path: Path) -> Client:
    settings = Settings(
        storage=StorageSettings(data_dir=tmp_path / "data"), downloads=DownloadSettings(min_free_disk=0)
    )
    return await aiohttp_client(create_app(settings))


async def slow_reader(client: Client, path: str, headers: Headers = MappingProxyType({})) -> socket.socket:
    """Return a connected WebSocket with very small buffers, which nobody reads yet."""
    loop, reader = asyncio.get_running_loop(), socket.socket()
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    reader.setblocking(False)
    await loop.sock_connect(reader, ("127.0.0.1", client.port))
    lines = ("Host: localhost", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
             "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
             *(f"{name}: {value}" for name, value in headers.items()))  # fmt: skip
    await loop.sock_sendall(reader, "\r\n".join((f"GET {path} HTTP/1.1", *lines, "", "")).encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += await loop.sock_recv(reader, 1)  # reads no byte of the first frame
    return reader


async def rest(reader: socket.socket, end: bytes) -> bytes:
    """Return all that arrives until `end` is done."""
    loop, data = asyncio.get_running_loop(), b""
    while not data.endswith(end):
        data += await loop.sock_recv(reader, 65536)
    return data


def payloads(data: bytes) -> list[dict[str, Any]]:
    """Return the payloads of the frames in `data`; the beginning of the first frame may be missing."""
    pieces = data.split(b'{"task_id"')[1:]
    return [
        json.JSONDecoder().raw_decode('{"task_id"' + piece.decode(errors="ignore"))[0] for piece in pieces
    ]


async def turns(client: Client) -> None:
    """Let the event loop turn until the flushers have written everything that they can."""
    feeds = client.app[push.FEEDS]
    while client.app[push.TO_TASKS]._waiting or feeds._round or feeds.flusher._waiting:
        await asyncio.sleep(0)


async def flood(client: Client, status: TaskStatus, count: int) -> TaskStatus:
    """Publish `count` changes; return the last."""
    for _ in range(count):
        status = status.model_copy(update={"revision": status.revision + 1})
        client.app[keys.HUB].publish(status)
        await turns(client)
    return status


async def test_an_upgrade_in_http_1_0_is_none(client: Client) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
    writer.write(
        b"GET /ws HTTP/1.0\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    assert (await reader.readline()).split()[1] == b"426"
    writer.close()


async def test_a_slow_reader_skips_to_the_newest_and_never_misses_the_last(client: Client) -> None:
    status = await accept(client.app[keys.TASKS], REQUEST)
    async with asyncio.timeout(FLOOD_WITHIN):
        with closing(await slow_reader(client, f"/ws/{status.task_id}")) as reader:
            status = await flood(client, status, 10_000)
            last = {"revision": status.revision + 1, "stage": Stage.CANCELLED, "error_code": "cancelled"}
            client.app[keys.HUB].publish(status.model_copy(update=last))
            seen = payloads(await rest(reader, CLOSED_WITH_1000))
    revisions = [payload["revision"] for payload in seen]
    assert seen[-1]["stage"] == "cancelled"
    assert revisions == sorted(set(revisions)), "in order, each once"
    assert len(revisions) < 1_000, "not all that was out of date"


@pytest.mark.wide
async def test_a_slow_reader_of_the_feed_gets_the_newest_of_every_task(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(push, "GATHER", 0.0)
    tasks = [await accept(client.app[keys.TASKS], REQUEST) for _ in range(100)]
    async with asyncio.timeout(FLOOD_WITHIN):
        with closing(await slow_reader(client, "/ws")) as reader:
            newest = [await flood(client, status, 100) for status in tasks]
            # The removal of another task marks the end of the updates.
            client.app[keys.HUB].publish_removal("nobody")
            seen = payloads(await rest(reader, b'{"task_id":"nobody","removed":true}'))
    last = {payload["task_id"]: payload["revision"] for payload in seen if "revision" in payload}
    assert last == {status.task_id: status.revision for status in newest}
    assert len(seen) < 2_000


async def test_one_who_does_not_read_holds_up_nobody(client: Client) -> None:
    status = await accept(client.app[keys.TASKS], REQUEST)
    async with asyncio.timeout(FLOOD_WITHIN):
        with closing(await slow_reader(client, f"/ws/{status.task_id}")):
            status = await flood(client, status, 5_000)
            async with client.ws_connect(f"/ws/{status.task_id}") as ws:
                await ws.receive_json()
                status = await flood(client, status, 1)
                assert (await ws.receive_json())["revision"] == status.revision


async def test_one_who_is_behind_is_not_waited_for_when_the_server_goes_away(client: Client) -> None:
    status = await accept(client.app[keys.TASKS], REQUEST)
    assert push.CLOSE_WITHIN <= 1 < push.LINGER
    async with asyncio.timeout(FLOOD_WITHIN):
        with closing(await slow_reader(client, f"/ws/{status.task_id}")):
            await flood(client, status, 5_000)
            await client.app.shutdown()
            await client.app[keys.HUB].left_alone()


class Turn:
    """A flusher that notes when it has its turn."""

    def __init__(self, name: str, turns: list[str]) -> None:
        self._name, self._turns = name, turns

    def flush(self) -> None:
        self._turns.append(self._name)


async def test_a_flusher_flushes_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    flusher, had, later = push.Flusher(), list[str](), list[tuple[float, Callable[[], None]]]()
    with monkeypatch.context() as patch:
        patch.setattr(asyncio.get_running_loop(), "call_later", lambda *what: later.append(what))
        for name in "ab":
            flusher.add(Turn(name, had))  # type: ignore[arg-type]
    [(after, flush)] = later
    assert (after, had) == (0.0, [])
    flush()
    assert had == ["a", "b"]


async def test_more_sockets_than_one_turn_has_room_for_are_all_written_to(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client.app[push.FEEDS].flusher, "_at_once", 2)
    status = await accept(client.app[keys.TASKS], REQUEST)
    sockets = [await client.ws_connect("/ws") for _ in range(7)]
    await flood(client, status, 1)
    revisions = [(await ws.receive_json())["revision"] for ws in sockets]
    for ws in sockets:
        await ws.close()
    assert revisions == [2] * 7


@pytest.mark.parametrize(
    ("size", "head"),
    [
        (0, b"\x81\x00"),
        (125, b"\x81\x7d"),
        (126, b"\x81\x7e\x00\x7e"),
        (65_535, b"\x81\x7e\xff\xff"),
        (65_536, b"\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
    ],
)
def test_a_frame_says_how_long_it_is(size: int, head: bytes) -> None:
    assert text_frame(b"x" * size) == head + b"x" * size


def test_what_was_not_taken_stays_held_and_can_still_be_overtaken() -> None:
    watcher = Watcher()
    for task_id in "abc":
        watcher.offer(numbered(task_id, 1))
    assert watcher.take(2) == [numbered("a", 1), numbered("b", 1)]
    watcher.offer(numbered("c", 2))
    assert watcher.take(2) == [numbered("c", 2)]
    assert not watcher.take()


async def test_the_hub_says_when_nobody_watches_any_more() -> None:
    hub, watcher = Hub(), Watcher()
    await hub.left_alone()
    with hub.watch("a", watcher):
        waiting = asyncio.create_task(hub.left_alone())
        await asyncio.sleep(0)
        assert not waiting.done()
    await waiting


def numbered(task_id: str, revision: int) -> TaskStatus:
    new = TaskStatus.model_validate(
        {"task_id": task_id, "url": REQUEST.url, "created_at": "2024-01-01T00:00Z"}
    )
    return new.model_copy(update={"revision": revision})


async def test_a_feed_begins_with_what_changed_since_the_list_was_asked_for(client: Client) -> None:
    tasks = client.app[keys.TASKS]
    old, gone, changed = [(await accept(tasks, REQUEST)).task_id for _ in range(3)]
    client.app[keys.HUB]._changes.clear()  # as if these changes were long ago
    listed = await (await client.get("/api/tasks?sort=state")).json()
    assert len(listed["tasks"]) == 3
    await tasks.cancel(changed)
    await tasks.delete(gone)
    new = (await accept(tasks, REQUEST)).task_id
    async with client.ws_connect("/ws?since=10&lang=en") as ws:
        messages = [await ws.receive_json() for _ in range(3)]
        found = {each["task_id"]: each.get("stage", "removed") for each in messages}
        assert found == {changed: "cancelled", gone: "removed", new: "paused"}
        await tasks.cancel(old)
        assert (await ws.receive_json())["task_id"] == old
    async with client.ws_connect("/ws") as ws:
        await tasks.cancel(new)
        assert (await ws.receive_json())["stage"] == "cancelled"


# --- many feeds ---


class Reads:
    """Counts how often feeds are offered an update, and how often a status is encoded."""

    def __init__(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        self.offered = self.encoded = 0
        encoder = client.app[keys.ENCODER]
        offer, encode = push.TaskFeeds.offer, encoder.encode

        def offered(feeds: push.TaskFeeds, update: Update) -> None:
            self.offered += 1
            offer(feeds, update)

        def encoded(status: TaskStatus, language: str) -> Any:
            self.encoded += 1
            return encode(status, language)

        monkeypatch.setattr(push.TaskFeeds, "offer", offered)
        monkeypatch.setattr(encoder, "encode", encoded)


async def test_what_is_published_late_comes_after_nothing_newer(client: Client) -> None:
    """A status that is read and published later is overtaken by a newer one, which all feeds have got."""
    status = await accept(client.app[keys.TASKS], REQUEST)
    hub, feeds = client.app[keys.HUB], client.app[push.FEEDS]
    async with client.ws_connect("/ws") as feed:
        third, fourth, fifth = (status.model_copy(update={"revision": number}) for number in (3, 4, 5))
        for newer, late, message in (
            (fourth, third, "progress"),
            (Removed(status.task_id), fifth, "removed"),
        ):
            hub.publish(newer)
            assert message in await feed.receive_json()
            feeds._tidy()
            hub.publish(late)
        hub.publish_removal("the last")
        assert (await feed.receive_json())["task_id"] == "the last"


@pytest.mark.parametrize("path", ["/ws", "/api/events"])
async def test_what_a_change_costs_does_not_depend_on_how_many_feeds_are_open(
    client: Client, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    reads, count = Reads(client, monkeypatch), 40
    async with asyncio.timeout(FLOOD_WITHIN), AsyncExitStack() as stack:
        for _ in range(count):
            if path == "/ws":
                await stack.enter_async_context(client.ws_connect(path))
            else:
                await stack.enter_async_context(client.get(path))
        assert len(client.app[keys.HUB]._watchers[None]) == 1
        for place in range(200):
            client.app[keys.HUB].publish(numbered(f"task {place}", 1))
        assert (reads.offered, reads.encoded) == (200, 0)  # nothing was encoded or written in the same turn
        await turns(client)
        assert reads.encoded == 200  # encoded once for all feeds
        feeds = client.app[push.FEEDS]
        assert {feed.position for feed in feeds._feeds} == {200}
        for left in (200, 0):
            feeds._tidy()
            assert len(feeds._log) == left
    await client.app[keys.HUB].left_alone()


@pytest.mark.wide
async def test_a_feed_that_nobody_reads_holds_little_and_gets_the_rest_once_it_reads(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(push, "GATHER", 0.0)
    hub, feeds = client.app[keys.HUB], client.app[push.FEEDS]
    new = numbered("x", 1)
    async with asyncio.timeout(FLOOD_WITHIN):
        with closing(await slow_reader(client, "/ws")) as reader:
            [feed] = feeds._feeds
            for place in range(3000):
                hub.publish(new.model_copy(update={"task_id": f"task {place}"}))
                await asyncio.sleep(0)
            await turns(client)
            held = feed._transport.get_write_buffer_size()
            assert 0 < held <= 64 * 1024
            assert feed.position < 3000
            assert not feed._slots
            hub.publish(new.model_copy(update={"task_id": "task 2999", "revision": 2}))
            hub.publish_removal("task 2998")
            # Comes after the removal of the task.
            hub.publish(new.model_copy(update={"task_id": "task 2998", "revision": 9}))
            hub.publish_removal("nobody")
            seen = payloads(await rest(reader, b'{"task_id":"nobody","removed":true}'))
    assert {each["task_id"] for each in seen} == {*(f"task {place}" for place in range(3000)), "nobody"}
    [last_but_one, last] = [each for each in seen if each["task_id"] in ("task 2998", "task 2999")]
    assert (last_but_one["task_id"], last_but_one["revision"]) == ("task 2999", 2)
    assert last == {"task_id": "task 2998", "removed": True}


async def test_a_client_that_comes_back_and_does_not_read_holds_little(client: Client) -> None:
    tasks = client.app[keys.TASKS]
    # All changes are in one transaction: `since` reaches back 10 s at most.
    accepted = await tasks.accept([RequestedTask(REQUEST)] * 300)
    ids = {each.status.task_id for each in accepted if not isinstance(each, AppError)}
    async with asyncio.timeout(FLOOD_WITHIN):
        with closing(await slow_reader(client, "/ws?since=10")) as reader:
            [feed] = client.app[push.FEEDS]._feeds
            while not feed._transport.get_write_buffer_size():
                await asyncio.sleep(0)
            assert feed._transport.get_write_buffer_size() <= 64 * 1024
            gone, changed, *_ = ids
            await tasks.cancel(changed)  # comes while the feed gets what it has missed
            await tasks.delete(gone)
            client.app[keys.HUB].publish_removal("nobody")
            seen = payloads(await rest(reader, b'{"task_id":"nobody","removed":true}'))
    last = {each["task_id"]: each.get("stage", "removed") for each in seen}
    assert last.keys() == ids | {"nobody"}
    assert (last[gone], last[changed]) == ("removed", "cancelled")


async def test_feeds_take_their_turns_a_piece_at_a_time(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise one turn would write the whole batch to the first feed, then to the next one, and so on."""
    monkeypatch.setattr(push, "BYTES_AT_ONCE", 2000)
    monkeypatch.setattr(client.app[push.FEEDS].flusher, "_at_once", 3)
    written = list[int]()
    async with AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(client.ws_connect("/ws")) for _ in range(10)]
        flush_some = client.app[push.FEEDS].flusher._flush_some

        def counted() -> None:
            before = sum(feed.position for feed in client.app[push.FEEDS]._feeds)
            flush_some()
            written.append(sum(feed.position for feed in client.app[push.FEEDS]._feeds) - before)

        monkeypatch.setattr(client.app[push.FEEDS].flusher, "_flush_some", counted)
        for place in range(100):
            client.app[keys.HUB].publish(numbered(f"task {place}", 1))
        for ws in sockets:
            assert [(await ws.receive_json())["task_id"] for _ in range(100)] == [
                f"task {place}" for place in range(100)
            ]
    assert sum(written) == 1000
    assert max(written) <= 3 * 2000 / 200


async def test_a_batch_holds_nobody_up_while_many_feeds_are_open(client: Client) -> None:
    loop = asyncio.get_running_loop()
    loop.set_debug(False)  # debug mode makes each turn several times as long
    body = {"requests": [{"url": f"http://127.0.0.9:9/{place}", "auto_start": False} for place in range(500)]}
    async with asyncio.timeout(FLOOD_WITHIN):
        readers = [await slow_reader(client, "/ws") for _ in range(300)]
        async with turns_of_the_loop() as taken:
            async with client.post("/api/process/batch", json=body) as answer:
                assert answer.status == 200
                await answer.read()
            await turns(client)
        assert {feed.position > 0 for feed in client.app[push.FEEDS]._feeds} == {True}
        assert max(taken) <= LONGEST_TURN
        for reader in readers:
            reader.close()
        await client.app[keys.HUB].left_alone()
