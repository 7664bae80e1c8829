"""Finds out what a link offers (`POST /api/info`): a child extracts, and nothing is stored."""

import asyncio
import json
from typing import Any
from uuid import uuid4

from server.core.action_requests import InfoRequest
from server.core.errors import DiskFull, ShuttingDown, SourceRefused, StorageFailed, TooManyRequests
from server.core.events import Broken, Learned, Renewed
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
RETRY_AFTER = 5  # seconds, with `429`


class Inspector:
    """Looks at links for clients that wait: `AT_ONCE` together, `WAITING` in line, each within `DEADLINE`."""

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
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._deadlines: set[asyncio.Timeout] = set()
        self._closing = False

    async def inspect(self, wanted: InfoRequest, owner: str | None = None) -> dict[str, Any]:
        """What the source offers to `owner`, as the child describes it.

        Raises `SourceRefused` with the code that a task would have ended with, `TooManyRequests` if there is
        no free turn in time, `ShuttingDown` and `DiskFull`. A cancel ends the work: when this returns, the
        child and its files are gone and the turn is free.
        """
        if self._closing:
            raise ShuttingDown
        if len(self._deadlines) >= AT_ONCE + WAITING:
            raise TooManyRequests(RETRY_AFTER)
        deadline, has_begun = asyncio.timeout(DEADLINE), False
        self._deadlines.add(deadline)
        try:
            async with deadline, self._turns:
                await self._fork_server.warm()
                has_begun = True
                return await self._extract(wanted, owner)
        except TimeoutError:
            if self._closing:
                raise ShuttingDown from None
            raise (SourceRefused("timeout") if has_begun else TooManyRequests(RETRY_AFTER)) from None
        finally:
            self._deadlines.discard(deadline)

    def close(self) -> None:
        """Refuse new inspections and end those under way: the server shuts down."""
        self._closing = True
        for deadline in self._deadlines:
            if not deadline.expired():
                deadline.reschedule(0)

    async def _extract(self, wanted: InfoRequest, owner: str | None) -> dict[str, Any]:
        folder = self._workplace.scratch / f"info.{uuid4()}"
        given = await self._cookies.made_for(wanted.url, wanted.cookies, owner)
        if given.are_missing:
            raise SourceRefused("cookies_missing")
        job = self._jobs.info(wanted, folder / "work", folder / "lock", given.text)

        async def work(_: bool) -> dict[str, Any] | Broken:
            async with child_in_scratch(self._fork_server.start, job, folder) as child:
                while True:
                    line = await child.read_line()
                    message = json.loads(line or b'{"kind":"broken","code":"worker_lost"}')
                    match message:
                        case {"kind": "renewed"}:
                            await given.renew(Renewed.model_validate(message).cookies)
                        case {"kind": "learned"}:
                            self._jobs.players.learn(wanted.url, Learned.model_validate(message))
                        case {"kind": "extracted", "info": dict(info)}:
                            return info
                        case _:
                            return Broken.model_validate(message)

        try:
            page = await self._fork_server.run(folder.name, work)
        except OSError as exc:
            error = DiskFull() if found_no_room(exc) else StorageFailed()
            error.is_logged = await self._workplace.trouble() is not None
            raise error from exc
        if isinstance(page, Broken):
            if page.code == "internal":
                faults.log_fault("the inspection of a link", page.fault)
            raise SourceRefused(page.code, hint_of(page, given.name), given.name)
        if not page.pop("more", False):
            return page
        following = wanted.passed_over + wanted.limit
        if following < self._max_playlist:
            return page | {"next_cursor": str(following)}
        return page | {"truncated": True}  # the child stops reading a list at this number
