"""What a visit costs: few files, compressed, and on a second visit none that the browser has.

Also what a reader can do before the scripts have loaded, which takes a while on a slow connection.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import Page, Route, expect

from tests.browser.conftest import OpenPage
from tests.browser.line import Line
from tests.fakes.api import FakeApi
from tests.service import Services

pytestmark = pytest.mark.asyncio(loop_scope="session")
MOST_BYTES, MOST_REQUESTS = 50_000, 10


@pytest.mark.long
async def test_a_first_visit_is_small_and_a_second_one_comes_from_the_cache(
    services: Services, open_page: OpenPage
) -> None:
    async with services.lend() as service, open_page(service.url) as page:
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


@pytest.mark.long
async def test_a_second_visit_shows_the_list_after_two_round_trips_and_asks_for_it_once(
    api: FakeApi, open_page: OpenPage
) -> None:
    """A round trip takes so long that nothing else counts."""
    await api.put_many(200)
    async with open_page(api.url) as page:
        session = await page.context.new_cdp_session(page)
        await session.send("Network.enable")
        slow = {"offline": False, "latency": 1_000, "downloadThroughput": 200_000, "uploadThroughput": -1}
        await session.send("Network.emulateNetworkConditions", slow)
        await page.goto("about:blank")
        before = len(api.requests)
        await page.goto(api.url, wait_until="commit")
        await page.locator(".row").first.wait_for()
        assert await page.evaluate("performance.now()") < 3_000
        await expect(page.locator("#connection")).to_have_attribute("data-state", "live")
        asked = [request.split("?")[0] for request in api.requests[before:]]
        assert asked.count("GET /api/tasks") == 1
        assert not [request for request in asked if "/static/" in request]


@asynccontextmanager
async def _early(page: Page, url: str) -> AsyncIterator[None]:
    """Load the page, and hold its scripts back until the end of the block.

    The route is kept: a request that comes while a route is removed may never be answered.
    """
    may_come = asyncio.Event()

    async def hold(route: Route) -> None:
        await may_come.wait()
        await route.continue_()

    await page.route("**/page.js*", hold)
    await page.goto(url, wait_until="commit")
    await page.locator("#links").focus()
    yield
    may_come.set()


async def test_what_is_typed_before_the_scripts_are_there_is_kept(api: FakeApi, open_page: OpenPage) -> None:
    async with open_page(api.url, locale="en-US") as page:
        async with _early(page, api.url + "?text=https://a.example/2"):
            await page.keyboard.insert_text("https://a.example/1")
        await expect(page.locator(":root[data-ready]")).to_be_attached()
        box = page.get_by_role("textbox", name="Link", exact=True)
        await expect(box).to_have_value("https://a.example/1\nhttps://a.example/2")
        assert not api.tasks


async def test_what_is_sent_by_enter_before_the_scripts_are_there_is_sent(
    api: FakeApi, open_page: OpenPage
) -> None:
    async with open_page(api.url, locale="en-US") as page:
        async with _early(page, api.url):
            await page.keyboard.insert_text("https://a.example/1")
            await page.keyboard.press("Enter")
        await expect(page.locator(".row")).to_have_count(1)
        await expect(page.get_by_role("textbox", name="Link", exact=True)).to_have_value("")


async def test_what_is_sent_by_the_button_before_the_scripts_are_there_is_in_the_box(
    api: FakeApi, open_page: OpenPage
) -> None:
    """Without scripts the browser loads the page with the link in its address, and an address alone must not
    begin a download.
    """
    async with open_page(api.url, locale="en-US") as page:
        async with _early(page, api.url):
            await page.keyboard.insert_text("https://a.example/1")
            async with page.expect_navigation(wait_until="commit"):
                await page.get_by_role("button", name="Download", exact=True).click()
        box = page.get_by_role("textbox", name="Link", exact=True)
        await expect(page.locator(":root[data-ready]")).to_be_attached()
        await expect(box).to_have_value("https://a.example/1")
        assert not api.tasks
