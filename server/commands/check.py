"""`python -m server check`: checks all that the service needs. Takes no lock and changes nothing, but it
writes, reads and deletes a probe object in a bucket.
"""

import asyncio
import ipaddress
import os
from pathlib import Path
from tempfile import TemporaryDirectory

from server.app import check_base_path
from server.assembly import DatabaseUnusable, FilesUnusable, check_database, check_files
from server.assembly.backend import data_dir_of
from server.core.data_dir import DataDir
from server.library.library_check import library_check, library_of
from server.settings import Settings
from server.subscriptions.profiles import Profiles
from server.tasks.children import ForkServer
from server.tasks.disk_space import Disk
from server.tasks.job_builder import JobMaker
from server.tasks.plugin_trials import plugins_of
from server.tasks.programs_found import find_tools
from server.tasks.readiness import (
    Check,
    disk_check,
    insist_on,
    parts_check,
    plugins_check,
    sandbox_check,
    tool_checks,
    yt_dlp_check,
)
from server.tasks.yt_dlp_releases import Releases

WARM_WITHIN = 20.0  # seconds until the fork server has started


async def check(settings: Settings) -> int:
    """Print one line for each check; exit status 1 if a needed one failed. Raises `ConfigurationError`."""
    check_base_path(settings.server.base_path)
    insist_on(settings.downloads.ffmpeg)
    Profiles(settings)
    checks = [Check("configuration", ok=True, detail="valid"), *await _checks(settings)]
    for found in checks:
        mark = "ok  " if found.ok else "FAIL" if found.needed else "warn"
        place = f" ({found.place})" if found.place else ""
        print(f"{mark}  {found.name}: {found.detail}{place}")
    return int(any(found.needed and not found.ok for found in checks))


async def _checks(settings: Settings) -> list[Check]:
    data_dir, tools = settings.storage.data_dir, find_tools(settings.downloads.ffmpeg)
    yt_dlp = await asyncio.to_thread(_yt_dlp, data_dir)
    async with ForkServer(tools.ffmpeg, tools.deno, None, yt_dlp) as fork_server:
        warmth = asyncio.wait_for(fork_server.known(), WARM_WITHIN)
        [warm] = await asyncio.gather(warmth, return_exceptions=True)
        ready = fork_server.ready
        plugins = []
        if settings.downloads.plugins and ready:
            with TemporaryDirectory() as scratch:
                if trial := plugins_of(JobMaker(settings.downloads, tools), lambda: Path(scratch)):
                    plugins = [plugins_check(await trial.find(fork_server))]
    detail = f"yt-dlp {ready.yt_dlp} starts" if ready else f"does not start: {warm or 'see yt_dlp_parts'!r}"
    return [
        *await asyncio.to_thread(_data_dir, settings),
        await _database(settings),
        *await _files(settings),
        *([await library_check(library, None)] if (library := library_of(settings.library)) else []),
        disk_check(Disk(_existing(data_dir), settings.downloads.min_free_disk)),
        *tool_checks(tools, ready.ffmpeg if ready else None),
        yt_dlp_check(ready.yt_dlp if ready else None),
        parts_check(ready is not None, fork_server.lacks),
        *plugins,
        Check("fork_server", ready is not None, detail),
        sandbox_check(ready.landlock if ready else 0),
        _address(settings),
    ]


def _yt_dlp(data_dir: Path) -> Path | None:
    """Return the folder of the yt-dlp release that an update has chosen, if any."""
    releases = Releases(data_dir)
    chosen = releases.chosen() if releases.changed_at() else None
    return releases.folder(chosen) if chosen else None


async def _database(settings: Settings) -> Check:
    try:
        return Check("database", ok=True, detail=await check_database(settings))
    except DatabaseUnusable as exc:
        return Check("database", ok=False, detail=str(exc))


async def _files(settings: Settings) -> list[Check]:
    """Check a bucket; local files are covered by the check of the data directory."""
    try:
        found = await check_files(settings.storage)
    except FilesUnusable as exc:
        return [Check("files", ok=False, detail=str(exc))]
    return [Check("files", ok=True, detail=found)] if found else []


def _data_dir(settings: Settings) -> list[Check]:
    """Check the data directory. Return one check, or one for each folder or file that the server cannot work
    in.
    """
    data_dir = settings.storage.data_dir
    try:
        data_dir.lstat()
    except (FileNotFoundError, NotADirectoryError):
        pass  # the server will create the folder; if it cannot, the check of the folder above says so
    except OSError as exc:  # such as a name that is too long
        return [Check("data_dir", ok=False, detail=f"{data_dir}: {exc.strerror}")]
    if os.path.lexists(data_dir):
        data = data_dir_of(settings.storage)
        unusable = data.unusable(made=False) or data.unusable_files()
    else:
        unusable = DataDir(_existing(data_dir), (), ()).unusable()
    if unusable:
        return [Check("data_dir", ok=False, detail=f"{path} {why}") for path, why in unusable]
    return [Check("data_dir", ok=True, detail=f"{data_dir}{'' if data_dir.exists() else ' (will be made)'}")]


def _existing(path: Path) -> Path:
    """Return `path`, or the nearest folder above it that exists."""
    path = path.absolute()
    while not os.path.exists(path):  # noqa: PTH110  # `Path.exists` raises for a name that is too long
        path = path.parent
    return path


def _address(settings: Settings) -> Check:
    host = settings.server.host
    try:
        is_loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = host == "localhost"
    if not is_loopback and not settings.server.tokens:
        advice = "reachable by others without tokens: set CLIPWIRE_SERVER__TOKENS"
        return Check("address", ok=False, detail=f"{host} is {advice}", needed=False)
    return Check("address", ok=True, detail=host)
