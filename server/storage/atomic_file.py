"""Writes a new file atomically: it is there as a whole, or not at all."""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from server.core.unusable import DatabaseUnusable


@asynccontextmanager
async def new_file(target: Path) -> AsyncIterator[Path]:
    """An empty file that only this user can read; it is renamed to `target` if the block succeeds.

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
    """What a new file is called until it is whole, and the journal that SQLite has beside it meanwhile."""
    return f"{name}.part", f"{name}.part-journal"


def _claim(target: Path, parts: Sequence[Path]) -> None:
    part = parts[0]
    try:
        if target.exists():
            raise DatabaseUnusable(target, "is already there: name a new file")
        for path in parts:  # of one that was killed
            path.unlink(missing_ok=True)
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except OSError as error:
        raise DatabaseUnusable(target, f"cannot be written ({error.strerror})") from error


def _put_in_place(part: Path, target: Path) -> None:
    """Flush the file, rename it, and flush its directory: the program that wrote the file flushed nothing."""
    for path in (part, part.parent):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if path == part:
            part.rename(target)
