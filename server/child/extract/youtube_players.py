"""What is known of YouTube's players: in which order each of them puts the characters of a signature.

This replaces the cache of yt-dlp, and stores nothing else that extractors keep there: tokens and log-ins must
not reach other jobs. Nothing is written to disk; new orders are sent to the server, which validates them.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from yt_dlp.version import __version__

from server.child.extract.youtube_dl import Engine
from server.child.process import borrowed
from server.core.jobs import MOST_OF_AN_ORDER

_SECTION: Final = "youtube-sigfuncs"


def remember(engine: Engine, known: Mapping[str, Sequence[int]], send: Callable[..., None]) -> None:
    """Have `engine` look up orders in `known`, and `send` new ones to the server."""
    if borrowed.fits("players"):
        engine.cache = Players(known, send)


class Players:
    """`known`: release of yt-dlp, player and number of characters (see `_name`) -> order."""

    enabled = True

    def __init__(self, known: Mapping[str, Sequence[int]], send: Callable[..., None]) -> None:
        self._known = dict(known)
        self._send = send

    def load(
        self, section: str, key: str, dtype: str = "json", default: Any = None, *, min_ver: str | None = None
    ) -> Any:
        return self._known.get(_name(key), default) if section == _SECTION else default

    def store(self, section: str, key: str, data: Any, dtype: str = "json") -> None:
        if section == _SECTION and _is_order(data):
            self._known[_name(key)] = data
            self._send("learned", player=_name(key), order=data)


def _name(key: str) -> str:
    """Another release of yt-dlp may mean something else by the same `key`."""
    return f"{__version__}/{key}"


def _is_order(data: Any) -> bool:
    is_list = isinstance(data, list) and 0 < len(data) <= MOST_OF_AN_ORDER
    return is_list and all(isinstance(place, int) for place in data)
