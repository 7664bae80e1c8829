"""Which yt-dlp new jobs run on: a fork server for the chosen release, and those that old jobs still need.

An update (`server/commands/update.py`) only writes down which release is chosen. Whoever starts a job looks
whether that has changed, so that a running server needs no signal, and one that never updates pays for a
look at one file. New jobs wait until the new release is warm; jobs under way end on theirs.

Decisions: docs/decisions/updates.md
"""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from server.core.jobs import Job
from server.core.models import TaskStatus
from server.core.shielding import to_the_end
from server.tasks.children import WARM_WITHIN, Child, ForkServer, Launched, Ready
from server.tasks.plugin_trials import Found, Plugins
from server.tasks.yt_dlp_releases import Releases, State, Why, installed

log = logging.getLogger(__name__)

MOST_FAULTS = 3  # tasks in a row that end as `internal` on a release that was brought
MOST_STARTS = 2  # of its fork server, in a row, that do not get warm


class _Generation:
    """The fork server of one release; `version` is None for the installed one."""

    def __init__(self, server: ForkServer, version: str | None, held: int | None) -> None:
        self.server = server
        self.version = version
        self.starting = 0  # jobs that are about to run on it
        self.faults = 0  # tasks in a row that ended as `internal`
        self._held = held

    async def close(self) -> None:
        await self.server.__aexit__()
        if self._held is not None:
            os.close(self._held)


class ForkServers:
    """To be used like one `ForkServer`."""

    def __init__(
        self,
        ffmpeg: str | None,
        deno: str | None,
        data_dir: Path,
        launched: Launched | None = None,
        plugins: Plugins | None = None,
    ) -> None:
        """A fork server of the installed release may be `launched` already. Jobs get the `plugins`."""
        self._tools = ffmpeg, deno
        self._launched = launched
        self.releases = Releases(data_dir)
        self._seen: tuple[int, int] | None = None  # the state that was looked at last
        self._current: _Generation
        self._open: set[_Generation] = set()
        self._old: set[asyncio.Task[None]] = set()
        self._ran: dict[str, _Generation] = {}  # by the id of a job, on a release that was brought
        self._switching = asyncio.Lock()
        self._switched = asyncio.Event()
        self._guard: asyncio.Task[None] | None = None
        self._going_back: asyncio.Task[None] | None = None
        self._following: asyncio.Task[None] | None = None
        self._plugins = plugins
        self._trying: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "ForkServers":
        self._seen, chosen = await asyncio.to_thread(self._look)
        self._current = await self._opened(chosen)
        self._watch()
        if self._plugins:
            self._trying = asyncio.create_task(self._try_plugins(self._plugins), name="plugins at the start")
        return self

    async def __aexit__(self, *_: object) -> None:
        single = (self._guard, self._going_back, self._following, self._trying)
        tasks = [*self._old, *(one for one in single if one)]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if self._plugins:
            await self._plugins.aclose()
        for generation in list(self._open):  # also those whose task was cancelled before it began
            await self._close(generation)

    @property
    def ready(self) -> Ready | None:
        return self._current.server.ready

    @property
    def lacks(self) -> list[str]:
        return self._current.server.lacks

    async def answers(self, within: float) -> bool:
        """Whether new jobs can be started: see `ForkServer.answers`."""
        return await self._current.server.answers(within)

    @property
    def has_plugins(self) -> bool:
        """Whether the operator has a folder for them."""
        return self._plugins is not None

    async def plugins(self, within: float) -> Found | None:
        """Those that are there; None if they are not known after that many seconds."""
        if self._plugins and self._current.server.is_warm:
            with suppress(TimeoutError):
                async with asyncio.timeout(within):
                    return await self._plugins.look(self._current.server)
        return None

    async def _try_plugins(self, plugins: Plugins) -> None:
        await self.warm()
        await plugins.look(self._current.server)

    async def warm(self) -> None:
        """Return once jobs can be started."""
        if not self._current.server.is_warm:
            await self._until(lambda server: server.warm())

    async def known(self) -> None:
        """Return once jobs can be started, or it is known why not: see `lacks`."""
        await self._until(lambda server: server.known())

    async def start(self, job_id: str, job: Job, log_file: Path) -> Child:
        """As `ForkServer.start`; if another release was chosen meanwhile, the job waits for that."""
        await self.look()
        generation = self._current
        generation.starting += 1
        try:
            if self._plugins:
                job = await self._plugins.given(job, generation.server)
            child = await generation.server.start(job_id, job, log_file)
        finally:
            generation.starting -= 1
        if generation.version is not None:
            self._ran[job_id] = generation
        return child

    def ended(self, job_id: str, status: TaskStatus | None) -> None:
        """Say what a job that was started came to; None if that is not known."""
        generation = self._ran.pop(job_id, None)
        if generation is None or status is None or not status.stage.is_final:
            return
        generation.faults = generation.faults + 1 if status.error_code == "internal" else 0
        is_going_back = self._going_back is not None and not self._going_back.done()
        if generation.faults >= MOST_FAULTS and generation is self._current and not is_going_back:
            log.error("%s tasks in a row ended as internal with yt-dlp %s", MOST_FAULTS, generation.version)
            self._going_back = asyncio.create_task(self._go_back(generation, "internal"), name="going back")

    async def look(self) -> None:
        """Switch to the release that was chosen, if that is another one by now. Raises nothing."""
        if following := self._follow(await asyncio.to_thread(self.releases.changed_at)):
            await asyncio.shield(following)  # whoever is cancelled meanwhile, others wait for it, too

    async def state(self) -> State | None:
        """What updates have come to; None if there never was one. A switch that is due begins."""
        changed_at = await asyncio.to_thread(self.releases.changed_at)
        self._follow(changed_at)
        return None if changed_at is None else await asyncio.to_thread(self.releases.read)

    def _follow(self, changed_at: tuple[int, int] | None) -> asyncio.Task[None] | None:
        """The switch that is under way, or that a state of that moment calls for."""
        if self._following and not self._following.done():
            return self._following
        if changed_at == self._seen:
            return None
        self._following = asyncio.create_task(self._follow_choice(), name="another yt-dlp")
        return self._following

    async def _follow_choice(self) -> None:
        async with self._switching:
            self._seen, chosen = await asyncio.to_thread(self._look)
            if chosen != self._current.version:
                await self._switch(chosen)

    def _look(self) -> tuple[tuple[int, int] | None, str | None]:
        changed_at = self.releases.changed_at()  # first: a change in between is seen at the next look
        return changed_at, self.releases.chosen() if changed_at is not None else None

    async def _opened(self, version: str | None) -> _Generation:
        folder = held = None
        if version is not None:
            try:
                held = await asyncio.to_thread(self.releases.hold, version)
                folder = self.releases.folder(version)
            except OSError as exc:
                log.error("yt-dlp %s cannot be used: %s", version, exc.strerror)
                version = None
        launched, self._launched = self._launched, None
        if launched and folder:
            await asyncio.to_thread(launched.end)
            launched = None
        server = await ForkServer(*self._tools, launched, folder).__aenter__()
        generation = _Generation(server, version, held)
        self._open.add(generation)
        return generation

    async def _close(self, generation: _Generation) -> None:
        if generation in self._open:
            self._open.discard(generation)
            await to_the_end(generation.close())

    async def _switch(self, version: str | None) -> None:
        """Let new jobs run on `version` as soon as it is warm; if it does not get warm, go back."""
        new = await self._opened(version)
        try:
            is_warm = await new.server.first_ready(WARM_WITHIN, MOST_STARTS) is not None
        except asyncio.CancelledError:
            await self._close(new)
            raise
        if new.version is not None and not is_warm:
            await self._close(new)
            await self._refuse(new.version, "start")
            chosen = await asyncio.to_thread(self.releases.chosen)
            if chosen != self._current.version:
                await self._switch(chosen if chosen != new.version else None)
            return
        old, self._current = self._current, new
        log.info("new jobs run on yt-dlp %s", new.version or f"{installed()}, which is installed")
        self._watch()
        retiring = asyncio.create_task(self._retire(old), name="old fork server")
        self._old.add(retiring)
        retiring.add_done_callback(self._old.discard)

    async def _retire(self, old: _Generation) -> None:
        """Let the jobs of `old` end. Nobody starts another one, as it is not current any more."""
        while old.starting or not old.server.is_idle:
            await old.server.idle()
            await asyncio.sleep(0.05 if old.starting else 0)
        await self._close(old)

    def _watch(self) -> None:
        """Go back from the current release if its fork server does not get warm, now or later."""
        if self._guard and self._guard is not asyncio.current_task():
            self._guard.cancel()
        self._guard = None
        self._switched.set()
        self._switched = asyncio.Event()
        if self._current.version is not None:
            self._guard = asyncio.create_task(self._keep_warm(self._current), name="chosen yt-dlp")

    async def _keep_warm(self, generation: _Generation) -> None:
        await generation.server.failed(MOST_STARTS)
        await self._go_back(generation, "start")

    async def _go_back(self, generation: _Generation, why: Why) -> None:
        async with self._switching:
            if generation is not self._current or generation.version is None:
                return
            await self._refuse(generation.version, why)
            self._seen, chosen = await asyncio.to_thread(self._look)
            # Even where the state could not be written: this server does not run on it any more.
            await self._switch(None if chosen == generation.version else chosen)

    async def _refuse(self, version: str, why: Why) -> None:
        log.error("yt-dlp %s is given up (%s): back to the release before", version, why)
        with suppress(OSError):
            await asyncio.to_thread(self.releases.go_back, version, why, moment())

    async def _until(self, awaited: Callable[[ForkServer], Awaitable[None]]) -> None:
        """Wait for what is `awaited` of whichever fork server is current by then."""
        while True:
            waiting = [
                asyncio.ensure_future(awaited(self._current.server)),
                asyncio.ensure_future(self._switched.wait()),
            ]
            try:
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                if waiting[0].done():
                    return
            finally:
                for each in waiting:
                    each.cancel()


def moment() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
