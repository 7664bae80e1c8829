"""Samples of what a long-lived server uses and how fast it is, and whether that grows."""

import json
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import psutil  # type: ignore[import-untyped]

from tests.bench.figures import Figure
from tests.bench.programs import MIB, Clipwire, memory_of

KEPT_FOR_GOOD = ("media", "aliases", "items", "audit")
"""Tables in which each new film or deed has a row that retention does not remove."""
MAX_RISE = 3.0  # per cent by which something may grow over the second half and still be flat
MIN_SAMPLES = 6  # fewest samples from which a rise can be computed


@dataclass(frozen=True, slots=True, kw_only=True)
class Vitals:
    """What the processes and the database of a server use at this moment; sizes are in MiB."""

    server: float
    fork_server: float
    descriptors: int
    descriptors_of_fork_server: int
    threads: int
    database: float
    wal: float
    kept_for_good: float
    tasks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample(Vitals):
    """The vitals at `at` seconds after the begin, and the medians of what requests took, in ms."""

    at: float
    foreign: float  # the share of the machine that other programs had
    unfinished: int
    status: float
    submit: float
    list: float
    socket: float


FIGURES = (
    # the field of a sample, its name, its unit, and whether other programs on the machine change it
    ("server", "memory of the server", "MiB", False),
    ("fork_server", "memory of the fork server", "MiB", False),
    ("descriptors", "descriptors of the server", "", False),
    ("descriptors_of_fork_server", "descriptors of the fork server", "", False),
    ("threads", "threads of the server", "", False),
    ("tasks", "tasks in the database", "", False),
    ("database", "database", "MiB", False),
    ("transient", "database without what is remembered for good", "MiB", False),
    ("wal", "write-ahead log", "MiB", False),
    ("status", "status", "ms", True),
    ("submit", "submit", "ms", True),
    ("list", "a list of 50", "ms", True),
    ("socket", "a socket's first message", "ms", True),
)
INFORMATION = ("tasks", "database")
"""These follow from what was asked: no target."""


def vitals(program: Clipwire, data: Path) -> Vitals:
    """Read the vitals of `program`, which has its database in `data`."""
    server, fork_server = psutil.Process(program.pid), program.fork_server()
    database = data / "clipwire.db"
    wal = database.with_name(f"{database.name}-wal")
    wal_bytes = wal.stat().st_size if wal.exists() else 0
    marks = ", ".join("?" * len(KEPT_FOR_GOOD))
    tables_and_indexes = f"SELECT name FROM sqlite_schema WHERE tbl_name IN ({marks})"
    bytes_of_kept = f"SELECT coalesce(sum(pgsize), 0) FROM dbstat WHERE name IN ({tables_and_indexes})"
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as opened:
        (tasks,) = opened.execute("SELECT count(*) FROM tasks").fetchone()
        (bytes_kept,) = opened.execute(bytes_of_kept, KEPT_FOR_GOOD).fetchone()
    return Vitals(
        server=memory_of(server.pid),
        fork_server=memory_of(fork_server.pid),
        descriptors=server.num_fds(),
        descriptors_of_fork_server=fork_server.num_fds(),
        threads=server.num_threads(),
        database=database.stat().st_size / MIB,
        wal=wal_bytes / MIB,
        kept_for_good=bytes_kept / MIB,
        tasks=tasks,
    )


def rise(times: Sequence[float], values: Sequence[float]) -> tuple[float, float]:
    """Return by how many per cent of its mean a value rises from the first to the last time, on the straight
    line that fits best, and the standard error of that.
    """
    count, mean_time, mean = len(times), sum(times) / len(times), sum(values) / len(values)
    spread = sum((time - mean_time) ** 2 for time in times)
    if count < 3 or not spread or not mean:
        return 0.0, 0.0
    pairs = list(zip(times, values, strict=True))
    slope = sum((time - mean_time) * (value - mean) for time, value in pairs) / spread
    residual = sum((value - mean - slope * (time - mean_time)) ** 2 for time, value in pairs)
    error = (residual / (count - 2) / spread) ** 0.5
    to_percent = 100 * (times[-1] - times[0]) / mean
    return slope * to_percent, error * to_percent


def figures_of(samples: Sequence[Sample]) -> list[Figure]:
    """Return for each field of `FIGURES` its median and its rise, both over these samples."""
    times = [sample.at for sample in samples]
    noise = median(sample.foreign for sample in samples)
    figures = []
    for field, what, unit, is_shared in FIGURES:
        values = [_value(sample, field) for sample in samples]
        grown, error = rise(times, values)
        foreign = noise if is_shared else None
        limit = None if field in INFORMATION or len(samples) < MIN_SAMPLES else MAX_RISE
        figures += [
            Figure(what, median(values), unit, foreign=foreign),
            Figure(f"... rises by (±{error:.1f})", grown, "%", at_most=limit, foreign=foreign),
        ]
    return figures


def _value(sample: Sample, field: str) -> float:
    if field == "transient":
        return sample.database - sample.kept_for_good
    return float(getattr(sample, field))


class Diary:
    """Collects samples, and writes each as a line of JSON into `file`, so that an interrupted run leaves what
    it has seen.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self.began = time.monotonic()
        self.samples: list[Sample] = []
        if file:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("")

    def add(self, sample: Sample) -> None:
        self.samples.append(sample)
        if self._file:
            with self._file.open("a") as file:
                file.write(json.dumps(asdict(sample)) + "\n")

    def since(self, at: float) -> list[Sample]:
        return [sample for sample in self.samples if sample.at >= at]
