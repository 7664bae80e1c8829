"""What the list shows, and that it stays true: over the socket, without it, and page by page."""

import asyncio

import pytest
from playwright.async_api import expect

from tests.browser.conftest import OpenPage
from tests.browser.lists import card, load_all, scroll_through, shown
from tests.fakes.api import FakeApi

pytestmark = pytest.mark.asyncio(loop_scope="session")
PATIENCE = 20
_COUNT_UPDATES = """() => {
    const counts = (window.counts = { frames: 0, updates: 0 })
    const frame = () => requestAnimationFrame(frame, counts.frames++)
    const observer = new MutationObserver((records) => (counts.updates += records.length))
    observer.observe(document.querySelector(".card"), { attributeFilter: ["data-stage"] })
    frame()
}"""


async def test_a_task_that_somebody_else_made_appears_and_moves(api: FakeApi, open_page: OpenPage) -> None:
    async with asyncio.timeout(PATIENCE), open_page(api.url) as page:
        await api.put("a")
        await expect(card(page, "a")).to_have_attribute("data-stage", "queued")
        info = {"title": "面包", "uploader": "厨房", "duration": 3723, "height": 1080}
        numbers = {"speed": 3_140_000.0, "eta": 81, "downloaded_bytes": 12_300_000, "total_bytes": 40_000_000}
        await api.put("a", "download", progress=45, video_info=info, **numbers)
        await expect(card(page, "a").get_by_role("heading")).to_have_text("面包")
        await expect(card(page, "a").get_by_role("progressbar", name="面包")).to_have_js_property("value", 45)
        for text in (
            "正在下载视频...",
            "45%",
            "3.1 MB",
            "剩余 1:21",
            "12.3 MB / 40 MB",
            "1:02:03",
            "1080p",
            "厨房",
        ):
            await expect(card(page, "a")).to_contain_text(text)
        await api.remove("a")
        await expect(page.locator(".card")).to_have_count(0)
        await expect(page.get_by_text("还没有任务")).to_be_visible()


async def test_a_failure_is_explained_on_the_card_itself(api: FakeApi, open_page: OpenPage) -> None:
    await api.put("a", "failed", error="下载失败: HTTP 404", hint="请检查链接。", error_code="http_404")
    async with asyncio.timeout(PATIENCE), open_page(api.url) as page:
        for text in ("处理失败: 无法下载视频", "下载失败: HTTP 404", "请检查链接。"):
            await expect(card(page, "a").get_by_text(text)).to_be_visible()
        await expect(card(page, "a").get_by_role("progressbar")).to_be_hidden()


async def test_an_older_payload_never_replaces_a_newer_one(api: FakeApi, open_page: OpenPage) -> None:
    async with asyncio.timeout(PATIENCE), open_page(api.url) as page:
        old = await api.put("a", "download", progress=30)
        await api.put("a", "completed", progress=100)
        await api.tell_again(old)
        await api.put("b")
        await expect(card(page, "b")).to_be_visible()  # what was sent before it has arrived too
        await expect(card(page, "a")).to_have_attribute("data-stage", "completed")


async def test_a_task_goes_up_when_it_starts_and_back_to_its_place_when_it_ends(
    api: FakeApi, open_page: OpenPage
) -> None:
    for name in ("first", "second", "third"):
        await api.put(name)
    async with asyncio.timeout(PATIENCE), open_page(api.url) as page:
        assert await shown(page) == ["third", "second", "first"]
        await api.put("first", "info", progress=10)
        await expect(page.locator(".card").first).to_have_attribute("data-id", "first")
        await api.put("first", "completed", progress=100)
        await expect(page.locator(".card").last).to_have_attribute("data-id", "first")


async def test_the_queue_is_shown_in_its_own_order(api: FakeApi, open_page: OpenPage) -> None:
    async with asyncio.timeout(PATIENCE), open_page(api.url) as page:
        await page.get_by_text("等待中").click()
        for name, priority in (("first", 0), ("second", 0), ("urgent", 5)):
            await api.put(name, priority=priority)
        await expect(page.locator(".card")).to_have_count(3)
        assert await shown(page) == ["urgent", "first", "second"]
        for _ in range(6):
            priority = api.tasks["second"]["priority"]
            await card(page, "second").get_by_role("button", name="优先").click()
            await expect(card(page, "second")).to_contain_text(f"优先级 +{priority + 1}")
        assert await shown(page) == ["second", "urgent", "first"]
        await api.put("urgent", "info")
        await expect(card(page, "urgent")).to_have_count(0)  # it waits no longer


async def test_all_that_runs_is_shown_and_counted_however_many_there_are(
    api: FakeApi, open_page: OpenPage
) -> None:
    await api.put_many(250, "download")
    await api.put_many(60)
    async with asyncio.timeout(PATIENCE), open_page(api.url) as page:
        await expect(page).to_have_title("250 个进行中 – Clipwire")
        await load_all(page)
        running, others = list(api.tasks)[:250], list(api.tasks)[250:]
        assert await scroll_through(page) == [*reversed(running), *reversed(others)]


async def test_the_title_of_the_tab_counts(api: FakeApi, open_page: OpenPage) -> None:
    async with asyncio.timeout(PATIENCE), open_page(api.url) as page:
        await api.put("a", "download")
        await api.put("b")
        await api.put("c")
        await expect(page).to_have_title("1 个进行中 · 2 个等待 – Clipwire")
        for name in ("a", "b", "c"):
            await api.put(name, "completed")
        await expect(page).to_have_title("Clipwire")


async def test_what_ends_is_announced_once_and_not_what_was_over_before(
    api: FakeApi, open_page: OpenPage
) -> None:
    await api.put("a", "download", video_info={"title": "Bread"})
    await api.put("old", "completed", video_info={"title": "Cake"})
    async with asyncio.timeout(PATIENCE), open_page(api.url, locale="en-US") as page:
        await api.put("a", "download", progress=60)
        await api.put("a", "completed", progress=100)
        await expect(page.locator("#news")).to_have_text("Bread: Completed!")


async def test_hundreds_of_messages_become_one_update_a_frame(api: FakeApi, open_page: OpenPage) -> None:
    async with asyncio.timeout(PATIENCE), open_page(api.url) as page:
        await api.put("a", "download")
        await expect(card(page, "a")).to_be_visible()
        await page.evaluate(_COUNT_UPDATES)
        for progress in range(300):
            await api.put("a", "download", progress=progress // 4)
        await expect(card(page, "a").locator(".percent")).to_have_text("74%")
        counts = await page.evaluate("window.counts")
        assert 0 < counts["updates"] <= counts["frames"] + 1
