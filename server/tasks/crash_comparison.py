"""Goes back from a release of yt-dlp on which jobs crash that work on the release before.

After `MOST_CRASHES` crashes in a row, the job that crashed last runs once more, on the release before: only
if it works there, the release is to blame, and not what the source sends.

Decisions: docs/decisions/updates.md
"""

import asyncio
import logging
from typing import Literal

from server.tasks.release_switch import ReleaseServer, ReleaseSwitch

log = logging.getLogger(__name__)

# Crashes in a row on a release that an update brought, after which the previous release is tried.
MOST_CRASHES = 3

JobOutcome = Literal["worked", "crashed", "refused"]
"""What a job came to: `refused` if it failed, and yt-dlp knew why."""


class _Comparison:
    """Jobs that crashed on the release of `suspect` run once more, on the release `before` it.

    The result of `before` is None if that release cannot be used.
    """

    def __init__(self, suspect: ReleaseServer, before: asyncio.Task[ReleaseServer | None]) -> None:
        self.suspect = suspect
        self.before = before
        self.jobs: set[str] = set()  # ids of the jobs that are compared


class CrashComparison:
    """Counts crashes, and compares the release with the one before if there are too many."""

    def __init__(self, switch: ReleaseSwitch) -> None:
        self._switch = switch
        self._ran: dict[str, tuple[ReleaseServer, str]] = {}
        """By the id of a job on a release that was brought; with its kind."""

        self._comparison: _Comparison | None = None
        self._going_back: asyncio.Task[None] | None = None
        self._ending: set[asyncio.Task[None]] = set()

    async def aclose(self) -> None:
        before = self._comparison.before if self._comparison else None
        tasks = [*self._ending, *(task for task in (self._going_back, before) if task)]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def note_start(self, job_id: str, release: ReleaseServer, kind: str) -> None:
        """A job starts on the current release. The installed one is never to blame: there is none before."""
        if release.version is not None:
            self._ran[job_id] = release, kind

    def ended(self, job_id: str, outcome: JobOutcome | None) -> bool:
        """Take the outcome of a job; return whether the job is to run once more. See `ForkServers.ended`."""
        ran, comparison = self._ran.pop(job_id, None), self._comparison
        if comparison and job_id in comparison.jobs:
            self._judge(comparison, job_id, outcome)
            return False
        if ran is None or outcome is None:
            return False
        release, kind = ran
        # Counted by kind: inspecting pages may work where every download crashes.
        release.crashes[kind] = crashes = release.crashes[kind] + 1 if outcome == "crashed" else 0
        is_going_back = self._going_back is not None and not self._going_back.done()
        if crashes < MOST_CRASHES or release is not self._switch.current or is_going_back:
            return False
        if comparison is None:
            log.error("yt-dlp %s crashed %s times in a row", release.version, crashes)
            opening = asyncio.create_task(self._open_before(release), name="yt-dlp before")
            comparison = self._comparison = _Comparison(release, opening)
        elif comparison.suspect is not release:
            return False
        comparison.jobs.add(job_id)
        return True

    async def _open_before(self, suspect: ReleaseServer) -> ReleaseServer | None:
        assert suspect.version is not None
        switch = self._switch
        before = await switch.open(await asyncio.to_thread(switch.releases.before, suspect.version))
        if await switch.gets_warm(before):
            return before
        await switch.close(before)
        return None

    async def release_before(self, job_id: str) -> ReleaseServer | None:
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

    def _judge(self, comparison: _Comparison, job_id: str, outcome: JobOutcome | None) -> None:
        """Go back if the job that crashed on the suspect has worked on the release before."""
        suspect = comparison.suspect
        if outcome == "worked":
            log.error("what crashed with yt-dlp %s works with the release before", suspect.version)
            if self._going_back is None or self._going_back.done():
                going_back = self._switch.go_back(suspect, "internal")
                self._going_back = asyncio.create_task(going_back, name="going back")
        elif outcome:
            log.info("what crashed with yt-dlp %s does not work with the release before", suspect.version)
            suspect.crashes.clear()
        self._leave_comparison(comparison, job_id)

    def _leave_comparison(self, comparison: _Comparison, job_id: str) -> None:
        """Take a job out of the comparison, and end the comparison with the last one."""
        comparison.jobs.discard(job_id)
        if not comparison.jobs and self._comparison is comparison:
            self._comparison = None
            task = asyncio.create_task(self._end(comparison), name="end of yt-dlp before")
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    async def _end(self, comparison: _Comparison) -> None:
        if before := await comparison.before:
            await self._switch.retire(before)
