"""What an earlier fork server found out while it warmed up, so that the next one need not.

Each value is a file in the folder `cache` of the data directory. It is used only if it was made of the same
things, its `key`, and is as it was written. Whatever goes wrong here costs time and nothing else: the value
is made again.

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


def kept(name: str, key: Any, make: Callable[[], Any]) -> Any:
    """Return what `make` returned when it was last called with this `key`; all of it is JSON.

    `make` is called if that is unknown. A value None is returned, and not kept.
    """
    if folder is None:
        return make()
    path, made_of = folder / f"{name}.json", json.dumps(key)
    with suppress(OSError, ValueError):
        head, text = path.read_bytes().split(b"\n", 1)
        if json.loads(head) == [made_of, _checksum(text)]:
            return json.loads(text)
    value = make()
    if value is not None:
        with suppress(OSError):
            _write(path, made_of, json.dumps(value).encode())
    return value


def identity(path: str | Path) -> tuple[str, int, int]:
    """What Python looks at to learn whether a module has changed since it was compiled. Raises `OSError`."""
    found = Path(path).stat()
    return str(path), found.st_size, found.st_mtime_ns


def _write(path: Path, made_of: str, text: bytes) -> None:
    """If two fork servers write at once, a mixture of both may come to lie at `path`, which the checksum
    tells.
    """
    with suppress(FileExistsError):
        path.parent.mkdir(mode=0o700)  # without parents: a new data directory is the server's to make
    part = path.with_suffix(".part")
    part.write_bytes(b"\n".join((json.dumps([made_of, _checksum(text)]).encode(), text)))
    part.rename(path)


def _checksum(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()
