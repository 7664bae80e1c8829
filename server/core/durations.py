"""Lengths of time as people write them, like `90m`."""

import re

_DURATION = re.compile(r"([0-9]{1,9})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def seconds_of(value: object) -> int:
    """Return the seconds of a length of time: `"90m"` is 5400. Raises `ValueError`."""
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if not found:
        raise ValueError("a time like 30m, 1h or 2d is expected")
    return int(found[1]) * _SECONDS[found[2]]


def duration_of(seconds: int) -> str:
    """Return the shortest text that `seconds_of` reads as `seconds`."""
    for unit in ("d", "h", "m"):
        if seconds and seconds % _SECONDS[unit] == 0:
            return f"{seconds // _SECONDS[unit]}{unit}"
    return f"{seconds}s"
