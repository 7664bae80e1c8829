"""The operator's plugins for yt-dlp: finds out which there are, and which of them work.

No job loads an untried plugin. A trial runs in a child of its own, before the first job after a start, after
a change in the plugins' folder, and on another yt-dlp. A plugin that fails its trial is left out of jobs,
with one line in the log. Where no folder is set, there are no trials.

Decisions: docs/decisions/children.md
"""

import asyncio
import hashlib
import json
import logging
import math
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from uuid import uuid4

from pydantic import Field

from server.core import jobs
from server.core.process_request import ProcessRequest
from server.core.values import Frozen
from server.tasks.children import ForkServer, child_in_scratch
from server.tasks.job_builder import JobMaker

log = logging.getLogger(__name__)

LOADED_WITHIN = 10.0  # seconds for each plugin
MOST_ENDS = 5  # plugins that hang or end their child, after which no others are tried
RETRY_AFTER = 300.0  # seconds until another trial if a plugin hung or ended its child, perhaps by chance
MOST_FILES = 5000  # files whose times tell whether the folder has changed
MOST = 500  # plugins
NONE = "none there: each is a folder or an archive with yt_dlp_plugins/extractor"


class Plugin(Frozen):
    """One module of a plugin, as the child that loaded it describes it; one with an `error` is left out of
    jobs.
    """

    name: str = Field(max_length=200)
    version: str | None = Field(default=None, max_length=300)
    extractors: tuple[str, ...] = Field(default=(), max_length=1000)
    error: str | None = Field(default=None, max_length=500)

    @property
    def title(self) -> str:
        """Its name, its version and its extractors."""
        named = f"{self.name} {self.version}" if self.version else self.name
        return f"{named} ({', '.join(self.extractors)})" if self.extractors else named


@dataclass(frozen=True, slots=True)
class PluginsFound:
    """The result of a trial.

    `trouble` says why there are no plugins, where it is no plugin's own error; `seen` is the folder's
    `fingerprint`. `is_sure`: another trial would have the same result, unless the folder changes.
    """

    plugins: tuple[Plugin, ...] = ()
    trouble: str | None = None
    seen: str = ""
    is_sure: bool = True

    @property
    def fit(self) -> list[Plugin]:
        return [plugin for plugin in self.plugins if plugin.error is None]

    @property
    def broken(self) -> list[str]:
        """Return a line for each plugin that is left out."""
        errors = [f"{plugin.name}: {plugin.error}" for plugin in self.plugins if plugin.error is not None]
        return [*errors, *([self.trouble] if self.trouble else [])]


class Plugins:
    """`folder` is `downloads.plugins`; children that try the plugins work below `scratch`."""

    def __init__(self, folder: Path, scratch: Callable[[], Path], jobs: JobMaker) -> None:
        self._folder = folder.absolute()
        self._scratch = scratch
        self._jobs = jobs
        self._tried_on: ForkServer | None = None
        self._trying: asyncio.Task[PluginsFound] | None = None
        self._retry_at = math.inf  # when a failed trial is repeated, by the monotonic clock
        self.found: PluginsFound | None = None
        """None until they were tried."""

    async def given(self, job: jobs.Job, server: ForkServer) -> jobs.Job:
        """Return `job` with the plugins that work on this fork server."""
        found = await self.find(server)
        names = tuple(plugin.name for plugin in found.fit)
        return (
            replace(job, plugins=jobs.JobPlugins(folder=str(self._folder), modules=names)) if names else job
        )

    async def find(self, server: ForkServer) -> PluginsFound:
        """Return the plugins that are there; try them if something has changed since the last trial."""
        found = PluginsFound()
        for _ in range(2):  # a second time if a trial under way had begun before the last change
            seen = await asyncio.to_thread(fingerprint, self._folder)
            if self.found is not None and self.found.seen == seen and self._tried_on is server:
                if time.monotonic() >= self._retry_at and server.is_warm:
                    _ = self._begin(server, seen)  # the trial goes on by itself
                return self.found
            # `shield`: one cancelled caller must not cancel the shared trial.
            found = await asyncio.shield(self._begin(server, seen))
        return found

    def _begin(self, server: ForkServer, seen: str) -> asyncio.Task[PluginsFound]:
        """The trial that is under way, or a new one."""
        if self._trying is None or self._trying.done():
            self._trying = asyncio.create_task(self._try_anew(server, seen), name="plugins")
        return self._trying

    async def aclose(self) -> None:
        if self._trying:
            self._trying.cancel()
            await asyncio.wait([self._trying])

    async def _try_anew(self, server: ForkServer, seen: str) -> PluginsFound:
        found = replace(await self._try_all(server), seen=seen)
        # If the fork server died, plugins are missing for that reason, and the result is not kept. One that
        # is asleep has ended after the trial.
        if server.is_warm or server.is_asleep:
            before = self.found.broken if self.found else []
            for line in found.broken:
                if line not in before:
                    log.error("downloads.plugins: left out: %s", line)
            if found.fit and (self.found is None or found.fit != self.found.fit):
                log.info("plugins for yt-dlp: %s", ", ".join(plugin.title for plugin in found.fit))
            self.found, self._tried_on = found, server
            self._retry_at = math.inf if found.is_sure else time.monotonic() + RETRY_AFTER
        return found

    async def _try_all(self, server: ForkServer) -> PluginsFound:
        if not await asyncio.to_thread(os.path.isdir, self._folder):
            return PluginsFound(trouble="there is no such folder")
        broken, is_sure = list[Plugin](), True
        for _ in range(MOST_ENDS):
            fit, ended = await self._try(server, tuple(plugin.name for plugin in broken))
            broken += [plugin for plugin in fit if plugin.error is not None]
            fit = [plugin for plugin in fit if plugin.error is None]
            if ended is None:
                if fit or broken:
                    found = tuple(sorted((*fit, *broken), key=lambda plugin: plugin.name))
                    return PluginsFound(found, is_sure=is_sure)
                return PluginsFound(trouble=NONE)
            is_sure = False
            if not ended.name:
                return PluginsFound(tuple(broken), ended.error, is_sure=is_sure)
            broken.append(ended)
        trouble = f"{MOST_ENDS} hang or end their process: no plugin is used"
        return PluginsFound(tuple(broken), trouble, is_sure=is_sure)

    async def _try(self, server: ForkServer, left_out: tuple[str, ...]) -> tuple[list[Plugin], Plugin | None]:
        """Return the plugins that were tried, and the one that ended the child, if one did, with
        its error.
        """
        folder = self._scratch() / f"plugins.{uuid4()}"
        wanted = jobs.JobPlugins(folder=str(self._folder), modules=None, left_out=left_out)
        request = ProcessRequest(url="https://plugin.invalid/")
        job = replace(self._jobs.job("plugins", request, folder / "work", folder / "lock"), plugins=wanted)
        tried: list[Plugin] = []
        current = ""
        try:
            async with child_in_scratch(server.start, job, folder) as child:
                while len(tried) <= MOST:
                    async with asyncio.timeout(LOADED_WITHIN):
                        line = await child.read_line()
                    match json.loads(line or b'{"kind": "gone"}'):
                        case {"kind": "trying", "name": str(name)}:
                            current = name[:200]
                        case {"kind": "tried", **size_and_time}:
                            if (plugin := Plugin.model_validate_json(json.dumps(size_and_time))).name:
                                tried.append(plugin)
                                current = ""
                            else:
                                return [], plugin
                        case {"kind": "plugins"}:
                            return tried, None
                        case {"kind": "broken", "code": str(code)}:
                            return tried, Plugin(name=current, error=f"they could not be tried ({code[:64]})")
                        case _:
                            return tried, Plugin(name=current, error="it ends the process that loads it")
            return tried, Plugin(name="", error=f"more than {MOST} plugins")
        except TimeoutError:
            return tried, Plugin(name=current, error=f"it takes more than {LOADED_WITHIN:g} s to load")
        except (OSError, ValueError) as exc:
            return tried, Plugin(name=current, error=f"they could not be tried ({type(exc).__name__})")


def plugins_of(jobs: JobMaker, scratch: Callable[[], Path]) -> Plugins | None:
    """Return the plugins of the settings' folder; None if no folder is set."""
    folder = jobs.settings.plugins
    return Plugins(folder, scratch, jobs) if folder else None


def fingerprint(folder: Path) -> str:
    """Return a text that differs after any change of the plugins: archives and folders named
    `yt_dlp_plugins`.
    """
    digest, left = hashlib.sha256(), MOST_FILES
    with suppress(OSError):
        for plugin in sorted(islice(folder.iterdir(), MOST_FILES)):
            # `islice`, since a link may lead to a folder with millions of files.
            for path in sorted(islice((plugin / "yt_dlp_plugins").rglob("*"), left)) or [plugin]:
                if path.suffix != ".pyc" and path.name != "__pycache__":
                    digest.update(_stat(path))
                if not (left := left - 1):
                    return digest.hexdigest()
    return digest.hexdigest()


def _stat(path: Path) -> bytes:
    try:
        stat = path.stat()
    except OSError as exc:
        return f"{path} {exc.errno}\n".encode(errors="replace")
    size_and_time = "" if path.is_dir() else f"{stat.st_size} {stat.st_mtime_ns}"
    return f"{path} {stat.st_ino} {size_and_time}\n".encode(errors="replace")
