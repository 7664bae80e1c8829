"""A client that sends nothing, or sends slowly, does not keep its connection for ever."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient

from server.api import bodies, connections, keys
from server.api.connections import CONNECTIONS, MAX_IDLE, Connections
from server.app import create_app
from server.settings import DownloadSettings, Settings, StorageSettings
from tests.inside import inside

Client = TestClient[web.Request, web.Application]
TASK = {"url": "http://127.0.0.9:9/v.mp4", "auto_start": False}


@pytest.fixture
async def client(aiohttp_client: Callable[[web.Application], Awaitable[Client]], tmp_path: Path) -> Client:
    settings = Settings(
        storage=StorageSettings(data_dir=tmp_path / "data"), downloads=DownloadSettings(min_free_disk=0)
    )
    return await aiohttp_client(create_app(settings))


def let_time_pass(client: Client, seconds: float) -> None:
    """Let the server check its connections now and, with the clock set ahead, `seconds` later."""
    server = client.server.runner.server  # type: ignore[union-attr]
    assert server
    now = asyncio.get_running_loop().time()
    for moment in (now, now + seconds):
        client.app[CONNECTIONS].look(server.connections, moment)


async def is_cut(reader: asyncio.StreamReader) -> bool:
    try:
        return await reader.read(1) == b""
    except ConnectionError:
        return True


@pytest.mark.parametrize("said", [b"", b"GET /api/tasks HTTP/1.1\r\nHost: loc"])
async def test_a_head_that_does_not_come_ends_the_connection(client: Client, said: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
    writer.write(said)
    await asyncio.sleep(0.05)
    let_time_pass(client, MAX_IDLE - 1)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await reader.read(1)
    let_time_pass(client, MAX_IDLE + 1)
    assert await is_cut(reader)
    writer.close()


async def test_a_check_that_fails_is_not_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail_once(transport: asyncio.Transport) -> int:
        monkeypatch.setattr(connections, "outstanding", outstanding)
        raise OSError("no such socket")

    outstanding = connections.outstanding
    monkeypatch.setattr(connections, "outstanding", fail_once)
    for name in ("CHECK_EVERY", "MAX_IDLE"):
        monkeypatch.setattr(f"server.api.connections.{name}", 0.01)
    async with inside(tmp_path) as service:
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        assert await is_cut(reader)
        assert "no such socket" in caplog.text
        writer.close()


async def test_while_nobody_is_connected_nobody_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, look_at_all = 0, Connections._look_at_all

    async def look(*which: Any) -> None:
        nonlocal looks
        looks += 1
        await look_at_all(*which)

    monkeypatch.setattr(Connections, "_look_at_all", look)
    for name in ("CHECK_EVERY", "MAX_IDLE"):
        monkeypatch.setattr(f"server.api.connections.{name}", 0.01)
    async with inside(tmp_path) as service:
        for _ in range(2):
            reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
            assert await is_cut(reader)
            writer.close()
            await asyncio.sleep(0.1)
            before = looks
            await asyncio.sleep(0.2)
            assert looks == before


async def test_who_leaves_during_the_last_look_is_not_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look, writers, wanted = Connections.look, list[asyncio.StreamWriter](), 10

    def look_and_cut(self: Connections, found: Collection[web.RequestHandler], now: float) -> None:
        look(self, found, now)
        self.answered.update(found)
        for connection in service.server.connections:
            if connection.transport:
                connections.cut(connection.transport)

    monkeypatch.setattr(Connections, "look", look_and_cut)
    monkeypatch.setattr(connections, "AT_ONCE", 1)
    async with inside(tmp_path) as service:
        for _ in range(wanted):
            writers.append((await asyncio.open_connection("127.0.0.1", service.port))[1])
        while len(service.server.connections) < wanted:
            await asyncio.sleep(0)
        await service.app[CONNECTIONS]._look_at_all(service.server)
        assert not service.server.connections
        assert not service.app[CONNECTIONS]._seen
        assert not service.app[CONNECTIONS].answered
        for writer in writers:
            writer.close()


async def test_a_long_poll_and_a_socket_are_not_quiet(client: Client) -> None:
    task_id = (await (await client.post("/api/process", json=TASK)).json())["task_id"]
    etag = (await client.get(f"/api/status/{task_id}")).headers["ETag"]
    async with asyncio.timeout(20), client.ws_connect(f"/ws/{task_id}") as ws:
        await ws.receive()
        held = asyncio.create_task(
            client.get(f"/api/status/{task_id}?wait=30", headers={"If-None-Match": etag})
        )
        while len(client.app[keys.HUB]._watchers.get(task_id, ())) < 2:
            await asyncio.sleep(0)
        let_time_pass(client, 10 * MAX_IDLE)
        await client.post(f"/api/tasks/{task_id}/cancel")
        assert (await held).status == 200
        assert (await ws.receive_json())["stage"] == "cancelled"


async def test_a_body_that_does_not_come_is_not_waited_for(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "BODY_WITHIN", 0.05)
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
    head = "POST /api/process HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Content-Length: 10\r\n\r\n{{".encode())
    assert (await reader.readline()).split()[1] == b"408"
    writer.close()


async def test_a_body_that_says_it_is_too_large_is_refused_before_it_comes(client: Client) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
    head = "POST /api/process HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Content-Length: 100000000\r\n\r\n{{".encode())
    assert (await reader.readline()).split()[1] == b"413"
    writer.close()
