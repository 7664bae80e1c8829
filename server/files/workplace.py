"""Where children of this machine work, in its data directory.

work/<task_id>/        the child's: partial files, the preview, finished files in out/
work/<task_id>.lock    held (flock) by every process that writes into it, ffmpeg too
logs/<task_id>.log
scratch/info.<id>/     for one `POST /api/info`, of which nothing is kept

Entries with other names are not Clipwire's, and are left alone.
"""

import asyncio
import fcntl
import os
import re
import sys
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from io import BytesIO
from pathlib import Path
from tempfile import gettempdir
from typing import Self

from server.core.data_dir import DataDir
from server.core.errors import TaskNotFound
from server.core.redaction import clean
from server.files.growing_file import LocalGrowingFile, open_growing
from server.files.publishing import delete_path

UUID4 = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
PIECE_OF_LOG = 32 * 1024  # bytes of a log that are read and cleaned at once
_TASK_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_OF_INFO_REQUEST = re.compile(rf"info\.{UUID4}")


class LocalWorkplace:
    """Methods whose docstring says "Touches the disk" block: call them in a thread.

    Servers that share a data directory pass their `node`: each has a scratch directory of its own.
    """

    def __init__(self, data_dir: Path, node: str = "", data: DataDir | None = None) -> None:
        self.data = data or DataDir(data_dir)
        self.root = self.data.path
        self.works = self.root / "work"
        ours = (self.root, self.root.resolve(), Path(__file__).parents[2], sys.prefix, gettempdir())
        names = sorted({bytes(Path(folder)) for folder in ours} - {b"/"}, key=len, reverse=True)
        # Matches at the beginning of a path only, not within another path or a URL. The slash stands first
        # because `re` searches for a fixed first character fast.
        folders = b"|".join(re.escape(name.removeprefix(b"/")) for name in names)
        self._folders = re.compile(rb"/(?<![\w./%-]/)(?:" + folders + rb")(?:/|(?![\w.-]))")
        self.logs = self.root / "logs"
        self.scratch = self.root / "scratch" / node

    async def trouble(self) -> str | None:
        """Return why children cannot work on this machine, in one sentence; None if they can."""
        return await self.data.look()

    def empty_scratch(self) -> None:
        """Delete what a crash of this server has left in its scratch directory. Touches the disk."""
        for directory in (self.root / "scratch", self.scratch):
            directory.mkdir(mode=0o700, exist_ok=True)
        for path in list(self.scratch.iterdir()):
            if _OF_INFO_REQUEST.fullmatch(path.name):
                try:
                    delete_path(path)
                except OSError as exc:  # the error's path may be relative to the folder
                    raise OSError(exc.errno, exc.strerror, str(path)) from exc

    def work(self, task_id: str) -> Path:
        return self.works / checked_task_id(task_id)

    def lock(self, task_id: str) -> Path:
        return self.works / f"{checked_task_id(task_id)}.lock"

    def log(self, task_id: str) -> Path:
        return self.logs / f"{checked_task_id(task_id)}.log"

    def growing(self, task_id: str) -> LocalGrowingFile:
        """Open what can be watched of the task's download. Raises `NotStreamable`. Touches the disk."""
        return open_growing(self.work(task_id))

    async def note(self, task_id: str, text: str) -> None:
        """Append a line to the task's log, without secrets. A disk that fails or is full is ignored."""
        line = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {clean(text)}\n"
        with suppress(OSError):
            await asyncio.to_thread(_write, self.log(task_id), line.encode(errors="replace"), os.O_APPEND)

    def read_log(self, task_id: str, limit: int) -> bytes:
        """The log's first `limit` bytes, without folders of this machine; empty while there is no log.

        Touches the disk, and computes for a while. The log is searched in pieces: no other thread runs Python
        while a regular expression is being matched.
        """
        try:
            with self.log(task_id).open("rb") as file:
                lines = BytesIO(file.read(limit))
        except FileNotFoundError:
            return b""
        return b"".join(self._folders.sub(b"", piece) for piece in iter(partial(_some_lines, lines), b""))

    def replace_log(self, task_id: str, text: bytes) -> None:
        """Replace the task's log. Touches the disk."""
        _write(self.log(task_id), text, os.O_TRUNC)

    def claim(self, task_id: str) -> "Lock":
        """Try to take the task's lock: if `held`, no child writes while the block runs. Touches the disk."""
        return Lock(self.lock(task_id))

    def finish(self, task_id: str) -> None:
        """Delete the work directory of a completed task; the caller holds its lock. Touches the disk."""
        delete_path(self.work(task_id))
        delete_path(self.lock(task_id))

    def remove(self, task_id: str) -> None:
        """Delete the task's log and work directory, and its lock unless another process holds it.

        Touches the disk.
        """
        delete_path(self.log(task_id))
        delete_path(self.work(task_id))
        self.remove_lock(task_id)

    def remove_lock(self, task_id: str) -> None:
        """Delete the lock of a task without a work directory, unless somebody holds it, perhaps a child that
        is about to make one.

        Both sides of a removal end with this: the one that deletes the directory, and one that claimed the
        lock meanwhile, after it gave it back. So whichever comes last deletes the lock. Touches the disk.
        """
        if self.lock(task_id).exists() and not self.work(task_id).exists():
            with self.claim(task_id) as lock:
                if lock.held:
                    delete_path(self.lock(task_id))

    def remove_unused(self, task_id: str) -> bool:
        """Like `remove`, but delete nothing while another process holds the lock; return whether all is gone.

        Touches the disk.
        """
        paths = [path(task_id) for path in (self.log, self.work, self.lock)] if is_name(task_id) else []
        if not any(path.exists() for path in paths):
            return True
        with self.claim(task_id) as lock:
            if lock.held:
                for path in paths:
                    delete_path(path)
            return lock.held


class Lock:
    """A task's lock, taken without waiting; `held` says whether that succeeded."""

    def __init__(self, path: Path) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        self._fd = os.open(path, flags, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.held = True
        except BlockingIOError:
            self.held = False

    def close(self) -> None:
        os.close(self._fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def checked_task_id(task_id: str) -> str:
    """Return `task_id`. Raises `TaskNotFound` if it is no safe file name: no task has such an id."""
    if not is_name(task_id):
        raise TaskNotFound
    return task_id


def is_name(task_id: str) -> bool:
    return _TASK_ID.fullmatch(task_id) is not None


def _write(path: Path, data: bytes, how: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | how
    with os.fdopen(os.open(path, flags, 0o600), "wb", buffering=0) as file:
        file.write(data)


def _some_lines(lines: BytesIO) -> bytes:
    """Return the next lines, about `PIECE_OF_LOG` bytes; only a longer line is cut."""
    piece = lines.read(PIECE_OF_LOG)
    return piece + lines.readline(PIECE_OF_LOG) if piece and not piece.endswith(b"\n") else piece
