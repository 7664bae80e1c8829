"""The log-in: what is asked before it, and what is left after it."""

import asyncio

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import OpenPage
from tests.browser.lists import card
from tests.browser.test_connection import is_live
from tests.fakes.api import FakeApi

pytestmark = pytest.mark.asyncio(loop_scope="session")
PATIENCE = 20
TOKEN = "sesame"


async def log_in(page: Page, token: str) -> None:
    await page.get_by_label("访问令牌").fill(token)
    await page.keyboard.press("Enter")


async def test_before_a_log_in_nothing_is_asked_that_needs_one(api: FakeApi, open_page: OpenPage) -> None:
    api.token = TOKEN
    await api.put("a", "download")
    async with asyncio.timeout(PATIENCE), open_page(api.url, is_listed=False) as page:
        await expect(page.get_by_label("访问令牌")).to_be_focused()
        await page.evaluate("dispatchEvent(new Event('online'))")
        await log_in(page, "wrong")
        await expect(page.locator("#login-problem")).to_have_text("A valid token is needed.")
        asked = [request.split("?")[0] for request in api.requests if "/static/" not in request]
        assert asked == ["GET /", "GET /api/session", "POST /api/session"]
        await log_in(page, TOKEN)
        await expect(card(page, "a")).to_be_visible()
        await is_live(page)
        await expect(page.get_by_label("访问令牌")).to_be_hidden()


async def test_without_tokens_there_is_nothing_to_log_out_of(api: FakeApi, open_page: OpenPage) -> None:
    async with asyncio.timeout(PATIENCE), open_page(api.url) as page:
        await is_live(page)
        await expect(page.get_by_role("button", name="退出")).to_be_hidden()


async def test_a_session_that_ends_takes_the_tasks_from_every_tab(api: FakeApi, open_page: OpenPage) -> None:
    api.token = TOKEN
    await api.put("a", "download", video_info={"title": "Bread"})
    async with asyncio.timeout(PATIENCE), open_page(api.url, is_listed=False) as page:
        await log_in(page, TOKEN)
        await is_live(page)
        other = await page.context.new_page()
        await other.goto(api.url)
        await is_live(other)
        await page.get_by_label("视频链接，每行一个").fill("https://a.example/1")
        await card(other, "a").get_by_role("button", name="日志").click()
        await expect(other.get_by_role("dialog")).to_contain_text("[info]")
        asked = len(api.requests)
        await api.end_session()
        for tab in (page, other):
            await expect(tab.get_by_label("访问令牌")).to_be_visible()
            await expect(tab.locator(".card")).to_have_count(0)
            await expect(tab).to_have_title("Clipwire")
            await expect(tab.get_by_role("dialog")).to_have_count(0)
            assert "Bread" not in await tab.content()
            assert "[info]" not in await tab.content()
        assert len(api.requests) == asked  # the close of the socket has said it
        await log_in(page, api.token)
        await expect(card(page, "a")).to_be_visible()
        await expect(page.get_by_label("视频链接，每行一个")).to_have_value("https://a.example/1")


async def test_a_log_out_empties_the_page_and_a_log_in_elsewhere_is_noticed(
    api: FakeApi, open_page: OpenPage
) -> None:
    api.token = TOKEN
    await api.put("a", "download", video_info={"title": "Bread"})
    async with asyncio.timeout(PATIENCE), open_page(api.url, is_listed=False) as page:
        await log_in(page, TOKEN)
        await expect(card(page, "a")).to_be_visible()
        await page.get_by_role("button", name="退出").click()
        await expect(page.get_by_label("访问令牌")).to_be_visible()
        assert "Bread" not in await page.content()
        other = await page.context.new_page()
        await other.goto(api.url)
        await log_in(other, TOKEN)
        await expect(card(other, "a")).to_be_visible()
        await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        await expect(card(page, "a")).to_be_visible()
        await expect(page.get_by_role("button", name="退出")).to_be_visible()


async def test_an_answer_that_comes_after_the_end_of_the_session_is_not_shown(
    api: FakeApi, open_page: OpenPage
) -> None:
    api.token = TOKEN
    await api.put("a", "download", video_info={"title": "Bread"})
    async with asyncio.timeout(PATIENCE), open_page(api.url, is_listed=False) as page:
        await log_in(page, TOKEN)
        await is_live(page)
        api.answers.clear()
        async with page.expect_request("**/pause*"):
            await card(page, "a").get_by_role("button", name="暂停").click()
        await api.end_session()
        await expect(page.get_by_label("访问令牌")).to_be_visible()
        api.token = TOKEN  # so that it is let in
        async with page.expect_event("requestfinished", lambda request: "/pause" in request.url):
            api.answers.set()
        await page.evaluate("() => new Promise((done) => setTimeout(done, 100))")
        assert "Bread" not in await page.content()
