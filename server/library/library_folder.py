"""The library's folder: files get there whole, or not at all, and never over somebody else's.

Each file is built as `.<base>.<try>.part` in its own folder, flushed, and linked to its final name, which
fails if there is any file of that name. Folders are entered one by one through descriptors, so no symbolic
link is ever followed out of the library. All of it blocks: call it in a thread.

A folder without the file `.clipwire-library` is no library: it is the empty place of a mount that is away.

Decisions: docs/decisions/library.md
"""

import errno
import fcntl
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from server.library.placements import FolderBlocked, PathTaken, Stopped, Trouble

MARKER = ".clipwire-library"
_MARKED = b"Clipwire fills this folder. Without this file it takes it for a mount that is away.\n"
Method = Literal["clone", "hardlink", "copy"]
METHODS: dict[str, tuple[Method, ...]] = {
    "auto": ("clone", "hardlink", "copy"),
    "clone": ("clone", "copy"),
    "hardlink": ("hardlink", "copy"),
    "copy": ("copy",),
}
_FICLONE = 0x40049409
_CHUNK = 4 << 20
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NOT_HERE = frozenset((errno.EXDEV, errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL, errno.EPERM, errno.ENOSYS))
_NO_LINKS = frozenset((errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL))
GONE = frozenset(
    (errno.ESTALE, errno.EIO, errno.ENODEV, errno.ENXIO, errno.ETIMEDOUT, errno.ENOTCONN, errno.EHOSTDOWN)
)
"""Errors of a file system that is going away."""


def _never() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class LibraryFolder:
    """`file_mode` and `folder_mode` are the permissions of what is made."""

    path: Path
    methods: tuple[Method, ...] = METHODS["auto"]
    file_mode: int = 0o644
    folder_mode: int = 0o755

    def trouble(self) -> Trouble | None:
        """Return the reason for which the library cannot be filled; None if it can."""
        try:
            with self.opened() as root:
                os.stat(MARKER, dir_fd=root.fd, follow_symlinks=False)
        except FileNotFoundError as exc:
            return "unmarked" if exc.filename == MARKER else "missing"
        except OSError:
            return "missing"
        return None if os.access(self.path, os.W_OK | os.X_OK) else "read_only"

    def mark(self) -> None:
        """Mark the folder as a library. Raises `OSError`."""
        with self.opened() as root:
            flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(MARKER, flags, 0o644, dir_fd=root.fd)
            try:
                os.write(fd, _MARKED)
                os.fsync(fd)
            finally:
                os.close(fd)
            _flush(root.fd)

    @contextmanager
    def opened(self) -> Iterator["Root"]:
        """Open the folder and return it. Everything done through it stays on its file system, even if another
        one is mounted over it meanwhile.

        Raises `OSError` if it is not there.
        """
        fd = os.open(self.path, _DIRECTORY)
        try:
            yield Root(fd, self)
        finally:
            os.close(fd)

    @contextmanager
    def entered(self) -> Iterator["Root"]:
        """Like `opened`; raises `FileNotFoundError` also if it is no library."""
        with self.opened() as root:
            os.stat(MARKER, dir_fd=root.fd, follow_symlinks=False)
            yield root


@dataclass(frozen=True, slots=True)
class Root:
    """The opened folder. Paths are relative, with `/`. Methods raise `FolderBlocked` and `OSError`; once
    `stopped` returns True, they raise `Stopped` before they change anything.
    """

    fd: int
    folder: LibraryFolder

    @contextmanager
    def part(self, path: str, base: str, tag: int) -> Iterator["UnfinishedFile"]:
        """Yield a new file beside its later `path`; it is deleted afterwards, unless it was `put`."""
        folder, _, name = path.rpartition("/")
        with self.inside(folder, make=True) as directory:
            part = UnfinishedFile(directory, name, f".{base}.{tag}.part", self.folder)
            try:
                part.begin()
                yield part
            finally:
                part.end()

    def clear(self, folder: str, base: str, stopped: Callable[[], bool] = _never) -> None:
        """Delete the leftovers of earlier tries to place files of `base` in `folder`."""
        begins = f".{base}."
        with suppress(FileNotFoundError), self.inside(folder) as directory:
            for found in os.listdir(directory):  # noqa: PTH208 -- a descriptor
                if found.startswith(begins) and found.endswith(".part"):
                    _go_on(stopped)
                    with suppress(FileNotFoundError):
                        os.unlink(found, dir_fd=directory)

    @contextmanager
    def inside(self, folder: str, *, make: bool = False) -> Iterator[int]:
        """Open a folder of the library, and yield its descriptor."""
        fd, path, is_inside = os.dup(self.fd), "", False
        try:
            for name in filter(None, folder.split("/")):
                path = f"{path}/{name}" if path else name
                try:
                    inner = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
                except FileNotFoundError:
                    if not make:
                        raise
                    inner = self._made(name, fd)
                os.close(fd)
                fd = inner
            is_inside = True
            yield fd
        except OSError as exc:
            is_refused = exc.errno in (errno.EACCES, errno.EPERM)
            if is_refused or (not is_inside and exc.errno in (errno.ELOOP, errno.ENOTDIR)):
                raise FolderBlocked(path) from exc
            raise
        finally:
            os.close(fd)

    def _made(self, name: str, at: int) -> int:
        with suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=at)
        inner = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
        _permit(inner, self.folder.folder_mode)
        _flush(at)
        return inner

    def is_there(self, path: str, size: int, sha256: str, stopped: Callable[[], bool] = _never) -> bool:
        """Return whether there is a file with this content at the path."""
        folder, _, name = path.rpartition("/")
        try:
            with self.inside(folder) as directory:
                fd = os.open(name, _READ, dir_fd=directory)
        except FileNotFoundError:
            return False
        except OSError as exc:
            if exc.errno in (errno.ELOOP, errno.ENXIO):
                return False  # a symbolic link, or a socket
            raise
        try:
            seen = os.fstat(fd)
            if not stat.S_ISREG(seen.st_mode) or seen.st_size != size:
                return False
            return hash_of(fd, stopped) == sha256
        finally:
            os.close(fd)

    def exists(self, path: str) -> bool:
        """Return whether a file, folder or link has this name."""
        folder, _, name = path.rpartition("/")
        try:
            with self.inside(folder) as directory:
                os.stat(name, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def delete(self, path: str, size: int, sha256: str, stopped: Callable[[], bool] = _never) -> None:
        """Delete the file if it has this content, and then the folders that are empty."""
        if self.is_there(path, size, sha256, stopped):
            folder, _, name = path.rpartition("/")
            with self.inside(folder) as directory:
                _go_on(stopped)
                os.unlink(name, dir_fd=directory)
                _flush(directory)
        self.tidy(path.rpartition("/")[0])

    def tidy(self, folder: str) -> None:
        """Delete a folder if it is empty, then each folder above it that is empty."""
        while folder:
            above, _, name = folder.rpartition("/")
            try:
                with suppress(FileNotFoundError), self.inside(above) as directory:
                    os.rmdir(name, dir_fd=directory)
            except (OSError, FolderBlocked):
                return  # the folder is not empty
            folder = above

    def move(self, before: str, after: str, size: int, stopped: Callable[[], bool] = _never) -> bool:
        """Rename a file. Return False if there is no file under either name. Raises `PathTaken` if another
        file has the new name.
        """
        folder, _, name = before.rpartition("/")
        to_folder, _, to_name = after.rpartition("/")
        there, new = self._seen(before), self._seen(after)
        if there is None:
            self.tidy(folder)
            # An earlier call was killed after the move was done.
            return new is not None and new.st_size == size
        if new is not None and (new.st_dev, new.st_ino) == (there.st_dev, there.st_ino) and before != after:
            with self.inside(folder) as source, self.inside(to_folder) as target:
                is_other = self._other_name(folder, name, to_folder, to_name)
                _go_on(stopped)
                if is_other:
                    os.unlink(name, dir_fd=source)  # an earlier call was killed between link and unlink
                else:  # the names differ only in case, and the file system ignores case
                    os.rename(name, to_name, src_dir_fd=source, dst_dir_fd=target)
            self.tidy(folder)
            return True
        with self.inside(folder) as source, self.inside(to_folder, make=True) as target:
            _go_on(stopped)
            _rename_new(name, to_name, source, target)
            _flush(target)
            _flush(source)
        self.tidy(folder)
        return True

    def is_one(self, path: str, other: str) -> bool:
        """Return whether two paths name the same file: on some file systems the case of letters does not
        count.
        """
        seen, others = self._seen(path), self._seen(other)
        if seen is None or others is None or (seen.st_dev, seen.st_ino) != (others.st_dev, others.st_ino):
            return False
        folder, _, name = path.rpartition("/")
        in_folder, _, in_name = other.rpartition("/")
        return not self._other_name(folder, name, in_folder, in_name)

    def _seen(self, path: str) -> os.stat_result | None:
        folder, _, name = path.rpartition("/")
        try:
            with self.inside(folder) as directory:
                return os.stat(name, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def _other_name(self, folder: str, name: str, to_folder: str, to_name: str) -> bool:
        """Return whether the folders list both names; if only case differs and case is folded, they list
        one.
        """
        with self.inside(folder) as source, self.inside(to_folder) as target:
            if name == to_name and os.path.samestat(os.fstat(source), os.fstat(target)):
                return False
            return name in os.listdir(source) and to_name in os.listdir(target)  # noqa: PTH208

    def read(self, path: str, most: int) -> bytes:
        """Return the first bytes of a file; empty if the path is no file."""
        folder, _, name = path.rpartition("/")
        with suppress(OSError, FolderBlocked), self.inside(folder) as directory:
            fd = os.open(name, _READ, dir_fd=directory)
            try:
                return os.read(fd, most) if stat.S_ISREG(os.fstat(fd).st_mode) else b""
            finally:
                os.close(fd)
        return b""

    def files(self, folder: str = "") -> Iterator[tuple[str, int]]:
        """All files below a folder, with their sizes; links and what is hidden are passed over."""
        inner: list[str] = []
        with (
            suppress(FileNotFoundError, FolderBlocked),
            self.inside(folder) as directory,
            os.scandir(directory) as entries,
        ):
            for entry in entries:
                path = f"{folder}/{entry.name}" if folder else entry.name
                if entry.name.startswith(".") or not _is_text(entry.name):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    inner.append(path)
                elif entry.is_file(follow_symlinks=False):
                    yield path, entry.stat(follow_symlinks=False).st_size
        for path in sorted(inner):
            yield from self.files(path)


class UnfinishedFile:
    """A file that is being built. Fill it by `clone`, `link`, `copy` or `write`, then `put` it."""

    def __init__(self, directory: int, name: str, part: str, folder: LibraryFolder) -> None:
        self._directory = directory
        self._name = name
        self._part = part
        self._folder = folder
        self._fd = -1
        self._hash = hashlib.sha256()
        self._is_written = False
        self.size = 0

    @property
    def sha256(self) -> str | None:
        """The digest of what was written; None for a clone or a link."""
        return self._hash.hexdigest() if self._is_written else None

    def begin(self) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self._fd = os.open(self._part, flags, 0o600, dir_fd=self._directory)

    def end(self) -> None:
        self._close()
        with suppress(FileNotFoundError):
            os.unlink(self._part, dir_fd=self._directory)

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1

    def clone(self, source: int) -> bool:
        """Make a reflink of `source`, if the file system can: both share blocks until one of them changes."""
        try:
            fcntl.ioctl(self._fd, _FICLONE, source)
        except OSError as exc:
            if exc.errno not in _NOT_HERE:
                raise
            return False
        self.size = os.fstat(source).st_size
        return True

    def link(self, source: int) -> bool:
        """Make this file a hard link to `source`, if both are on the same file system."""
        os.unlink(self._part, dir_fd=self._directory)
        try:
            os.link(f"/proc/self/fd/{source}", self._part, dst_dir_fd=self._directory)
        except OSError as exc:
            if exc.errno not in (*_NOT_HERE, *_NO_LINKS, errno.EACCES, errno.ENOENT):
                raise
            self._close()
            self.begin()
            return False
        self._close()
        self._fd = os.open(self._part, _READ, dir_fd=self._directory)
        self.size = os.fstat(self._fd).st_size
        return True

    def copy(self, source: int, stopped: Callable[[], bool] = _never) -> None:
        """Copy `source`. Raises `Stopped`."""
        self.make_room(os.fstat(source).st_size)
        place = 0
        while piece := os.pread(source, _CHUNK, place):
            _go_on(stopped)
            self.write(piece)
            place += len(piece)

    def make_room(self, size: int) -> None:
        """Reserve so many bytes. Raises `OSError` if there is no room: now, not after copying most of a long
        film.
        """
        room = os.fstatvfs(self._fd)
        if room.f_blocks and room.f_bavail * room.f_frsize < size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self._name)

    def write(self, piece: bytes | memoryview) -> None:
        self._is_written = True
        self._hash.update(piece)
        left = memoryview(piece)
        self.size += len(left)
        while left:
            left = left[os.write(self._fd, left) :]

    def put(self, *, instead: bool = False, stopped: Callable[[], bool] = _never) -> None:
        """Give the file its name. Raises `PathTaken` if the name is taken, unless by the file that this one
        replaces (`instead`).
        """
        _permit(self._fd, self._folder.file_mode)
        os.fsync(self._fd)
        _go_on(stopped)
        if instead:
            os.rename(self._part, self._name, src_dir_fd=self._directory, dst_dir_fd=self._directory)
        else:
            _rename_new(self._part, self._name, self._directory, self._directory)
        _flush(self._directory)


def _is_text(name: str) -> bool:
    """Return whether a name is UTF-8, as all names are that this server gives."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _rename_new(before: str, after: str, source: int, target: int) -> None:
    """Rename a file. Raises `PathTaken` if anything has the new name."""
    try:
        os.link(before, after, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
    except FileExistsError:
        raise PathTaken(after) from None
    except OSError as exc:
        if exc.errno not in _NO_LINKS:
            raise
    else:
        os.unlink(before, dir_fd=source)
        return
    # FAT and some network shares have no hard links.
    try:
        _rename_without_links(before, after, source, target)
    except FileExistsError:
        raise PathTaken(after) from None


def _rename_without_links(before: str, after: str, source: int, target: int) -> None:
    import ctypes  # few need it

    libc = ctypes.CDLL(None, use_errno=True)
    no_replace = 1
    done = libc.renameat2(source, os.fsencode(before), target, os.fsencode(after), no_replace)
    if not done:
        return
    code = ctypes.get_errno()
    if code not in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
        raise OSError(code, os.strerror(code), after)
    # Neither way works. Not checked here, as the file could be made between a check and the rename.
    with suppress(FileNotFoundError):
        os.stat(after, dir_fd=target, follow_symlinks=False)
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), after)
    os.rename(before, after, src_dir_fd=source, dst_dir_fd=target)


def hash_of(fd: int, stopped: Callable[[], bool] = _never) -> str:
    """The SHA-256 of an open file. Raises `Stopped`."""
    digest, place = hashlib.sha256(), 0
    while piece := os.pread(fd, _CHUNK, place):
        _go_on(stopped)
        digest.update(piece)
        place += len(piece)
    return digest.hexdigest()


def _go_on(stopped: Callable[[], bool]) -> None:
    if stopped():
        raise Stopped


def _permit(fd: int, mode: int) -> None:
    """Set the permissions, if the file system has permissions."""
    try:
        os.fchmod(fd, mode)
    except OSError as exc:
        if exc.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS):
            raise


def _flush(directory: int) -> None:
    try:
        os.fsync(directory)
    except OSError as exc:
        if exc.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP):
            raise
