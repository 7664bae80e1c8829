"""Filters and search: the page shows the tasks that the server would list, also after changes."""

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import OpenPage
from tests.browser.lists import load_all, row, scroll_through, shown
from tests.fakes.api import FakeApi

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.long]


async def search(page: Page, text: str) -> None:
    async with page.expect_response(lambda answer: "q=" in answer.url):
        await page.get_by_role("searchbox").fill(text)


async def test_a_filter_and_a_search_hold_for_what_arrives_later_too(
    api: FakeApi, open_page: OpenPage
) -> None:
    await api.put("cake", "completed", video_info={"title": "How to bake a CAKE"})
    await api.put("bread", "completed", video_info={"title": "Bread"})
    await api.put("waits", "queued")
    async with open_page(api.url) as page:
        await page.locator(".chips").get_by_text("已完成").click()
        await expect(row(page, "waits")).to_have_count(0)
        assert await shown(page) == ["bread", "cake"]
        await api.put("waits", "completed")
        await expect(row(page, "waits")).to_be_visible()
        await page.get_by_role("searchbox").fill("cake")
        await expect(row(page, "bread")).to_have_count(0)
        await api.put("bread", "completed", revision_of="nothing that fits")
        await api.put("more cake", "completed", video_info={"title": "Cake, again"})
        await expect(row(page, "more cake")).to_be_visible()
        assert await shown(page) == ["more cake", "cake"]
        await page.get_by_role("searchbox").fill("pie")
        await expect(page.get_by_text("没有找到")).to_be_visible()


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("STRASSE", "Die Straße"),
        ("straße", "DIE STRASSE"),
        ("café", "Cafe\u0301"),
        ("cafe\u0301", "Café"),
        ("ς", "ΟΔΟΣ"),
    ],
)
async def test_the_server_says_which_texts_are_the_same(
    api: FakeApi, open_page: OpenPage, text: str, title: str
) -> None:
    await api.put("there", "download", video_info={"title": title})
    async with open_page(api.url) as page:
        await search(page, text)
        await expect(row(page, "there")).to_be_visible()
        await api.put("there", "download", downloaded_bytes=50_000_000)
        await api.put("new")  # nothing is known of this video yet
        await api.put("new", "info", video_info={"title": title})
        await expect(row(page, "new")).to_be_visible()
        await expect(row(page, "there")).to_contain_text("50 MB")
        await api.put("new", "completed", video_info={"title": "Something else"})
        await expect(row(page, "new")).to_have_count(0)
        assert await shown(page) == ["there"]


async def test_a_task_far_down_is_judged_by_the_server_too(api: FakeApi, open_page: OpenPage) -> None:
    await api.put("old and queued")
    await api.put("old and done", "completed")
    await api.put_many(230, video_info={"title": "Straße"})
    async with open_page(api.url) as page:
        await search(page, "STRASSE")
        await load_all(page)
        await expect(row(page, "task-0003")).to_be_visible()
        await api.put("old and queued", "info", video_info={"title": "Meine Straße"})
        await api.put("old and done", "completed", video_info={"title": "Eine andere Straße"})
        await expect(row(page, "old and done")).to_be_visible()
        found = await scroll_through(page)
        assert found == ["old and queued", *(f"task-{n:04}" for n in range(232, 2, -1)), "old and done"]


async def test_what_the_server_lists_no_more_goes_even_if_nothing_says_so(
    api: FakeApi, open_page: OpenPage
) -> None:
    """The server may search texts that the page does not have; here it no longer finds the task."""
    await api.put("a", "completed", video_info={"title": "bread"})
    await api.put("b", "completed", video_info={"title": "bread"})
    async with open_page(api.url) as page:
        await search(page, "bread")
        await expect(page.locator(".row")).to_have_count(2)
        api.hidden_from_search.add("a")
        await page.evaluate("dispatchEvent(new Event('online'))")
        await expect(row(page, "a")).to_have_count(0)
        await page.get_by_role("searchbox").fill("")
        await expect(row(page, "a")).to_be_visible()


async def test_an_answer_to_an_earlier_search_changes_nothing(api: FakeApi, open_page: OpenPage) -> None:
    await api.put("bread", "completed", video_info={"title": "bread"})
    await api.put("cake", "completed", video_info={"title": "cake"})
    async with open_page(api.url) as page:
        api.answers.clear()
        async with page.expect_request(lambda request: "q=bread" in request.url):
            await page.get_by_role("searchbox").fill("bread")
        async with page.expect_request(lambda request: "q=cake" in request.url):
            await page.get_by_role("searchbox").fill("cake")
        await api.put("cake", "completed", video_info={"title": "more cake"})
        api.answers.set()
        await expect(row(page, "bread")).to_have_count(0)
        await expect(row(page, "cake")).to_contain_text("more cake")


async def test_letters_of_a_word_that_is_being_composed_are_not_searched_for(
    api: FakeApi, open_page: OpenPage
) -> None:
    await api.put("bread", "completed", video_info={"title": "面包"})
    await api.put("cake", "completed", video_info={"title": "蛋糕"})
    async with open_page(api.url, has_clock=True) as page:
        await page.get_by_role("searchbox").focus()
        session = await page.context.new_cdp_session(page)
        composed = {"text": "mian", "selectionStart": 4, "selectionEnd": 4}
        await session.send("Input.imeSetComposition", composed)
        await page.clock.run_for(1_000)
        await session.send("Input.insertText", {"text": "面"})
        await expect(page.get_by_role("searchbox")).to_have_value("面")
        await page.clock.run_for(1_000)
        await expect(row(page, "cake")).to_have_count(0)
        assert await shown(page) == ["bread"]
        assert not [request for request in api.requests if "q=mian" in request]
