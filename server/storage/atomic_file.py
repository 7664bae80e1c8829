"""Writes a new file atomically: it is there as a whole, or not at all."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from server.core.unusable import DatabaseUnusable


@asynccontextmanager
async def new_file(target: Path) -> AsyncIterator[Path]:
    """An empty file that only this user can read; it is renamed to `target` if the block succeeds.

    Raises `DatabaseUnusable` if `target` exists already, or cannot be created.
    """
    part = target.parent / f"{target.name}.part"
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
    """Flush the file, rename it, and flush its directory: the program that wrote the file flushed nothing."""
    for path in (part, part.parent):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if path == part:
            part.rename(target)
