"""A whole session by the keyboard alone: all that `?` lists, and the focus is never lost."""

import asyncio

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import OpenPage
from tests.browser.lists import row
from tests.browser.test_tasks import PATIENCE
from tests.fakes.api import FakeApi

pytestmark = pytest.mark.asyncio(loop_scope="session")
_WHERE = """() => {
    const element = document.activeElement
    if (element === document.body) return ""
    const row = element.closest(".row")
    const control = element.dataset.action ?? (element.id || element.name || element.localName)
    return row && row !== element ? `${row.dataset.id} ${control}` : row?.dataset.id ?? control
}"""


class Keys:
    """Presses keys, and sees after each that something has the focus."""

    def __init__(self, page: Page) -> None:
        self._page = page

    async def press(self, *keys: str) -> None:
        for key in keys:
            await self._page.keyboard.press(key)
            assert await self.where(), key

    async def where(self) -> str:
        """The row's id, with the control in it that has the focus; or what another is called; "": nowhere."""
        found: str = await self._page.evaluate(_WHERE)
        return found

    async def get_to(self, place: str) -> None:
        async with asyncio.timeout(20):
            while await self.where() != place:
                await asyncio.sleep(0)


@pytest.mark.long
async def test_keys_do_the_same_while_caps_lock_is_on(api: FakeApi, open_page: OpenPage) -> None:
    await api.put("a")
    async with asyncio.timeout(PATIENCE), open_page(api.url, locale="en-US") as page:
        await row(page, "a").focus()
        await page.keyboard.press("X")  # as it is told then: without Shift
        await expect(row(page, "a")).to_have_attribute("data-selected", "")
        await page.keyboard.press("Shift+X")
        await expect(row(page, "a")).to_have_attribute("data-selected", "")
        await page.keyboard.press("N")
        await expect(page.get_by_role("textbox", name="Link")).to_be_focused()


@pytest.mark.long
async def test_who_presses_what_an_empty_list_offers_keeps_a_place(api: FakeApi, open_page: OpenPage) -> None:
    await api.put("a")
    async with asyncio.timeout(PATIENCE), open_page(api.url, locale="en-US") as page:
        keys = Keys(page)
        await page.get_by_role("searchbox").fill("zzzz")
        await expect(page.locator("#clear-filter")).to_be_visible()
        await page.locator("#clear-filter").focus()
        await keys.press("Enter")
        await expect(row(page, "a")).to_be_visible()
        assert await keys.where() == "tasks"
        await page.locator("#links").focus()
        await api.remove("a")
        await expect(page.locator("#from-elsewhere")).to_be_visible()
        await page.locator("#from-elsewhere").focus()
        await keys.press("Shift+Tab", "Tab")  # a focus of the keyboard, not of a script
        assert await keys.where() == "from-elsewhere"
        await api.put("b")
        await expect(row(page, "b")).to_be_visible()
        assert await keys.where() == "tasks"


async def test_a_link_is_sent_followed_saved_played_and_deleted_by_keys_alone(
    api: FakeApi, open_page: OpenPage
) -> None:
    await api.put("old", "completed", video_info={"title": "Old"})
    async with (
        asyncio.timeout(PATIENCE),
        open_page(api.url, locale="en-US", has_clock=True, viewport={"width": 1280, "height": 800}) as page,
    ):
        keys = Keys(page)
        await keys.get_to("links")
        await page.keyboard.type("https://a.example/1")
        await keys.press("Enter")
        await expect(page.locator(".row")).to_have_count(2)
        [new] = api.tasks.keys() - {"old"}
        await keys.press("Tab", "j")  # out of the field, and on to the list
        assert await keys.where() == new
        await api.put(new, "download", video_info={"title": "New"}, progress=30)
        await expect(row(page, new)).to_contain_text("30")

        await keys.press("p")
        await expect(row(page, new)).to_have_attribute("data-stage", "paused")
        await keys.press("p", "?")
        await expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
        await keys.press("Escape")
        assert await keys.where() == new
        await keys.press("m")
        await expect(page.get_by_role("menuitem", name="Cancel")).to_be_visible()
        await keys.press("ArrowDown", "End", "Escape")
        assert await keys.where() == f"{new} more"
        await keys.press("l")  # also on a control of the row
        await expect(row(page, new).locator("pre")).to_be_visible()
        await keys.press("k")
        await keys.press("Enter", "Enter")
        await keys.press("x", "Control+a")
        await expect(page.get_by_role("toolbar")).to_contain_text("2 selected")
        await keys.press("Escape")
        await expect(page.get_by_role("toolbar")).to_be_hidden()

        film = {"video": {"size": 1, "type": "video/mp4"}}
        await api.put(new, "completed", progress=100, files={"video": "/api/download/v.mp4"}, file_info=film)
        await expect(row(page, new)).to_have_attribute("data-stage", "completed")
        assert await keys.where() == new
        async with page.expect_download():
            await keys.press("s")
        await keys.press(" ")
        await expect(page.get_by_role("dialog", name="New")).to_be_visible()
        await keys.press("Escape")
        assert await keys.where() == new

        await keys.press("/")
        assert await keys.where() == "q"
        await page.keyboard.type("Ne")
        await expect(page.locator(".row")).to_have_count(1)
        await keys.press("Control+A", "Delete")
        await expect(page.locator(".row")).to_have_count(2)
        await keys.press("Tab", "j")
        assert await keys.where() in ("old", new)
        await keys.press("n")
        assert await keys.where() == "links"

        await keys.press("Tab", "j")
        if await keys.where() != new:
            await keys.press("k")
        await keys.press("Delete")
        assert await keys.where() == f"{new} undo"
        await keys.press("z")
        assert await keys.where() == new
        await keys.press("Delete")
        await page.clock.run_for(11_000)
        while new in api.tasks:
            await asyncio.sleep(0)
        assert await keys.where()  # while the focus is in the list, what was deleted keeps its place
        await keys.press("j")
        assert await keys.where() == "old"
        await keys.press("n")
        await page.clock.run_for(4_000)
        await expect(page.locator(".row")).to_have_count(1)
        assert await keys.where() == "links"
