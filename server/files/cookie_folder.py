"""Stored cookie files: one per name, in a folder that only this user can read.

A file is replaced atomically, and is flushed to disk when `put` returns. Its first line holds a token that is
new with each `put`, so that a job which was given an older file does not change the newer one. Its second
line has the facts that lists of cookie files show.
"""

import asyncio
import logging
import os
import re
import secrets
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from server.core import cookie_format
from server.core.cookie_facts import (
    LONGEST_LINE,
    CookieFacts,
    facts_in,
    facts_of,
    merge_changes,
    with_facts,
    without_facts,
)
from server.core.data_dir import DataDir
from server.core.errors import StoreUnavailable, TooManyCookies, disk_error
from server.core.long_work import compute
from server.core.ports import StoredCookies

log = logging.getLogger(__name__)

_TOKEN_LINE: Final = "# put "  # noqa: S105 -- no secret
_SUFFIX: Final = ".txt"
_NAME: Final = re.compile(cookie_format.STORED)
_LISTED_AT_ONCE: Final = 50  # files whose first lines are read in one go


class LocalCookies:
    """Stores cookie files in `folder`. A lock serialises all changes, which fail once `folder` is no longer
    in the data directory that the server has opened.
    """

    def __init__(self, folder: Path, data: DataDir | None = None, *, are_separate: bool = False) -> None:
        self.are_separate = are_separate
        self._folder = folder
        self._data = data or DataDir(folder.parent)
        self._changing = asyncio.Lock()
        self._damaged: dict[str, tuple[int, int]] = {}  # size and time of files that cannot be read

    async def put(self, name: str, text: str) -> None:
        async with self._changing:
            await self._data.must_be_there()
            names = await self.names()
            person = cookie_format.split_stored_name(name)[0]
            theirs = [each for each in names if cookie_format.split_stored_name(each)[0] == person]
            if name not in names and len(theirs) >= cookie_format.MOST_FILES:
                raise TooManyCookies(cookie_format.MOST_FILES)
            await asyncio.to_thread(self._write, name, f"{_TOKEN_LINE}{secrets.token_hex(8)}\n{text}")
            await self._data.must_be_there()

    async def get(self, name: str) -> StoredCookies | None:
        return await compute(self._read, name)

    async def names(self) -> list[str]:
        return await asyncio.to_thread(self._names)

    async def facts(self, begin: str = "") -> AsyncIterator[tuple[str, CookieFacts]]:
        names = await self.names()
        self._damaged = {name: seen for name, seen in self._damaged.items() if name in names}
        names = [name for name in names if name.startswith(begin)]
        for start in range(0, len(names), _LISTED_AT_ONCE):
            some = names[start : start + _LISTED_AT_ONCE]
            for name, facts in zip(some, await asyncio.to_thread(self._facts_in, some), strict=True):
                if found := facts or await self._work_out(name):
                    yield name, found

    async def delete(self, name: str) -> bool:
        async with self._changing:
            await self._data.must_be_there()
            return await asyncio.to_thread(self._delete, name)

    async def renew(self, name: str, given: StoredCookies, back: str) -> None:
        async with self._changing:
            await compute(self._renew, name, given, back)

    def _renew(self, name: str, given: StoredCookies, back: str) -> None:
        current = self._read(name)
        if current is None or current.put != given.put:
            return
        if (text := merge_changes(current.text, given.text, back)) is not None:
            self._write(name, f"{_TOKEN_LINE}{given.put}\n{text}")

    def _facts_in(self, names: Sequence[str]) -> list[CookieFacts | None]:
        found = list[CookieFacts | None]()
        for name in names:
            try:
                with self._path(name).open("rb") as file:
                    file.readline(LONGEST_LINE)
                    found.append(facts_in(file.readline(LONGEST_LINE).decode(errors="replace")))
            except OSError:
                found.append(None)
        return found

    async def _work_out(self, name: str) -> CookieFacts | None:
        """Return the facts of a file that lacks them: an earlier release stored it, or somebody copied it
        here.
        """
        async with self._changing:
            return await compute(self._describe, name)

    def _describe(self, name: str) -> CookieFacts | None:
        try:
            state = self._path(name).stat()
        except OSError:
            return None
        if self._damaged.get(name) == (seen := (state.st_size, state.st_mtime_ns)):
            return None
        current = self._read(name)
        if current is None:
            self._damaged[name] = seen
            return None
        facts = facts_of(cookie_format.parse(current.text), time.time())
        with suppress(StoreUnavailable):  # the next list works the facts out again
            self._write(name, f"{_TOKEN_LINE}{current.put}\n{with_facts(current.text, facts)}")
        return facts

    def _read(self, name: str) -> StoredCookies | None:
        """Return the file; None if there is none, or if it is damaged: then it can be stored again."""
        try:
            first, _, text = self._path(name).read_text(encoding="utf-8").partition("\n")
            cookie_format.parse(text)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            # The message of a `UnicodeError` quotes the file, which is secret.
            why = "no UTF-8" if isinstance(error, UnicodeError) else str(error)
            log.error("cookies %s cannot be read, store them anew: %s", name, why)
            return None
        return StoredCookies(first.removeprefix(_TOKEN_LINE), without_facts(text))

    def _names(self) -> list[str]:
        with suppress(FileNotFoundError):
            found = (path.name.removesuffix(_SUFFIX) for path in self._folder.glob(f"*{_SUFFIX}"))
            return sorted(filter(_NAME.fullmatch, found))
        return []

    def _delete(self, name: str) -> bool:
        with _as_store_errors():
            self._fresh(name).unlink(missing_ok=True)  # left by a server that was killed while writing
            try:
                self._path(name).unlink()
            except FileNotFoundError:
                return False
            self._flush()
        return True

    def _write(self, name: str, content: str) -> None:
        with _as_store_errors():
            self._folder.mkdir(mode=0o700, exist_ok=True)
            fresh = self._fresh(name)
            fresh.unlink(missing_ok=True)  # left by a server that was killed while writing
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(fresh, flags, 0o600), "w", encoding="utf-8", newline="") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._path(name))
            self._flush()

    def _flush(self) -> None:
        descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}{_SUFFIX}"

    def _fresh(self, name: str) -> Path:
        """Return the temporary file that `_write` fills before it replaces the file `name`."""
        return self._folder / f"{name}.new"


@contextmanager
def _as_store_errors() -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise disk_error(exc) from exc
