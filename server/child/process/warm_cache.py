"""Caches what a fork server finds out while it warms up, for the next one.

Each value is a file in the folder `cache` of the data directory. It is used only if its `key`, which states
what it was made of, is the same, and if the file is undamaged. An error here costs time only: the value is
made again.

Decisions: docs/decisions/children.md
"""

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

folder: Path | None = None
"""Set by the fork server before it warms up; without a folder nothing is read or written."""


def cached(name: str, key: Any, make: Callable[[], Any]) -> Any:
    """Return the value in the cache under `name`, if it was made with this `key`; else that of `make`.

    `key` and value are JSON. A value None is returned, but not cached.
    """
    if folder is None:
        return make()
    path, key_text = folder / f"{name}.json", json.dumps(key)
    with suppress(OSError, ValueError):
        head, text = path.read_bytes().split(b"\n", 1)
        if json.loads(head) == [key_text, _checksum(text)]:
            return json.loads(text)
    value = make()
    if value is not None:
        with suppress(OSError):
            _write(path, key_text, json.dumps(value).encode())
    return value


def identity(path: str | Path) -> tuple[str, int, int]:
    """Return what changes with a file: as for Python's compiled modules, its size and its time of change.

    Raises `OSError`.
    """
    found = Path(path).stat()
    return str(path), found.st_size, found.st_mtime_ns


def _write(path: Path, key_text: str, text: bytes) -> None:
    """Write the file. If two fork servers write at once, it may be a mixture, which its checksum reveals."""
    with suppress(FileExistsError):
        path.parent.mkdir(mode=0o700)  # without parents: only the server makes a data directory
    part = path.with_suffix(".part")
    part.write_bytes(b"\n".join((json.dumps([key_text, _checksum(text)]).encode(), text)))
    part.rename(path)


def _checksum(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()
