"""A list of thousands of tasks: every task can be reached, few rows are in the document, and nothing
jumps.
"""

import asyncio
import base64
import re

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import OpenPage
from tests.browser.lists import (
    count_nodes,
    in_sight,
    load_all,
    row,
    scroll_through,
    scroll_to,
    shown,
    titles,
)
from tests.fakes.api import FakeApi

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.long]
MOST_NODES = 10_000
MOST_ROWS = 80
DESKTOP = {"width": 1280, "height": 800}
PICTURE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)

_WRITE_NO_TITLES = """() => {
    const real = window.setTimeout
    window.setTimeout = (callback, ms, ...rest) => ms === 500 ? 0 : real(callback, ms, ...rest)
}"""
_FIRST_OF_GAPS = """() => {
    const high = document.querySelector(".row .line").offsetHeight
    return [...document.querySelectorAll(".gap")].map((gap) => [
        Math.round(new DOMMatrix(gap.style.transform).m42 / high), gap.textContent.split("\\n")[0],
    ])
}"""


async def has_titles(page: Page, expected: list[str]) -> None:
    """Wait until rows and gaps together have these titles; a gap gets its titles a moment after it
    appears.
    """
    while await titles(page) != expected:
        await asyncio.sleep(0.05)


async def test_5000_tasks_are_all_reached_by_scrolling_with_few_nodes(
    api: FakeApi, open_page: OpenPage
) -> None:
    info = {"video": {"size": 1, "type": "video/mp4"}}
    await api.put_many(5_000, files={"video": "/v.mp4"}, file_info=info)
    newest_first = [task["url"].removeprefix("https://") for task in reversed(api.tasks.values())]
    async with open_page(api.url, viewport=DESKTOP) as page:
        session = await page.context.new_cdp_session(page)
        await load_all(page)
        await page.locator("body").click(position={"x": 5, "y": 5})
        await page.keyboard.press("End")
        await expect(row(page, "task-0001")).to_be_in_viewport()
        await expect(page.locator(".row").last).to_have_attribute("aria-posinset", "5000")
        await expect(page.locator(".section h2 .count")).to_have_text("5,000")
        await has_titles(page, newest_first)
        assert await count_nodes(session) < MOST_NODES
        height = await page.evaluate("document.documentElement.scrollHeight")
        for y in range(0, height, height // 5):
            await scroll_to(page, y)
            assert 7 < len(await in_sight(page)) < 14
            assert await page.locator(".row").count() <= MOST_ROWS
            await has_titles(page, newest_first)
        assert await count_nodes(session) < MOST_NODES
        # Every request was for a full page.
        assert len([request for request in api.requests if "cursor=" in request]) == 25


async def test_a_task_that_is_far_down_is_found_by_its_title(api: FakeApi, open_page: OpenPage) -> None:
    """The browser's own search in the page finds it."""
    await api.put_many(150)
    await api.put("bread", "completed", video_info={"title": "How to bake bread"})
    await api.put_many(150)
    async with open_page(api.url, viewport=DESKTOP) as page:
        await scroll_through(page)
        await scroll_to(page, 0)
        await expect(row(page, "bread")).to_have_count(0)
        await expect(page.locator(".gap", has_text="How to bake bread")).to_have_count(1)
        assert await page.evaluate("window.find('How to bake bread')")
        await expect(row(page, "bread")).to_be_in_viewport()


async def test_no_title_of_a_gap_stands_where_another_row_would_be(api: FakeApi, open_page: OpenPage) -> None:
    """Not even before the gap has its titles: the browser's search would lead to the wrong place."""
    await api.put_many(300)
    newest_first = [task["url"].removeprefix("https://") for task in reversed(api.tasks.values())]
    async with open_page(api.url, viewport=DESKTOP) as page:
        await scroll_through(page)
        await has_titles(page, newest_first)
        await page.evaluate(_WRITE_NO_TITLES)
        for y in (0, 4_000, 12_000, 0):
            await scroll_to(page, y)
            for position, title in await page.evaluate(_FIRST_OF_GAPS):
                assert title in ("", newest_first[position])
        assert [title for _, title in await page.evaluate(_FIRST_OF_GAPS) if title]


async def test_gaps_are_not_read_aloud_and_rows_say_where_they_stand(
    api: FakeApi, open_page: OpenPage
) -> None:
    await api.put_many(45)
    async with open_page(api.url, viewport=DESKTOP) as page:
        assert await page.locator(".gap:not([aria-hidden=true])").count() == 0
        rows = page.get_by_role("list", name="2025年3月").get_by_role("listitem")
        await expect(rows.first).to_have_attribute("aria-posinset", "1")
        await expect(rows.first).to_have_attribute("aria-setsize", "45")
        await api.put("new", "completed")
        await expect(rows.first).to_have_attribute("data-id", "new")
        await expect(rows.nth(1)).to_have_attribute("aria-posinset", "2")


async def test_the_keyboard_goes_through_a_list_longer_than_the_document(
    api: FakeApi, open_page: OpenPage
) -> None:
    await api.put_many(60)
    async with open_page(api.url, viewport=DESKTOP) as page:
        await page.locator(".row").first.get_by_role("button").first.focus()
        passed: list[str] = []
        while "task-0001" not in passed:
            focused = await page.evaluate("document.activeElement.closest('.row')?.dataset.id ?? ''")
            assert focused
            if focused not in passed:
                passed.append(focused)
            await page.keyboard.press("Tab")
        assert passed == list(reversed(api.tasks))
        await page.keyboard.press("Shift+Tab")
        await scroll_to(page, 0)
        assert await page.evaluate("document.activeElement.closest('.row').dataset.id") == "task-0001"
        # The focus moves on from the focused row, not from the rows in sight.
        await page.keyboard.press("Shift+Tab")
        await expect(row(page, "task-0001")).to_be_in_viewport()


@pytest.mark.parametrize("native", ["auto", "none"])
async def test_what_is_read_stays_where_it_is_while_tasks_come_and_go_above(
    api: FakeApi, open_page: OpenPage, native: str
) -> None:
    """Also in a browser that does not anchor the scroll position by itself."""
    await api.put_many(200)
    async with open_page(api.url, viewport=DESKTOP) as page:
        await page.evaluate("value => (document.documentElement.style.overflowAnchor = value)", native)
        await scroll_through(page)
        await scroll_to(page, 9_000)
        before = await in_sight(page)
        await api.put_many(1)
        await api.put("new too", "completed")
        await api.remove("task-0195")
        await api.put("new", "download")  # this task is listed above all others
        await expect(page).to_have_title("1 个进行中 – Clipwire")
        await page.evaluate("() => new Promise((done) => setTimeout(done, 300))")
        assert await in_sight(page) == before


async def test_an_opened_row_that_comes_back_into_sight_shows_what_its_task_has_become(
    api: FakeApi, open_page: OpenPage
) -> None:
    """While rows are held, the list shows the tasks as they were."""
    await api.put_many(150, files={"video": "/api/download/v.mp4", "audio": "/api/download/old.mp3"})
    async with open_page(api.url) as page:
        first, _, third = (await shown(page))[:3]
        await row(page, first).locator("[data-action=open]").click()
        save = row(page, first).get_by_role("link", name="保存音频")
        await expect(save).to_have_attribute("href", re.compile("old.mp3$"))
        # The focused row stays in the document, and so do its neighbours.
        await row(page, third).locator("[data-action=open]").focus()
        await scroll_to(page, 6_000)
        await expect(row(page, first)).to_have_count(0)
        files = {"video": "/api/download/v.mp4", "audio": "/api/download/new.mp3"}
        await api.put(first, "completed", files=files)
        await api.put("another", "download")
        # The title shows that the page knows both tasks.
        await expect(page).to_have_title("1 个进行中 – Clipwire")
        await scroll_to(page, 0)
        await expect(save).to_have_attribute("href", re.compile("new.mp3$"))


@pytest.mark.parametrize("native", ["auto", "none"])
async def test_a_row_that_moves_away_does_not_take_the_window_along(
    api: FakeApi, open_page: OpenPage, native: str
) -> None:
    await api.put_many(100)
    async with open_page(api.url, viewport=DESKTOP) as page:
        await page.evaluate("value => (document.documentElement.style.overflowAnchor = value)", native)
        await scroll_through(page)
        await scroll_to(page, 5_000)
        first, *others = (await in_sight(page)).items()
        await api.put(first[0], "download")
        await expect(page).to_have_title("1 个进行中 – Clipwire")
        await page.evaluate("() => new Promise((done) => setTimeout(done, 300))")
        now = await in_sight(page)
        assert {name: now[name] for name, _ in others[1:-1]} == dict(others[1:-1])


async def test_at_the_top_what_is_new_is_seen(api: FakeApi, open_page: OpenPage) -> None:
    await api.put_many(60)
    async with open_page(api.url, viewport=DESKTOP) as page:
        await api.put("new", "download")
        await expect(row(page, "new")).to_be_in_viewport()


async def test_pictures_are_asked_for_only_where_there_are_any_and_only_of_rows_that_are_there(
    api: FakeApi, open_page: OpenPage
) -> None:
    for number in range(100):
        name = f"p{number:02}"
        api.pictures[name] = PICTURE
        link = {"thumbnail": f"/api/tasks/{name}/thumbnail"} if number % 2 else {}
        await api.put(name, "completed", video_info={"title": name}, **link)
    async with open_page(api.url, viewport=DESKTOP) as page:
        await expect(row(page, "p99").locator("img")).to_have_js_property("naturalWidth", 1)
        await expect(row(page, "p98").locator("img")).to_be_hidden()
        asked = {request.split("/")[3] for request in api.requests if request.endswith("/thumbnail?w=192")}
        assert asked
        assert asked <= {f"p{number:02}" for number in range(60, 100) if number % 2}
        await api.put("p98", "completed", thumbnail="/api/tasks/p98/thumbnail")
        await expect(row(page, "p98").locator("img")).to_be_visible()


async def test_a_narrower_window_keeps_the_rows_in_their_places(api: FakeApi, open_page: OpenPage) -> None:
    await api.put_many(80, video_info={"title": "A long title that is broken into lines " * 4})
    async with open_page(api.url, viewport=DESKTOP) as page:
        assert await scroll_through(page) == list(reversed(api.tasks))
        await page.set_viewport_size({"width": 360, "height": 740})
        assert await scroll_through(page) == list(reversed(api.tasks))
