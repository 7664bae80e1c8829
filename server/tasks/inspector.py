"""Finds out what a link offers (`POST /api/info`), and makes the pictures of a list's entries small: a child
does the work, and nothing is stored.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from server.core.action_requests import InfoRequest
from server.core.errors import DiskFull, ShuttingDown, SourceRefused, StorageFailed, TooManyRequests
from server.core.events import Broken, Learned, Renewed
from server.core.jobs import Job
from server.core.ports import Cookies, Workplace
from server.settings import DownloadSettings
from server.tasks import faults
from server.tasks.children import child_in_scratch
from server.tasks.disk_space import found_no_room
from server.tasks.fork_servers import ForkServers
from server.tasks.job_builder import CookieChoice, JobMaker
from server.tasks.next_attempt import hint_of

DEADLINE = 45.0  # seconds for a whole inspection, with its wait
AT_ONCE = 4  # inspections that run
WAITING = 16  # inspections that wait for their turn; further ones get `429`
THUMBNAILS_AT_ONCE, THUMBNAILS_WAITING = 2, 16  # the same for requests of thumbnails
RETRY_AFTER = 5  # seconds, with `429`


class Inspector:
    """Does what clients wait for: `AT_ONCE` inspections together and `WAITING` in line, and fewer requests of
    thumbnails, which have turns of their own.
    """

    def __init__(
        self,
        fork_server: ForkServers,
        workplace: Workplace,
        settings: DownloadSettings,
        jobs: JobMaker,
        cookies: Cookies,
    ) -> None:
        self._cookies = CookieChoice(cookies, settings.cookies)
        self._fork_server = fork_server
        self._max_playlist = settings.max_playlist
        self._workplace = workplace
        self._jobs = jobs
        self._inspections = _BoundedTurns(AT_ONCE, WAITING, fork_server.warm)
        self._thumbnails = _BoundedTurns(THUMBNAILS_AT_ONCE, THUMBNAILS_WAITING, fork_server.warm)

    async def inspect(self, wanted: InfoRequest, owner: str | None = None) -> dict[str, Any]:
        """What the source offers to `owner`, as the child describes it.

        Raises `SourceRefused` with the code that a task would have ended with, `TooManyRequests` if there is
        no free turn in time, `ShuttingDown` and `DiskFull`. A cancel ends the work: when this returns, the
        child and its files are gone and the turn is free.
        """
        async with self._inspections.taken():
            return await self._extract(wanted, owner)

    async def thumbnails(self, urls: tuple[str, ...]) -> dict[str, str]:
        """Small pictures as `data:` URLs, by the link at which each was fetched; those that fail are missing.

        Raises and ends as `inspect` does.
        """
        async with self._thumbnails.taken():
            folder = self._workplace.scratch / f"thumbnails.{uuid4()}"
            job = self._jobs.thumbnails(urls, folder / "work", folder / "lock")
            last = await self._run(job, folder, "thumbnails")
        if isinstance(last, Broken):
            raise _refusal(last, "the thumbnails of a list")
        made: dict[str, str] = last["thumbnails"]
        return made

    def close(self) -> None:
        """Refuse new work and end what is under way: the server shuts down."""
        self._inspections.close()
        self._thumbnails.close()

    async def _extract(self, wanted: InfoRequest, owner: str | None) -> dict[str, Any]:
        folder = self._workplace.scratch / f"info.{uuid4()}"
        given = await self._cookies.made_for(wanted.url, wanted.cookies, owner)
        if given.are_missing:
            raise SourceRefused("cookies_missing")
        job = self._jobs.info(wanted, folder / "work", folder / "lock", given.text)

        async def note(message: dict[str, Any]) -> None:
            if message["kind"] == "renewed":
                await given.renew(Renewed.model_validate(message).cookies)
            else:
                self._jobs.players.learn(wanted.url, Learned.model_validate(message))

        last = await self._run(job, folder, "extracted", note)
        if isinstance(last, Broken):
            raise _refusal(last, "the inspection of a link", given.name)
        page: dict[str, Any] = last["info"]
        if not page.pop("more", False):
            return page
        following = wanted.passed_over + wanted.limit
        if following < self._max_playlist:
            return page | {"next_cursor": str(following)}
        return page | {"truncated": True}  # the child stops reading a list at this number

    async def _run(
        self,
        job: Job,
        folder: Path,
        result: str,
        note: Callable[[dict[str, Any]], Awaitable[None]] | None = None,
    ) -> dict[str, Any] | Broken:
        """Run a child in `folder`, and return its message of the kind `result`, or why there is none; `note`
        takes what it says before. Raises `DiskFull` and `StorageFailed`.
        """

        async def work(_: bool) -> dict[str, Any] | Broken:
            async with child_in_scratch(self._fork_server.start, job, folder) as child:
                while True:
                    line = await child.read_line()
                    message: dict[str, Any] = json.loads(line or b'{"kind":"broken","code":"worker_lost"}')
                    if message["kind"] == result:
                        return message
                    if note is None or message["kind"] not in ("renewed", "learned"):
                        return Broken.model_validate(message)
                    await note(message)

        try:
            return await self._fork_server.run(folder.name, work)
        except OSError as exc:
            error = DiskFull() if found_no_room(exc) else StorageFailed()
            error.is_logged = await self._workplace.trouble() is not None
            raise error from exc


def _refusal(broken: Broken, work: str, cookies: str | None = None) -> SourceRefused:
    if broken.code == "internal":
        faults.log_fault(work, broken.fault)
    return SourceRefused(broken.code, hint_of(broken, cookies), cookies)


class _BoundedTurns:
    """`at_once` clients have a turn, and `waiting` wait in line. A turn begins when `ready` returns, and ends
    `DEADLINE` seconds after the client came.
    """

    def __init__(self, at_once: int, waiting: int, ready: Callable[[], Awaitable[object]]) -> None:
        self.deadlines: set[asyncio.Timeout] = set()
        self._free = asyncio.Semaphore(at_once)
        self._most = at_once + waiting
        self._ready = ready
        self._closing = False

    @asynccontextmanager
    async def taken(self) -> AsyncIterator[None]:
        """Wait for a turn and hold it.

        Raises `TooManyRequests`, `ShuttingDown`, and `SourceRefused` if the turn is over before the work is.
        """
        if self._closing:
            raise ShuttingDown
        if len(self.deadlines) >= self._most:
            raise TooManyRequests(RETRY_AFTER)
        deadline, has_begun = asyncio.timeout(DEADLINE), False
        self.deadlines.add(deadline)
        try:
            async with deadline, self._free:
                await self._ready()
                has_begun = True
                yield
        except TimeoutError:
            if self._closing:
                raise ShuttingDown from None
            raise (SourceRefused("timeout") if has_begun else TooManyRequests(RETRY_AFTER)) from None
        finally:
            self.deadlines.discard(deadline)

    def close(self) -> None:
        self._closing = True
        for deadline in self.deadlines:
            if not deadline.expired():
                deadline.reschedule(0)
