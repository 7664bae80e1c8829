"""What the list shows, and that it stays true: over the socket, without a socket, and page by page."""

import asyncio
import re
import time
from datetime import UTC, datetime

import pytest
from playwright.async_api import expect

from tests.browser.conftest import OpenPage
from tests.browser.lists import load_all, row, scroll_through, shows
from tests.fakes.api import FakeApi

pytestmark = pytest.mark.asyncio(loop_scope="session")
PATIENCE = 90
_COUNT_UPDATES = """() => {
    window.updates = 0
    const observer = new MutationObserver(() => (window.updates += 1))
    observer.observe(document.querySelector(".row .facts"), { childList: true, subtree: true })
}"""

_IS_WHOLE = "text => text.scrollHeight <= text.clientHeight && text.scrollWidth <= text.clientWidth"
_LEFT = "e => e.getBoundingClientRect().left"
_ROOM_BETWEEN = """ids => {
    const [upper, lower] = ids.map((id) => document.querySelector(`.row[data-id=${id}]`))
    return lower.getBoundingClientRect().top - upper.getBoundingClientRect().bottom
}"""


async def test_a_task_that_somebody_else_made_appears_and_moves(api: FakeApi, open_page: OpenPage) -> None:
    async with open_page(api.url) as page:
        await api.put("a")
        await expect(row(page, "a")).to_have_attribute("data-stage", "queued")
        info = {"title": "面包", "uploader": "厨房", "duration": 3723, "height": 1080}
        numbers = {"speed": 3_140_000.0, "eta": 81, "downloaded_bytes": 18_000_000, "total_bytes": 40_000_000}
        await api.put("a", "download", progress=52, video_info=info, **numbers)
        await expect(row(page, "a").get_by_role("heading")).to_have_text("面包")
        await expect(row(page, "a").get_by_role("heading").get_by_title("面包")).to_be_visible()
        bar = row(page, "a").get_by_role("progressbar", name="面包")
        await expect(bar).to_have_attribute("aria-valuenow", "45")
        await expect(row(page, "a")).to_contain_text("18 MB / 40 MB · 3.1 MB/\u2060秒 · 剩余 1:21")
        await api.put("a", "convert", progress=95)
        await expect(row(page, "a")).to_contain_text("正在转换...")
        await api.put("a", "completed", file_info={"video": {"size": 1_000_000, "type": "video/mp4"}})
        await expect(row(page, "a")).to_contain_text("1:02:03 · 1080p · 1 MB · 厨房 · videos.example")
        await expect(bar).to_be_hidden()
        await api.remove("a")
        await expect(page.locator(".row")).to_have_count(0)
        await expect(page.get_by_text("粘贴视频")).to_be_visible()


@pytest.mark.long
async def test_a_broadcast_that_is_waited_for_says_when_it_begins(api: FakeApi, open_page: OpenPage) -> None:
    async with open_page(api.url) as page:
        await api.put("a", waiting="not_live_yet", not_before="2031-07-05T12:00:00Z")
        await expect(row(page, "a")).to_contain_text("2031年7月5日")
        await expect(row(page, "a")).to_contain_text("开播")


@pytest.mark.long
async def test_a_failure_is_one_sentence_and_the_rest_is_in_the_opened_row(
    api: FakeApi, open_page: OpenPage
) -> None:
    await api.put("a", "failed", error="下载失败: HTTP 404", hint="请检查链接。", error_code="http_404")
    async with open_page(api.url) as page:
        await expect(row(page, "a").get_by_text("视频不存在，或者已被删除。")).to_be_visible()
        await expect(row(page, "a").get_by_role("progressbar")).to_be_hidden()
        await row(page, "a").get_by_role("heading").click()
        for text in ("请检查链接。", "http_404"):
            await expect(row(page, "a").locator(".details").get_by_text(text)).to_be_visible()
        await expect(row(page, "a").get_by_text("视频不存在，或者已被删除。")).to_have_count(1)


@pytest.mark.parametrize("width", [320, 1280])
async def test_an_opened_row_says_its_failure_whole_and_covers_no_other(
    api: FakeApi, open_page: OpenPage, width: int
) -> None:
    sentence = " ".join(["The source asks for something that nobody has foreseen."] * 8)
    await api.put("below", "failed", error="No")
    await api.put("a", "failed", error=sentence, error_code="login_required", remedies=["use_cookies"])
    size = {"width": width, "height": 900}
    async with open_page(api.url, viewport=size) as page:
        failure = row(page, "a").get_by_text(sentence)
        assert not await failure.evaluate(_IS_WHOLE)
        await row(page, "a").get_by_role("heading").click()
        await expect(row(page, "a").locator(".details")).to_be_visible()
        assert await failure.evaluate(_IS_WHOLE)
        while not 0 <= await page.evaluate(_ROOM_BETWEEN, ["a", "below"]) < 1:
            await asyncio.sleep(0.02)
        await row(page, "a").get_by_role("heading").click()
        await expect(row(page, "a").locator(".details")).to_have_count(0)
        assert not await failure.evaluate(_IS_WHOLE)
        while not 0 <= await page.evaluate(_ROOM_BETWEEN, ["a", "below"]) < 1:
            await asyncio.sleep(0.02)


async def test_an_opened_row_says_its_line_whole_and_nothing_of_it_twice(
    api: FakeApi, open_page: OpenPage
) -> None:
    title = "How to bake sourdough bread at home, from the first day of the starter to the last loaf, whole"
    info = {"title": title, "uploader": "מאפייה", "duration": 3723, "height": 1080}
    await api.put("a", "completed", video_info=info, files={"video": "/api/download/v.mp4"})
    await api.put("b", "download", video_info=info)
    size = {"width": 420, "height": 900}
    async with open_page(api.url, viewport=size, locale="en-US") as page:
        words = row(page, "a").locator(".title button")
        assert not await words.evaluate(_IS_WHOLE)
        for name in "ab":
            await row(page, name).get_by_role("heading").click()
            await expect(row(page, name).locator(".details dl")).to_be_visible()
        assert await words.evaluate(_IS_WHOLE)
        assert await row(page, "a").locator("[data-part=facts]").first.evaluate(_IS_WHOLE)
        assert await row(page, "a").locator("dt").all_text_contents() == ["Source", "Added"]
        # A running task has other facts in its line, and a name written from right to left stands beside its
        # label.
        uploader = row(page, "b").locator("dd").first
        await expect(uploader).to_have_text("מאפייה")
        label, words_of = row(page, "b").locator("dt").first, uploader.locator("bdi")
        assert await words_of.evaluate(_LEFT) - await label.evaluate(_LEFT) < 120


@pytest.mark.long
async def test_what_a_completed_task_leaves_out_is_in_the_opened_row(
    api: FakeApi, open_page: OpenPage
) -> None:
    await api.put("a", "completed", hint="该页面有多个视频，这里只下载了第一个。")
    async with open_page(api.url) as page:
        await row(page, "a").get_by_role("heading").click()
        await expect(row(page, "a").get_by_text("这里只下载了第一个")).to_be_visible()


@pytest.mark.long
async def test_an_older_payload_never_replaces_a_newer_one(api: FakeApi, open_page: OpenPage) -> None:
    async with open_page(api.url) as page:
        old = await api.put("a", "download", progress=30)
        await api.put("a", "completed", progress=100)
        await api.tell_again(old)
        await api.put("b")
        # Messages come in order, so the older payload has arrived, too.
        await expect(row(page, "b")).to_be_visible()
        await expect(row(page, "a")).to_have_attribute("data-stage", "completed")


async def test_what_runs_stands_on_top_and_what_has_ended_under_its_day(
    api: FakeApi, open_page: OpenPage
) -> None:
    for name in ("first", "second", "third"):
        await api.put(name)
    async with open_page(api.url) as page:
        waiting = page.get_by_role("list", name="等待中").get_by_role("listitem")
        await shows(page, "first", "second", "third")  # in the order in which they will begin
        await api.put("second", "info", progress=10)
        await expect(page.get_by_role("list", name="正在进行").get_by_role("listitem")).to_have_count(1)
        await shows(page, "second", "first", "third")
        await api.put("second", "completed", completed_at=datetime.now(UTC).isoformat())
        await api.put("first", "paused")
        await expect(page.get_by_role("list", name="今天").get_by_role("listitem")).to_have_count(1)
        await expect(waiting).to_have_count(2)
        await shows(page, "third", "first", "second")
        await api.put("third", "failed", completed_at="2024-02-10T12:00:00Z")
        await expect(page.get_by_role("list", name="2024年2月")).to_be_visible()


@pytest.mark.long
async def test_the_filters_do_not_overlap(api: FakeApi, open_page: OpenPage) -> None:
    for stage in ("queued", "info", "download", "convert", "paused", "completed", "failed", "cancelled"):
        await api.put(stage, stage)
    await api.put("asks", "failed", error="这是列表", error_code="is_playlist")
    parts = {
        "进行中": ["convert", "download", "info"],
        "等待中": ["paused", "queued"],
        "已完成": ["completed"],
        "失败": ["failed"],
        "已取消": ["cancelled"],
    }
    async with open_page(api.url) as page:
        for name, stages in parts.items():
            await page.locator(".chips").get_by_text(name).click()
            for stage in stages:
                await expect(row(page, stage)).to_be_attached()
            await expect(page.locator(".row")).to_have_count(len(stages))
        # A task that only asks for a decision does not count as failed.
        await expect(page.locator("input[value=failed] + span .count")).to_have_text("1")


@pytest.mark.long
async def test_all_that_runs_is_shown_and_counted_however_many_there_are(
    api: FakeApi, open_page: OpenPage
) -> None:
    await api.put_many(250, "download")
    await api.put_many(60)
    async with open_page(api.url) as page:
        await expect(page).to_have_title("250 个进行中 – Clipwire")
        await load_all(page)
        running, others = list(api.tasks)[:250], list(api.tasks)[250:]
        assert await scroll_through(page) == [*running, *reversed(others)]
        await api.put("task-0001", "completed")
        await expect(page).to_have_title("249 个进行中 – Clipwire")


@pytest.mark.long
async def test_the_title_of_the_tab_counts(api: FakeApi, open_page: OpenPage) -> None:
    async with open_page(api.url) as page:
        await api.put("a", "download")
        await api.put("b")
        await api.put("c")
        await api.put("d", "paused")
        await expect(page).to_have_title("1 个进行中 · 3 个等待 – Clipwire")
        # All places show the same number.
        await expect(page.locator(".chips [value=waiting] + span .count")).to_have_text("3")
        await expect(page.get_by_role("heading", name="等待中")).to_contain_text("3")
        for name in ("a", "b", "c", "d"):
            await api.put(name, "completed")
        await expect(page).to_have_title("Clipwire")


@pytest.mark.long
async def test_what_ends_is_announced_once_and_not_what_was_over_before(
    api: FakeApi, open_page: OpenPage
) -> None:
    await api.put("a", "download", video_info={"title": "Bread"})
    await api.put("old", "completed", video_info={"title": "Cake"})
    async with open_page(api.url, locale="en-US") as page:
        await api.put("a", "download", progress=60)
        await api.put("a", "completed", progress=100)
        await expect(page.locator("#news")).to_have_text("Bread: Completed!")


async def test_the_bar_shows_the_bytes_never_goes_back_and_moves_where_nobody_knows_how_far(
    api: FakeApi, open_page: OpenPage
) -> None:
    """`progress` in the payload also counts the work before and after the download, so it is another
    scale.
    """
    told: list[tuple[str, dict[str, int | None], str | None]] = [
        ("info", {"progress": 10}, None),
        ("download", {"progress": 20}, None),
        ("download", {"progress": 31, "downloaded_bytes": 11, "total_bytes": 100}, "11"),
        ("download", {"progress": 62, "downloaded_bytes": 95, "total_bytes": 100}, "95"),
        ("download", {"progress": 64, "downloaded_bytes": 96, "total_bytes": 200}, "95"),
        ("download", {"progress": 70, "downloaded_bytes": 196, "total_bytes": 200}, "98"),
        ("convert", {"progress": 79, "downloaded_bytes": None, "total_bytes": None}, None),
    ]
    async with open_page(api.url) as page:
        bar = row(page, "a").get_by_role("progressbar")
        for stage, fields, shown in told:
            await api.put("a", stage, **fields)
            if shown is None:
                await expect(bar).not_to_have_attribute("aria-valuenow", re.compile("."))
                await expect(bar.locator(".fill")).to_have_css("animation-name", "pass")
            else:
                await expect(bar).to_have_attribute("aria-valuenow", shown)
                await expect(bar.locator(".fill")).to_have_css("animation-name", "none")
            await expect(row(page, "a")).not_to_contain_text("%")
        await api.put("list", "download", progress=28, entries={"total": 9, "completed": 0, "failed": 0})
        bar_of_list = row(page, "list").get_by_role("progressbar")
        await expect(bar_of_list).to_have_attribute("aria-valuenow", "0")
        await api.put("list", "download", progress=50, entries={"total": 9, "completed": 3, "failed": 1})
        await expect(bar_of_list).to_have_attribute("aria-valuenow", "33")


@pytest.mark.long
async def test_hundreds_of_messages_become_a_few_updates(api: FakeApi, open_page: OpenPage) -> None:
    async with open_page(api.url) as page:
        await api.put("a", "download")
        await expect(row(page, "a")).to_be_visible()
        await page.evaluate(_COUNT_UPDATES)
        began = time.monotonic()
        for progress in range(300):
            await api.put("a", "download", downloaded_bytes=progress // 4 * 1_000_000)
        await expect(row(page, "a")).to_contain_text("74 MB")
        assert 0 < await page.evaluate("window.updates") <= 5 * (time.monotonic() - began) + 2
