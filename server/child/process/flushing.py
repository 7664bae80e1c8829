"""Having what was written on disk, so that it survives a power cut."""

import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread


def flush(path: Path) -> str:
    """Have a file's content on disk; returns its SHA-256, which is computed while the disk works."""
    with path.open("rb") as file, ThreadPoolExecutor(1) as pool:
        flushing = pool.submit(os.fsync, file.fileno())
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        flushing.result()
        return digest


def flush_names(folder: Path) -> None:
    """Have the names in a directory on disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def meanwhile(moved: Callable[[], None]) -> Iterator[None]:
    """Call `moved` each second while the block runs: a slow disk is no stall."""
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
