"""A figure, its reference and its target; many of them as a table and as JSON."""

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from tests.bench.noise import MOST

HEADINGS = ("what", "figure", "reference", "ratio", "target", "foreign CPU", "met")


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured figure. With a `reference`, the limit applies to the ratio of both, else to the figure
    itself.

    A figure without a limit is shown for information.
    """

    what: str
    value: float
    unit: str
    reference: float | None = None
    at_most: float | None = None
    at_least: float | None = None
    foreign: float | None = None
    """The highest share of the CPU that other programs had while it was measured; None: it is a count."""
    is_crowded: bool = False
    """More processes wanted to run than there are cores."""

    @property
    def ratio(self) -> float | None:
        return self.value / self.reference if self.reference else None

    @property
    def met(self) -> bool | None:
        """Return whether the target is reached; None if there is none, or if the machine was too busy to
        say.
        """
        measured = self.value if self.ratio is None else self.ratio
        if self.is_busy:
            return None
        if self.at_most is not None:
            return measured <= self.at_most
        return measured >= self.at_least if self.at_least is not None else None

    @property
    def is_busy(self) -> bool:
        return self.foreign is not None and (self.is_crowded or self.foreign > MOST)

    @property
    def has_target(self) -> bool:
        return self.at_most is not None or self.at_least is not None

    def row(self) -> tuple[str, ...]:
        verdict = {True: "yes", False: "NO", None: "busy" if self.is_busy and self.has_target else ""}
        return (
            self.what,
            f"{short(self.value)} {self.unit}",
            "" if self.reference is None else f"{short(self.reference)} {self.unit}",
            "" if self.ratio is None else f"{self.ratio:.2f}",
            self._target(),
            "" if self.foreign is None else f"{self.foreign:.1%}",
            verdict[self.met],
        )

    def _target(self) -> str:
        for sign, limit in (("<=", self.at_most), (">=", self.at_least)):
            if limit is not None:
                return f"{sign} {limit:.3g}" + ("" if self.reference else f" {self.unit}")
        return ""


def short(value: float) -> str:
    """Format with three significant digits."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def table(figures: Iterable[Figure]) -> str:
    return under_headings(HEADINGS, (figure.row() for figure in figures))


def under_headings(headings: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """Return Markdown tables for docs/performance.md; each column is as wide as its widest cell."""
    lined = [headings, *rows]
    widths = [max(map(len, column)) for column in zip(*lined, strict=True)]
    lines = [
        f"| {' | '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))} |"
        for row in lined
    ]
    lines.insert(1, f"|{'|'.join('-' * (width + 2) for width in widths)}|")
    return "\n".join(lines)


def save(figures: Iterable[Figure], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    made = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    records = [asdict(figure) | {"ratio": figure.ratio, "met": figure.met} for figure in figures]
    path.write_text(json.dumps({"at": made, "figures": records}, indent=1) + "\n")


def percentile(values: Sequence[float], percent: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def middle(values: Iterable[float]) -> float:
    return float(median(values))
