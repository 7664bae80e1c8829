"""Makes the jobs of children from requests, settings, stored cookies and facts that earlier jobs have
learned.

Jobs find out how each of YouTube's players reorders the characters of a signature, which saves later jobs the
work. A compromised child could report a wrong order, and YouTube would refuse later jobs. So an order is
taken only from jobs for a link of YouTube's and only if it is plausible, and the first one is kept for a day.

Decisions: docs/decisions/children.md, docs/decisions/network.md
"""

import logging
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

from server.core.action_requests import InfoRequest
from server.core.cookie_format import is_within, stored_name
from server.core.errors import StoreUnavailable
from server.core.events import Learned
from server.core.jobs import Job, Wishes, wishes_from
from server.core.ports import Cookies, StoredCookies
from server.core.process_request import ProcessRequest
from server.settings import DownloadSettings
from server.tasks.programs_found import Tools

log = logging.getLogger(__name__)

_WISHES_OF_CHILDREN = {field.name for field in fields(Wishes)}
MAX_PLAYERS: Final = 32
_FORGOTTEN_AFTER: Final = 24 * 3600.0  # seconds; YouTube has new players every few days
_HOSTS: Final = ("youtube.com", "youtu.be", "youtube-nocookie.com", "youtubekids.com")
_PLAYER: Final = re.compile(r"[\w.]{1,40}/[0-9a-f]{8,40}-\w{1,80}-(\d{1,3})")


class Players:
    """At most `MAX_PLAYERS` players, in memory only: after a restart, the next job learns one within a
    second.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._known: dict[str, tuple[float, tuple[int, ...]]] = {}

    @property
    def known(self) -> dict[str, tuple[int, ...]]:
        self._forget_old()
        return {player: order for player, (_, order) in self._known.items()}

    def learn(self, url: str, learned: Learned) -> None:
        """Keep the order that a job has `learned`, if it is plausible and the job's `url` is one of
        YouTube's.
        """
        self._forget_old()
        host = urlsplit(url).hostname or ""
        if learned.player in self._known or not any(is_within(host, domain) for domain in _HOSTS):
            return
        # The order is a list of distinct positions, all below the number at the end of the player's name.
        player, places = _PLAYER.fullmatch(learned.player), set(learned.order)
        if player is None or len(places) < len(learned.order) or not places <= set(range(int(player[1]))):
            return
        if len(self._known) == MAX_PLAYERS:
            del self._known[next(iter(self._known))]
        self._known[learned.player] = self._now(), learned.order

    def _forget_old(self) -> None:
        over = self._now() - _FORGOTTEN_AFTER
        self._known = {player: each for player, each in self._known.items() if each[0] > over}


@dataclass(frozen=True, slots=True)
class JobMaker:
    """`tools` are the programs of this machine; `players` has the orders that earlier jobs have learned."""

    settings: DownloadSettings
    tools: Tools
    players: Players = field(default_factory=Players)

    def info(self, wanted: InfoRequest, directory: Path, lock: Path, cookies: str | None = None) -> Job:
        most = self.settings.max_playlist
        known, last = min(wanted.passed_over, most), min(wanted.passed_over + wanted.limit, most)
        request = ProcessRequest(url=wanted.url)
        job = self.job("info", request, directory, lock, cookies)
        return replace(job, known=known, max_playlist=last)

    def thumbnails(self, urls: tuple[str, ...], directory: Path, lock: Path) -> Job:
        job = self.job("thumbnails", ProcessRequest(url=urls[0]), directory, lock)
        return replace(job, pictures=urls)

    def job(
        self,
        kind: Literal["download", "info", "thumbnails", "expand", "check", "plugins", "cover"],
        request: ProcessRequest,
        directory: Path,
        lock: Path,
        cookies: str | None = None,
    ) -> Job:
        """Return a job with what all kinds have; the caller adds to it what only its kind has, see `Job`."""
        return Job(
            kind=kind,
            directory=str(directory),
            lock=str(lock),
            wishes=wishes_from(request.model_dump(include=_WISHES_OF_CHILDREN)),
            ffmpeg=self.tools.ffmpeg or "ffmpeg",  # missing: a child that needs ffmpeg reports that
            deno=self.tools.deno,
            allowed_private_hosts=tuple(self.settings.allowed_private_hosts),
            proxy=self.settings.proxy,
            rate_limit=self.settings.rate_limit,
            max_filesize=self.settings.max_filesize,
            item=None,
            known=0,
            max_playlist=self.settings.max_playlist,
            cookies=cookies,
            extractor_args=self.settings.extractor_args,
            pot_provider=self.settings.pot_provider,
            sponsorblock_api=self.settings.sponsorblock_api,
            players=self.players.known,
        )


@dataclass(frozen=True, slots=True)
class CookieChoice:
    """Chooses the cookies of a job. `defaults`: host -> name of the cookies for that host and its subdomains,
    used if a request names none.
    """

    stored: Cookies
    defaults: Mapping[str, str]

    async def made_for(self, url: str, asked_for: str | None, owner: str | None = None) -> "JobCookies":
        """Return the cookies for a job of `owner` that fetches `url`. They have `are_missing` if the request
        asks for the cookies `asked_for` and these are not stored.
        """
        name = asked_for
        if not name:  # the default of the most specific host that fits
            host = (urlsplit(url).hostname or "").lower()
            fitting = [domain for domain in self.defaults if is_within(host, domain.lower())]
            name = self.defaults[max(fitting, key=len)] if fitting else None
        stored_as = name
        # Cookies that a request names are its owner's; only the operator's defaults are for everybody.
        if asked_for and self.stored.are_separate:
            stored_as = stored_name(asked_for, owner)
        found = await self.stored.get(stored_as) if stored_as else None
        if name and found is None and not asked_for:
            log.warning("downloads.cookies names %s, which is not stored", name)
            name = None
        return JobCookies(self.stored, name, found, stored_as)


@dataclass(frozen=True, slots=True)
class JobCookies:
    """The cookies of one job; `name` is None if it gets none, `found` is None if none are stored.

    `stored_as` is the name under which the cookies are stored; clients see `name`.
    """

    stored: Cookies
    name: str | None = None
    found: StoredCookies | None = None
    stored_as: str | None = None

    @property
    def are_missing(self) -> bool:
        return self.name is not None and self.found is None

    @property
    def text(self) -> str | None:
        return self.found.text if self.found else None

    async def renew(self, back: str) -> None:
        """Store the cookies that came `back`; an error is only logged, so that the job does not fail."""
        if self.stored_as and self.found:
            try:
                await self.stored.renew(self.stored_as, self.found, back)
            except (StoreUnavailable, OSError, ValueError) as error:
                log.warning("cookies %s could not be renewed: %s", self.name, type(error).__name__)
