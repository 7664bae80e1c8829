"""What docs/performance.md says of each figure, for `--check`."""

import re
from collections.abc import Iterable

from tests.bench.figures import HEADINGS, Figure
from tests.bench.programs import ROOT

PAGE = ROOT / "docs" / "performance.md"
WORSE = 0.1  # by how much a figure may be worse than what the page says
_NUMBER = re.compile(r"-?[\d,]*\d(?:\.\d+)?")


def documented(text: str) -> dict[str, float]:
    """The ratio of each figure that has one, else the figure itself, from the tables with our headings."""
    told: dict[str, float] = {}
    ours = False
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|") or len(cells) != len(HEADINGS):
            ours = False
        elif tuple(cells) == HEADINGS:
            ours = True
        elif ours and (number := _NUMBER.match(cells[3] or cells[1])):
            told[cells[0]] = float(number[0].replace(",", ""))
    return told


def fallen_behind(figures: Iterable[Figure], told: dict[str, float]) -> list[str]:
    """A sentence about each figure that is worse by more than `WORSE`.

    Only steady ones are compared: ratios to a reference of the same run, CPU time and memory. Others say as
    much about the machine as about Clipwire; they have their targets.
    """
    sentences = []
    for figure in figures:
        if figure.what not in told or not figure.is_steady or figure.met is None:
            continue
        measured = figure.value if figure.ratio is None else figure.ratio
        before = told[figure.what]
        worse = measured / before if figure.at_most is not None else before / measured
        if worse > 1 + WORSE:
            sentences.append(f"{figure.what}: {measured:.3g}, and docs/performance.md says {before:g}")
    return sentences
