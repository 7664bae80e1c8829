"""What jobs have learned of YouTube's players, for later jobs: the order of a signature's characters.

A compromised child could report a wrong order, and YouTube would refuse later jobs. So an order is taken only
from jobs for a link of YouTube's, only if it is plausible, and the first one is kept for a day.

Decisions: docs/decisions/children.md
"""

import re
import time
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from server.core.cookie_format import is_within
from server.core.events import Learned

MOST: Final = 32
_KEPT: Final = 24 * 3600.0  # seconds; YouTube has new players every few days
_HOSTS: Final = ("youtube.com", "youtu.be", "youtube-nocookie.com", "youtubekids.com")
_PLAYER: Final = re.compile(r"[\w.]{1,40}/[0-9a-f]{8,40}-\w{1,80}-(\d{1,3})")


class Players:
    """At most `MOST` players, in memory: what a restart forgets the next job learns within a second."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._known: dict[str, tuple[float, tuple[int, ...]]] = {}

    @property
    def known(self) -> dict[str, tuple[int, ...]]:
        self._forget()
        return {player: order for player, (_, order) in self._known.items()}

    def learn(self, url: str, learned: Learned) -> None:
        """Keep `learned` if it is plausible and the job's `url` is one of YouTube's."""
        self._forget()
        if learned.player in self._known or not _is_youtubes(url) or not _is_possible(learned):
            return
        if len(self._known) == MOST:
            del self._known[next(iter(self._known))]
        self._known[learned.player] = self._now(), learned.order

    def _forget(self) -> None:
        over = self._now() - _KEPT
        self._known = {player: each for player, each in self._known.items() if each[0] > over}


def _is_youtubes(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return any(is_within(host, domain) for domain in _HOSTS)


def _is_possible(learned: Learned) -> bool:
    """Whether the order has distinct positions, all below the number that the player's name ends in."""
    player = _PLAYER.fullmatch(learned.player)
    places = set(learned.order)
    return player is not None and len(places) == len(learned.order) and places <= set(range(int(player[1])))
