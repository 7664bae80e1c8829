"""Measures how much CPU other programs use during a measurement.

A busy machine hides a costly path: the figure and its reference both wait. So a round in which others had
more than `MOST` of the CPU is measured again. A figure that stays noisy is shown, but misses no target.
"""

import os
import time
from contextlib import suppress
from dataclasses import dataclass

import psutil  # type: ignore[import-untyped]

MOST = 0.05  # share of all cores that others may have
KTHREADD = 2  # the process whose children are the threads of the kernel
CORES = os.cpu_count() or 1


@dataclass(frozen=True, slots=True)
class CpuUsage:
    """Seconds of CPU used so far, and the time of that measurement."""

    at: float
    all: float
    """By processes, and taken by other virtual machines. Interrupts are nobody's, so they do not count."""
    ours: float
    """By this process and all that it has started, and by the kernel's threads, which write our files."""


def cpu_usage() -> CpuUsage:
    now = psutil.cpu_times()
    all_of_it = now.user + now.nice + now.system + getattr(now, "steal", 0.0)
    return CpuUsage(time.monotonic(), all_of_it, _ours())


def foreign(since: CpuUsage, until: CpuUsage) -> float:
    """Return the share of all cores that other programs had between two measurements."""
    others = (until.all - since.all) - (until.ours - since.ours)
    return max(0.0, others / (until.at - since.at) / CORES)


def is_crowded() -> bool:
    """Return whether more processes want to run than there are cores; asked before any process of the
    benchmark runs.
    """
    return os.getloadavg()[0] > CORES


def _ours() -> float:
    this, total = psutil.Process(), 0.0
    for process in (this, *this.children(recursive=True), *_threads_of_the_kernel()):
        with suppress(psutil.NoSuchProcess):
            # Includes children that have ended, once they were waited for.
            total += sum(process.cpu_times()[:4])
    return total


def _threads_of_the_kernel() -> list[psutil.Process]:
    """Return the kernel's threads; None within a container, which does not see them."""
    if not psutil.pid_exists(KTHREADD):
        return []
    kthreadd = psutil.Process(KTHREADD)
    return list(kthreadd.children()) if kthreadd.name() == "kthreadd" else []
