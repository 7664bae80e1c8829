"""Saves one file: only a whole file with the right content gets its own name.

Until then it is `<name of the link>.part` beside its place. A link's name is never used for two files, so a
`.part` under this name belongs to the same file, and the transfer goes on from there, also in another
process.
"""

import asyncio
import errno
import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Self
from urllib.parse import unquote, urlsplit

import aiohttp

from clipwire_client.errors import ClipwireError, ServerUnreachable, TransferFailed
from clipwire_client.patience import PASSING, RetryBackoff, SilenceTimer

BLOCK = 1 << 18  # bytes that a thread writes at a time
TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=60)
MAX_PROBLEM = 1 << 20  # bytes that are read of the answer to a refused request
LONGEST_NAME = 255  # bytes of a name on all common file systems
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_SUFFIXES = re.compile(r"(\.[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*)?\.(srt|vtt)|\.[A-Za-z0-9]{1,8}")
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)  # Windows does not have this flag
try:
    import fcntl
except ImportError:  # Windows has no `fcntl`
    fcntl = None  # type: ignore[assignment]


@dataclass
class Transfer:
    """Downloads one file from the service; `refusal` makes an error of an answer that is not the file."""

    session: aiohttp.ClientSession
    url: str
    size: int | None
    sha256: str | None
    progress: Callable[[int, int | None], None] | None
    backoff: RetryBackoff
    silence: SilenceTimer
    refusal: Callable[[int, Mapping[str, str], bytes], ClipwireError]

    def __post_init__(self) -> None:
        self._link = PurePosixPath(unquote(urlsplit(self.url).path)).name
        self._title, self._etag = self._link, ""

    async def save(self, path: Path, *, into_folder: bool, overwrite: bool) -> Path:
        """Save the file as `Client.download` says."""
        into_folder = into_folder or await asyncio.to_thread(path.is_dir)
        folder = path if into_folder else path.parent
        if not into_folder and not overwrite and await asyncio.to_thread(os.path.lexists, path):
            raise TransferFailed(f"{path} is there already", "file_exists")
        # Bytes of an earlier call are kept only with a checksum: without one they might be another file's.
        keep = self.sha256 is not None
        with await asyncio.to_thread(_Part, folder, self._link, keep=keep) as part:
            await self._complete(part)
            name = _file_name(self._title, self._link)
            return await asyncio.to_thread(_publish, part, path, name, into_folder, overwrite)

    async def _complete(self, part: "_Part") -> None:
        """Ask for what is missing, again and again, until `part` is the whole file."""
        is_resumed = part.size > 0
        while True:
            error: ClipwireError
            self.silence.restart()
            try:
                await self._ask_for_rest(part)
                if self.size is None or (part.size >= self.size and self.sha256 in (None, part.sha256())):
                    return
                error = TransferFailed(
                    f"the transfer of {self._title} ended after {part.size} of {self.size} bytes"
                )
                if part.size >= self.size:
                    await asyncio.to_thread(part.begin_anew)
                    if not is_resumed:
                        wrong = f"{self._title} did not come as the service has it"
                        raise TransferFailed(wrong, "wrong_sha256")
                    # The fault may be in the bytes of an earlier call: fetch all of it once more.
                    is_resumed = False
                    part.most = 0
            except (aiohttp.ClientError, ConnectionError, TimeoutError) as broken:
                why = str(broken) or type(broken).__name__
                error = ServerUnreachable(
                    f"the transfer of {self._title} broke after {part.size} bytes: {why}"
                )
            except ClipwireError as refused:
                if refused.status not in PASSING:
                    raise
                error = refused
            finally:
                self.silence.end()
            await self.backoff.after(error)

    async def _ask_for_rest(self, part: "_Part") -> None:
        """Request what `part` does not have, and write what comes."""
        headers = {"Accept-Encoding": "identity"}
        if part.size:
            headers |= {"Range": f"bytes={part.size}-"} | ({"If-Range": self._etag} if self._etag else {})
        async with self.session.get(self.url, headers=headers, timeout=TIMEOUT) as answer:
            if answer.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                if part.size != self.size:
                    await asyncio.to_thread(part.begin_anew)
            elif not answer.ok:
                problem = await answer.content.read(MAX_PROBLEM)
                raise self.refusal(answer.status, answer.headers, problem)
            else:
                self._etag = answer.headers.get("ETag", "")
                if answer.content_disposition and answer.content_disposition.filename:
                    self._title = answer.content_disposition.filename
                await self._receive(answer, part)

    async def _receive(self, answer: aiohttp.ClientResponse, part: "_Part") -> None:
        """Write what comes, and note the size of the whole file if the answer says it."""
        found = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        whole = found[3] if found else answer.headers.get("Content-Length", "")
        if self.size is None and whole.isdecimal():
            self.size = int(whole)
        if answer.status != HTTPStatus.PARTIAL_CONTENT:
            await asyncio.to_thread(part.begin_anew)
        elif not found or int(found[1]) != part.size:  # a proxy has changed the range
            await asyncio.to_thread(part.begin_anew)
            return
        async for block in answer.content.iter_chunked(BLOCK):
            self.silence.restart()
            await asyncio.to_thread(part.write, block)
            # Only more bytes than ever are progress: a page in place of the file may come again and again.
            if part.size > part.most:
                part.most = part.size
                self.backoff.reset()
            if self.progress:
                self.progress(part.size, self.size)


class _Part:
    """The growing file, locked, with the checksum of what it holds. All methods touch the disk.

    `most` is the largest number of bytes that it ever had, however often it was begun anew.
    """

    def __init__(self, folder: Path, link: str, *, keep: bool) -> None:
        with _explained(folder):
            folder.mkdir(parents=True, exist_ok=True)
            number = 1
            while True:
                self.path = folder / (f"{link}.part" if number == 1 else f"{link}.{number}.part")
                if self._opens() and self._locks():
                    break
                number += 1
            self.size, self._digest = 0, hashlib.sha256()
            if keep:
                while block := os.read(self._descriptor, BLOCK):
                    self._digest.update(block)
                    self.size += len(block)
            else:
                self.begin_anew()
            self.most = self.size

    def _opens(self) -> bool:
        """Open the partial file; return whether it is one of ours.

        Others who may write to the folder could have planted a link to another file there. A file with a
        second name, a pipe and the like are not ours either.
        """
        try:
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | _NO_FOLLOW, 0o666)
        except OSError as error:
            if error.errno in (
                errno.ELOOP,
                errno.EMLINK,
                errno.EISDIR,
                errno.ENXIO,
            ):  # FreeBSD raises EMLINK for a link, not ELOOP
                return False
            raise
        found = os.fstat(self._descriptor)
        if stat.S_ISREG(found.st_mode) and found.st_nlink <= 1:
            return True
        os.close(self._descriptor)
        return False

    def _locks(self) -> bool:
        """Lock the file; return whether no other process is saving the same file here."""
        if fcntl is None:
            return True
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._descriptor)
            return False
        except OSError:  # a file system without locks
            return True
        # The process that held the lock may have renamed or removed the file just now.
        with suppress(FileNotFoundError):
            if os.path.samestat(self.path.lstat(), os.fstat(self._descriptor)):
                return True
        os.close(self._descriptor)
        return False

    def write(self, block: bytes) -> None:
        with _explained(self.path):
            rest = memoryview(block)
            while rest:
                written = os.write(self._descriptor, rest)
                self._digest.update(rest[:written])
                self.size += written
                rest = rest[written:]

    def begin_anew(self) -> None:
        with _explained(self.path):
            os.ftruncate(self._descriptor, 0)
            os.lseek(self._descriptor, 0, os.SEEK_SET)
        self.size, self._digest = 0, hashlib.sha256()

    def sha256(self) -> str:
        return self._digest.hexdigest()

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.size:
            self.remove()  # an empty file is of no use for the next call
        os.close(self._descriptor)


def _publish(part: _Part, path: Path, name: str, into_folder: bool, overwrite: bool) -> Path:
    """Give the whole file its name: that of `path`, or in a folder `name`, with a number if it is taken."""
    with _explained(path):
        if not into_folder and overwrite:
            part.path.replace(path)
            return path
        number = 1
        while True:
            target = path / _numbered(name, number) if into_folder else path
            try:
                _move_to_free(part.path, target)
            except FileExistsError:
                if not into_folder:
                    raise TransferFailed(f"{path} is there already", "file_exists") from None
                number += 1
            else:
                return target


def _move_to_free(source: Path, target: Path) -> None:
    """Rename the file; raise `FileExistsError` if the name is taken, even by a file that came this moment."""
    try:
        target.hardlink_to(source)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        source.replace(target)
    else:
        source.unlink()


def _file_name(title: str, link: str) -> str:
    """Return a name for this folder, whatever the server says: no path, no control characters of a terminal,
    and only letters that names can have here, since a locale may know few.
    """
    name = "".join(
        letter if letter.isprintable() and letter not in "/\\\0" and _is_of_names(letter) else "_"
        for letter in title
    ).strip()
    return link if not name.strip(".") else name.lstrip(".") if name.startswith("..") else name


def _is_of_names(letter: str) -> bool:
    try:
        os.fsencode(letter)
    except UnicodeEncodeError:
        return False
    return True


def _numbered(name: str, number: int) -> str:
    """Return a numbered name, such as `Title (2).mp4` or `Title (2).en.srt`, shortened to what file systems
    take.
    """
    found = None
    for start in range(len(name)):
        if name[start] == "." and start and (found := _SUFFIXES.fullmatch(name, start)):
            break
    stem, suffix = (name[: found.start()], found[0]) if found else (name, "")
    suffix = (f" ({number})" if number > 1 else "") + suffix
    room = LONGEST_NAME - len(suffix.encode())
    return stem.encode()[:room].decode(errors="ignore") + suffix


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        code = "disk_full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "not_writable"
        raise TransferFailed(f"{error.filename or path} cannot be written: {error.strerror}", code) from error
