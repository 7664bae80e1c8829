"""How much of long tests a run does: all of it, or the part that `TEST_PART` says.

For tests that strike at random, or wait, or are many that tell nearly the same: each minute tells as much as
the one before.
"""

import os
from collections.abc import Sequence
from typing import TypeVar

PART = float(os.environ.get("TEST_PART", "1"))
_Case = TypeVar("_Case")


def part_of(whole: float) -> float:
    """Of so many seconds or kills, those that this run is to do."""
    return whole * PART


def some_of(cases: Sequence[_Case]) -> list[_Case]:
    """Of so many cases, those that this run is to do: from everywhere in them."""
    return [case for number, case in enumerate(cases) if int(number * PART) < int((number + 1) * PART)]
