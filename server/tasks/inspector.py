"""What a link offers, without keeping anything: a child extracts and says what it found."""

import asyncio
import json
import logging
import shutil
import tempfile
from pathlib import Path
from typing import Any
from uuid import uuid4

from server.errors import SourceRefused, TooManyRequests
from server.models import InfoRequest
from server.settings import DownloadSettings
from server.tasks.forkserver import Child, ForkServer, stopped
from server.tasks.jobs import JobMaker
from server.tasks.shielding import to_the_end
from server.tasks.tools import Tools

log = logging.getLogger(__name__)

DEADLINE = 45.0  # seconds
AT_ONCE = 4  # inspections that run
WAITING = 16  # inspections that wait for their turn; more are told to come back
COME_BACK = 5  # seconds


class Inspector:
    def __init__(
        self, fork_server: ForkServer, directory: Path, settings: DownloadSettings, tools: Tools
    ) -> None:
        self._fork_server = fork_server
        self._directory = directory
        self._jobs = JobMaker(settings, tools)
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._asked = 0

    async def inspect(self, wanted: InfoRequest) -> dict[str, Any]:
        """What the source says; raises `SourceRefused` with the code a task would have ended with."""
        if self._asked >= AT_ONCE + WAITING:
            raise TooManyRequests(COME_BACK)
        self._asked += 1
        try:
            async with self._turns, asyncio.timeout(DEADLINE):
                return await self._extract(wanted)
        except TimeoutError:
            raise SourceRefused("timeout") from None
        finally:
            self._asked -= 1

    async def _extract(self, wanted: InfoRequest) -> dict[str, Any]:
        await self._fork_server.warm()
        job_id = f"info.{uuid4()}"
        folder = Path(await to_the_end(asyncio.to_thread(tempfile.mkdtemp, dir=self._directory)))
        job = self._jobs.info(wanted, folder / "work", folder / "lock")
        starting = asyncio.ensure_future(self._fork_server.start(job_id, job, folder / "log"))
        try:
            child = await asyncio.shield(starting)
            return _answer(await child.read_line())
        finally:
            await to_the_end(_leave_nothing(starting, folder))


async def _leave_nothing(starting: "asyncio.Future[Child]", folder: Path) -> None:
    await stopped(starting)
    await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


def _answer(line: bytes) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(line or b'{"kind":"broken","code":"worker_lost"}')
    if message["kind"] == "extracted":
        info: dict[str, Any] = message["info"]
        return info
    raise SourceRefused(message["code"])
