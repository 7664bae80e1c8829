"""What all benchmarks share: a folder, a media site, and workers that make load on a core of their own."""

import asyncio
import os
import resource
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import ParamSpec, TypeVar

from tests.bench import http_load
from tests.bench.programs import LOAD_CORE, Program
from tests.site import make_media

P = ParamSpec("P")
T = TypeVar("T")
BIG = "big.mp4"


@dataclass(frozen=True, slots=True)
class Lab:
    """`site` is the tests' media site, `files` a bare file server over the same folder."""

    folder: Path
    media: Path
    smoke: bool
    site: Program
    files: Program
    workers: ProcessPoolExecutor

    def count(self, full: int, smoke: int) -> int:
        return smoke if self.smoke else full

    def seconds(self, full: float) -> float:
        return 0.2 if self.smoke else full

    def new_folder(self, name: str) -> Path:
        """Empty, and the benchmark's own."""
        number = sum(1 for _ in self.folder.glob(f"{name}*"))
        path = self.folder / f"{name}{number}"
        path.mkdir()
        return path

    async def elsewhere(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `work` in a worker process."""
        assert not kwargs
        return await asyncio.get_running_loop().run_in_executor(self.workers, work, *args)

    async def load(self, load: http_load.Load) -> http_load.Outcome:
        return await self.elsewhere(http_load.run, load)


@asynccontextmanager
async def open_lab(folder: Path, media: Path, *, smoke: bool) -> AsyncIterator[Lab]:
    """Use `media` for the media, or make them there."""
    _allow_many_descriptors()
    await asyncio.to_thread(_make_media, media, 2_000_000 if smoke else 109_000_000)
    site = Program("-m", "tests.bench.references", "site", str(media))
    files = Program("-m", "tests.bench.references", "files", str(media))
    workers = ProcessPoolExecutor(2, get_context("spawn"), initializer=_settle)
    async with site, files:
        try:
            yield Lab(folder, media, smoke, site, files, workers)
        finally:
            await asyncio.to_thread(workers.shutdown)


def _allow_many_descriptors() -> None:
    """For us and all that we start: thousands of sockets need them."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _settle() -> None:
    os.sched_setaffinity(0, {LOAD_CORE})


def _make_media(folder: Path, size: int) -> None:
    """The tests' media and a large file: the same film with a `free` box of `size` bytes behind it."""
    make_media(folder)
    film = (folder / "video.mp4").read_bytes()
    rest = size - len(film)
    (folder / BIG).write_bytes(film + rest.to_bytes(4, "big") + b"free" + os.urandom(rest - 8))
