"""Runs a fork server for the chosen release of yt-dlp, and those of earlier releases while jobs still need
them.

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
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TypeVar

from server.core.events import Broken
from server.core.jobs import Job
from server.core.shielding import to_the_end
from server.tasks.children import WARM_WITHIN, Child, ForkServer, ForkServerReport, Launched, cache_of
from server.tasks.plugin_trials import Plugins, PluginsFound
from server.tasks.yt_dlp_releases import Releases, State, Why, installed

log = logging.getLogger(__name__)

# Crashes in a row on a release that an update brought, after which the previous release is tried.
MOST_CRASHES = 3
MOST_STARTS = 2  # starts in a row that never get warm, after which the release is refused

Result = TypeVar("Result")
Outcome = Literal["worked", "crashed", "refused"]
"""What a job came to: `refused` if it failed, and yt-dlp knew why."""


class _Generation:
    """The fork server of one release; `version` is None for the installed one."""

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


class _Comparison:
    """Jobs that crashed on the release of `suspect` run once more, on the release `before` it.

    The result of `before` is None if that release cannot be used.
    """

    def __init__(self, suspect: _Generation, before: asyncio.Task[_Generation | None]) -> None:
        self.suspect = suspect
        self.before = before
        self.jobs: set[str] = set()  # ids of the jobs that are compared


class ForkServers:
    """Is used like one `ForkServer`."""

    def __init__(
        self,
        ffmpeg: str | None,
        deno: str | None,
        data_dir: Path,
        launched: Launched | None = None,
        plugins: Plugins | None = None,
        sleep_after: float = 0,
    ) -> None:
        """A fork server of the installed release may be `launched` already. Jobs get the `plugins`."""
        self._tools = ffmpeg, deno
        self._sleep_after = sleep_after
        self._launched = launched
        self._cache = cache_of(data_dir)
        self.releases = Releases(data_dir)
        self._seen: tuple[int, int] | None = None  # `changed_at` of the state that was read last
        self._current: _Generation
        self._open: set[_Generation] = set()
        self._old: set[asyncio.Task[None]] = set()
        self._ran: dict[str, tuple[_Generation, str]] = {}
        """By the id of a job on a release that was brought; with its kind."""

        self._comparison: _Comparison | None = None
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
        before = self._comparison.before if self._comparison else None
        single = (self._guard, self._going_back, self._following, self._trying, before)
        tasks = [*self._old, *(task for task in single if task)]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if self._plugins:
            await self._plugins.aclose()
        for generation in list(self._open):  # also those whose task was cancelled before it began
            await self._close(generation)

    @property
    def ready(self) -> ForkServerReport | None:
        return self._current.server.ready

    @property
    def lacks(self) -> list[str]:
        return self._current.server.lacks

    @property
    def is_asleep(self) -> bool:
        """Say whether the fork server has ended because there was no work; `wake` starts it."""
        return self._current.server.is_asleep

    def wake(self) -> None:
        """See `ForkServer.wake`; call this at the first sign of a coming job."""
        self._current.server.wake()

    async def answers(self, within: float) -> bool:
        """Whether new jobs can be started: see `ForkServer.answers`."""
        return await self._current.server.answers(within)

    @property
    def has_plugins(self) -> bool:
        """Whether the operator has a folder for them."""
        return self._plugins is not None

    async def plugins(self, within: float) -> PluginsFound | None:
        """Return the plugins that are there; None if that is unknown after `within` seconds."""
        if self._plugins and self._current.server.ready:
            with suppress(TimeoutError):
                async with asyncio.timeout(within):
                    return await self._plugins.look(self._current.server)
        return None

    async def _try_plugins(self, plugins: Plugins) -> None:
        await self.warm()
        await plugins.look(self._current.server)

    async def warm(self) -> None:
        """Return once jobs can be started."""
        self.wake()
        if not self._current.server.is_warm:
            await self._until_current(lambda server: server.warm())

    async def known(self) -> None:
        """Return once jobs can be started, or it is known why not: see `lacks`."""
        await self._until_current(lambda server: server.known())

    async def start(self, job_id: str, job: Job, log_file: Path) -> Child:
        """Start a job as `ForkServer.start` does; if another release was chosen meanwhile, wait for that
        first.

        A job that is to run again (see `ended`) runs on the release before.
        """
        await self.look()
        before = await self._before(job_id)
        generation = before or self._current
        generation.starting += 1
        try:
            if self._plugins:
                job = await self._plugins.given(job, generation.server)
            child = await generation.server.start(job_id, job, log_file)
        finally:
            generation.starting -= 1
        if before is None and generation.version is not None:
            self._ran[job_id] = generation, job.kind
        return child

    async def run(self, job_id: str, work: Callable[[bool], Awaitable[Result]]) -> Result:
        """Return the result of `work`, which starts the job of that id and returns the last event of its
        child.

        If yt-dlp has crashed too often by then, `work` is called once more, with True: that job runs on the
        release before.
        """
        try:
            result = await work(False)
            if self.ended(job_id, outcome_of(result)):
                result = await work(True)
                self.ended(job_id, outcome_of(result))
            return result
        finally:
            self.ended(job_id, None)  # a cancelled job says nothing about yt-dlp

    def ended(self, job_id: str, outcome: Outcome | None) -> bool:
        """Take the outcome of a job that was started; None if it says nothing about yt-dlp.

        Return whether the same job is to be started once more, under the same id: yt-dlp has crashed
        `MOST_CRASHES` times in a row, and the release before may do better. If so, the service goes back.
        """
        ran, comparison = self._ran.pop(job_id, None), self._comparison
        if comparison and job_id in comparison.jobs:
            self._judge(comparison, job_id, outcome)
            return False
        if ran is None or outcome is None:
            return False
        generation, kind = ran
        # Counted by kind: inspecting pages may work where every download crashes.
        generation.crashes[kind] = crashes = generation.crashes[kind] + 1 if outcome == "crashed" else 0
        is_going_back = self._going_back is not None and not self._going_back.done()
        if crashes < MOST_CRASHES or generation is not self._current or is_going_back:
            return False
        if comparison is None:
            log.error("yt-dlp %s crashed %s times in a row", generation.version, crashes)
            opening = asyncio.create_task(self._open_before(generation), name="yt-dlp before")
            comparison = self._comparison = _Comparison(generation, opening)
        elif comparison.suspect is not generation:
            return False
        comparison.jobs.add(job_id)
        return True

    async def _before(self, job_id: str) -> _Generation | None:
        """Return the release before the current one for a job that has crashed, and runs once more to compare
        them; None for other jobs.
        """
        comparison = self._comparison
        if comparison is None or job_id not in comparison.jobs:
            return None
        before = await asyncio.shield(comparison.before)
        if before is None:
            comparison.suspect.crashes.clear()
            self._leave_comparison(comparison, job_id)
        return before

    def _judge(self, comparison: _Comparison, job_id: str, outcome: Outcome | None) -> None:
        """Go back if the job that crashed on the suspect has worked on the release before."""
        suspect = comparison.suspect
        if outcome == "worked":
            log.error("what crashed with yt-dlp %s works with the release before", suspect.version)
            if self._going_back is None or self._going_back.done():
                self._going_back = asyncio.create_task(self._go_back(suspect, "internal"), name="going back")
        elif outcome:
            log.info("what crashed with yt-dlp %s does not work with the release before", suspect.version)
            suspect.crashes.clear()
        self._leave_comparison(comparison, job_id)

    def _leave_comparison(self, comparison: _Comparison, job_id: str) -> None:
        """Take a job out of the comparison, and end the comparison with the last one."""
        comparison.jobs.discard(job_id)
        if not comparison.jobs and self._comparison is comparison:
            self._comparison = None
            self._keep_until_done(
                asyncio.create_task(self._end_comparison(comparison), name="end of yt-dlp before")
            )

    async def _open_before(self, suspect: _Generation) -> _Generation | None:
        assert suspect.version is not None
        before = await self._opened(await asyncio.to_thread(self.releases.before, suspect.version))
        try:
            is_warm = await before.server.first_ready(WARM_WITHIN, MOST_STARTS) is not None
        except asyncio.CancelledError:
            await self._close(before)
            raise
        if is_warm:
            return before
        await self._close(before)
        return None

    async def _end_comparison(self, comparison: _Comparison) -> None:
        if before := await comparison.before:
            await self._retire(before)

    async def look(self) -> None:
        """Switch to the release that was chosen, if that is another one by now. Raises nothing."""
        if following := self._follow(await asyncio.to_thread(self.releases.changed_at)):
            # Shielded: a cancelled caller must not end the switch, for which others wait.
            await asyncio.shield(following)

    async def state(self) -> State | None:
        """Return the state of updates; None if there never was one. Begins a switch that is due."""
        changed_at = await asyncio.to_thread(self.releases.changed_at)
        self._follow(changed_at)
        return None if changed_at is None else await asyncio.to_thread(self.releases.read)

    def _follow(self, changed_at: tuple[int, int] | None) -> asyncio.Task[None] | None:
        """Return the switch under way, or begin one if the state has changed since it was read."""
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
        server = await ForkServer(
            *self._tools, launched, folder, sleep_after=self._sleep_after, cache=self._cache
        ).__aenter__()
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
        self._keep_until_done(asyncio.create_task(self._retire(old), name="old fork server"))

    def _keep_until_done(self, task: asyncio.Task[None]) -> None:
        """Keep a reference to `task` until it is done."""
        self._old.add(task)
        task.add_done_callback(self._old.discard)

    async def _retire(self, old: _Generation) -> None:
        """Close `old` once its jobs have ended. No new job starts on it, since it is not current."""
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
            # Switch even if the state could not be written: this server must leave the bad release.
            await self._switch(None if chosen == generation.version else chosen)

    async def _refuse(self, version: str, why: Why) -> None:
        log.error("yt-dlp %s is given up (%s): back to the release before", version, why)
        with suppress(OSError):
            await asyncio.to_thread(self.releases.go_back, version, why, moment())

    async def _until_current(self, awaited: Callable[[ForkServer], Awaitable[None]]) -> None:
        """Wait until `awaited` is true of the fork server that is current then."""
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


def outcome_of(last_word: object) -> Outcome | None:
    match last_word:
        case None | Broken(code="worker_lost"):  # the child or a program of its was killed
            return None
        case Broken(crashed=crashed):
            return "crashed" if crashed else "refused"
        case _:
            return "worked"


def moment() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
