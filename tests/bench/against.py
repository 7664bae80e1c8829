"""Two commits on one machine, in turns: `python -m tests.bench --against COMMIT --only NAME ...`.

Both are measured by the benchmarks of today, so only the service differs; a benchmark that needs what the
other commit has not fails there, and says so. The sides take turns, each first in every other round, and
medians are compared: on a machine with neighbours only that is stable.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.bench.figures import middle, short, under_headings
from tests.bench.programs import ROOT

HEADINGS = ("what", "today", "other", "ratio", "today in each round", "other in each round")


def checked_out(commit: str, folder: Path) -> Path:
    """The files of `commit` in the new `folder`. Raises `CalledProcessError` if there is no such commit."""
    folder.mkdir()
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x"], cwd=folder, input=archive, check=True)
    return folder


def against(commit: str, names: Sequence[str], rounds: int, folder: Path, *, smoke: bool = False) -> str:
    """The table of the figures of both; `folder` is for the other commit's files."""
    other = checked_out(commit, folder / "other")
    shutil.rmtree(other / "tests")
    shutil.copytree(ROOT / "tests", other / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    found: dict[Path, list[dict[str, float]]] = {ROOT: [], other: []}
    units: dict[str, str] = {}
    for number in range(rounds):
        for tree in (ROOT, other) if number % 2 == 0 else (other, ROOT):
            results = folder / "figures.json"
            subprocess.run(
                [sys.executable, "-m", "tests.bench", "--json", str(results)]
                + ["--smoke"] * smoke
                + ["--only", *names],
                cwd=tree,
                # Bytecode is kept: else each start of a server compiles it anew.
                env=os.environ | {"PYTHONDONTWRITEBYTECODE": ""},
                check=True,
                stdout=subprocess.DEVNULL,
            )
            figures = json.loads(results.read_text())["figures"]
            units |= {figure["what"]: figure["unit"] for figure in figures}
            found[tree].append({figure["what"]: figure["value"] for figure in figures})
    return compared(found[ROOT], found[other], units)


def compared(
    today: Sequence[dict[str, float]], other: Sequence[dict[str, float]], units: dict[str, str]
) -> str:
    """The medians of what both have, their ratio, and what each round gave."""
    rows = []
    for what in today[0]:
        sides = [[run[what] for run in runs if what in run] for runs in (today, other)]
        if not all(sides):
            continue
        ours, theirs = map(middle, sides)
        ratio = f"{ours / theirs:.2f}" if theirs else ""
        spreads = (" ".join(map(short, side)) for side in sides)
        rows.append((f"{what} ({units[what]})", short(ours), short(theirs), ratio, *spreads))
    return under_headings(HEADINGS, rows)
