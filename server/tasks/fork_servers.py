"""Starts jobs on the fork server of the chosen release of yt-dlp.

Which release that is: `release_switch.py`; when the release before does better: `crash_comparison.py`.

Decisions: docs/decisions/updates.md
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from server.core.events import Broken
from server.core.jobs import Job
from server.tasks.children import Child, ForkServerReport, Launched
from server.tasks.crash_comparison import CrashComparison, JobOutcome
from server.tasks.plugin_trials import Plugins, PluginsFound
from server.tasks.release_switch import ReleaseSwitch
from server.tasks.yt_dlp_releases import State

Result = TypeVar("Result")


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
        self._switch = ReleaseSwitch(ffmpeg, deno, data_dir, launched, sleep_after)
        self._crashes = CrashComparison(self._switch)
        self._plugins = plugins
        self._trying: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "ForkServers":
        await self._switch.begin()
        if self._plugins:
            self._trying = asyncio.create_task(self._try_plugins(self._plugins), name="plugins at the start")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._trying:
            self._trying.cancel()
            await asyncio.wait([self._trying])
        await self._crashes.aclose()
        if self._plugins:
            await self._plugins.aclose()
        await self._switch.aclose()

    @property
    def ready(self) -> ForkServerReport | None:
        return self._switch.current.server.ready

    @property
    def lacks(self) -> list[str]:
        return self._switch.current.server.lacks

    @property
    def is_asleep(self) -> bool:
        """Say whether the fork server has ended because there was no work; `wake` starts it."""
        return self._switch.current.server.is_asleep

    def wake(self) -> None:
        """See `ForkServer.wake`; call this at the first sign of a coming job."""
        self._switch.current.server.wake()

    async def answers(self, within: float) -> bool:
        """Whether new jobs can be started: see `ForkServer.answers`."""
        return await self._switch.current.server.answers(within)

    async def warm(self) -> None:
        """Return once jobs can be started."""
        self.wake()
        if not self._switch.current.server.is_warm:
            await self._switch.until_current(lambda server: server.warm())

    async def known(self) -> None:
        """Return once jobs can be started, or it is known why not: see `lacks`."""
        await self._switch.until_current(lambda server: server.known())

    async def follow_choice(self) -> None:
        """Switch to the release that was chosen, if that is another one by now. Raises nothing."""
        await self._switch.follow_choice()

    async def state(self) -> State | None:
        """Return the state of updates; None if there never was one. Begins a switch that is due."""
        return await self._switch.state()

    @property
    def has_plugins(self) -> bool:
        """Whether the operator has a folder for them."""
        return self._plugins is not None

    async def plugins(self, within: float) -> PluginsFound | None:
        """Return the plugins that are there; None if that is unknown after `within` seconds."""
        if self._plugins and self._switch.current.server.ready:
            with suppress(TimeoutError):
                async with asyncio.timeout(within):
                    return await self._plugins.find(self._switch.current.server)
        return None

    async def _try_plugins(self, plugins: Plugins) -> None:
        await self.warm()
        await plugins.find(self._switch.current.server)

    async def start(self, job_id: str, job: Job, log_file: Path) -> Child:
        """Start a job as `ForkServer.start` does; if another release was chosen meanwhile, wait for that
        first.

        A job that is to run again (see `ended`) runs on the release before.
        """
        await self._switch.follow_choice()
        before = await self._crashes.release_before(job_id)
        release = before or self._switch.current
        release.starting += 1
        try:
            if self._plugins:
                job = await self._plugins.given(job, release.server)
            child = await release.server.start(job_id, job, log_file)
        finally:
            release.starting -= 1
        if before is None:
            self._crashes.note_start(job_id, release, job.kind)
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

    def ended(self, job_id: str, outcome: JobOutcome | None) -> bool:
        """Take the outcome of a job that was started; None if it says nothing about yt-dlp.

        Return whether the same job is to be started once more, under the same id: yt-dlp has crashed
        `MOST_CRASHES` times in a row, and the release before may do better. If so, the service goes back.
        """
        return self._crashes.ended(job_id, outcome)


def outcome_of(last_word: object) -> JobOutcome | None:
    match last_word:
        case None | Broken(code="worker_lost"):  # the child or a program of its was killed
            return None
        case Broken(crashed=crashed):
            return "crashed" if crashed else "refused"
        case _:
            return "worked"
