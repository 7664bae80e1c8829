"""The operator's plugins for yt-dlp: which there are, and which of them work.

No job loads a plugin that was not tried. They are tried in a child that does nothing else, at the first job
after a start, after a change in their folder, and on another yt-dlp: whatever a plugin does there, it is left
out of jobs then, with one line in the log. Where no folder is set, nothing of this exists.

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

LOADED_WITHIN = 10.0  # seconds of one plugin
MOST_ENDS = 5  # plugins that hang, or end their child, before the rest is not tried any more
AGAIN = 300.0  # seconds until they are tried again if one hung, or ended its child: it may have been chance
MOST_FILES = 5000  # that are looked at to see whether the folder has changed
MOST = 500  # plugins
NONE = "none there: each is a folder or an archive with yt_dlp_plugins/extractor"


class Plugin(Frozen):
    """One module of a plugin, as the child that has loaded it says; with an `error` it is left out."""

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
    """`trouble` says why there are none, in place of a plugin's own error; `seen` is what the folder was.

    `is_sure`: unless the folder changes, another trial comes to the same.
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
        """A line for each that is left out."""
        own = [f"{plugin.name}: {plugin.error}" for plugin in self.plugins if plugin.error is not None]
        return [*own, *([self.trouble] if self.trouble else [])]


class Plugins:
    """`folder` is `downloads.plugins`; children that try them work below `scratch`."""

    def __init__(self, folder: Path, scratch: Callable[[], Path], jobs: JobMaker) -> None:
        self._folder = folder.absolute()
        self._scratch = scratch
        self._jobs = jobs
        self._tried_on: ForkServer | None = None
        self._trying: asyncio.Task[PluginsFound] | None = None
        self._again_at = math.inf  # of the monotonic clock
        self.found: PluginsFound | None = None
        """None until they were tried."""

    async def given(self, job: jobs.Job, server: ForkServer) -> jobs.Job:
        """`job` with the plugins that work on this fork server."""
        found = await self.look(server)
        names = tuple(plugin.name for plugin in found.fit)
        return (
            replace(job, plugins=jobs.JobPlugins(folder=str(self._folder), modules=names)) if names else job
        )

    async def look(self, server: ForkServer) -> PluginsFound:
        """Those that are there; they are tried unless nothing has changed since."""
        found = PluginsFound()
        for _ in range(2):  # others may have begun before the last change
            seen = await asyncio.to_thread(fingerprint, self._folder)
            if self.found is not None and self.found.seen == seen and self._tried_on is server:
                if time.monotonic() >= self._again_at and server.is_warm:
                    _ = self._begin(server, seen)  # nobody waits for it
                return self.found
            # Who is cancelled ends nothing for others.
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
        # Else it was the end of the fork server that has left them out; asleep, it has ended after the trial.
        if server.is_warm or server.is_asleep:
            before = self.found.broken if self.found else []
            for line in found.broken:
                if line not in before:
                    log.error("downloads.plugins: left out: %s", line)
            if found.fit and (self.found is None or found.fit != self.found.fit):
                log.info("plugins for yt-dlp: %s", ", ".join(plugin.title for plugin in found.fit))
            self.found, self._tried_on = found, server
            self._again_at = math.inf if found.is_sure else time.monotonic() + AGAIN
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
        """Those that were tried; and the one at which the child ended, with its error, if it did."""
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
                        case {"kind": "tried", **told}:
                            if (plugin := Plugin.model_validate_json(json.dumps(told))).name:
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
    """Those of the settings; None if there is no folder for them."""
    folder = jobs.settings.plugins
    return Plugins(folder, scratch, jobs) if folder else None


def fingerprint(folder: Path) -> str:
    """Another text after any change of what yt-dlp takes for a plugin: archives, and folders of that name."""
    digest, left = hashlib.sha256(), MOST_FILES
    with suppress(OSError):
        for plugin in sorted(islice(folder.iterdir(), MOST_FILES)):
            # It may be a link to a folder with anything.
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
    told = "" if path.is_dir() else f"{stat.st_size} {stat.st_mtime_ns}"
    return f"{path} {stat.st_ino} {told}\n".encode(errors="replace")
