"""A node's name, which outlives its process, so that a restarted node at once takes over what it left behind.

A node holds a `flock` on the file `nodes/<name>` in the data directory. A node that starts takes the name of
a dead node, or a new one; nodes that share a data directory have different names.
"""

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import chain, count
from pathlib import Path
from uuid import uuid4

FOLDER = "nodes"
ID_FILE = "folder.id"
_NAME = re.compile(r"[0-9a-f]{32}")


@contextmanager
def claim_name(data_dir: Path) -> Iterator[str]:
    """Yield a name that is this node's for as long as the block lasts. Touches the disk; raises `OSError`."""
    folder = data_dir / FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    # Repeat: before this node locks its new file, another starting node may take it for the file of a dead
    # node.
    new_names = (uuid4().hex for _ in count())
    for name in chain(_names(folder), new_names):
        with _try_lock(folder / name) as is_ours:
            if is_ours:
                yield name
                return


@contextmanager
def dead_neighbours(data_dir: Path) -> Iterator[list[str]]:
    """Yield the names of dead nodes in this data directory; no other node takes one while the block lasts.

    Touches the disk; raises `OSError`.
    """
    folder = data_dir / FOLDER
    with ExitStack() as stack:
        yield [name for name in _names(folder) if stack.enter_context(_try_lock(folder / name))]


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if _NAME.fullmatch(path.name))


@contextmanager
def _try_lock(path: Path) -> Iterator[bool]:
    """Yield whether the file could be locked; if so, it stays locked for as long as the block lasts."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        is_ours = False
    else:
        is_ours = True
    try:
        yield is_ours
    finally:
        os.close(descriptor)


def read_folder_id(data_dir: Path) -> str:
    """Return the id of the data directory, the same for all nodes that share it.

    Touches the disk; raises `OSError`.
    """
    path, mine = data_dir / ID_FILE, data_dir / f"{ID_FILE}.{uuid4().hex}"
    if not path.exists():
        mine.write_text(uuid4().hex, encoding="ascii")
        with suppress(FileExistsError):  # another node has written the file first
            os.link(mine, path)
        mine.unlink()
    return path.read_text(encoding="ascii")
