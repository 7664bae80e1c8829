"""A file that is there as a whole, or not at all; it never takes the place of another one."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from server.backends.unusable import DatabaseUnusable


@asynccontextmanager
async def new_file(target: Path) -> AsyncIterator[Path]:
    """An empty file for our eyes only, to be written; it becomes `target` if the block ends well.

    Raises `DatabaseUnusable` if there is a `target`, or none can be made.
    """
    part = target.with_name(target.name + ".part")
    await asyncio.to_thread(_claim, target, part)
    try:
        yield part
        await asyncio.to_thread(_put_in_place, part, target)
    finally:
        part.unlink(missing_ok=True)


def _claim(target: Path, part: Path) -> None:
    try:
        if target.exists():
            raise DatabaseUnusable(target, "is already there: name a new file")
        part.unlink(missing_ok=True)
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except OSError as error:
        raise DatabaseUnusable(target, f"cannot be written ({error.strerror})") from error


def _put_in_place(part: Path, target: Path) -> None:
    """Whoever wrote it has not flushed it."""
    for path in (part, part.parent):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if path == part:
            part.rename(target)
