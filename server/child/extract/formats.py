"""Whether a choice of formats still has picture and sound."""

from collections.abc import Iterable, Mapping
from typing import Any

Formats = Iterable[Mapping[str, Any]]


def lose_something(left: Formats, whole: Formats) -> bool:
    """Whether no format in `left` has a picture, or none has sound, although one in `whole` has or may have.

    A picture without the sound that belongs to it is no alternative, nor the reverse.
    """
    return any(_has(whole, codec) and not _has(left, codec) for codec in ("vcodec", "acodec"))


def _has(formats: Formats, codec: str) -> bool:
    return any(offered.get(codec) != "none" for offered in formats)
