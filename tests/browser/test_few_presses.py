"""Frequent jobs take few presses, which the page counts from the paste or from the row.

Typed words do not count, nor do ticks and marks that choose entries.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from playwright.async_api import Locator, Page, expect

from tests.browser.conftest import OpenPage
from tests.browser.lists import row
from tests.browser.test_tasks import PATIENCE
from tests.fakes.api import FakeApi, open_api

pytestmark = pytest.mark.asyncio(loop_scope="session")

MOST = {"mouse": 2, "keys": 4, "touch": 3}
_LINK = "https://a.example/1"
_COUNT = """
    addEventListener("keydown", () => (window.presses += 1), true)
    addEventListener("pointerdown", () => (window.presses += 1), true)
    window.presses = 0
"""
_FILES = {"files": {"video": "/api/download/film.mp4"}, "file_info": {"video": {"type": "video/mp4"}}}


class Reader:
    """Works on a page by `means`: with the mouse, the keys, or touch."""

    def __init__(self, page: Page, api: FakeApi, means: str) -> None:
        self.page, self.api, self.means = page, api, means
        self.box = page.get_by_role("textbox", name="Link", exact=True)
        self.draft = page.locator("#draft")

    async def press(self, *targets: Locator) -> None:
        for target in targets:
            await (target.tap() if self.means == "touch" else target.click())

    async def keys(self, *keys: str) -> None:
        for key in keys:
            await self.page.keyboard.press(key)

    async def paste(self, link: str, verb: str) -> None:
        self.api.looks.setdefault(link, {"title": "Bread", "duration": 60})
        await self.box.fill(link)
        # From now on the verb of the draft does not change.
        await expect(self.draft).not_to_contain_text("Checking")
        await expect(self.draft.locator("[data-part=verb]")).to_have_text(verb)
        await expect(self.draft.locator("[data-part=verb]")).to_be_enabled()

    async def menu(self, task_id: str, name: str) -> None:
        item = self.page.get_by_role("menuitem", name=name, exact=True)
        await self.press(row(self.page, task_id).locator("[data-action=more]"), item)

    @asynccontextmanager
    async def saying_which(self) -> AsyncIterator[None]:
        before = await self.page.evaluate("presses")
        yield
        await self.page.evaluate("(before) => (presses = before)", before)


async def link_to_file(reader: Reader) -> None:
    page, api = reader.page, reader.api
    await reader.paste(_LINK, "Download")
    if reader.means == "keys":
        await reader.keys("Enter")
    else:
        await reader.press(reader.draft.locator("[data-part=verb]"))
    await expect(page.locator(".row")).to_have_count(1)
    [name] = api.tasks
    await page.mouse.move(1, 1)  # a button that comes under the pointer is not pressed by mistake
    await api.put(name, "completed", **_FILES)
    save = row(page, name).get_by_role("link", name="Save video")
    await expect(save).to_be_visible()
    async with page.expect_download():
        if reader.means == "keys":
            await reader.keys("ArrowDown", "s")
        else:
            await reader.press(save)


async def three_of_twelve(reader: Reader) -> None:
    entries = [{"index": n, "title": f"Film {n}"} for n in range(1, 13)]
    reader.api.looks[_LINK] = {"title": "Films", "entries": entries, "total_entries": 12}
    dialog = reader.page.get_by_role("dialog", name="Films")
    await reader.paste(_LINK, "Choose from 12")
    if reader.means == "keys":
        await reader.keys("Enter")
        await expect(dialog.locator("[value='1']")).to_be_focused()
        async with reader.saying_which():
            await reader.keys("Space", "ArrowDown", "ArrowDown", "Space", "ArrowDown", "Space")
        await reader.keys("Enter")
    else:
        await reader.press(reader.draft.locator("[data-part=verb]"))
        async with reader.saying_which():
            await reader.press(*(dialog.locator(f"[value='{n}']") for n in (1, 3, 4)))
        await reader.press(dialog.get_by_role("button", name="Download 3"))
    await expect(reader.page.locator(".row")).to_have_count(1)
    [task] = reader.api.tasks.values()
    assert task["request"]["playlist_items"] == "1,3-4"


async def mp3(reader: Reader) -> None:
    await reader.paste(_LINK, "Download")
    if reader.means == "keys":
        await reader.keys("Tab", "ArrowLeft", "Enter")
    else:
        audio = reader.page.locator("#choices .chips span", has_text="Audio").last
        await reader.press(audio, reader.draft.locator("[data-part=verb]"))
    await expect(reader.page.locator(".row")).to_have_count(1)
    [task] = reader.api.tasks.values()
    assert (task["request"]["outputs"], task["request"]["audio_format"]) == (["audio"], "mp3")


async def retry(reader: Reader) -> None:
    await reader.api.put("a", "failed", error="Download failed: HTTP 500")
    if reader.means == "keys":
        await row(reader.page, "a").focus()
        await reader.keys("r")
    else:
        await reader.press(row(reader.page, "a").get_by_role("button", name="Try again"))
    await expect(row(reader.page, "a")).to_have_attribute("data-stage", "queued")


async def cancel_and_take_back(reader: Reader) -> None:
    await reader.api.put("a", "download")
    element = row(reader.page, "a")
    match reader.means:
        case "keys":
            await element.focus()
            await reader.keys("c")
            await expect(element).to_have_attribute("data-leaving", "cancelled")
            await reader.keys("z")
        case "mouse":
            await element.hover()
            await reader.press(element.get_by_role("button", name="Cancel"))
            await reader.press(element.get_by_role("button", name="Undo"))
        case _:
            await reader.menu("a", "Cancel")
            await reader.press(element.get_by_role("button", name="Undo"))
    await expect(element).to_have_attribute("data-stage", "queued")


async def one_of_2500(reader: Reader) -> None:
    await reader.api.put("wanted", "completed", video_info={"title": "The wanted one"})
    await reader.api.put_many(2_499)
    await reader.page.reload()
    search = reader.page.get_by_role("searchbox")
    if reader.means == "keys":
        await reader.page.locator(".row").first.focus()
        await reader.keys("/")
    else:
        await reader.press(reader.page.locator("#find") if reader.means == "touch" else search)
    await expect(search).to_be_focused()
    await reader.page.keyboard.insert_text("wanted")
    await expect(reader.page.locator(".row")).to_have_count(1)
    await expect(row(reader.page, "wanted")).to_be_visible()


async def follow(reader: Reader) -> None:
    entries = [{"index": 1, "title": "Film 1"}]
    reader.api.looks[_LINK] = {"title": "Films", "entries": entries, "total_entries": 1}
    await reader.paste(_LINK, "Choose from 1")
    subscribe = reader.draft.get_by_role("button", name="Subscribe")
    if reader.means == "keys":
        await reader.keys("ArrowDown", "Tab", "Enter")
    else:
        await reader.press(subscribe)
    await expect(reader.page.locator("#subscriptions")).to_be_visible()
    assert [one["url"] for one in reader.api.subscriptions.all.values()] == [_LINK]


async def watch_while_it_comes(reader: Reader) -> None:
    await reader.api.put("a", "download")
    if reader.means == "keys":
        await row(reader.page, "a").focus()
        await reader.keys("Space")
    else:
        await reader.menu("a", "Play")
    await expect(reader.page.locator("#player :is(video, audio)")).to_be_visible()


async def delete_50_old(reader: Reader) -> None:
    page = reader.page
    await reader.api.put("new", "completed", completed_at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
    await reader.api.put_many(50, completed_at="2025-01-01T00:00:00Z")
    await page.reload()
    await expect(row(page, "new")).to_be_visible()
    if reader.means == "keys":
        await row(page, "new").focus()
        await reader.keys("o")
        await expect(page.get_by_role("menuitem", name="7 days")).to_be_focused()
        await reader.keys("ArrowDown", "Enter")
        await expect(page.get_by_role("button", name="Delete 50")).to_be_focused()
        await reader.keys("Enter")
    else:
        async with reader.saying_which():
            await mark(reader, "new")
        await reader.press(
            page.get_by_role("button", name="Older than…"),
            page.get_by_role("menuitem", name="30 days"),
            page.get_by_role("button", name="Delete 50"),
        )
    await expect(page.locator("#undone")).to_contain_text("50 deleted.")


async def mark(reader: Reader, task_id: str) -> None:
    """Begin a selection with the mark of a row, or with a long touch."""
    element = row(reader.page, task_id)
    if reader.means == "mouse":
        await element.hover()
        await element.get_by_role("button", name="Select").click()
        return
    session = await reader.page.context.new_cdp_session(reader.page)
    place = await element.locator(".title").bounding_box()
    assert place
    at = [{"x": place["x"] + 9, "y": place["y"] + 9}]
    await session.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": at})
    await expect(element).to_have_attribute("data-selected", "")
    await session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


async def onto_a_phone(reader: Reader) -> None:
    await reader.api.put("a", "completed", **_FILES)
    if reader.means == "keys":
        await row(reader.page, "a").focus()
        await reader.keys("e")
    else:
        await reader.menu("a", "Send to…")
    await expect(reader.page.get_by_role("img", name="QR code")).to_be_visible()


Way = Callable[[Reader], Awaitable[None]]
WAYS: dict[Way, int] = {  # a way to do a job -> presses that it takes beyond the usual number
    link_to_file: 0,
    three_of_twelve: 0,
    mp3: 0,
    retry: 0,
    cancel_and_take_back: 0,
    one_of_2500: 0,
    follow: 0,
    watch_while_it_comes: 0,
    delete_50_old: 1,
    onto_a_phone: 0,
}
_TOUCH = {"viewport": {"width": 390, "height": 760}, "has_touch": True, "is_mobile": True}


@pytest.mark.wide
@pytest.mark.parametrize("means", MOST)
async def test_what_readers_come_for_takes_few_presses(open_page: OpenPage, means: str) -> None:
    look = _TOUCH if means == "touch" else {}
    async with (
        asyncio.timeout(2 * PATIENCE),
        open_page("about:blank", is_listed=False, locale="en-US", **look) as page,
    ):
        await page.context.add_init_script(_COUNT)
        presses = {}
        for way, more in WAYS.items():
            async with open_api() as api:
                await page.goto(api.url_elsewhere)
                await page.locator("#connection[data-state=live]").wait_for()
                await page.mouse.move(1, 1)  # the list holds its changes while the pointer is on it
                await way(Reader(page, api, means))
                presses[way.__name__] = await page.evaluate("presses") - more
        assert {name: count for name, count in presses.items() if not 0 < count <= MOST[means]} == {}
