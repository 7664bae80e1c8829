"""Counts what a page receives over the network: how many files, and how many bytes as they were sent."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from playwright.async_api import Page

SILENCE = 2.0  # seconds without a byte


@dataclass
class Line:
    """The counter of headers and bodies. Answers from a cache, also from that of the service worker, are not
    counted.
    """

    asked: list[str] = field(default_factory=list)
    received: int = 0
    heard_at: float = 0.0

    async def listen(self, page: Page) -> None:
        session = await page.context.new_cdp_session(page)
        session.on("Network.requestWillBeSent", lambda event: self._heard(event["request"]["url"]))
        session.on("Network.webSocketCreated", lambda event: self._heard(event["url"]))
        session.on("Network.dataReceived", lambda _: self._heard())
        session.on("Network.loadingFinished", lambda event: self._heard(size=event["encodedDataLength"]))
        session.on("Network.requestServedFromCache", self._from_cache)
        session.on("Network.responseReceived", self._answered)
        await session.send("Network.enable")

    def _heard(self, url: str = "", size: float = 0) -> None:
        self.heard_at = asyncio.get_running_loop().time()
        self.received += int(size)
        self.asked += [url] if url and not url.startswith("data:") else []

    def _from_cache(self, _: Any) -> None:
        self.asked.pop()

    def _answered(self, event: Any) -> None:
        answer = event["response"]
        if answer["fromServiceWorker"] and answer["url"] in self.asked:
            self.asked.remove(answer["url"])

    async def silence(self) -> None:
        """Return when nothing has been received for `SILENCE` seconds."""
        self._heard()
        while (left := self.heard_at + SILENCE - asyncio.get_running_loop().time()) > 0:
            await asyncio.sleep(left)
