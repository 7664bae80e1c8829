"""Checks whether what the service needs is there."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Protocol

from server.tasks.disk import Disk
from server.tasks.forkserver import ForkServer
from server.tasks.tools import Tools

Ping = Callable[[], Awaitable[None]]

OLD = 60  # days after which sites have often changed more than yt-dlp knows


@dataclass(frozen=True, slots=True)
class Check:
    """`needed`: without it the service does not work; the others are only reported."""

    name: str
    ok: bool
    detail: str
    needed: bool = True

    def entry(self) -> dict[str, object]:
        return {"ok": self.ok, "needed": self.needed, "detail": self.detail}


class Ready(Protocol):
    async def checks(self) -> list[Check]:
        """All checks, always the same ones in the same order, within some seconds. Raises nothing."""
        ...


class Readiness:
    """Looks at all that a running service needs.

    `trouble` says what is wrong with the data directory; `ping` raises if the database does not take writes,
    `reach_files` if the bucket does not answer; it is None if there is no bucket.
    """

    def __init__(
        self,
        ping: Ping,
        disk: Disk,
        fork_server: ForkServer,
        tools: Tools,
        reach_files: Ping | None = None,
        *,
        trouble: Callable[[], Awaitable[str | None]],
    ) -> None:
        self._ping = ping
        self._reach_files = reach_files
        self._trouble = trouble
        self._disk = disk
        self._fork_server = fork_server
        self._tools = tools

    async def checks(self) -> list[Check]:
        """All checks, always the same ones in the same order, within some seconds. Raises nothing."""
        ready, reach = self._fork_server.ready, self._reach_files
        return [
            await data_dir_check(self._trouble),
            await _answers("database", self._ping, "answers and takes writes"),
            *([await _answers("files", reach, "the bucket answers")] if reach else []),
            disk_check(self._disk),
            *tool_checks(self._tools),
            yt_dlp_check(ready.yt_dlp if ready else None),
            parts_check(ready is not None, self._fork_server.lacks),
            Check("fork_server", ready is not None, f"pid {ready.pid}" if ready else "not warm yet"),
            sandbox_check(ready.landlock if ready else 0),
        ]


async def data_dir_check(trouble: Callable[[], Awaitable[str | None]]) -> Check:
    try:
        async with asyncio.timeout(5):
            found = await trouble()
    except TimeoutError:
        found = "the disk does not answer"
    return Check("data_dir", found is None, found or "there, and its folders can be written")


async def _answers(name: str, ping: Ping, detail: str) -> Check:
    try:
        async with asyncio.timeout(5):
            await ping()
    except Exception as exc:  # any error is the result of the check
        cause = str(exc.__cause__ or exc) or type(exc.__cause__ or exc).__name__
        return Check(name, ok=False, detail=cause.splitlines()[0])
    return Check(name, ok=True, detail=detail)


def disk_check(disk: Disk) -> Check:
    try:
        free = disk.free()
    except OSError as exc:
        return Check("disk", ok=False, detail=str(exc))
    return Check("disk", free >= disk.floor, f"{free} bytes free, the floor is {disk.floor}")


def tool_checks(tools: Tools) -> list[Check]:
    return [
        Check("ffmpeg", tools.ffmpeg is not None, tools.ffmpeg or "not found: install ffmpeg"),
        Check(
            "javascript_runtime",
            tools.deno is not None,
            tools.deno or "not found: some sites will not work without deno",
            needed=False,
        ),
    ]


def yt_dlp_check(version: str | None) -> Check:
    """A version is the day of its release: `2026.10.26`."""
    if not version or not (match := re.match(r"(\d{4})\.(\d{1,2})\.(\d{1,2})", version)):
        return Check("yt_dlp", ok=False, detail="version not known yet", needed=False)
    age = (datetime.now(UTC).date() - date(*map(int, match.groups()))).days
    advice = "" if age <= OLD else ": update it, sites change"
    return Check("yt_dlp", age <= OLD, f"{version}, {age} days old{advice}", needed=False)


def parts_check(works: bool, lacks: list[str]) -> Check:
    """Children patch private parts of yt-dlp, which any release may change."""
    if not lacks:
        return Check("yt_dlp_parts", ok=True, detail="as they are known", needed=False)
    advice = "; ".join(lacks) + ": use another release of yt-dlp, or update this program"
    return Check("yt_dlp_parts", ok=False, detail=advice, needed=not works)


def sandbox_check(landlock: int) -> Check:
    detail = (
        f"Landlock ABI {landlock}" if landlock else "this kernel has no Landlock: children are less confined"
    )
    return Check("sandbox", landlock > 0, detail, needed=False)
