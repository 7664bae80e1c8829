"""Chooses the stored cookies for a job, and stores those that the job gives back.

Decisions: docs/decisions/network.md
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from server.core.cookie_format import is_within
from server.core.errors import StoreUnavailable
from server.core.ports import Cookies, StoredCookies

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CookieChoice:
    """`defaults`: host -> name of the cookies for it and its subdomains if a request names none."""

    stored: Cookies
    defaults: Mapping[str, str]

    async def made_for(self, url: str, asked_for: str | None) -> "Given":
        """The cookies for a job that fetches `url`; `are_missing` if those `asked_for` are not stored."""
        name = asked_for or self._default(url)
        found = await self.stored.get(name) if name else None
        if name and found is None and not asked_for:
            log.warning("downloads.cookies names %s, which is not stored", name)
            name = None
        return Given(self.stored, name, found)

    def _default(self, url: str) -> str | None:
        """The default of the longest host that fits."""
        host = (urlsplit(url).hostname or "").lower()
        fitting = [domain for domain in self.defaults if is_within(host, domain.lower())]
        return self.defaults[max(fitting, key=len)] if fitting else None


@dataclass(frozen=True, slots=True)
class Given:
    """The cookies of one job; `name` is None if it gets none, `found` is None if none are stored."""

    stored: Cookies
    name: str | None = None
    found: StoredCookies | None = None

    @property
    def are_missing(self) -> bool:
        return self.name is not None and self.found is None

    @property
    def text(self) -> str | None:
        return self.found.text if self.found else None

    async def renew(self, back: str) -> None:
        """Store the cookies that came `back`; an error is only logged, so that the job does not fail."""
        if self.name and self.found:
            try:
                await self.stored.renew(self.name, self.found, back)
            except (StoreUnavailable, OSError, ValueError) as error:
                log.warning("cookies %s could not be renewed: %s", self.name, type(error).__name__)
