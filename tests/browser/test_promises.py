"""The page keeps its promises: how many rows fit, what stays in its place, and how controls are called."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, Route, expect

from tests.browser.conftest import OpenPage
from tests.browser.lists import row
from tests.fakes.api import FakeApi
from tests.pictures.__main__ import seen
from tests.pictures.scenes import SCENES
from tests.service import Services
from tests.site import open_site, probe

pytestmark = pytest.mark.asyncio(loop_scope="session")
PHONE: dict[str, Any] = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
DESKTOP: dict[str, Any] = {"viewport": {"width": 1280, "height": 900}}
_SMALL = """() => [...document.querySelectorAll("button, a, select, input, textarea, summary")]
    .filter((e) => !e.matches(".title button, .chips input") && e.checkVisibility({ visibilityProperty: 1 }))
    .map((e) => [e.getBoundingClientRect(), e.outerHTML.slice(0, 80)])
    .filter(([box]) => box.width < 44 || box.height < 44).map(([, html]) => html)"""
_CUT = """() => [document.documentElement, ...document.querySelectorAll("header *, #filter *, .entry-line *")]
    .filter((e) => !e.matches(".unseen, .brand span, .icon, .icon *, #connection, input, [popover]"))
    .filter((e) => e.checkVisibility({ visibilityProperty: 1 }))
    .filter((e) => e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).display !== "inline"
        || e.getBoundingClientRect().right > innerWidth || e.getBoundingClientRect().left < 0)
    .map((e) => e.outerHTML.slice(0, 80))"""
_OUTSIDE = """(dialog) => [...dialog.querySelectorAll("*")]
    .filter((e) => e.checkVisibility({ visibilityProperty: 1 }))
    .filter((e) => !e.matches(".unseen, option, svg *") && getComputedStyle(e).display !== "inline")
    .filter((e) => e.getBoundingClientRect().right > dialog.getBoundingClientRect().right)
    .map((e) => e.outerHTML.slice(0, 80))"""
_PLAYS = """(video) => new Promise((done) => {
    if (video.currentTime) done()
    else video.ontimeupdate = done
})"""
_PAINTED = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
# The browser tells shifts later than they happen, in the order of all entries. A new window counts as input.
_WATCH_SHIFTS = """
    window.shifts = []
    window.seen = new Promise((done) => {
        const observer = new PerformanceObserver((list) => {
            for (const entry of list.getEntries()) {
                if (entry.name === "seen") done(shifts)
                else shifts.push([entry.startTime, entry.value])
            }
        })
        observer.observe({ entryTypes: ["layout-shift", "mark"] })
    })"""
_ALL_SHIFTS = "() => (performance.mark('seen'), seen)"
_SHIFTS = """() => new Promise((done) => {
    const found = []
    const observer = new PerformanceObserver((list) => {
        for (const entry of list.getEntries()) {
            if (entry.entryType === "mark") done(found)
            else if (!entry.hadRecentInput) found.push([entry.startTime, entry.value])
        }
    })
    observer.observe({ type: "layout-shift", buffered: true })
    observer.observe({ type: "mark" })
    performance.mark("seen")
})"""
_SHIFTS = """() => {
    window.shifts = []
    const observer = new PerformanceObserver((list) => {
        for (const entry of list.getEntries()) {
            if (!entry.hadRecentInput) shifts.push([entry.startTime, entry.value])
        }
    })
    observer.observe({ type: "layout-shift", buffered: true })
}"""


async def whole_rows(page: Page) -> int:
    """Count the rows that are in sight as a whole."""
    count: int = await page.locator(".row > .line").evaluate_all(
        "rows => rows.filter((row) => row.getBoundingClientRect().bottom <= innerHeight).length"
    )
    return count


@pytest.mark.wide
async def test_things_are_called_what_they_are_for_those_who_listen(
    api: FakeApi, open_page: OpenPage
) -> None:
    loading = {"progress": 25, "downloaded_bytes": 1, "total_bytes": 4}
    await api.put("a", "download", video_info={"title": "Bread"}, **loading)
    film = {"files": {"video": "/v.mp4"}, "file_info": {"video": {"size": 1, "type": "video/mp4"}}}
    ended = "2024-02-10T12:00:00Z"
    await api.put("b", "completed", completed_at=ended, video_info={"title": "Cake"}, **film)
    async with open_page(api.url, locale="en-US") as page:
        await expect(page.get_by_role("textbox", name="Link", exact=True)).to_be_visible()
        await expect(page.get_by_role("searchbox", name="Search", exact=True)).to_be_visible()
        for name in ("Now", "February 2024"):
            await expect(page.get_by_role("list", name=name).get_by_role("listitem")).to_have_count(1)
        bread, cake = (page.get_by_role("listitem", name=name, exact=True) for name in ("Bread", "Cake"))
        await expect(bread).to_have_attribute("aria-setsize", "1")
        await expect(bread.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "25")
        await expect(bread.get_by_role("button", name="Pause", exact=True)).to_be_visible()
        await expect(cake.get_by_role("button", name="Play", exact=True)).to_be_visible()
        save = cake.get_by_role("link", name="Save video", exact=True)
        await expect(save).to_have_accessible_description("Cake")
        await bread.get_by_role("button", name="More", exact=True).click()
        for name in ("Cancel", "Log", "Delete", "Select"):
            await expect(page.get_by_role("menuitem", name=name, exact=True)).to_be_visible()


@pytest.mark.long
async def test_nine_rows_fit_on_a_desktop_and_a_phone_begins_them_near_the_top(
    api: FakeApi, open_page: OpenPage
) -> None:
    await api.put_many(40, "download")
    async with open_page(api.url, **DESKTOP) as page:
        assert await whole_rows(page) >= 9
        box = await page.locator(".row").first.bounding_box()
        assert box
        assert box["height"] == 72
    async with open_page(api.url, **PHONE) as page:
        box = await page.locator(".row").first.bounding_box()
        text = await page.locator(".row .text").first.bounding_box()
        assert box
        assert text
        assert (box["height"], box["y"] <= 300, text["width"] >= 170) == (88, True, True)


@pytest.mark.long
async def test_nothing_jumps_while_tasks_come_run_and_go(api: FakeApi, open_page: OpenPage) -> None:
    async with open_page(api.url, **PHONE) as page:
        await page.evaluate(_SHIFTS)
        for number in range(60):
            await api.put(f"t{number}", "download", downloaded_bytes=number, total_bytes=100, speed=1e6)
        await expect(page.locator(".row").first).to_be_visible()
        for number in range(60):
            await api.put(f"t{number}", "completed", progress=100)
        await expect(page.locator(".row[data-stage=completed]").first).to_be_visible()
        for number in range(60):
            await api.remove(f"t{number}")
        await expect(page.get_by_text("粘贴视频")).to_be_visible()
        assert _worst_window(await page.evaluate("shifts")) <= 0.02


@pytest.mark.wide
@pytest.mark.parametrize(
    ("asked", "remembered"), [("*", None), ("zh", None), ("zh", "en"), ("*", "en")], ids=str
)
async def test_nothing_moves_at_the_begin_in_whatever_language(
    api: FakeApi, open_page: OpenPage, asked: str, remembered: str | None
) -> None:
    """Also when the page comes in another language, because the browser names none or remembers one."""
    await api.put_many(3, "completed")
    profile = {**PHONE, "viewport": {"width": 320, "height": 640}, "locale": "en-US"}
    async with open_page("about:blank", is_listed=False, **profile) as page:
        choose = f"; localStorage.setItem('clipwire.language', '\"{remembered}\"')" if remembered else ""
        await page.add_init_script(_WATCH_SHIFTS + choose)
        may_come = asyncio.Event()

        async def hold(route: Route) -> None:
            await may_come.wait()
            await route.continue_()

        async def ask(route: Route) -> None:  # the browser itself would name its language
            headers = await route.request.all_headers() | {"accept-language": asked}
            await route.fulfill(response=await route.fetch(headers=headers))

        await page.route(api.url, ask)
        await page.route("**/page.js*", hold)
        for visit in range(2):
            await page.goto(api.url, wait_until="commit")
            await page.locator("#offline").wait_for(state="attached")
            await page.evaluate(_PAINTED)
            may_come.set()
            await page.locator("#tasks[data-listed]").wait_for()
            await page.evaluate(_PAINTED)
            language = "zh" if asked == "zh" and not remembered else "en"
            await expect(page.locator("html")).to_have_attribute("lang", language)
            assert await page.evaluate(_ALL_SHIFTS) == [], visit

            may_come.clear()


def _worst_window(shifts: list[tuple[float, float]]) -> float:
    """Return the cumulative layout shift: the worst session window, of at most 5 s with gaps below 1 s."""
    sums = [0.0]
    began = last = -1e9
    for at, value in shifts:
        if at - last >= 1_000 or at - began >= 5_000:
            sums.append(0.0)
            began = at
        last = at
        sums[-1] += value
    return max(sums)


@pytest.mark.wide
@pytest.mark.parametrize("locale", ["en-US", "zh-CN"])
@pytest.mark.parametrize("width", [320, 360])
async def test_the_narrowest_screen_loses_nothing_of_header_and_filter(
    api: FakeApi, open_page: OpenPage, width: int, locale: str
) -> None:
    await api.put_many(4, "download", speed=1_500_000)
    await api.put_many(4, "queued")
    await api.put_many(11, "completed")
    await api.put_many(3, "failed")
    phone = {**PHONE, "viewport": {"width": width, "height": 640}, "locale": locale}
    async with open_page(api.url, **phone) as page:
        await page.locator("#find").click()
        await page.locator("input[value=failed] + span").click()
        await expect(page.locator("#retry-failed")).to_be_visible()
        assert await page.evaluate(_CUT) == []
        filters = await page.locator("#filter").bounding_box()
        assert filters
        assert filters["height"] <= 8 + 2 * 44  # the filters take at most two lines


@pytest.mark.wide
@pytest.mark.parametrize("locale", ["en-US", "zh-CN"])
@pytest.mark.parametrize("width", [640, 820])
async def test_a_page_at_200_percent_and_a_tablet_lose_nothing(
    api: FakeApi, open_page: OpenPage, width: int, locale: str
) -> None:
    await api.put_many(1, "completed", files={"video": "/api/download/v.mp4"})
    for stage in ("download", "queued", "completed", "failed"):
        await api.put_many(120, stage)
    wide = {**DESKTOP, "viewport": {"width": width, "height": 450}, "locale": locale}
    async with open_page(api.url, **wide) as page:
        await page.locator("#filter[data-counted]").wait_for(state="attached")
        above = await page.locator("#tasks").bounding_box()
        await page.locator("input[value=failed] + span").click()
        await expect(page.locator("#retry-failed")).to_be_visible()
        assert await page.evaluate(_CUT) == []
        search = await page.locator("#filter input[type=search]").bounding_box()
        assert search
        assert search["width"] >= 120
        assert search["x"] + search["width"] <= width - 16
        assert await page.locator("#tasks").bounding_box() == above


@pytest.mark.wide
@pytest.mark.parametrize(("name", "width"), [("settings", 320), ("clip", 640), ("subscription", 320)])
async def test_a_dialog_fits_into_a_narrow_window(browser: Browser, name: str, width: int) -> None:
    narrow = {"viewport": {"width": width, "height": 568}, "locale": "en-US"}
    async with seen(browser, SCENES[name], **narrow) as page:
        dialog = page.locator("dialog[open]").last
        assert await dialog.evaluate(_OUTSIDE) == []
        labels = (
            "dialog => [...dialog.querySelectorAll('.line span')].map((e) => e.scrollWidth - e.clientWidth)"
        )
        assert max(await dialog.evaluate(labels), default=0) <= 0


@pytest.mark.wide
@pytest.mark.parametrize("device", [PHONE, DESKTOP], ids=["phone", "desktop"])
@pytest.mark.parametrize("count", [0, 20])
async def test_nothing_moves_while_the_page_comes(
    api: FakeApi, open_page: OpenPage, device: dict[str, Any], count: int
) -> None:
    await api.put_many(count, "download")
    async with open_page(api.url, **device) as page:
        await page.evaluate(_SHIFTS)
        await expect(page.locator("#connection")).to_have_attribute("data-state", "live")
        assert await page.evaluate("shifts") == []


@pytest.mark.long
async def test_targets_are_large_enough_for_a_thumb(api: FakeApi, open_page: OpenPage) -> None:
    await api.put("a", "download")
    await api.put("b", "completed", files={"video": "/v.mp4"})
    async with open_page(api.url, **PHONE) as page:
        await expect(row(page, "b")).to_be_visible()
        small = await page.evaluate(_SMALL)
        assert small == []


@pytest.mark.long
async def test_somebody_who_has_never_seen_it_downloads_plays_and_saves_by_the_keyboard(
    services: Services, media: Path, tmp_path: Path, open_page: OpenPage
) -> None:
    """The test uses only visible things and their names; the focus is in the box at the beginning."""
    async with (
        open_site(media) as site,
        services.lend() as service,
        open_page(service.url, locale="en-US") as page,
    ):
        await page.keyboard.insert_text(site.url("/page?title=Bread&src=/video.mp4"))
        await page.keyboard.press("Enter")
        task = page.get_by_role("listitem", name="Bread", exact=True)
        await expect(task.get_by_role("link", name="Save video")).to_be_visible(timeout=30_000)
        await _tab_to(page, "Play")
        await page.keyboard.press("Enter")
        video = page.locator("video")
        await video.evaluate(_PLAYS)
        await page.keyboard.press("Escape")
        await expect(video).to_be_hidden()
        await _tab_to(page, "Save video")
        async with page.expect_download() as download:
            await page.keyboard.press("Enter")
        await (await download.value).save_as(tmp_path / "saved.mp4")
        assert (await probe(tmp_path / "saved.mp4")).codecs == ["aac", "h264"]


async def _tab_to(page: Page, name: str) -> None:
    """Press keys as somebody does who watches the focus: from row to row, and along the controls of a row."""
    label = "document.activeElement.ariaLabel ?? document.activeElement.innerText"
    for _ in range(60):
        is_in_row = await page.evaluate("document.activeElement.matches('.row, .row .line *')")
        before = await page.evaluate(label)
        await page.keyboard.press("ArrowRight" if is_in_row else "Tab")
        after = await page.evaluate(label)
        if (after or "").strip() == name:
            return
        if is_in_row and after == before:
            await page.keyboard.press("Tab")  # the last control of the row was reached
    raise AssertionError(f"{name} is not reached")
