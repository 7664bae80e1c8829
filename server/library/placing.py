"""Puts files into the library, and takes them out again.

A mount that does not answer blocks whoever touches it, for ever: so each touch has a thread of its own, which
ends with the process.
"""

import asyncio
import os
import threading
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import suppress
from typing import BinaryIO, TypeVar

from server.core.ports import Stream
from server.library.library_folder import GONE, LibraryFolder, Root, UnfinishedFile, hash_of
from server.library.placements import (
    LibraryAway,
    Moved,
    PathTaken,
    PlacedFile,
    Source,
    Stopped,
    Trouble,
    folded,
)

T = TypeVar("T")
Check = Callable[[], bool]

ANSWERS_WITHIN = 5.0  # seconds
AT_ONCE = 500  # files of a walk


class Damaged(OSError):
    """The bytes of the copy differ from the published file."""


class PlacedFiles:
    """The library's folder. Methods raise `LibraryAway`, `FolderBlocked` and `OSError`."""

    def __init__(
        self, folder: LibraryFolder, probe: "_FolderProbe | None" = None, holds: Check | None = None
    ) -> None:
        self._folder = folder
        self._probe = probe or _FolderProbe(folder)
        self._holds = holds

    def under(self, holds: Check) -> "PlacedFiles":
        """Return the same folder under a lease: its methods change nothing and raise `Stopped` once
        `holds`, which is called in threads, returns False.
        """
        return PlacedFiles(self._folder, self._probe, holds)

    async def trouble(self) -> Trouble | None:
        """Return what keeps this server from filling the library, within seconds. Raises nothing."""
        return await self._probe.trouble()

    async def mark(self) -> None:
        """Make an existing folder a library."""
        await _in_thread(lambda _: self._folder.mark())

    async def clear(self, folder: str, base: str) -> None:
        """Delete from `folder` what earlier tries to place files named `base` have left unfinished."""
        await self._in_folder(lambda root, stopped: root.clear(folder, base, stopped))

    async def put(
        self, file: PlacedFile, source: Source, base: str, tag: int, before: PlacedFile | None
    ) -> None:
        """Put the file at its path, where it appears whole or not at all. A file with the same content stays;
        `before`, a file with another content, is replaced. Raises `PathTaken` if there is any other file.
        """

        def look(root: Root, stopped: Check) -> bool | None:
            """Return None if there is no file, True if it is `before`, False if it is the file to be put."""
            if not root.exists(file.path):
                return None
            if root.is_there(file.path, file.size, file.sha256, stopped):
                return False
            if before is not None and root.is_there(before.path, before.size, before.sha256, stopped):
                return True
            raise PathTaken(file.path)

        instead = await self._in_folder(look)
        if instead is False:
            return
        if isinstance(source, Stream):
            await self._streamed(file, source, base, tag, instead=bool(instead))
            return

        held = -1 if isinstance(source, bytes) else os.dup(source.fileno())

        def build(root: Root, stopped: Check) -> None:
            with root.part(file.path, base, tag) as part:
                if isinstance(source, bytes):
                    part.write(source)
                else:
                    self._fill(part, held, stopped)
                self._finish(part, file, stopped, instead=bool(instead))

        await self._in_folder(build, held)

    def _fill(self, part: UnfinishedFile, source: int, stopped: Check) -> None:
        for method in self._folder.methods:
            match method:
                case "clone":
                    done = part.clone(source)
                case "hardlink":
                    done = part.link(source)
                case "copy":
                    part.copy(source, stopped)
                    done = True
            if done:
                return

    def _finish(self, part: UnfinishedFile, file: PlacedFile, stopped: Check, *, instead: bool) -> None:
        if part.size != file.size or part.sha256 not in (None, file.sha256):
            raise Damaged(f"{file.path} is not what was published")
        part.put(instead=instead, stopped=stopped)

    async def _streamed(
        self, file: PlacedFile, source: Stream, base: str, tag: int, *, instead: bool
    ) -> None:
        """Take pieces from a bucket: the event loop hands them to the thread that writes."""
        loop, pieces = asyncio.get_running_loop(), asyncio.Queue[bytes | memoryview | None](4)

        def next_piece(stopped: Check) -> bytes | memoryview | None:
            if stopped():
                raise Stopped
            return asyncio.run_coroutine_threadsafe(pieces.get(), loop).result()

        def build(root: Root, stopped: Check) -> None:
            with root.part(file.path, base, tag) as part:
                part.make_room(file.size)
                while (piece := next_piece(stopped)) is not None:
                    part.write(piece)
                self._finish(part, file, stopped, instead=instead)

        building = asyncio.ensure_future(self._in_folder(build))
        try:
            async for piece in source.read(range(file.size)):
                putting = asyncio.ensure_future(pieces.put(piece))
                await asyncio.wait([putting, building], return_when=asyncio.FIRST_COMPLETED)
                if building.done():
                    putting.cancel()
                    break
            else:
                await pieces.put(None)
            await building
        finally:
            building.cancel()
            with suppress(asyncio.QueueFull):  # None ends the thread, which may wait for a piece
                pieces.put_nowait(None)

    async def hashed(self, source: BinaryIO) -> str:
        """Return the SHA-256 of the file."""
        held = os.dup(source.fileno())

        def work(stopped: Check) -> str:
            try:
                return hash_of(held, stopped)
            finally:
                os.close(held)

        return await _in_thread(work)

    async def delete(self, file: PlacedFile) -> None:
        """Delete the file if it is there with its content, and folders that are empty then."""
        await self._in_folder(lambda root, stopped: root.delete(file.path, file.size, file.sha256, stopped))

    async def is_one(self, path: str, other: str) -> bool:
        """Whether two paths name one file, as those do that differ in case where case is folded."""
        return await self._in_folder(lambda root, _: root.is_one(path, other))

    async def is_one_of(self, path: str, files: Iterable[PlacedFile]) -> bool:
        """Return whether one of `files` has this path, or, where case is folded, the same path in another
        case.
        """
        name = next((file.path for file in files if folded(file.path) == folded(path)), None)
        return name is not None and (name == path or await self.is_one(path, name))

    async def any_at(self, paths: Sequence[str]) -> bool:
        """Return whether a file or folder is at one of these paths."""
        return await self._in_folder(lambda root, _: any(root.exists(path) for path in paths))

    async def count_at(self, paths: Sequence[str]) -> int:
        """Return at how many of these paths there is a file or folder."""
        return await self._in_folder(lambda root, _: sum(root.exists(path) for path in paths))

    async def move(self, file: PlacedFile, path: str) -> Moved:
        """Rename the file. `missing`: it is at neither path. Raises `PathTaken`."""
        moved = await self._in_folder(lambda root, stopped: root.move(file.path, path, file.size, stopped))
        return "moved" if moved else "missing"

    async def read(self, path: str, most: int) -> bytes:
        """Return the first bytes of a file; empty if there is no file."""
        return await self._in_folder(lambda root, _: root.read(path, most))

    async def all_files(self) -> AsyncGenerator[list[tuple[str, int]], None]:
        """Yield all files in batches: a thread reads the next batch when the last one was taken."""
        loop = asyncio.get_running_loop()
        batches = asyncio.Queue[list[tuple[str, int]] | None](2)

        def walk(root: Root, stopped: Check) -> None:
            batch: list[tuple[str, int]] = []
            for found in root.files():
                batch.append(found)
                if len(batch) == AT_ONCE:
                    if stopped():
                        raise Stopped
                    asyncio.run_coroutine_threadsafe(batches.put(batch), loop).result()
                    batch = []
            asyncio.run_coroutine_threadsafe(batches.put(batch), loop).result()
            asyncio.run_coroutine_threadsafe(batches.put(None), loop).result()

        walking = asyncio.ensure_future(self._in_folder(walk))
        try:
            while True:
                taking = asyncio.ensure_future(batches.get())
                await asyncio.wait([taking, walking], return_when=asyncio.FIRST_COMPLETED)
                if not taking.done() and walking.done():
                    taking.cancel()
                    await walking  # why it ended
                    return
                batch = await taking
                if batch is None:
                    return
                yield batch
        finally:
            walking.cancel()
            while not batches.empty():  # make room, which the thread may be waiting for
                batches.get_nowait()

    async def _in_folder(self, work: Callable[[Root, Check], T], held: int = -1) -> T:
        """Open the folder in a thread. `held`: a descriptor that is closed once no thread reads from it any
        more.
        """

        def within(given_up: Check) -> T:
            holds = self._holds

            def stopped() -> bool:
                return given_up() or (holds is not None and not holds())

            try:
                with self._folder.entered() as root:
                    return work(root, stopped)
            finally:
                if held >= 0:
                    os.close(held)

        try:
            return await _in_thread(within)
        except OSError as exc:
            if exc.errno in GONE or await self.trouble() in ("missing", "unmarked", "silent"):
                raise LibraryAway from exc
            raise


class _FolderProbe:
    """Finds out whether the folder is there, with one thread at a time for all who ask."""

    def __init__(self, folder: LibraryFolder) -> None:
        self._folder = folder
        self._probing: asyncio.Future[Trouble | None] | None = None

    async def trouble(self) -> Trouble | None:
        if self._probing is None or self._probing.done():
            self._probing = asyncio.ensure_future(_in_thread(lambda _: self._folder.trouble()))
        try:
            async with asyncio.timeout(ANSWERS_WITHIN):
                return await asyncio.shield(self._probing)
        except TimeoutError:
            return "silent"


async def _in_thread(work: Callable[[Check], T]) -> T:
    """Do `work` in a thread of its own. After a cancel nobody waits for it; it is told to stop."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()
    stop = threading.Event()

    def tell(result: T | None, error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result: T | None = None
        error: BaseException | None = None
        try:
            result = work(stop.is_set)
        except BaseException as exc:
            error = exc
        with suppress(RuntimeError):  # the event loop is closed
            loop.call_soon_threadsafe(tell, result, error)

    threading.Thread(target=run, name="library", daemon=True).start()
    try:
        return await done
    finally:
        stop.set()
