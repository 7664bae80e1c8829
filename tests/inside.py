"""The application in the test's own process, served as `python -m server` serves it.

aiohttp's own test server cancels the handlers of clients that disconnect, which the service does not do.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from server.api import keys
from server.api.connections import CONNECTIONS
from server.api.protocol import HttpRunner, Server
from server.app import create_app
from server.assembly.features import FEATURES
from server.core.events import Completed, ProducedFile
from server.core.film import VideoInfo
from server.feature import Feature
from server.settings import DownloadSettings, Settings, StorageSettings

TASK = {"url": "http://127.0.0.9:9/v.mp4", "auto_start": False}  # a paused task: nothing is fetched


@dataclass
class Inside:
    app: web.Application
    server: web.Server
    port: int
    client: aiohttp.ClientSession

    async def submit(self, **fields: object) -> str:
        """Make a task, which is paused unless `fields` say otherwise; return its id."""
        async with self.client.post("/api/process", json=TASK | fields) as answer:
            assert answer.status == 202, await answer.text()
            task_id: str = (await answer.json())["task_id"]
            return task_id

    async def finished(self, content: bytes, task_id: str | None = None) -> str:
        """Complete a task with `content` as its video, a new task if none is named; return the link of the
        file.
        """
        task_id, files = task_id or await self.submit(), self.app[keys.FILES]
        out = self.work(task_id) / "out"
        out.mkdir(parents=True)
        (out / "video.mp4").write_bytes(content)
        produced = {"video": ProducedFile(path="video.mp4", size=len(content), type="video/mp4")}
        manifest = await files.prepare(task_id, 0, produced, VideoInfo())
        await files.publish(task_id, manifest)
        await self.app[keys.TASKS]._recorder.record(task_id, Completed(files=manifest.files))
        return f"/api/download/{manifest.files['video'].name}"

    def work(self, task_id: str) -> Path:
        """Return the folder in which the child of a task works."""
        return self.app[keys.SETTINGS].storage.data_dir / "work" / task_id

    async def status(self, task_id: str) -> dict[str, Any]:
        async with self.client.get(f"/api/status/{task_id}") as answer:
            found: dict[str, Any] = await answer.json()
            return found

    async def reached(self, task_id: str, stage: str) -> dict[str, Any]:
        """Wait until a task is in `stage`; return its payload."""
        async with asyncio.timeout(50):
            while (found := await self.status(task_id))["stage"] != stage:
                await asyncio.sleep(0.01)
        return found

    async def all_gone(self, within: float = 20) -> None:
        """Return when all clients but `client` have disconnected, and no handler still runs for them."""
        async with asyncio.timeout(within):
            async with self.client.get("/healthz", headers={"Connection": "close"}) as last:
                await last.read()  # the server has answered, so it has accepted all earlier connections
            while len(self.server.connections) > 1 or self.app[CONNECTIONS].answering:
                await asyncio.sleep(0.01)

    @asynccontextmanager
    async def connected(self, takes: int = 4096) -> AsyncIterator[socket.socket]:
        """Yield a connected socket whose kernel buffers at most about `takes` bytes that were not read."""
        with socket.socket() as sock:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, takes // 2)
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.port))
            yield sock


@asynccontextmanager
async def inside(
    folder: Path, features: Sequence[Feature] = FEATURES, port: int = 0, **sections: Any
) -> AsyncIterator[Inside]:
    defaults: dict[str, Any] = {
        "storage": StorageSettings(data_dir=folder / "data"),
        "downloads": DownloadSettings(min_free_disk=0, allowed_private_hosts=("127.0.0.1",)),
    }
    app = create_app(Settings(**defaults | sections), features=features)
    runner = HttpRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        port = runner.addresses[0][1]
        assert isinstance(runner.server, Server)
        watching = asyncio.create_task(app[CONNECTIONS].watch(runner.server), name="connections")
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:
            yield Inside(app, runner.server, port, client)
        watching.cancel()
    finally:
        await runner.cleanup()


def get(path: str, *headers: str) -> bytes:
    return "\r\n".join((f"GET {path} HTTP/1.1", "Host: localhost", *headers, "", "")).encode()


def post(path: str, *headers: str, body: bytes = b"") -> bytes:
    lines = (f"POST {path} HTTP/1.1", "Host: localhost", "Content-Type: application/json", *headers, "", "")
    return "\r\n".join(lines).encode() + body
