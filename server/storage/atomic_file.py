"""Writes a new file atomically: it is there as a whole, or not at all."""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from server.core.unusable import DatabaseUnusable


@asynccontextmanager
async def new_file(target: Path) -> AsyncIterator[Path]:
    """Yield an empty file that only this user can read; rename it to `target` if the block succeeds.

    Raises `DatabaseUnusable` if `target` exists already, or cannot be created.
    """
    part, *_ = parts = [target.parent / name for name in names_of_parts(target.name)]
    await asyncio.to_thread(_claim, target, parts)
    try:
        yield part
        await asyncio.to_thread(_put_in_place, part, target)
    finally:
        for path in parts:
            path.unlink(missing_ok=True)


def names_of_parts(name: str) -> tuple[str, str]:
    """Return the name of a file while it is being written, and that of the journal SQLite has beside it."""
    return f"{name}.part", f"{name}.part-journal"


def _claim(target: Path, parts: Sequence[Path]) -> None:
    part = parts[0]
    try:
        if target.exists():
            raise DatabaseUnusable(target, "is already there: name a new file")
        for path in parts:  # leftovers of a killed process
            path.unlink(missing_ok=True)
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except OSError as error:
        raise DatabaseUnusable(target, f"cannot be written ({error.strerror})") from error


def _put_in_place(part: Path, target: Path) -> None:
    """Flush the file, rename it, and flush its directory; the writing program may not have
    flushed anything.
    """
    for path in (part, part.parent):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if path == part:
            part.rename(target)
