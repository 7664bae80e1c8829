"""A small client for what a benchmark does beside the load: it submits tasks, and waits for their ends."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from tests.bench.programs import PATIENCE, Program

FINAL = ("completed", "failed", "cancelled")
NEVER = {"url": "http://127.0.0.9:9/never.mp4", "auto_start": False}


class Client:
    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session

    async def submit(self, url: str, **body: object) -> str:
        """Submit a link; return the id of the accepted task."""
        async with self.session.post("/api/process", json={"url": url, **body}) as answer:
            assert answer.status == 202, await answer.text()
            return str((await answer.json())["task_id"])

    async def paused(self) -> str:
        """Return a paused task, which stays as it is."""
        return await self.submit(**NEVER)  # type: ignore[arg-type]

    async def get(self, path: str) -> dict[str, Any]:
        async with self.session.get(path) as answer:
            assert answer.status == 200, await answer.text()
            body: dict[str, Any] = await answer.json()
            return body

    async def ended(self, task_id: str, within: float = PATIENCE) -> dict[str, Any]:
        """Return the task's final payload as soon as its WebSocket, which closes afterwards, sends it."""
        async with asyncio.timeout(within), self.session.ws_connect(f"/ws/{task_id}") as socket:
            last = {}
            async for message in socket:
                last = message.json()
            return last

    async def completed(self, task_id: str, within: float = PATIENCE) -> dict[str, Any]:
        last = await self.ended(task_id, within)
        assert last["stage"] == "completed", last
        return last


@asynccontextmanager
async def client_of(program: Program, token: str | None = None) -> AsyncIterator[Client]:
    connector = aiohttp.TCPConnector(limit=0)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with aiohttp.ClientSession(program.url, connector=connector, headers=headers) as session:
        yield Client(session)
