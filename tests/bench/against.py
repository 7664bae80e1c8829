"""Two commits on one machine, in turns: `python -m tests.bench --against COMMIT --only NAME ...`.

Only the service is of the other commit. The benchmarks are of this checkout, so they know the service by its
answers alone. The sides take turns, each first in every other round, and medians are compared.
"""

import subprocess
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from tests.bench.figures import Figure, middle, short, under_headings
from tests.bench.programs import ROOT

HEADINGS = ("what", "today", "other", "ratio", "foreign CPU", "today in each round", "other in each round")


def checked_out(commit: str, folder: Path) -> Path:
    """Write the files of `commit` into the new `folder`. Raises `CalledProcessError` if there is no such
    commit.
    """
    folder.mkdir()
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x"], cwd=folder, input=archive, check=True)
    return folder


async def against(other: Path, rounds: int, measure: Callable[[Path], Awaitable[list[Figure]]]) -> str:
    """Return the table of the figures that `measure` gives for this checkout and for the `other`."""
    found: dict[Path, list[list[Figure]]] = {ROOT: [], other: []}
    for number in range(rounds):
        for tree in (ROOT, other) if number % 2 == 0 else (other, ROOT):
            found[tree].append(await measure(tree))
    return compared(found[ROOT], found[other])


def compared(today: Sequence[Sequence[Figure]], other: Sequence[Sequence[Figure]]) -> str:
    """Return a row: the medians of both sides, their ratio, the most CPU that others took, and the figure of
    each round.
    """
    rows = []
    for ours, theirs in zip(zip(*today, strict=True), zip(*other, strict=True), strict=True):
        values = [[figure.value for figure in side] for side in (ours, theirs)]
        mine, its = map(middle, values)
        noise = max(figure.foreign or 0.0 for figure in (*ours, *theirs))
        rows.append((
            f"{ours[0].what} ({ours[0].unit})", short(mine), short(its),
            f"{mine / its:.2f}" if its else "", f"{noise:.1%}",
            *(" ".join(map(short, side)) for side in values),
        ))  # fmt: skip
    return under_headings(HEADINGS, rows)
