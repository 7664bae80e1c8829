"""From what a child left to finished files: distrusted and checked, then moved by one rename.

Everything is done relative to open directories, so no link that a child may have put in the way
is ever followed.
"""

import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from pydantic import NonNegativeInt, ValidationError

from server.models import Frozen, StoredFile, VideoInfo

MANIFEST, PREVIEW = "manifest.json", "preview.jpg"
MAX_PREVIEW = 2 << 20
MAX_MANIFEST = 4 << 20
_MEDIA_TYPE = re.compile(r"[a-z]+/[a-z0-9.+-]{1,100}")
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class UnsafeFile(Exception):
    """What the child left is not what it said, or not something to publish."""


class Manifest(Frozen):
    """Beside the files: enough to finish the task if the server dies before the status is saved."""

    attempt: NonNegativeInt
    files: dict[str, StoredFile]
    video_info: VideoInfo


def publish(work: Path, target: Path, manifest: Manifest) -> None:
    """Make `work/out` with its manifest `target`, in place of what an earlier attempt left there.

    Afterwards it survives a power cut (the child has flushed the files). Raises `UnsafeFile`.
    """
    with opened(target.parent) as parent:
        try:
            with opened(work) as source:
                _make_ready(source, manifest)
                delete(target)
                os.rename("out", target.name, src_dir_fd=source, dst_dir_fd=parent)
        except (FileNotFoundError, NotADirectoryError) as exc:
            raise UnsafeFile(f"missing: {exc.filename}") from exc
        os.fsync(parent)


def read_manifest(directory: Path) -> Manifest | None:
    """The manifest in `directory`, if there is a whole one and all its files are there."""
    try:
        with opened(directory) as fd:
            with os.fdopen(os.open(MANIFEST, _READ, dir_fd=fd), "rb") as file:
                manifest = Manifest.model_validate_json(file.read(MAX_MANIFEST))
            whole = all(_is_whole(_look(fd, file.path), file) for file in manifest.files.values())
    except (OSError, ValidationError):
        return None
    return manifest if whole else None


def open_file(directory: Path, stored: StoredFile) -> BinaryIO:
    """A published file. Raises `OSError`, also if it is no longer what was published."""
    with opened(directory) as at:
        file = os.fdopen(os.open(stored.path, _READ, dir_fd=at), "rb", buffering=0)
    if not _is_whole(os.fstat(file.fileno()), stored):
        file.close()
        raise FileNotFoundError(f"{directory / stored.path} is not the file that was published")
    return file


def is_from_child(seen: os.stat_result) -> bool:
    """A regular file of this user, and the only link to it: through a second it could still be changed."""
    return stat.S_ISREG(seen.st_mode) and seen.st_nlink == 1 and seen.st_uid == os.geteuid()


def delete(path: Path) -> None:
    """Remove a file, a link or a whole directory; nothing there is fine."""
    while os.path.lexists(path):
        with suppress(FileNotFoundError):  # a dying child tidies up as well: look again
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


@contextmanager
def opened(directory: Path, at: int | None = None) -> Iterator[int]:
    """A descriptor of `directory` itself, not of what a link in its place leads to."""
    fd = os.open(directory, os.O_DIRECTORY | _READ, dir_fd=at)
    try:
        yield fd
    finally:
        os.close(fd)


def _make_ready(source: int, manifest: Manifest) -> None:
    with opened(Path("out"), at=source) as out:
        _check(out, manifest)
        _adopt_preview(source, out)
        _write(out, MANIFEST, manifest.model_dump_json().encode())
        os.fsync(out)


def _check(out: int, manifest: Manifest) -> None:
    stored = manifest.files.values()
    expected = {file.path for file in stored}
    if not expected or expected & {MANIFEST, PREVIEW}:
        raise UnsafeFile(f"not names of finished files: {sorted(expected)}")
    if (found := set(os.listdir(out))) != expected:
        raise UnsafeFile(f"{sorted(found)} instead of {sorted(expected)}")
    for file in stored:
        seen = _look(out, file.path)
        if not is_from_child(seen) or not _is_whole(seen, file):
            raise UnsafeFile(f"{file.path} is not a file of {file.size} bytes")
        if not _MEDIA_TYPE.fullmatch(file.type):
            raise UnsafeFile(f"{file.path} has no type: {file.type!r}")


def _is_whole(seen: os.stat_result, file: StoredFile) -> bool:
    return stat.S_ISREG(seen.st_mode) and seen.st_size == file.size


def _adopt_preview(source: int, out: int) -> None:
    """Take the preview along; a task does not fail for want of one."""
    with suppress(FileNotFoundError):
        seen = _look(source, PREVIEW)
        if is_from_child(seen) and seen.st_size <= MAX_PREVIEW:
            os.rename(PREVIEW, PREVIEW, src_dir_fd=source, dst_dir_fd=out)


def _write(directory: int, name: str, content: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(name, flags, 0o600, dir_fd=directory), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _look(directory: int, name: str) -> os.stat_result:
    return os.stat(name, dir_fd=directory, follow_symlinks=False)
