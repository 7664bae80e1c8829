"""Which release of yt-dlp new jobs run on: follows the choice, and goes back from one that does not start.

An update (`server/commands/update.py`) only writes down which release is chosen. The start of each job
checks whether that has changed (one `stat`), so that a running server needs no signal. New jobs wait until
the new release is warm; jobs under way end on theirs.

Decisions: docs/decisions/updates.md
"""

import asyncio
import logging
import os
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from server.core.shielding import to_the_end
from server.tasks.children import WARM_WITHIN, ForkServer, Launched, cache_of
from server.tasks.yt_dlp_releases import Releases, State, Why, installed, moment

log = logging.getLogger(__name__)

MOST_STARTS = 2  # starts in a row that never get warm, after which the release is refused


class ReleaseServer:
    """The fork server of one release; `version` is None for the installed one.

    `held` is a descriptor: until it is closed, the release is not deleted.
    """

    def __init__(self, server: ForkServer, version: str | None, held: int | None) -> None:
        self.server = server
        self.version = version
        self.starting = 0  # jobs that are about to run on it
        self.crashes: Counter[str] = Counter()  # crashes of yt-dlp in a row, by the kind of job
        self._held = held

    async def close(self) -> None:
        await self.server.__aexit__()
        if self._held is not None:
            os.close(self._held)


class ReleaseSwitch:
    """`current` is the release that new jobs run on."""

    current: ReleaseServer

    def __init__(
        self,
        ffmpeg: str | None,
        deno: str | None,
        data_dir: Path,
        launched: Launched | None,
        sleep_after: float,
    ) -> None:
        """A fork server of the installed release may be `launched` already."""
        self._tools = ffmpeg, deno
        self._sleep_after = sleep_after
        self._launched = launched
        self._cache = cache_of(data_dir)
        self.releases = Releases(data_dir)
        self._changed_at: tuple[int, int] | None = None  # of the choice that was read last
        self._open: set[ReleaseServer] = set()
        self._retiring: set[asyncio.Task[None]] = set()
        self._switching = asyncio.Lock()
        self._switched = asyncio.Event()  # a new one for each switch
        self._following: asyncio.Task[None] | None = None
        self._guard: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        self._changed_at, chosen = await asyncio.to_thread(self._read_choice)
        self.current = await self.open(chosen)
        self._guard_current()

    async def aclose(self) -> None:
        tasks = [*self._retiring, *(task for task in (self._guard, self._following) if task)]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for release in list(self._open):  # also releases whose task was cancelled before it began
            await self.close(release)

    async def follow_choice(self) -> None:
        """Switch to the release that was chosen, if that is another one by now. Raises nothing."""
        if following := self._begin_to_follow(await asyncio.to_thread(self.releases.changed_at)):
            # Shielded: a cancelled caller must not end the switch, for which others wait.
            await asyncio.shield(following)

    async def state(self) -> State | None:
        """Return the state of updates; None if there never was one. Begins a switch that is due."""
        changed_at = await asyncio.to_thread(self.releases.changed_at)
        self._begin_to_follow(changed_at)
        return None if changed_at is None else await asyncio.to_thread(self.releases.read)

    def _begin_to_follow(self, changed_at: tuple[int, int] | None) -> asyncio.Task[None] | None:
        """Return the switch under way, or begin one if the choice has changed since it was read."""
        if self._following and not self._following.done():
            return self._following
        if changed_at == self._changed_at:
            return None
        self._following = asyncio.create_task(self._switch_to_chosen(), name="another yt-dlp")
        return self._following

    async def _switch_to_chosen(self) -> None:
        async with self._switching:
            self._changed_at, chosen = await asyncio.to_thread(self._read_choice)
            if chosen != self.current.version:
                await self._switch(chosen)

    def _read_choice(self) -> tuple[tuple[int, int] | None, str | None]:
        """Return when the choice was made, and the chosen version."""
        # Read before the file: a change in between is noticed by the next caller.
        changed_at = self.releases.changed_at()
        return changed_at, self.releases.chosen() if changed_at is not None else None

    async def _switch(self, version: str | None) -> None:
        """Let new jobs run on `version` as soon as it is warm; if it does not get warm, go back."""
        new = await self.open(version)
        is_warm = await self.gets_warm(new)
        if new.version is not None and not is_warm:
            await self.close(new)
            await self._refuse(new.version, "start")
            chosen = await asyncio.to_thread(self.releases.chosen)
            if chosen != self.current.version:
                await self._switch(chosen if chosen != new.version else None)
            return
        old, self.current = self.current, new
        log.info("new jobs run on yt-dlp %s", new.version or f"{installed()}, which is installed")
        self._guard_current()
        task = asyncio.create_task(self.retire(old), name="old fork server")
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    def _guard_current(self) -> None:
        """Go back from the current release if its fork server does not get warm, now or later."""
        if self._guard and self._guard is not asyncio.current_task():
            self._guard.cancel()
        self._guard = None
        self._switched.set()
        self._switched = asyncio.Event()
        if self.current.version is not None:
            self._guard = asyncio.create_task(self._keep_warm(self.current), name="chosen yt-dlp")

    async def _keep_warm(self, release: ReleaseServer) -> None:
        await release.server.failed(MOST_STARTS)
        await self.go_back(release, "start")

    async def go_back(self, release: ReleaseServer, why: Why) -> None:
        """Refuse the release, and switch to what it has replaced, unless it is not the current one."""
        async with self._switching:
            if release is not self.current or release.version is None:
                return
            await self._refuse(release.version, why)
            self._changed_at, chosen = await asyncio.to_thread(self._read_choice)
            # Switch even if the state could not be written: this server must leave the bad release.
            await self._switch(None if chosen == release.version else chosen)

    async def _refuse(self, version: str, why: Why) -> None:
        log.error("yt-dlp %s is given up (%s): back to the release before", version, why)
        with suppress(OSError):
            await asyncio.to_thread(self.releases.go_back, version, why, moment())

    async def open(self, version: str | None) -> ReleaseServer:
        """Start the fork server of a release; of the installed one, if that release cannot be used."""
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
        ffmpeg, deno = self._tools
        server = await ForkServer(
            ffmpeg, deno, launched, folder, sleep_after=self._sleep_after, cache=self._cache
        ).__aenter__()
        release = ReleaseServer(server, version, held)
        self._open.add(release)
        return release

    async def gets_warm(self, release: ReleaseServer) -> bool:
        """Return whether the release, which was just opened, gets warm; close it if this is cancelled."""
        try:
            return await release.server.first_ready(WARM_WITHIN, MOST_STARTS) is not None
        except asyncio.CancelledError:
            await self.close(release)
            raise

    async def retire(self, release: ReleaseServer) -> None:
        """Close the release once its jobs have ended. No new job starts on it, since it is not current."""
        while release.starting or not release.server.is_idle:
            await release.server.idle()
            await asyncio.sleep(0.05 if release.starting else 0)
        await self.close(release)

    async def close(self, release: ReleaseServer) -> None:
        if release in self._open:
            self._open.discard(release)
            await to_the_end(release.close())

    async def until_current(self, awaited: Callable[[ForkServer], Awaitable[None]]) -> None:
        """Wait until `awaited` is true of the fork server that is current then."""
        while True:
            waiting = [
                asyncio.ensure_future(awaited(self.current.server)),
                asyncio.ensure_future(self._switched.wait()),
            ]
            try:
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                if waiting[0].done():
                    return
            finally:
                for each in waiting:
                    each.cancel()
