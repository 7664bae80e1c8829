"""Publishes the files of a child: they are untrusted, so they are checked, and then moved by one rename.

A task has one directory for all its published files, and in it a folder for each attempt. The newer folder
exists before the older one is deleted. Files are opened and renamed relative to open directories,
so no symbolic link that a child may have planted is ever followed.
"""

import hashlib
import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from io import BufferedReader, FileIO
from pathlib import Path
from typing import BinaryIO

from pydantic import ValidationError

from server.core.film import Manifest, StoredFile, Thumbnail
from server.core.task import TaskStatus
from server.files.public_names import folder_of

MANIFEST = "manifest.json"
PREVIEW, SMALL_PREVIEW = "preview.jpg", "preview.small.jpg"
MAX_PREVIEW = 2 << 20
MAX_MANIFEST = 4 << 20
_UNFINISHED = "thumbnail.unfinished"
_JPEG = b"\xff\xd8\xff"
_MEDIA_TYPE = re.compile(r"[a-z]+/[a-z0-9.+-]{1,100}")
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class UnsafeFile(Exception):
    """A child's file is not what the child announced, or must not be published."""


def publish_thumbnail(work: Path, directory: Path) -> Thumbnail:
    """Copy the child's thumbnail into the task's `directory`; not renamed, as the child may have it open.

    The names are hashes of the content. Raises `UnsafeFile`, and `OSError` if there is none or no room for
    it.
    """
    thumbnail, pictures = pictures_of(work)
    _make(directory)
    with open_directory(directory) as target:
        for path, picture in pictures.items():
            with suppress(FileNotFoundError):
                os.unlink(_UNFINISHED, dir_fd=target)
            _write(target, _UNFINISHED, picture)
            os.rename(_UNFINISHED, path, src_dir_fd=target, dst_dir_fd=target)
        os.fsync(target)
    return thumbnail


def pictures_of(work: Path) -> tuple[Thumbnail, dict[str, bytes]]:
    """The child's thumbnail, and the content of its files by path. Raises `UnsafeFile`, `OSError`."""
    large, small = _read_picture(work, PREVIEW), None
    with suppress(FileNotFoundError):  # the child that began this attempt may be of an earlier release
        small = _read_picture(work, SMALL_PREVIEW)
    pictures = {_name_of(picture): picture for picture in (large, small) if picture}
    stored = [_as_stored(name, name, len(picture)) for name, picture in pictures.items()]
    # A picture that is narrow at its source is the same in both sizes: one file.
    return Thumbnail(**dict(stored[0]), small=stored[1] if len(stored) > 1 else None), pictures


def check_out(work: Path, manifest: Manifest) -> None:
    """Check that `work/out` holds exactly the files of `manifest`. Raises `UnsafeFile` if not."""
    try:
        with open_directory(work) as source, open_directory(Path("out"), at=source) as out:
            _check(out, manifest)
    except (FileNotFoundError, NotADirectoryError) as exc:
        raise UnsafeFile(f"missing: {exc.filename}") from exc


def open_out(work: Path, stored: StoredFile) -> BinaryIO:
    """Open a file of `work/out`, and check it by its descriptor: a child may swap the file meanwhile.

    Raises `UnsafeFile`, `OSError`.
    """
    with open_directory(work) as source:
        file = open_below(Path("out"), stored.path.rpartition("/")[2], at=source)
    seen = os.fstat(file.fileno())
    if not is_from_child(seen) or not _is_whole(seen, stored):
        file.close()
        raise UnsafeFile(f"{stored.path} is not a file of {stored.size} bytes")
    return file


def first_thumbnail(directory: Path) -> Thumbnail | None:
    """The thumbnail of the first release, which lies beside a task's files and is not named in the status."""
    with suppress(OSError), open_below(directory, PREVIEW) as file:
        seen = os.fstat(file.fileno())
        if is_from_child(seen) and seen.st_size <= MAX_PREVIEW:
            stored = _as_stored(f"thumbnail-{seen.st_mtime_ns:x}.jpg", PREVIEW, seen.st_size)
            return Thumbnail(**dict(stored))
    return None


def publish(work: Path, directory: Path, manifest: Manifest) -> None:
    """Add the manifest to `work/out` and rename it to the attempt's folder below the task's `directory`.

    The result survives a power cut (the child has flushed the files). Raises `UnsafeFile`, `OSError`.
    """
    folder = folder_of(manifest.attempt)
    try:
        with open_directory(work) as source:
            with open_directory(Path("out"), at=source) as out:
                _check(out, manifest)
                _write(out, MANIFEST, manifest.model_dump_json().encode())
                os.fsync(out)
            _make(directory)
            # Attempt numbers repeat after a backup was restored: delete the folder of the earlier attempt.
            delete_path(directory / folder)
            with open_directory(directory) as target:
                os.rename("out", folder, src_dir_fd=source, dst_dir_fd=target)
                os.fsync(target)
    except (FileNotFoundError, NotADirectoryError) as exc:
        raise UnsafeFile(f"missing: {exc.filename}") from exc


def read_manifest(directory: Path, attempt: int) -> Manifest | None:
    """The manifest of `attempt`, or None if it is not valid or not all its files are there.

    The first release had no folders for attempts: its manifest lies in `directory`.
    """
    for name in (f"{folder_of(attempt)}/{MANIFEST}", MANIFEST):
        with suppress(OSError, ValidationError):
            with open_below(directory, name) as file:
                manifest = Manifest.model_validate_json(file.read(MAX_MANIFEST))
            for stored in manifest.files.values():
                open_file(directory, stored).close()
            if manifest.attempt == attempt:
                return manifest
    return None


def open_file(directory: Path, stored: StoredFile) -> BinaryIO:
    """Open a published file. Raises `OSError`, also if its type or size has changed since."""
    file = open_below(directory, stored.path)
    if not _is_whole(os.fstat(file.fileno()), stored):
        file.close()
        raise FileNotFoundError(f"{directory / stored.path} is not the file that was published")
    return file


def is_from_child(seen: os.stat_result) -> bool:
    """Whether it is a regular file of this user with one hard link: through a second link it could be
    changed.
    """
    return stat.S_ISREG(seen.st_mode) and seen.st_nlink == 1 and seen.st_uid == os.geteuid()


def keep_named(directory: Path, status: TaskStatus) -> None:
    """Delete the entries of a task's `directory` that hold no file named by `status`."""
    named = {file.path.partition("/")[0] for file in status.published_files}
    if status.thumbnail is None:
        named.add(PREVIEW)  # the status of a task of the first release does not name the thumbnail
    with suppress(FileNotFoundError):
        for path in list(directory.iterdir()):
            if path.name not in named:
                delete_path(path)


def delete_path(path: Path) -> None:
    """Remove a file, a symbolic link or a whole directory, if it is there."""
    while os.path.lexists(path):
        with suppress(FileNotFoundError):  # a dying child also deletes files: try again
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


@contextmanager
def open_directory(directory: Path, at: int | None = None) -> Iterator[int]:
    """A descriptor of `directory`. Raises `OSError` if a symbolic link is in its place."""
    fd = os.open(directory, os.O_DIRECTORY | _READ, dir_fd=at)
    try:
        yield fd
    finally:
        os.close(fd)


def _check(out: int, manifest: Manifest) -> None:
    stored = {file.path.rpartition("/")[2]: file for file in manifest.files.values()}
    expected = stored.keys()
    if not expected or expected & {MANIFEST, PREVIEW}:
        raise UnsafeFile(f"not names of finished files: {sorted(expected)}")
    if (found := set(os.listdir(out))) != expected:
        raise UnsafeFile(f"{sorted(found)} instead of {sorted(expected)}")
    for name, file in stored.items():
        seen = os.stat(name, dir_fd=out, follow_symlinks=False)
        if not is_from_child(seen) or not _is_whole(seen, file):
            raise UnsafeFile(f"{file.path} is not a file of {file.size} bytes")
        if not _MEDIA_TYPE.fullmatch(file.type):
            raise UnsafeFile(f"{file.path} has no type: {file.type!r}")


def _read_picture(work: Path, name: str) -> bytes:
    # One descriptor is checked and read, since the child may replace the file in between.
    with open_below(work, name) as raw, BufferedReader(raw) as file:
        if not is_from_child(os.fstat(file.fileno())):
            raise UnsafeFile(f"{name} is not a file of its own")
        picture = file.read(MAX_PREVIEW + 1)
    if len(picture) > MAX_PREVIEW or not picture.startswith(_JPEG):
        raise UnsafeFile(f"{name} is no small JPEG")
    return picture


def _name_of(picture: bytes) -> str:
    return f"thumbnail-{hashlib.blake2b(picture, digest_size=10).hexdigest()}.jpg"


def _is_whole(seen: os.stat_result, file: StoredFile) -> bool:
    return stat.S_ISREG(seen.st_mode) and seen.st_size == file.size


def open_below(directory: Path, path: str, at: int | None = None) -> FileIO:
    """Open the file at `path` below `directory`, at most one folder down; no symbolic link is followed."""
    folder, _, name = path.rpartition("/")
    with (
        open_directory(directory, at) as here,
        open_directory(Path(folder), here) if folder else nullcontext(here) as inner,
    ):
        return os.fdopen(os.open(name, _READ, dir_fd=inner), "rb", buffering=0)


def _make(directory: Path) -> None:
    """Make `directory` so that it survives a power cut."""
    with suppress(FileExistsError):
        directory.mkdir(mode=0o700)
        with open_directory(
            directory.parent.resolve()
        ) as parent:  # the operator may have put a symbolic link in its place
            os.fsync(parent)


def _as_stored(name: str, path: str, size: int) -> StoredFile:
    return StoredFile(name=name, path=path, size=size, type="image/jpeg")


def _write(directory: int, name: str, content: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(name, flags, 0o600, dir_fd=directory), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
