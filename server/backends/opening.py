"""What all backends share: the parts of an open one, and functions that help to open it."""

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server.backends.unusable import DatabaseUnusable
from server.files.workplace import LocalWorkplace
from server.ports import Cookies, FileStore, Sessions, Workplace
from server.settings import ConfigurationError
from server.tasks.hours import LOOK_EVERY, Pacer
from server.tasks.inspector import Inspector
from server.tasks.janitor import for_ever
from server.tasks.readiness import Ready
from server.tasks.service import Tasks

log = logging.getLogger(__name__)

CANCEL_AGAIN = 0.5  # seconds before a task that goes on is cancelled once more


@dataclass(frozen=True, slots=True)
class Backend:
    tasks: Tasks
    files: FileStore
    inspector: Inspector
    readiness: Ready
    sessions: Sessions
    cookies: Cookies
    workplace: Workplace


def make(data_dir: Path) -> None:
    """Create the data directory. Touches the disk; raises `ConfigurationError`."""
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as exc:
        raise ConfigurationError(f"storage.data_dir: {data_dir}: {exc.strerror}") from None


def prepare(workplace: LocalWorkplace) -> None:
    """Create the directories, and empty the scratch one. Touches the disk; raises `DatabaseUnusable`."""
    try:
        workplace.prepare()
        workplace.empty_scratch()
    except OSError as exc:
        raise DatabaseUnusable(workplace.root, f"cannot be written ({exc.strerror})") from exc


@asynccontextmanager
async def in_background(work: Coroutine[Any, Any, None], name: str) -> AsyncIterator[None]:
    """Run `work` for as long as the block lasts; log an error that ends it."""
    task = asyncio.create_task(work, name=name)
    task.add_done_callback(_report)
    try:
        yield
    finally:
        while not task.done():
            task.cancel()  # more than once: Python 3.11's `wait_for` may swallow a cancel
            await asyncio.wait([task], timeout=CANCEL_AGAIN)


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        log.error("%s ended unexpectedly", task.get_name(), exc_info=error)


@asynccontextmanager
async def paced(pacer: Pacer) -> AsyncIterator[None]:
    """Apply the rate windows to running downloads: once before the block begins, then while it lasts."""
    await pacer.look()
    async with in_background(for_ever(pacer.look, LOOK_EVERY), "hours"):
        yield
