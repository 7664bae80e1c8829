"""How much of long tests a run does: all of it, or the part that `TEST_PART` says.

For tests with random kills, long waits or many similar cases: half of such a test finds half as much.
"""

import os
from collections.abc import Sequence
from typing import TypeVar

PART = float(os.environ.get("TEST_PART", "1"))
_Case = TypeVar("_Case")


def part_of(whole: float) -> float:
    """Return how many of `whole` seconds or kills this run is to do."""
    return whole * PART


def some_of(cases: Sequence[_Case]) -> list[_Case]:
    """Return the cases that this run is to do, spread evenly over all of them."""
    return [case for number, case in enumerate(cases) if int(number * PART) < int((number + 1) * PART)]
