"""A figure, its reference and its target; many of them as a table and as JSON."""

import json
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

T = TypeVar("T")
HEADINGS = ("what", "figure", "reference", "ratio", "target", "met")


@dataclass(frozen=True, slots=True)
class Figure:
    """What was measured. With a `reference` the limit is one of their ratio, else of the figure itself.

    A figure without a limit is told for information.
    """

    what: str
    value: float
    unit: str
    reference: float | None = None
    at_most: float | None = None
    at_least: float | None = None

    @property
    def ratio(self) -> float | None:
        return self.value / self.reference if self.reference else None

    @property
    def met(self) -> bool | None:
        measured = self.value if self.ratio is None else self.ratio
        if self.at_most is not None:
            return measured <= self.at_most
        return measured >= self.at_least if self.at_least is not None else None

    @property
    def is_steady(self) -> bool:
        """Whether it tells of the service more than of the machine: a ratio, CPU time or memory."""
        return self.ratio is not None or self.unit in ("KiB", "MiB") or "CPU" in self.what

    def row(self) -> tuple[str, ...]:
        return (
            self.what,
            f"{short(self.value)} {self.unit}",
            "" if self.reference is None else f"{short(self.reference)} {self.unit}",
            "" if self.ratio is None else f"{self.ratio:.2f}",
            self._target(),
            {True: "yes", False: "NO", None: ""}[self.met],
        )

    def record(self) -> dict[str, Any]:
        return {
            "what": self.what,
            "value": self.value,
            "unit": self.unit,
            "reference": self.reference,
            "ratio": self.ratio,
            "at_most": self.at_most,
            "at_least": self.at_least,
            "met": self.met,
        }

    def _target(self) -> str:
        for sign, limit in (("<=", self.at_most), (">=", self.at_least)):
            if limit is not None:
                return f"{sign} {limit:g}" + ("" if self.reference else f" {self.unit}")
        return ""


def short(value: float) -> str:
    """Three digits that count, and none that do not."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def table(figures: Iterable[Figure]) -> str:
    return under_headings(HEADINGS, (figure.row() for figure in figures))


def under_headings(headings: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A table whose columns are as wide as their widest cell."""
    lined = [headings, *rows]
    widths = [max(map(len, column)) for column in zip(*lined, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in lined]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(line.rstrip() for line in lines)


def save(figures: Iterable[Figure], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    made = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    text = json.dumps({"at": made, "figures": [figure.record() for figure in figures]}, indent=1)
    path.write_text(text + "\n")


async def alternate(rounds: int, *sides: Callable[[], Awaitable[T]]) -> list[list[T]]:
    """What each side gave in each round: A B A B, so that a noisy minute is shared by both."""
    given: list[list[T]] = [[] for _ in sides]
    for _ in range(rounds):
        for results, side in zip(given, sides, strict=True):
            results.append(await side())
    return given


def percentile(values: Sequence[float], percent: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def middle(values: Iterable[float]) -> float:
    return float(median(values))
