"""What a visit costs on the line: few files, packed, and on a second visit none that is there already."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest
from playwright.async_api import Page

from tests.browser.conftest import OpenPage
from tests.service import Services

pytestmark = pytest.mark.asyncio(loop_scope="session")
PATIENCE = 30
MOST_BYTES, MOST_REQUESTS = 60_000, 15
SILENCE = 2.0


@dataclass
class Line:
    """What came over it: headers and bodies as they were sent."""

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
        await session.send("Network.enable")

    def _heard(self, url: str = "", size: float = 0) -> None:
        self.heard_at = asyncio.get_running_loop().time()
        self.received += int(size)
        self.asked += [url] if url and not url.startswith("data:") else []

    def _from_cache(self, _: Any) -> None:
        self.asked.pop()

    async def silence(self) -> None:
        self._heard()
        while (left := self.heard_at + SILENCE - asyncio.get_running_loop().time()) > 0:
            await asyncio.sleep(left)


@pytest.mark.long
async def test_a_first_visit_is_small_and_a_second_one_comes_from_the_cache(
    services: Services, open_page: OpenPage
) -> None:
    async with asyncio.timeout(PATIENCE), services.lend() as service, open_page(service.url) as page:
        other = await page.context.browser.new_context(locale="zh-CN")  # type: ignore[union-attr]
        tab, first, second = await other.new_page(), Line(), Line()
        await first.listen(tab)
        await tab.goto(service.url)
        await first.silence()
        assert first.received <= MOST_BYTES
        assert len(first.asked) <= MOST_REQUESTS
        await second.listen(tab)
        await tab.goto("about:blank")
        await tab.goto(service.url)
        await second.silence()
        assert [url for url in second.asked if "/static/" in url] == []
        await other.close()
