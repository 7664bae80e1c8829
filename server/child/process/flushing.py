"""Flushes files and directories to the disk, so that they survive a power cut."""

import hashlib
import os
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Final

_BLOCK: Final = 256 * 1024  # bytes: still in the processor's cache when the second checksum reads them


@dataclass(frozen=True, slots=True)
class Sums:
    """Checksums of a file: `sha256` in hexadecimal digits, and the `crc32` that a ZIP entry needs."""

    sha256: str
    crc32: int


def flush(path: Path) -> Sums:
    """Flush a file's content to the disk; return its checksums, computed while the disk works."""
    with path.open("rb", buffering=0) as file, ThreadPoolExecutor(1) as pool:
        flushing = pool.submit(os.fsync, file.fileno())
        digest, crc, buffer = hashlib.sha256(), 0, memoryview(bytearray(_BLOCK))
        while read := file.readinto(buffer):
            digest.update(buffer[:read])
            crc = zlib.crc32(buffer[:read], crc)
        sums = Sums(digest.hexdigest(), crc)
        flushing.result()
        return sums


def flush_names(folder: Path) -> None:
    """Flush the entries of a directory to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def meanwhile(moved: Callable[[], None]) -> Iterator[None]:
    """Call `moved` each second while the block runs, so that a slow disk is not taken for a stall."""
    over = Event()

    def tell() -> None:
        while not over.wait(1.0):
            moved()

    thread = Thread(target=tell, name="alive", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
