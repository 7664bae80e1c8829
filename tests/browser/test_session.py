"""The log-in: what the page requests before it, and what it keeps after a log-out."""

import asyncio

import pytest
from playwright.async_api import Page, Route, expect

from tests.browser.conftest import OpenPage
from tests.browser.lists import choose, row
from tests.browser.test_connection import is_live, listings
from tests.fakes.api import FakeApi

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.long]
TOKEN = "sesame"


async def log_in(page: Page, token: str) -> None:
    await page.get_by_label("访问令牌").fill(token)
    await page.keyboard.press("Enter")


async def log_out(page: Page) -> None:
    await page.get_by_role("button", name="菜单").click()
    await page.get_by_role("menuitem", name="退出").click()


async def open_settings(page: Page) -> None:
    await page.get_by_role("button", name="菜单").click()
    await page.get_by_role("menuitem", name="设置").click()


async def test_before_a_log_in_nothing_but_the_list_is_asked_for(api: FakeApi, open_page: OpenPage) -> None:
    api.token = TOKEN
    await api.put("a", "download")
    async with open_page(api.url, is_listed=False) as page:
        await expect(page.get_by_label("访问令牌")).to_be_focused()
        await page.evaluate("dispatchEvent(new Event('online'))")
        await log_in(page, "wrong")
        await expect(page.locator("#login-problem")).to_have_text("令牌不正确，请检查后重试。")
        asked = [request.split("?")[0] for request in api.requests if "/static/" not in request]
        assert asked == ["GET /", "GET /api/tasks", "POST /api/session"]
        await log_in(page, TOKEN)
        await expect(row(page, "a")).to_be_visible()
        await is_live(page)
        await expect(page.get_by_label("访问令牌")).to_be_hidden()
        await expect(page.get_by_label("链接")).to_be_focused()


async def test_keys_have_nothing_to_act_on_at_the_log_in(api: FakeApi, open_page: OpenPage) -> None:
    press = """key => document.body.dispatchEvent(
        new KeyboardEvent('keydown', { key, cancelable: true, bubbles: true })
    )"""
    api.token = TOKEN
    async with open_page(api.url, is_listed=False) as page:
        await expect(page.get_by_label("访问令牌")).to_be_focused()
        for key in "?/nj":
            assert await page.evaluate(press, key)  # the page leaves this key to the browser
        await log_in(page, TOKEN)
        await is_live(page)
        assert not await page.evaluate(press, "?")
        await expect(page.locator("#keys")).to_be_visible()


async def test_without_tokens_there_is_nothing_to_log_out_of(api: FakeApi, open_page: OpenPage) -> None:
    async with open_page(api.url) as page:
        await is_live(page)
        await page.get_by_role("button", name="菜单").click()
        await expect(page.get_by_role("menuitem", name="设置")).to_be_visible()
        await expect(page.get_by_role("menuitem", name="退出")).to_be_hidden()


async def test_the_settings_log_out_whoever_is_logged_in(api: FakeApi, open_page: OpenPage) -> None:
    async with open_page(api.url) as page:
        await is_live(page)
        await open_settings(page)
        await expect(page.get_by_role("dialog").get_by_role("button", name="退出")).to_be_hidden()
    api.token = TOKEN
    await api.put("a", "download", video_info={"title": "Bread"})
    async with open_page(api.url, is_listed=False) as page:
        await open_settings(page)
        await expect(page.get_by_role("dialog").get_by_role("button", name="退出")).to_be_hidden()
        await page.keyboard.press("Escape")
        await log_in(page, TOKEN)
        await is_live(page)
        await page.evaluate("document.activeElement.blur()")
        await row(page, "a").focus()
        # The page puts the deletion off; the request then needs the session.
        await page.keyboard.press("Delete")
        await open_settings(page)
        deletion: asyncio.Future[Route] = asyncio.get_running_loop().create_future()
        await page.route("**/api/tasks/actions?*", lambda route: deletion.set_result(route))
        await page.get_by_role("dialog").get_by_role("button", name="退出").click()
        held_back = await deletion
        await page.evaluate("fetch('api/session')")  # all earlier requests of the page have arrived by now
        assert not any(request.startswith("DELETE /api/session") for request in api.requests)
        await held_back.continue_()
        await expect(page.get_by_label("访问令牌")).to_be_focused()
        await expect(page.get_by_role("dialog")).to_have_count(0)
        asked = [request.split("?")[0] for request in api.requests[-2:]]
        assert asked == ["POST /api/tasks/actions", "DELETE /api/session"]
        assert api.tasks == {}


async def test_a_session_that_ends_takes_the_tasks_from_every_tab(api: FakeApi, open_page: OpenPage) -> None:
    api.token = TOKEN
    await api.put("a", "download", video_info={"title": "Bread"})
    async with open_page(api.url, is_listed=False) as page:
        await log_in(page, TOKEN)
        await is_live(page)
        other = await page.context.new_page()
        await other.goto(api.url)
        await is_live(other)
        await page.get_by_label("链接").fill("https://a.example/1")
        await choose(other, "a", "日志")
        await expect(row(other, "a").locator("pre")).to_contain_text("[info]")
        asked = len(listings(api))
        await api.end_session()
        for tab in (page, other):
            await expect(tab.get_by_label("访问令牌")).to_be_visible()
            await expect(tab.locator(".row")).to_have_count(0)
            await expect(tab).to_have_title("Clipwire")
            assert "Bread" not in await tab.content()
            assert "[info]" not in await tab.content()
        # The page knows of the end from the close of its socket, and has asked for nothing.
        assert len(listings(api)) == asked
        await log_in(page, api.token)
        await expect(row(page, "a")).to_be_visible()
        await expect(page.get_by_label("链接")).to_have_value("https://a.example/1")


async def test_a_log_out_empties_the_page_and_a_log_in_elsewhere_is_noticed(
    api: FakeApi, open_page: OpenPage
) -> None:
    api.token = TOKEN
    await api.put("a", "download", video_info={"title": "Bread"})
    async with open_page(api.url, is_listed=False) as page:
        await log_in(page, TOKEN)
        await expect(row(page, "a")).to_be_visible()
        await log_out(page)
        await expect(page.get_by_label("访问令牌")).to_be_visible()
        assert "Bread" not in await page.content()
        other = await page.context.new_page()
        await other.goto(api.url)
        await log_in(other, TOKEN)
        await expect(row(other, "a")).to_be_visible()
        await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        await expect(row(page, "a")).to_be_visible()
        await page.get_by_role("button", name="菜单").click()
        await expect(page.get_by_role("menuitem", name="退出")).to_be_visible()


async def test_an_answer_that_comes_after_the_end_of_the_session_is_not_shown(
    api: FakeApi, open_page: OpenPage
) -> None:
    api.token = TOKEN
    await api.put("a", "download", video_info={"title": "Bread"})
    async with open_page(api.url, is_listed=False) as page:
        await log_in(page, TOKEN)
        await is_live(page)
        api.answers.clear()
        async with page.expect_request("**/pause*"):
            await row(page, "a").get_by_role("button", name="暂停").click()
        await api.end_session()
        await expect(page.get_by_label("访问令牌")).to_be_visible()
        api.token = TOKEN  # the page can log in again
        async with page.expect_event("requestfinished", lambda request: "/pause" in request.url):
            api.answers.set()
        await page.evaluate("() => new Promise((done) => setTimeout(done, 100))")
        assert "Bread" not in await page.content()


async def test_a_refusal_of_what_was_asked_before_the_log_in_ends_no_session(
    api: FakeApi, open_page: OpenPage
) -> None:
    api.token = TOKEN
    await api.put("a", "download", video_info={"title": "Bread"})
    is_in = asyncio.Event()

    async def late(route: Route) -> None:
        await is_in.wait()
        await route.fulfill(status=401, json={"code": "token_required", "title": "A valid token is needed."})

    async with open_page(api.url, is_listed=False) as page:
        await page.route("**/pause?*", late)
        await log_in(page, TOKEN)
        await is_live(page)
        async with page.expect_request("**/pause?*"):
            await row(page, "a").get_by_role("button", name="暂停").click()
        await api.end_session()
        await log_in(page, api.token)
        await is_live(page)
        async with page.expect_event("requestfinished", lambda request: "/pause" in request.url):
            is_in.set()
        await page.evaluate("() => new Promise((done) => setTimeout(done, 100))")
        await is_live(page)
        await expect(page.get_by_label("访问令牌")).to_be_hidden()
