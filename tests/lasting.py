"""How much of what takes minutes a run does: all of it, or the part that `TEST_PART` says.

For tests that strike at random, or wait: each minute tells as much as the one before, and `.ci/run` has 20 in
all.
"""

import os

PART = float(os.environ.get("TEST_PART", "1"))


def part_of(whole: float) -> float:
    """Of so many seconds or kills, those that this run is to do."""
    return whole * PART
