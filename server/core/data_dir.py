"""The data directory: whether this server can work in it, and whether it is still the one it has opened.

While the server runs, the directory may be deleted, emptied, unmounted or exchanged for another one. Open
files still take writes then, although no later start will find them. So a change counts as stored only after
a check of the directory: `must_be_there`, or `lost` in code that runs in a thread already.
"""

import asyncio
import errno
import logging
import os
import pwd
import re
import stat
from contextlib import suppress
from pathlib import Path

from server.core.errors import StorageFailed

log = logging.getLogger(__name__)

FOLDERS = ("work", "logs", "files", "scratch")  # folders that the server makes when it starts
MADE_LATER = ("cookies", "yt-dlp")  # folders that the server makes once they are needed
FILES = ("clipwire.lock", "clipwire.db", "clipwire.db-wal", "clipwire.db-shm")
NO_FILE = ".clipwire-nothing"  # a name that no file has: renaming it is tried
_OF_A_TASK = re.compile(r"[0-9a-f-]{36}(\.lock)?")

_Identity = tuple[int, int]  # a file's device and inode


class DataDir:
    """Methods that touch the disk are to be called in a thread. An outage is logged once, and so is its
    end.
    """

    def __init__(
        self,
        path: Path,
        folders: tuple[str, ...] = FOLDERS,
        later: tuple[str, ...] = MADE_LATER,
        files: tuple[str, ...] = FILES,
    ) -> None:
        self.path = path.absolute()
        self.folders = [self.path / name for name in folders]
        self._later = [self.path / name for name in later]
        self._files = [self.path / name for name in files]
        self._opened: dict[Path, _Identity] = {}
        self._trouble: str | None = None  # the trouble that was logged last
        self._changes = 0  # how often trouble has begun or ended

    def make(self) -> None:
        """Make the folders, readable by this user alone. Touches the disk; raises `OSError`."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(PermissionError):  # a mounted volume may belong to somebody else
            self.path.chmod(0o700)
        for folder in self.folders:
            with suppress(FileExistsError):  # a file in its place is reported by `unusable`
                folder.mkdir(mode=0o700)

    def unusable(self, *, made: bool = True) -> list[tuple[Path, str]]:
        """Return the folders in which the server cannot work, each with the reason, worded to follow its
        path.

        Missing folders are among them unless they are not `made` yet. Touches the disk.
        """
        if why := _unusable(self.path, of_others=True):
            return [(self.path, why)]
        there = [path for path in (*self.folders, *self._later) if os.path.lexists(path)]
        expected = list(dict.fromkeys((*self.folders, *there))) if made else there
        found = [(path, why) for path in expected if (why := _unusable(path))]
        works, files = self.path / "work", self.path / "files"
        if not found and {works, files} <= {*expected} and _is_apart(works, files):
            return [(files, f"is not on the same mount as {works}: mount one folder that has both")]
        return found

    def unusable_files(self) -> list[tuple[Path, str]]:
        """Return the server's own files that it cannot use, and the first such partial file of a task, with
        the reasons.

        Such files remain if the server was started as another user. Touches the disk.
        """
        found = [(path, why) for path in self._files if (why := _unwritable(path))]
        works, logs, me = self.path / "work", self.path / "logs", os.geteuid()
        with suppress(OSError):  # deleted meanwhile, by another node
            for name in sorted(filter(_OF_A_TASK.fullmatch, (path.name for path in works.iterdir()))):
                for path in (works / name, logs / f"{name.removesuffix('.lock')}.log"):
                    if os.path.lexists(path) and (owner := path.lstat().st_uid) != me:
                        return [*found, (path, _ownership(owner, path))]
        return found

    def keep_watch_of(self, *paths: Path) -> None:
        """From now on the directory counts as lost without these files. Touches the disk."""
        self._opened |= {path: identity for path in paths if (identity := _identity(path))}

    async def look(self) -> str | None:
        """Return what is wrong with the directory, in one sentence; None if the server can work in it."""
        changes = self._changes
        trouble = await asyncio.to_thread(self._look)
        # Note the result only if no other check has ended before this one: that may have begun later.
        if changes == self._changes:
            self._log_change(trouble)
        return trouble

    async def must_be_there(self) -> None:
        """Raise `StorageFailed` if what this server has opened is no longer in the data directory."""
        if lost := await asyncio.to_thread(self.lost):
            raise self.error(lost)

    def error(self, lost: str) -> StorageFailed:
        """Log what is `lost`, and return the error to raise for it."""
        self._log_change(lost)
        error = StorageFailed()
        error.is_logged = True
        error.__cause__ = OSError(lost)
        return error

    def _look(self) -> str | None:
        if lost := self.lost():
            return lost
        return next((f"{path} {why}" for path, why in self.unusable()), None)

    def lost(self) -> str | None:
        """Return what this server has opened that is no longer in the data directory, if anything. Touches
        the disk.
        """
        for path, identity in self._opened.items():
            found = _identity(path)
            if found is None:
                return f"{self.path} was deleted or moved away: {path.name} is not there"
            if found != identity:
                return f"{self.path} was exchanged for another one: {path.name} is not the one that is open"
        return None

    def _log_change(self, trouble: str | None) -> None:
        before, self._trouble = self._trouble, trouble
        self._changes += bool(trouble) != bool(before)
        if trouble and not before:
            log.error(
                "%s. Until that is undone, or the server is started anew, nothing begins and the server is "
                "not ready",
                trouble,
            )
        elif before and not trouble:
            log.warning("%s is in order again: the service goes on", self.path)


def _identity(path: Path) -> _Identity | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _unusable(folder: Path, *, of_others: bool = False) -> str | None:
    """Why the server cannot work in `folder`; None if it can. With `of_others` it may belong to another user.

    A folder's owner can read and change everything in it, but cookies and files of children are only for the
    server's user.
    """
    try:
        found = folder.stat()
    except OSError as error:
        return f"cannot be used ({error.strerror})"
    me = os.geteuid()
    if not stat.S_ISDIR(found.st_mode):
        return "is not a folder: move it away"
    if found.st_uid != me and not of_others:
        return _ownership(found.st_uid, folder)
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK, effective_ids=True):
        return f"cannot be written: give write access to {_name(me)}, as whom the server runs"
    return None


def _is_apart(source: Path, target: Path) -> bool:
    """Whether files cannot be renamed from `source` into `target`, as finished files are.

    A rename between two mounts fails, even if both are of one disk. Linux reports that before it looks for
    the file, so the test needs no file.
    """
    try:
        (source / NO_FILE).rename(target / NO_FILE)
    except OSError as error:
        return error.errno == errno.EXDEV or _device(source) != _device(target)
    return False


def _device(folder: Path) -> int | None:
    identity = _identity(folder)
    return identity and identity[0]


def _unwritable(file: Path) -> str | None:
    if file.is_dir():
        return "is a folder: move it away"
    if not os.path.lexists(file) or os.access(file, os.R_OK | os.W_OK, effective_ids=True):
        return None
    return f"cannot be read and written: give access to {_name(os.geteuid())}, as whom the server runs"


def _ownership(owner: int, path: Path) -> str:
    me = os.geteuid()
    return f"belongs to {_name(owner)}, and the server runs as {_name(me)}: chown -R {me} {path}"


def _name(uid: int) -> str:
    with suppress(KeyError):
        return f"{pwd.getpwuid(uid).pw_name} ({uid})"
    return f"user {uid}"
