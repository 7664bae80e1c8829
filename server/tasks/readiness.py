"""Checks whether the parts that the service needs are there and work."""

import asyncio
import re
import subprocess
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Protocol

from server.core.redaction import without_folders
from server.locales import LANGUAGES, Catalogue
from server.settings import ConfigurationError
from server.tasks.children import child_environment
from server.tasks.disk_space import Disk
from server.tasks.fork_servers import ForkServers
from server.tasks.plugin_trials import PluginsFound
from server.tasks.programs_found import Tools
from server.tasks.yt_dlp_releases import State, installed

Ping = Callable[[], Awaitable[None]]

ANSWERS_WITHIN = 5.0  # seconds
STARTS_WITHIN = 20.0  # seconds
OLD_AFTER = 60  # days after which a release counts as old: by then, sites have often changed


@dataclass(frozen=True, slots=True)
class Detail:
    """A text of the catalogues (`[check]`) with its values; `str()` is English, for terminals."""

    key: str
    values: Mapping[str, int | str] = field(default_factory=dict)

    def __str__(self) -> str:
        return LANGUAGES["en"].check(self.key, self.values)


@dataclass(frozen=True, slots=True)
class Check:
    """One check and its result. Without what is `needed` the service does not work; the rest is only
    reported.

    A `detail` that is a string comes from another program. `place` is a path on this machine, which only the
    operator's terminal shows.
    """

    name: str
    ok: bool
    detail: Detail | str
    needed: bool = True
    place: str = ""

    def entry(self, words: Catalogue) -> dict[str, object]:
        """Return the check as `/readyz` shows it in the language of `words`, without paths of
        this machine.
        """
        if isinstance(self.detail, str):
            return {"ok": self.ok, "needed": self.needed, "detail": without_folders(self.detail)}
        values = dict(self.detail.values)
        numbers = {name: value for name, value in values.items() if isinstance(value, int)}
        detail = words.check(self.detail.key, values)
        return {"ok": self.ok, "needed": self.needed, "detail": detail} | (
            {"values": numbers} if numbers else {}
        )


class Ready(Protocol):
    async def checks(self) -> list[Check]:
        """All checks, always the same ones in the same order, within some seconds. Raises nothing."""
        ...


class Readiness:
    """Runs all checks of a running service.

    `trouble` says what is wrong with the data directory. `ping` raises if the database takes no writes,
    `reach_files` (None without a bucket) if the bucket does not answer. `others` are the features' checks.
    """

    def __init__(
        self,
        ping: Ping,
        disk: Disk,
        fork_server: ForkServers,
        tools: Tools,
        reach_files: Ping | None = None,
        *,
        trouble: Callable[[], Awaitable[str | None]],
        others: Sequence[Callable[[], Awaitable["Check"]]] = (),
    ) -> None:
        self._others = others
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
            await _answers("database", self._ping, Detail("database")),
            *([await _answers("files", reach, Detail("bucket"))] if reach else []),
            disk_check(self._disk),
            *[await check() for check in self._others],
            *tool_checks(self._tools, ready.ffmpeg if ready else None),
            yt_dlp_check(ready.yt_dlp if ready else None),
            parts_check(ready is not None, self._fork_server.lacks),
            *([update_check(state)] if (state := await self._fork_server.state()) else []),
            *([plugins_check(await self._fork_server.plugins(5))] if self._fork_server.has_plugins else []),
            await fork_server_check(self._fork_server),
            sandbox_check(ready.landlock if ready else 0),
        ]


async def data_dir_check(trouble: Callable[[], Awaitable[str | None]]) -> Check:
    try:
        async with asyncio.timeout(5):
            found = await trouble()
    except TimeoutError:
        found = "the disk does not answer"
    return Check("data_dir", found is None, found or Detail("data_dir"))


async def _answers(name: str, ping: Ping, detail: Detail) -> Check:
    try:
        async with asyncio.timeout(ANSWERS_WITHIN) as within:
            await ping()
    except Exception as exc:  # any error is the result of the check
        if within.expired():
            return Check(name, ok=False, detail=Detail("no_answer", {"seconds": round(ANSWERS_WITHIN)}))
        cause = str(exc.__cause__ or exc) or type(exc.__cause__ or exc).__name__
        return Check(name, ok=False, detail=cause.splitlines()[0])
    return Check(name, ok=True, detail=detail)


def disk_check(disk: Disk) -> Check:
    try:
        free = disk.free()
    except OSError as exc:
        return Check("disk", ok=False, detail=exc.strerror or type(exc).__name__)
    return Check("disk", free >= disk.least, Detail("disk", {"free": free, "floor": disk.least}))


def tool_checks(tools: Tools, ffmpeg: str | None) -> list[Check]:
    """`ffmpeg` is the version, if it is known."""
    found = Detail("ffmpeg_version", {"version": ffmpeg}) if ffmpeg else Detail("found")
    return [
        Check(
            "ffmpeg",
            tools.ffmpeg is not None,
            found if tools.ffmpeg else Detail("no_ffmpeg"),
            place=tools.ffmpeg or "",
        ),
        Check(
            "javascript_runtime",
            tools.deno is not None,
            Detail("found") if tools.deno else Detail("no_deno"),
            needed=False,
            place=tools.deno or "",
        ),
    ]


def insist_on(ffmpeg: Path | None) -> None:
    """Raise `ConfigurationError` if the operator's `ffmpeg` is not the program of that name."""
    if ffmpeg is None:
        return
    why = "`-version` prints no version of ffmpeg"
    try:
        ran = subprocess.run(  # noqa: S603
            (ffmpeg, "-version"),
            env=child_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=STARTS_WITHIN,
            check=False,
        )
        if ran.returncode == 0 and ran.stdout.startswith(b"ffmpeg version "):
            return
    except OSError as exc:
        why = exc.strerror or type(exc).__name__
    except subprocess.TimeoutExpired:
        why = f"no answer within {STARTS_WITHIN:.0f} seconds"
    raise ConfigurationError(f"downloads.ffmpeg: {ffmpeg} is no ffmpeg: {why}")


def yt_dlp_check(version: str | None) -> Check:
    """`version` is the day of the release: `2026.10.26`."""
    if not version or not (match := re.match(r"(\d{4})\.(\d{1,2})\.(\d{1,2})", version)):
        return Check("yt_dlp", ok=False, detail=Detail("unknown_version"), needed=False)
    age = (datetime.now(UTC).date() - date(*map(int, match.groups()))).days
    detail = Detail("version" if age <= OLD_AFTER else "old_version", {"version": version, "days": age})
    return Check("yt_dlp", age <= OLD_AFTER, detail, needed=False)


def parts_check(works: bool, lacks: list[str]) -> Check:
    """Check the private parts of yt-dlp that children patch, and that any release may change."""
    if not lacks:
        return Check("yt_dlp_parts", ok=True, detail=Detail("parts"), needed=False)
    return Check(
        "yt_dlp_parts", ok=False, detail=Detail("no_parts", {"lacks": "; ".join(lacks)}), needed=not works
    )


def plugins_check(found: PluginsFound | None) -> Check:
    """Name the plugins that jobs have, and those that are broken; only where a folder for plugins is set."""
    if found is None:
        return Check("plugins", ok=False, detail=Detail("plugins_unknown"), needed=False)
    fit, broken = ", ".join(plugin.title for plugin in found.fit), "; ".join(found.broken)
    detail = Detail("plugins", {"plugins": fit})
    if broken:
        values = {"plugins": fit or "-", "broken": without_folders(broken)}
        detail = Detail("broken_plugins", values)
    return Check("plugins", not broken, detail, needed=False)


def update_check(state: State) -> Check:
    """Say what the last check for a newer yt-dlp led to, where there ever was one."""
    at, version, current = state.looked_at or "", state.version or "", state.chosen or installed()
    values = {"at": at, "version": version, "current": current}
    is_fine = False
    match state.outcome, state.refused.get(version):
        case "switched", _:
            is_fine, detail = True, Detail("update_switched", values)
        case "refused", _:
            detail = Detail("update_refused", values)
        case "went_back", "start":
            detail = Detail("update_back_start", values)
        case "went_back", _:
            detail = Detail("update_back_internal", values)
        case "failed", _:
            detail = Detail("update_failed", values)
        case _:
            is_fine, detail = True, Detail("update_none", values)
    return Check("yt_dlp_update", is_fine, detail, needed=False)


async def fork_server_check(fork_server: ForkServers) -> Check:
    if fork_server.ready is None:
        return Check("fork_server", ok=False, detail=Detail("cold"))
    if fork_server.is_asleep:
        return Check("fork_server", ok=True, detail=Detail("asleep"))
    if await fork_server.answers(ANSWERS_WITHIN):
        return Check("fork_server", ok=True, detail=Detail("warm"))
    return Check("fork_server", ok=False, detail=Detail("no_answer", {"seconds": round(ANSWERS_WITHIN)}))


def sandbox_check(landlock: int) -> Check:
    detail = Detail("landlock", {"abi": landlock}) if landlock else Detail("no_landlock")
    return Check("sandbox", landlock > 0, detail, needed=False)
