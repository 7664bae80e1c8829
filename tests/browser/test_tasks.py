"""What the list shows, and that it stays true: over the socket, without it, and page by page."""

import asyncio

import pytest
from playwright.async_api import Locator, Page, expect

from tests.browser.conftest import OpenPage
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


def card(page: Page, task_id: str) -> Locator:
    return page.locator(f".card[data-id='{task_id}']")


async def shown(page: Page) -> list[str]:
    ids: list[str] = await page.locator(".card").evaluate_all("cards => cards.map((card) => card.dataset.id)")
    return ids


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


async def test_without_the_socket_the_page_polls_says_so_and_comes_back(
    api: FakeApi, open_page: OpenPage
) -> None:
    await api.put("kept", "download", progress=20)
    await api.put("deleted")
    async with asyncio.timeout(PATIENCE), open_page(api.url) as page:
        connection = page.locator("#connection")
        await expect(connection).to_have_attribute("data-state", "live")
        await api.lose_sockets()
        await expect(connection).to_have_text("实时连接中断，每 2 秒刷新一次")
        await api.put("kept", "completed", progress=100)
        await api.put("new")
        await api.remove("deleted")
        await expect(card(page, "kept")).to_have_attribute("data-stage", "completed")
        await expect(card(page, "new")).to_be_visible()
        await expect(card(page, "deleted")).to_have_count(0)
        api.takes_sockets = True
        await expect(connection).to_have_attribute("data-state", "live")
        await api.put("new", "paused")
        await expect(card(page, "new")).to_have_attribute("data-stage", "paused")


async def test_it_polls_every_two_seconds_however_seldom_it_tries_the_socket(
    api: FakeApi, open_page: OpenPage
) -> None:
    async with asyncio.timeout(PATIENCE), open_page(api.url) as page:
        await page.clock.install()
        await api.lose_sockets()
        await expect(page.locator("#connection")).to_have_attribute("data-state", "polling")
        for _ in range(10):
            async with page.expect_event("requestfinished", lambda request: "/api/tasks?" in request.url):
                await page.clock.run_for(2_000)
        sockets = [request for request in api.requests if request.startswith("GET /ws")]
        assert len(sockets) < 9  # 0.5 s, 1 s, 2 s, ... at most


async def test_what_changed_while_the_socket_was_away_is_caught_up_with(
    api: FakeApi, open_page: OpenPage
) -> None:
    """Also far down, where a poll of the first page does not look."""
    for number in range(120):
        await api.put(f"t{number}", "completed" if number else "download")
    async with asyncio.timeout(PATIENCE), open_page(api.url) as page:
        await page.get_by_role("button", name="显示更多").click()
        await expect(page.locator(".card")).to_have_count(101)
        await api.lose_sockets()
        await api.remove("t30")
        await api.put("t0", "completed", progress=100)
        api.takes_sockets = True
        await expect(card(page, "t30")).to_have_count(0)
        await expect(card(page, "t0")).to_have_attribute("data-stage", "completed")


async def test_500_tasks_come_page_by_page_and_what_runs_is_on_top(api: FakeApi, open_page: OpenPage) -> None:
    await api.put("old and running", "download", progress=50)
    for number in range(500):
        await api.put(f"t{number:03}")
    newest_first = [f"t{number:03}" for number in reversed(range(500))]
    async with asyncio.timeout(3 * PATIENCE), open_page(api.url) as page:
        assert await shown(page) == ["old and running", *newest_first[:50]]
        more = page.get_by_role("button", name="显示更多")
        for count in range(100, 550, 50):
            await more.dispatch_event("click")  # the mouse would have to scroll all the way down
            await expect(page.locator(".card")).to_have_count(count + 1)
        await more.dispatch_event("click")
        await expect(more).to_be_hidden()
        assert await shown(page) == ["old and running", *newest_first]
        for number in range(500):
            await api.put(f"t{number:03}", "paused")
        await expect(page.locator(".card[data-stage=paused]")).to_have_count(500)


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


async def test_a_filter_and_a_search_hold_for_what_arrives_later_too(
    api: FakeApi, open_page: OpenPage
) -> None:
    await api.put("cake", "completed", video_info={"title": "How to bake a CAKE"})
    await api.put("bread", "completed", video_info={"title": "Bread"})
    await api.put("waits", "queued")
    async with asyncio.timeout(PATIENCE), open_page(api.url) as page:
        await page.get_by_text("已完成").click()
        await expect(card(page, "waits")).to_have_count(0)
        assert await shown(page) == ["bread", "cake"]
        await api.put("waits", "completed")
        await expect(card(page, "waits")).to_be_visible()
        await page.get_by_role("searchbox").fill("cake")
        await expect(card(page, "bread")).to_have_count(0)
        await api.put("bread", "completed", revision_of="nothing that fits")
        await api.put("more cake", "completed", video_info={"title": "Cake, again"})
        await expect(card(page, "more cake")).to_be_visible()
        assert await shown(page) == ["more cake", "cake"]
        await page.get_by_role("searchbox").fill("pie")
        await expect(page.get_by_text("没有符合条件的任务。")).to_be_visible()


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
