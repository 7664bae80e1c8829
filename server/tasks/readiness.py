"""Checks whether what the service needs is there."""

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
OLD = 60  # days after which sites have often changed more than yt-dlp knows


@dataclass(frozen=True, slots=True)
class Said:
    """A text of the catalogues (`[check]`) with its values; as a string, for terminals, it is English."""

    key: str
    values: Mapping[str, int | str] = field(default_factory=dict)

    def __str__(self) -> str:
        return LANGUAGES["en"].check(self.key, self.values)


@dataclass(frozen=True, slots=True)
class Check:
    """`needed`: without it the service does not work; the others are only reported.

    A `detail` that is no text of the catalogues is what another program has said. `place` is a path on this
    machine, which only the operator's terminal shows.
    """

    name: str
    ok: bool
    detail: Said | str
    needed: bool = True
    place: str = ""

    def entry(self, words: Catalogue) -> dict[str, object]:
        """As `/readyz` shows it to a reader of that language, without paths of this machine."""
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
    """Looks at all that a running service needs.

    `trouble` says what is wrong with the data directory; `ping` raises if the database does not take writes,
    `reach_files` if the bucket does not answer; it is None if there is no bucket. `others` are of features.
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
            await _answers("database", self._ping, Said("database")),
            *([await _answers("files", reach, Said("bucket"))] if reach else []),
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
    return Check("data_dir", found is None, found or Said("data_dir"))


async def _answers(name: str, ping: Ping, detail: Said) -> Check:
    try:
        async with asyncio.timeout(ANSWERS_WITHIN) as within:
            await ping()
    except Exception as exc:  # any error is the result of the check
        if within.expired():
            return Check(name, ok=False, detail=Said("no_answer", {"seconds": round(ANSWERS_WITHIN)}))
        cause = str(exc.__cause__ or exc) or type(exc.__cause__ or exc).__name__
        return Check(name, ok=False, detail=cause.splitlines()[0])
    return Check(name, ok=True, detail=detail)


def disk_check(disk: Disk) -> Check:
    try:
        free = disk.free()
    except OSError as exc:
        return Check("disk", ok=False, detail=exc.strerror or type(exc).__name__)
    return Check("disk", free >= disk.least, Said("disk", {"free": free, "floor": disk.least}))


def tool_checks(tools: Tools, ffmpeg: str | None) -> list[Check]:
    """`ffmpeg` is its version, as far as it is known."""
    found = Said("ffmpeg_version", {"version": ffmpeg}) if ffmpeg else Said("found")
    return [
        Check(
            "ffmpeg",
            tools.ffmpeg is not None,
            found if tools.ffmpeg else Said("no_ffmpeg"),
            place=tools.ffmpeg or "",
        ),
        Check(
            "javascript_runtime",
            tools.deno is not None,
            Said("found") if tools.deno else Said("no_deno"),
            needed=False,
            place=tools.deno or "",
        ),
    ]


def insist_on(ffmpeg: Path | None) -> None:
    """Raise `ConfigurationError` if the `ffmpeg` that the operator names is none."""
    if ffmpeg is None:
        return
    why = "it does not say that it is one"
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
    """A version is the day of its release: `2026.10.26`."""
    if not version or not (match := re.match(r"(\d{4})\.(\d{1,2})\.(\d{1,2})", version)):
        return Check("yt_dlp", ok=False, detail=Said("unknown_version"), needed=False)
    age = (datetime.now(UTC).date() - date(*map(int, match.groups()))).days
    said = Said("version" if age <= OLD else "old_version", {"version": version, "days": age})
    return Check("yt_dlp", age <= OLD, said, needed=False)


def parts_check(works: bool, lacks: list[str]) -> Check:
    """Children patch private parts of yt-dlp, which any release may change."""
    if not lacks:
        return Check("yt_dlp_parts", ok=True, detail=Said("parts"), needed=False)
    return Check(
        "yt_dlp_parts", ok=False, detail=Said("no_parts", {"lacks": "; ".join(lacks)}), needed=not works
    )


def plugins_check(found: PluginsFound | None) -> Check:
    """Where there is a folder for plugins: those that jobs have, and those that are broken."""
    if found is None:
        return Check("plugins", ok=False, detail=Said("plugins_unknown"), needed=False)
    fit, broken = ", ".join(plugin.title for plugin in found.fit), "; ".join(found.broken)
    said = Said("plugins", {"plugins": fit})
    if broken:
        values = {"plugins": fit or "-", "broken": without_folders(broken)}
        said = Said("broken_plugins", values)
    return Check("plugins", not broken, said, needed=False)


def update_check(state: State) -> Check:
    """What the last look for a newer yt-dlp came to, where there ever was one."""
    at, version, current = state.looked_at or "", state.version or "", state.chosen or installed()
    values = {"at": at, "version": version, "current": current}
    is_fine = False
    match state.outcome, state.refused.get(version):
        case "switched", _:
            is_fine, said = True, Said("update_switched", values)
        case "refused", _:
            said = Said("update_refused", values)
        case "went_back", "start":
            said = Said("update_back_start", values)
        case "went_back", _:
            said = Said("update_back_internal", values)
        case "failed", _:
            said = Said("update_failed", values)
        case _:
            is_fine, said = True, Said("update_none", values)
    return Check("yt_dlp_update", is_fine, said, needed=False)


async def fork_server_check(fork_server: ForkServers) -> Check:
    if fork_server.ready is None:
        return Check("fork_server", ok=False, detail=Said("cold"))
    if fork_server.is_asleep:
        return Check("fork_server", ok=True, detail=Said("asleep"))
    if await fork_server.answers(ANSWERS_WITHIN):
        return Check("fork_server", ok=True, detail=Said("warm"))
    return Check("fork_server", ok=False, detail=Said("no_answer", {"seconds": round(ANSWERS_WITHIN)}))


def sandbox_check(landlock: int) -> Check:
    detail = Said("landlock", {"abi": landlock}) if landlock else Said("no_landlock")
    return Check("sandbox", landlock > 0, detail, needed=False)
