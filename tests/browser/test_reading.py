"""A reader scrolls through a long list: each row is seen once, and rows that are loaded below move
nothing.
"""

import asyncio
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import OpenPage
from tests.browser.lists import in_sight, row, scroll_to
from tests.chromium import chromium
from tests.fakes.api import FakeApi

pytestmark = pytest.mark.asyncio(loop_scope="session")
PATIENCE = 90
DESKTOP: dict[str, Any] = {"viewport": {"width": 1280, "height": 900}}
PHONE: dict[str, Any] = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
# Checks each frame: a row of the frame before is at the same place of the document, and the window has moved
# down, by less than its own height. `seen` has the rows in the order in which they came into sight, `again`
# those that came into sight twice.
_WATCH = """() => {
    window.watched = { seen: [], again: [], moved: [], jumps: [] }
    let [before, sight, y] = [new Map(), new Set(), scrollY]
    const known = new Set()
    const look = () => {
        const [now, inSight] = [new Map(), []]
        for (const row of document.querySelectorAll(".row")) {
            const { top, bottom } = row.getBoundingClientRect()
            const id = row.dataset.id
            now.set(id, Math.round(top + scrollY))
            if ((before.get(id) ?? now.get(id)) !== now.get(id)) watched.moved.push(id)
            if (bottom > 0 && top < innerHeight) inSight.push([top, id])
        }
        for (const [, id] of inSight.sort(([a], [b]) => a - b)) {
            if (sight.has(id)) continue
            if (known.has(id)) watched.again.push(id)
            else watched.seen.push(id)
            known.add(id)
        }
        if (scrollY < y || scrollY > y + innerHeight) watched.jumps.push([y, scrollY])
        ;[before, sight, y] = [now, new Set(inSight.map(([, id]) => id)), scrollY]
        watched.frame = requestAnimationFrame(look)
    }
    look()
}"""
_FRAME = "() => new Promise((done) => requestAnimationFrame(() => done(scrollY)))"
_IS_TURNED = """([wanted, delta]) => {
    if (scrollY + innerHeight >= document.documentElement.scrollHeight - 1) return scrollY
    return scrollY >= wanted && wanted + delta
}"""
_IS_AT_END = """() => scrollY + innerHeight >= document.documentElement.scrollHeight - 1
    && !document.querySelector("[aria-setsize='-1']")"""


async def fill(api: FakeApi, count: int) -> None:
    """Put tasks in all states; they have ended in another order than they were added in."""
    chance, now = random.Random(7), datetime.now(UTC).replace(microsecond=0)
    for number in range(count):
        kind = chance.choices(("completed", "failed", "paused", "queued"), (5, 1, 3, 3))[0]
        ended = now - timedelta(minutes=chance.randint(0, 200_000))
        fields = {"completed_at": ended.isoformat()[:19] + "Z"} if kind in ("completed", "failed") else {}
        await api.put_many(
            1, kind, video_info={"title": f"Film {number}"}, priority=chance.randint(-1, 1), **fields
        )
    for task_id in chance.sample(sorted(api.tasks), 3):
        await api.put(task_id, "download", progress=40)


async def watched(page: Page) -> dict[str, Any]:
    found: dict[str, Any] = await page.evaluate("watched")
    return found


async def read_to_the_end(page: Page, delta: int) -> None:
    """Turn the wheel notch by notch to the end of the list, and wait for each notch until the browser has
    scrolled.
    """
    await page.evaluate(_WATCH)
    wanted = 0
    while not await page.evaluate(_IS_AT_END):
        await page.mouse.wheel(0, delta)
        wanted = await (await page.wait_for_function(_IS_TURNED, arg=[wanted, delta])).json_value()
    await page.evaluate(_FRAME)


def assert_was_read(found: dict[str, Any], expected: list[str]) -> None:
    assert found["jumps"] == []
    assert found["moved"] == []
    assert found["again"] == []
    assert found["seen"] == expected


@pytest.mark.long
async def test_5000_rows_are_read_by_the_wheel_and_each_is_seen_once(
    api: FakeApi, open_page: OpenPage
) -> None:
    await fill(api, 5_000)
    async with asyncio.timeout(10 * PATIENCE), open_page(api.url, **DESKTOP) as page:
        await page.mouse.move(3, 450)
        await read_to_the_end(page, 400)
        assert_was_read(await watched(page), api.in_order(sort="state"))


BESIDE, ON, FOCUS = "beside the list", "on the list", "on the list, with the focus in it"


@pytest.mark.wide
@pytest.mark.parametrize(
    ("where", "view", "sort"),
    [
        (BESIDE, "", {"sort": "state"}),
        pytest.param(ON, "", {"sort": "state"}, marks=pytest.mark.long),
        pytest.param(FOCUS, "", {"sort": "state"}, marks=pytest.mark.long),
        pytest.param(
            ON, "?show=waiting", {"sort": "state", "stage": "queued,paused"}, marks=pytest.mark.long
        ),
        pytest.param(ON, "?show=completed", {"sort": "state", "status": "completed"}, marks=pytest.mark.long),
        pytest.param(ON, "?sort=added", {}, marks=pytest.mark.long),
        pytest.param(ON, "?q=Film", {"sort": "state", "q": "Film"}, marks=pytest.mark.long),
    ],
)
async def test_what_is_loaded_below_comes_at_once_and_moves_nothing(
    api: FakeApi, open_page: OpenPage, where: str, view: str, sort: dict[str, str]
) -> None:
    await fill(api, 280)  # three pages of tasks
    async with open_page(api.url + view, **DESKTOP) as page:
        if where == FOCUS:
            await page.locator(".row").first.get_by_role("button").first.focus()
        await page.mouse.move(3 if where == BESIDE else 640, 450)
        await read_to_the_end(page, 600)
        assert_was_read(await watched(page), api.in_order(**sort))


@pytest.mark.long
async def test_a_finger_reads_on_without_a_stop(api: FakeApi, open_page: OpenPage) -> None:
    await fill(api, 130)
    async with open_page(api.url, **PHONE) as page:
        session = await page.context.new_cdp_session(page)
        await page.evaluate(_WATCH)
        while not (await page.evaluate(_IS_AT_END)):
            # The finger rests before it leaves the screen.
            moves = (("touchMove", y) for y in (*range(640, 39, -120), 40, 40))
            for kind, y in (("touchStart", 660), *moves):
                touch = {"type": kind, "touchPoints": [{"x": 180, "y": y}]}
                await session.send("Input.dispatchTouchEvent", touch)
                await page.evaluate(_FRAME)
            await session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
            await page.evaluate(_FRAME)
        assert_was_read(await watched(page), api.in_order(sort="state"))


async def grown(page: Page, height: int) -> int:
    """Wait until the document is higher than `height`; return its height."""
    found: int = await (
        await page.wait_for_function(
            "height => { const now = document.documentElement.scrollHeight; return now > height && now }",
            arg=height,
        )
    ).json_value()
    return found


@pytest.mark.wide
async def test_the_end_key_goes_to_the_very_end_in_one_press_and_the_view_stays_there(
    api: FakeApi, open_page: OpenPage
) -> None:
    await fill(api, 500)
    async with open_page(api.url, **DESKTOP) as page:
        last = api.in_order(sort="state")[-1]
        await page.locator("body").click(position={"x": 3, "y": 450})
        await page.keyboard.press("End")
        await expect(row(page, last)).to_be_focused()
        await expect(row(page, last)).to_be_in_viewport()
        before = await in_sight(page)
        await page.evaluate(_FRAME)
        assert await in_sight(page) == before


@pytest.mark.wide
async def test_what_the_browsers_search_has_found_stays_in_sight_while_more_is_loaded(
    api: FakeApi, open_page: OpenPage
) -> None:
    await fill(api, 600)
    async with open_page(api.url, **DESKTOP) as page:
        expected = api.in_order(sort="state")
        await scroll_to(page, 1_000_000)
        await expect(
            page.locator(".gap", has_text=api.tasks[expected[240]]["video_info"]["title"])
        ).not_to_have_count(0)
        await scroll_to(page, 0)
        title = api.tasks[expected[245]]["video_info"]["title"]
        assert await page.evaluate("title => window.find(title)", title)
        await expect(row(page, expected[245])).to_be_in_viewport()
        await expect(
            page.locator(".gap", has_text=api.tasks[expected[440]]["video_info"]["title"])
        ).not_to_have_count(0)
        await expect(row(page, expected[245])).to_be_in_viewport()


@pytest.mark.wide
async def test_who_drags_the_scroll_bar_sees_more_come_below_and_nothing_move(api: FakeApi) -> None:
    await fill(api, 600)
    async with chromium(refused=["--hide-scrollbars"]) as browser:
        page = await browser.new_page(**DESKTOP)
        await page.goto(api.url)
        await page.locator("#tasks[data-listed]").wait_for(state="attached")
        assert await page.evaluate("innerWidth > document.documentElement.clientWidth")
        height = await page.evaluate("document.documentElement.scrollHeight")
        await page.evaluate(_WATCH)
        await page.mouse.move(1_274, 20)
        await page.mouse.down()
        for y in (200, 400, 600, 895):
            await page.mouse.move(1_274, y)
        height = await grown(page, height)
        await page.evaluate(_FRAME)
        before = await in_sight(page)
        assert before
        await page.mouse.move(1_274, 894)  # a hand on the mouse never is quite still
        await page.evaluate(_FRAME)
        now = await in_sight(page)
        assert all(abs(now[name] - before[name]) < 100 for name in now if name in before)
        assert now.keys() & before.keys()
        await page.mouse.up()
        await page.evaluate(_FRAME)
        assert await in_sight(page) == now
        assert (await watched(page))["moved"] == []
