"""Sockets whose reader is slow, and many at once."""

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import closing
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient

from server.api import keys, push
from server.api.payload import text_frame
from server.app import create_app
from server.core.models import ProcessRequest, Stage, TaskStatus
from server.settings import DownloadSettings, Settings, StorageSettings
from server.tasks.hub import Hub, Watcher
from tests.adding import accept

Client = TestClient[web.Request, web.Application]
REQUEST = ProcessRequest(url="http://127.0.0.9:9/video.mp4", auto_start=False)
Headers = Mapping[str, str]
CLOSED_WITH_1000 = b"\x88\x02\x03\xe8"
FLOOD_WITHIN = 60  # seconds, on a busy machine


@pytest.fixture
async def client(aiohttp_client: Callable[[web.Application], Awaitable[Client]], tmp_path: Path) -> Client:
    settings = Settings(
        storage=StorageSettings(data_dir=tmp_path / "data"), downloads=DownloadSettings(min_free_disk=0)
    )
    return await aiohttp_client(create_app(settings))


async def slow_reader(client: Client, path: str, headers: Headers = MappingProxyType({})) -> socket.socket:
    """A connected WebSocket for whom the kernel keeps next to nothing; nobody reads yet."""
    loop, reader = asyncio.get_running_loop(), socket.socket()
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    reader.setblocking(False)
    await loop.sock_connect(reader, ("127.0.0.1", client.port))
    lines = ("Host: localhost", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
             "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
             *(f"{name}: {value}" for name, value in headers.items()))  # fmt: skip
    await loop.sock_sendall(reader, "\r\n".join((f"GET {path} HTTP/1.1", *lines, "", "")).encode())
    while b"\r\n\r\n" not in await loop.sock_recv(reader, 1024):
        pass
    return reader


async def rest(reader: socket.socket, end: bytes) -> bytes:
    """All that comes until `end` does."""
    loop, data = asyncio.get_running_loop(), b""
    while not data.endswith(end):
        data += await loop.sock_recv(reader, 65536)
    return data


def payloads(data: bytes) -> list[dict[str, Any]]:
    """Of the frames in `data`, whose first one may have lost its beginning."""
    pieces = data.split(b'{"task_id"')[1:]
    return [
        json.JSONDecoder().raw_decode('{"task_id"' + piece.decode(errors="ignore"))[0] for piece in pieces
    ]


async def turns(client: Client) -> None:
    """Let the flushers write all they can."""
    while client.app[push.TO_TASKS]._waiting or client.app[push.TO_FEEDS]._waiting:
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
    async with asyncio.timeout(20):
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


async def test_a_slow_reader_of_the_feed_gets_the_newest_of_every_task(client: Client) -> None:
    tasks = [await accept(client.app[keys.TASKS], REQUEST) for _ in range(100)]
    async with asyncio.timeout(FLOOD_WITHIN):
        with closing(await slow_reader(client, "/ws")) as reader:
            newest = [await flood(client, status, 100) for status in tasks]
            # A removal of another one marks the end.
            client.app[keys.HUB].removed("nobody")
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
            async with asyncio.timeout(20):
                await client.app.shutdown()
                await client.app[keys.HUB].left_alone()


class Turn:
    """Notes when it has its turn."""

    def __init__(self, name: str, turns: list[str]) -> None:
        self._name, self._turns = name, turns

    def flush(self) -> None:
        self._turns.append(self._name)


async def test_a_flusher_gathers_before_it_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    flusher, had, later = push.Flusher(gather=0.05), list[str](), list[tuple[float, Callable[[], None]]]()
    with monkeypatch.context() as patch:
        patch.setattr(asyncio.get_running_loop(), "call_later", lambda *what: later.append(what))
        for name in "ab":
            flusher.add(Turn(name, had))  # type: ignore[arg-type]
    [(after, flush)] = later
    assert (after, had) == (0.05, [])
    flush()
    assert had == ["a", "b"]


async def test_more_sockets_than_one_turn_has_room_for_are_all_written_to(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(push, "SOCKETS_AT_ONCE", 2)
    status = await accept(client.app[keys.TASKS], REQUEST)
    async with asyncio.timeout(20):
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
    async with asyncio.timeout(20):
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
    client.app[keys.HUB]._changes.clear()  # as if that were long ago
    listed = await (await client.get("/api/tasks?sort=state")).json()
    assert len(listed["tasks"]) == 3
    await tasks.cancel(changed)
    await tasks.delete(gone)
    new = (await accept(tasks, REQUEST)).task_id
    async with asyncio.timeout(20), client.ws_connect("/ws?since=10&lang=en") as ws:
        messages = [await ws.receive_json() for _ in range(3)]
        found = {each["task_id"]: each.get("stage", "removed") for each in messages}
        assert found == {changed: "cancelled", gone: "removed", new: "paused"}
        await tasks.cancel(old)
        assert (await ws.receive_json())["task_id"] == old
    async with asyncio.timeout(20), client.ws_connect("/ws") as ws:
        await tasks.cancel(new)
        assert (await ws.receive_json())["stage"] == "cancelled"
