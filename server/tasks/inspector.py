"""What a link offers, without keeping anything: a child extracts and says what it found."""

import asyncio
import json
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from server.errors import DiskFull, ShuttingDown, SourceRefused, TooManyRequests
from server.events import Broken
from server.models import InfoRequest
from server.settings import DownloadSettings
from server.tasks import faults
from server.tasks.disk import found_no_room
from server.tasks.forkserver import Child, ForkServer, stopped
from server.tasks.jobs import JobMaker
from server.tasks.shielding import to_the_end
from server.tasks.tools import Tools

DEADLINE = 45.0  # seconds, over all of it
AT_ONCE = 4  # inspections that run
WAITING = 16  # inspections that wait for their turn; more are told to come back
COME_BACK = 5  # seconds


class Inspector:
    """Looks at links for clients that wait: `AT_ONCE` together, `WAITING` in line, each within `DEADLINE`."""

    def __init__(
        self, fork_server: ForkServer, directory: Path, settings: DownloadSettings, tools: Tools
    ) -> None:
        self._fork_server = fork_server
        self._directory = directory
        self._jobs = JobMaker(settings, tools)
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._deadlines: set[asyncio.Timeout] = set()
        self._closing = False

    async def inspect(self, wanted: InfoRequest) -> dict[str, Any]:
        """What the source offers, as the child describes it.

        Raises `SourceRefused` with the code that a task would have ended with, `TooManyRequests` if it does
        not get its turn, `ShuttingDown` and `DiskFull`. A cancel ends the work: when it is through, the child
        and its files are gone and the turn is free.
        """
        if self._closing:
            raise ShuttingDown
        if len(self._deadlines) >= AT_ONCE + WAITING:
            raise TooManyRequests(COME_BACK)
        deadline, has_begun = asyncio.timeout(DEADLINE), False
        self._deadlines.add(deadline)
        try:
            async with deadline, self._turns:
                await self._fork_server.warm()
                has_begun = True
                return await self._extract(wanted)
        except TimeoutError:
            if self._closing:
                raise ShuttingDown from None
            raise (SourceRefused("timeout") if has_begun else TooManyRequests(COME_BACK)) from None
        finally:
            self._deadlines.discard(deadline)

    def close(self) -> None:
        """From now on nothing is looked at, and what is under way ends: the server goes away."""
        self._closing = True
        for deadline in self._deadlines:
            if not deadline.expired():
                deadline.reschedule(0)

    async def _extract(self, wanted: InfoRequest) -> dict[str, Any]:
        folder = self._directory / f"info.{uuid4()}"
        starting = asyncio.ensure_future(self._start(wanted, folder))
        try:
            child = await asyncio.shield(starting)
            return _answer(await child.read_line())
        except OSError as exc:
            if found_no_room(exc):
                raise DiskFull from exc
            raise
        finally:
            await to_the_end(_leave_nothing(starting, folder))

    async def _start(self, wanted: InfoRequest, folder: Path) -> Child:
        await asyncio.to_thread(folder.mkdir, mode=0o700)
        job = self._jobs.info(wanted, folder / "work", folder / "lock")
        return await self._fork_server.start(folder.name, job, folder / "log")


async def _leave_nothing(starting: "asyncio.Future[Child]", folder: Path) -> None:
    with suppress(OSError):  # it has never begun
        await stopped(starting)
    await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


def _answer(line: bytes) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(line or b'{"kind":"broken","code":"worker_lost"}')
    if message["kind"] == "extracted":
        info: dict[str, Any] = message["info"]
        return info
    broken = Broken.model_validate(message)
    if broken.code == "internal":
        faults.tell("a look at a link", broken.fault)
    raise SourceRefused(broken.code)
