"""On SIGTERM the service starts nothing new, tells all clients, and ends within five seconds, whatever
clients do.
"""

import asyncio
import base64
import json
import os
import signal
import sys
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

from tests.child.test_faults import long_sound
from tests.inside import get, post
from tests.service import Service, Services
from tests.site import Site, sha256

SOCKETS = 500
WITHIN = 5.0  # seconds that a stop may take by contract
SLOW = "/8mb.mp4?rate=1500000"


@pytest.mark.long
async def test_with_500_sockets_and_4_downloads_it_is_gone_in_time_and_goes_on_afterwards(
    service: Service, site: Site, media: Path, tmp_path: Path
) -> None:
    hanging = [f"/8mb.mp4?stall={5_000_000 + number}&after=1&times=1" for number in range(4)]
    tasks = [await service.submit(site.url(path), outputs=["video"]) for path in hanging]
    for task in tasks:
        await under_way(service, task["task_id"])
    async with AsyncExitStack() as sockets:
        polite = [await sockets.enter_async_context(service.client.ws_connect("/ws")) for _ in range(20)]
        for number in range(SOCKETS - len(polite)):
            await sockets.enter_async_context(MuteSocket(service.url, f"/ws/{tasks[number % 4]['task_id']}"))
        reading = [asyncio.create_task(last_of(socket)) for socket in polite]
        assert await stopped_in_time(service) == 0
        assert set(await asyncio.gather(*reading)) == {aiohttp.WSCloseCode.GOING_AWAY}
    asked = len(site.requests)
    await service.start()
    for task in tasks:
        done = await service.wait(task["task_id"])
        assert done["attempt"] == 2, "it did not stay under way"
        fetched = await service.fetch(done["files"]["video"], tmp_path / "video.mp4")
        assert sha256(fetched) == sha256(media / "8mb.mp4")
    resumed = [request for request in site.requests[asked:] if request.range]
    assert len(resumed) == len(tasks), "some began from the start again"


@pytest.mark.long
async def test_a_stop_that_drains_lets_running_tasks_end_unless_a_second_signal_comes(
    services: Services, site: Site
) -> None:
    async with services.lend(CLIPWIRE_DOWNLOADS__DRAIN="60") as service:
        first = await service.submit(site.url("/8mb.mp4?rate=2000000"), outputs=["video"])
        await under_way(service, first["task_id"])
        stopping = asyncio.create_task(service.stop())
        while (found := await readiness(service))[0] == 200:
            await asyncio.sleep(0.01)
        assert found[1]["stopping"]["ok"] is False
        second = await service.submit(site.url(SLOW), outputs=["video"])
        assert (await service.wait(first["task_id"]))["attempt"] == 1
        assert await stopping == 0
        await service.start()
        await under_way(service, second["task_id"])
        service.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.2)
        assert service.runs
        assert await stopped_in_time(service) == 0
        await service.start()
        assert (await service.wait(second["task_id"]))["attempt"] == 2


@pytest.mark.long
async def test_a_request_that_is_complete_too_late_makes_no_task(service: Service, site: Site) -> None:
    body = json.dumps({"url": site.url("/video.mp4")}).encode()
    async with Raw(service.url) as raw:
        await raw.write(
            f"POST /api/process HTTP/1.1\r\nHost: {raw.netloc}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n".encode()
        )
        await raw.write(body[:5])
        stopping = asyncio.create_task(service.stop())
        while not any("stopping" in line for line in service.log):
            await asyncio.sleep(0.01)
        await raw.write(body[5:])
        answer = await raw.reader.read()
        assert await stopping == 0
    assert b" 202 " not in answer
    await service.start()
    async with service.client.get("/api/tasks") as listed:
        assert (await listed.json())["tasks"] == []


async def test_a_stop_answers_a_long_poll_and_does_not_wait_for_its_end(service: Service, site: Site) -> None:
    task = await service.submit(site.url(SLOW), outputs=["video"], auto_start=False)
    async with service.client.get(f"/api/status/{task['task_id']}") as answer:
        tag = answer.headers["ETag"]
    async with Raw(service.url) as polling:
        await polling.write(get(f"/api/status/{task['task_id']}?wait=50", f"If-None-Match: {tag}"))
        # Once these are answered, the server has read the long poll, which was sent earlier.
        for _ in range(3):
            await service.status(task["task_id"])
        assert await service.stop() == 0
        assert b" 304 " in await polling.reader.readline()
    assert not any("took longer" in line for line in service.log), "it had to be ended by force"
    assert not any(path.suffix in ("-wal", "-shm") for path in service.data.iterdir())


@pytest.mark.long
@pytest.mark.parametrize("at", ["download", "info", "convert"])
async def test_a_stop_in_any_stage_takes_nothing_back(
    service: Service, site: Site, media: Path, at: str
) -> None:
    """A second signal changes nothing."""
    sources = {"info": "/1mb.mp4?wait=1", "download": SLOW, "convert": f"/{long_sound(media).name}"}
    outputs = ["audio"] if at == "convert" else ["video"]
    task = await service.submit(site.url(sources[at]), outputs=outputs)
    seen = await service.wait(task["task_id"], at)
    assert await stopped_in_time(service) == 0
    await service.start()
    after = await service.status(task["task_id"])
    assert after["revision"] >= seen["revision"]
    done = await service.wait(task["task_id"])
    assert sorted(done["files"]) == sorted(outputs)


@pytest.mark.long
@pytest.mark.parametrize("each", [1, 5])
async def test_misbehaving_clients_delay_no_stop(service: Service, site: Site, each: int) -> None:
    """Clients read nothing, send nothing, send half a request, wait for what never comes, or send one request
    after the other.
    """
    done = await service.submit(site.url("/8mb.mp4"), outputs=["video"])
    waiting = await service.submit(site.url("/1mb.mp4"), auto_start=False)
    running = await service.submit(site.url("/8mb.mp4?stall=5000000&after=1"), outputs=["video"])
    await under_way(service, running["task_id"])
    link = (await service.wait(done["task_id"]))["files"]["video"]
    look = json.dumps({"url": site.url("/1mb.mp4?wait=60")}).encode()
    requests = {
        get(link): 20,
        get(link) * 20: 4,
        get(link)[:-2]: 4,
        get("/api/openapi.json") * 30: 4,
        get(f"/api/status/{waiting['task_id']}?wait=50", "If-None-Match: *"): 10,
        post("/api/process", "Content-Length: 100", body=b"{"): 10,
        post("/api/info", f"Content-Length: {len(look)}", body=look): 4,
        b"": 4,
    }
    async with AsyncExitStack() as clients:
        for request, times in requests.items():
            for _ in range(times * each):
                await (await clients.enter_async_context(Raw(service.url))).write(request)
        for _ in range(4 * each):
            await clients.enter_async_context(MuteSocket(service.url, "/ws"))
        while len(inspected(service)) < 4:
            await asyncio.sleep(0.02)
        assert await stopped_in_time(service) == 0
    assert not any("took longer" in line for line in service.log), "it had to be ended by force"
    assert service.complaints() == []


@pytest.mark.long
async def test_more_signals_change_nothing(service: Service, site: Site) -> None:
    """Signals come until the very end, when Python has already removed its own handlers."""
    task = await service.submit(site.url("/8mb.mp4?stall=5000000&after=1"), outputs=["video"])
    await under_way(service, task["task_id"])
    assert service.process
    stopping = asyncio.create_task(stopped_in_time(service))
    while service.process.returncode is None:
        for number in (signal.SIGTERM, signal.SIGINT):
            with suppress(ProcessLookupError):
                service.process.send_signal(number)
        await asyncio.sleep(0.005)
    assert await stopping == 0
    assert service.complaints() == []


@pytest.mark.wide
async def test_a_start_that_waits_for_another_server_can_be_stopped(service: Service) -> None:
    second = Service(service.folder, CLIPWIRE_SERVER__PORT="0")
    starting = asyncio.create_task(second.start())
    while second.process is None or not holds_open(second.process.pid, service.data / "clipwire.lock"):
        await asyncio.sleep(0.02)
    assert await second.stop() == 0
    with pytest.raises(RuntimeError, match="did not start"):
        await starting
    assert second.log == []


class Hanging(Service):
    """A service with a thread that never ends, such as one that waits for a disk: it would even hold up
    Python's end.
    """

    program = """
import sys, threading
from server.__main__ import main
from server.commands import serve
serve.MAX_STOP_SECONDS = 0.5
threading.Thread(target=threading.Event().wait).start()
sys.exit(main([]))
"""
    command = (sys.executable, "-X", "dev", "-c", program)


@pytest.mark.long
async def test_a_stop_that_hangs_is_ended_by_force(tmp_path: Path) -> None:
    async with Hanging(tmp_path / "service") as service:
        assert await stopped_in_time(service) == 0
    assert any("took longer" in line for line in service.log)


def inspected(service: Service) -> list[Path]:
    return list((service.data / "scratch").glob("*/work"))


def holds_open(pid: int, path: Path) -> bool:
    with suppress(FileNotFoundError):  # the descriptor was closed meanwhile, or the process has ended
        return any(path.samefile(each) for each in Path(f"/proc/{pid}/fd").iterdir() if each.exists())
    return False


async def stopped_in_time(service: Service) -> int:
    async with asyncio.timeout(WITHIN):
        return await service.stop()


async def readiness(service: Service) -> tuple[int, dict[str, dict[str, object]]]:
    async with service.client.get("/readyz?lang=en") as answer:
        return answer.status, (await answer.json())["checks"]


async def under_way(service: Service, task_id: str) -> None:
    """Return when bytes are on disk that the next attempt can use."""
    while not any(part.stat().st_size for part in (service.data / "work" / task_id).glob("*.part")):
        await asyncio.sleep(0.05)


async def last_of(socket: aiohttp.ClientWebSocketResponse) -> int | None:
    async for _ in socket:
        pass
    return socket.close_code


class Raw:
    """A TCP connection to the service."""

    def __init__(self, url: str) -> None:
        self.netloc = urlsplit(url).netloc
        self.reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter

    async def __aenter__(self) -> "Raw":
        host, _, port = self.netloc.partition(":")
        self.reader, self._writer = await asyncio.open_connection(host, int(port))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.transport.abort()

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()


class MuteSocket(Raw):
    """A WebSocket that was opened properly and never sends again, not even the answer to a close."""

    def __init__(self, url: str, path: str) -> None:
        super().__init__(url)
        self._path = path

    async def __aenter__(self) -> "MuteSocket":
        await super().__aenter__()
        key = base64.b64encode(os.urandom(16)).decode()
        await self.write(
            f"GET {self._path} HTTP/1.1\r\nHost: {self.netloc}\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        head = await self.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head
        return self
