"""What all benchmarks share: a folder, a media site, workers that make load on a core of their own, and the
rounds in which a figure and its reference take turns.
"""

import asyncio
import os
import resource
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import ParamSpec, TypeVar

from tests.bench import http_load, noise
from tests.bench.programs import LOAD_CORE, ROOT, Clipwire, Program
from tests.site import make_media

P = ParamSpec("P")
T = TypeVar("T")
BIG = "big.mp4"
WORKERS = 4  # processes that make load, each started when it is needed


@dataclass(slots=True)
class Lab:
    """The laboratory of a benchmark. `site` is the tests' media site, `files` a bare file server over the
    same folder.
    """

    folder: Path
    media: Path
    smoke: bool
    site: Program
    files: Program
    workers: ProcessPoolExecutor
    tree: Path = ROOT
    """The checkout whose service is measured; benchmarks and references are those of this checkout."""
    minutes: float = 60.0
    """How long `week` lasts."""
    rest: float = 5.0
    """Minutes that `overload` lets pass before it looks at what is left."""
    results: Path | None = None
    """Where a benchmark writes what is more than figures; None: it is of no use."""
    foreign: list[float] = field(default_factory=list)
    """The share of the CPU that others had, in each round that counts."""

    def count(self, full: int, smoke: int) -> int:
        return smoke if self.smoke else full

    def seconds(self, full: float) -> float:
        return 0.2 if self.smoke else full

    def new_folder(self, name: str) -> Path:
        """Make an empty folder for one benchmark."""
        number = sum(1 for _ in self.folder.glob(f"{name}*"))
        path = self.folder / f"{name}{number}"
        path.mkdir()
        return path

    def service(self, name: str, **settings: str) -> Clipwire:
        return Clipwire(self.new_folder(name), self.tree, **settings)

    async def elsewhere(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `work` in a worker process."""
        assert not kwargs
        return await asyncio.get_running_loop().run_in_executor(self.workers, work, *args)

    async def load(self, load: http_load.Load) -> http_load.Outcome:
        return await self.elsewhere(http_load.run, load)

    async def alternate(self, rounds: int, *sides: Callable[[], Awaitable[T]]) -> list[list[T]]:
        """Measure all sides in turns: A B A B, so that a noisy minute affects all of them; return the figures
        of each side.

        A round that was too noisy is repeated, up to as many times as there are rounds; if that is not
        enough, the least noisy rounds count.
        """
        rounds = 1 if self.smoke else rounds
        measured: list[tuple[float, list[T]]] = []
        quiet = 0
        while quiet < rounds and len(measured) < (1 if self.smoke else 2 * rounds):
            before = await asyncio.to_thread(noise.cpu_usage)
            given = [await side() for side in sides]
            share = noise.foreign(before, await asyncio.to_thread(noise.cpu_usage))
            measured.append((share, given))
            quiet += share <= noise.MOST
        if repeated := len(measured) - rounds:
            print(f"  {repeated} of {rounds} rounds repeated, since others used the CPU", file=sys.stderr)
        kept = sorted(measured, key=lambda each: each[0])[:rounds]
        self.foreign += [share for share, _ in kept]
        return [list(side) for side in zip(*(given for _, given in kept), strict=True)]


@asynccontextmanager
async def open_lab(
    folder: Path,
    media: Path,
    *,
    smoke: bool,
    minutes: float = 60.0,
    rest: float = 5.0,
    results: Path | None = None,
) -> AsyncIterator[Lab]:
    """Use `media` for the media, or make them there."""
    _allow_many_descriptors()
    await asyncio.to_thread(_make_media, media, 2_000_000 if smoke else 109_000_000)
    site = Program("-m", "tests.bench.references", "site", str(media))
    files = Program("-m", "tests.bench.references", "files", str(media))
    workers = ProcessPoolExecutor(WORKERS, get_context("spawn"), initializer=_settle)
    async with site, files:
        try:
            yield Lab(
                folder,
                media,
                smoke,
                site,
                files,
                workers,
                minutes=minutes,
                rest=0.0 if smoke else rest,
                results=results,
            )
        except BaseException:
            # Otherwise an hour of load would go on before the error is reported.
            for worker in active_children():
                worker.terminate()
            raise
        finally:
            await asyncio.to_thread(workers.shutdown)


def _allow_many_descriptors() -> None:
    """Raise the limit of descriptors for this process and all that it starts: thousands of sockets need
    them.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _settle() -> None:
    os.sched_setaffinity(0, {LOAD_CORE})


def _make_media(folder: Path, size: int) -> None:
    """Make the tests' media and a large file: the same film with a `free` box of `size` bytes after it."""
    make_media(folder)
    film = (folder / "video.mp4").read_bytes()
    rest = size - len(film)
    (folder / BIG).write_bytes(film + rest.to_bytes(4, "big") + b"free" + os.urandom(rest - 8))
