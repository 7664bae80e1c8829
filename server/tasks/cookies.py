"""Which stored cookies a job is given, and what it gives back of them."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from server.cookies import is_within
from server.errors import StoreUnavailable
from server.ports import Cookies, StoredCookies

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CookieChoice:
    """`defaults`: hosts, with their subdomains, and the names of what is used for them unasked."""

    stored: Cookies
    defaults: Mapping[str, str]

    async def made_for(self, url: str, asked_for: str | None) -> "Given":
        """What a job for `url` is to have; one that was `asked_for` may be missing."""
        name = asked_for or self._default(url)
        found = await self.stored.get(name) if name else None
        if name and found is None and not asked_for:
            log.warning("downloads.cookies names %s, which is not stored", name)
            name = None
        return Given(self.stored, name, found)

    def _default(self, url: str) -> str | None:
        """That of the longest host that fits."""
        host = (urlsplit(url).hostname or "").lower()
        fitting = [domain for domain in self.defaults if is_within(host, domain.lower())]
        return self.defaults[max(fitting, key=len)] if fitting else None


@dataclass(frozen=True, slots=True)
class Given:
    """To one job: the cookies of this `name`, if there are any."""

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
        """Keep what came `back`; a job does not fail because of that."""
        if self.name and self.found:
            try:
                await self.stored.renew(self.name, self.found, back)
            except (StoreUnavailable, OSError, ValueError) as error:
                log.warning("cookies %s could not be renewed: %s", self.name, type(error).__name__)
