"""A whole session with the keyboard only: all keys that `?` lists work, and the focus is never lost."""

import asyncio

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import OpenPage
from tests.browser.lists import row
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
    """Presses keys, and checks after each that some element has the focus."""

    def __init__(self, page: Page) -> None:
        self._page = page

    async def press(self, *keys: str) -> None:
        for key in keys:
            await self._page.keyboard.press(key)
            assert await self.where(), key

    async def where(self) -> str:
        """Return what has the focus: the id of a row with its control, the name of another element, or "" if
        nothing has it.
        """
        found: str = await self._page.evaluate(_WHERE)
        return found

    async def get_to(self, place: str) -> None:
        while await self.where() != place:
            await asyncio.sleep(0)


@pytest.mark.long
async def test_keys_do_the_same_while_caps_lock_is_on(api: FakeApi, open_page: OpenPage) -> None:
    await api.put("a")
    async with open_page(api.url, locale="en-US") as page:
        await row(page, "a").focus()
        await page.keyboard.press("X")  # with Caps Lock on, the key reports a capital letter without Shift
        await expect(row(page, "a")).to_have_attribute("data-selected", "")
        await page.keyboard.press("Shift+X")
        await expect(row(page, "a")).to_have_attribute("data-selected", "")
        await page.keyboard.press("N")
        await expect(page.get_by_role("textbox", name="Link")).to_be_focused()


@pytest.mark.long
async def test_who_presses_what_an_empty_list_offers_keeps_a_place(api: FakeApi, open_page: OpenPage) -> None:
    await api.put("a")
    async with open_page(api.url, locale="en-US") as page:
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
        # Moves the focus by keys, which a browser treats otherwise than a script's focus.
        await keys.press("Shift+Tab", "Tab")
        assert await keys.where() == "from-elsewhere"
        await api.put("b")
        await expect(row(page, "b")).to_be_visible()
        assert await keys.where() == "tasks"


@pytest.mark.wide
async def test_a_link_is_sent_followed_saved_played_and_deleted_by_keys_alone(
    api: FakeApi, open_page: OpenPage
) -> None:
    await api.put("old", "completed", video_info={"title": "Old"})
    async with (
        open_page(api.url, locale="en-US", has_clock=True, viewport={"width": 1280, "height": 800}) as page,
    ):
        keys = Keys(page)
        await keys.get_to("links")
        await page.keyboard.type("https://a.example/1")
        await keys.press("Enter")
        await expect(page.locator(".row")).to_have_count(2)
        [new] = api.tasks.keys() - {"old"}
        await keys.press("ArrowDown")  # from the field to the first row of the list
        assert await keys.where() == new
        await api.put(new, "download", video_info={"title": "New"}, downloaded_bytes=30_000_000)
        await expect(row(page, new)).to_contain_text("30 MB")

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
        await keys.press("l")  # the key works also on a control of the row
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

        await keys.press("ArrowRight", "ArrowRight", "ArrowLeft", "Escape")
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
        assert await keys.where()  # while the focus is in the list, a deleted row keeps its place
        await keys.press("j")
        assert await keys.where() == "old"
        await keys.press("n")
        await page.clock.run_for(4_000)
        await expect(page.locator(".row")).to_have_count(1)
        assert await keys.where() == "links"


async def test_a_row_is_one_stop_and_its_controls_are_reached_from_it(
    api: FakeApi, open_page: OpenPage
) -> None:
    film = {"files": {"video": "/v.mp4"}, "file_info": {"video": {"size": 1, "type": "video/mp4"}}}
    await api.put("b", "completed", video_info={"title": "Cake"}, **film)
    await api.put("a", "download", video_info={"title": "Bread"})
    async with open_page(api.url, locale="en-US") as page:
        await expect(row(page, "b")).to_be_visible()
        keys = Keys(page)
        await page.locator("#links").focus()
        for key in ("Escape", "n", "ArrowDown"):
            await keys.press(key)
        assert await keys.where() == "a"
        await keys.press("Tab")
        assert await keys.where() == "b"
        stops = []
        for _ in range(6):
            await keys.press("ArrowRight")
            stops.append(await keys.where())
        assert stops == ["b select", "b play", "b open", "b a", "b more", "b more"]
        for _ in range(3):
            await keys.press("ArrowLeft")
        assert await keys.where() == "b play"
        await keys.press("Escape", "Shift+Tab")
        assert await keys.where() == "a"
        await page.locator("#links").fill("https://a.example/1\nhttps://a.example/2")
        await page.keyboard.press("Home")
        await page.keyboard.press("Control+Home")
        # Down goes to the next line of the box; only at the end of the box does it go to the list.
        await page.keyboard.press("ArrowDown")
        assert await keys.where() == "links"
        await page.keyboard.press("Control+End")
        await page.keyboard.press("ArrowDown")
        assert await keys.where() == "a"
        await page.locator("#links").fill("https://a.example/1")
        await page.keyboard.press("Enter")
        await expect(page.locator(".row")).to_have_count(3)
        [sent] = set(api.tasks) - {"a", "b"}
        await page.keyboard.press("ArrowDown")
        assert await keys.where() == sent
        await keys.press("?")
        for words in ("go to the list", "first and last row", "buttons in the row"):
            await expect(page.get_by_role("dialog", name="Keys").get_by_text(words)).to_be_visible()


@pytest.mark.wide
async def test_one_press_goes_to_the_end_of_a_long_list_and_all_of_it_can_be_selected(
    api: FakeApi, open_page: OpenPage
) -> None:
    await api.put_many(450)
    async with open_page(api.url, locale="en-US") as page:
        await expect(page.locator("#filter[data-counted]")).to_be_attached()
        await page.locator("h1").click()
        await page.keyboard.press("Control+a")
        bar = page.get_by_role("toolbar")
        await expect(bar).to_contain_text("50 of 450 selected")
        await bar.get_by_role("button", name="Select all 450").click()
        await expect(bar).to_contain_text("450 selected")
        await expect(bar.get_by_role("button", name="Select all")).to_be_hidden()
        await page.keyboard.press("Escape")
        await page.reload()
        await expect(page.locator(".row").first).to_be_visible()
        await page.locator("h1").click()
        await page.keyboard.press("End")
        last = next(iter(api.tasks))
        await expect(row(page, last)).to_be_focused()
        await expect(row(page, last)).to_be_in_viewport()
        await page.keyboard.press("Home")
        await expect(row(page, next(reversed(api.tasks)))).to_be_focused()
