"""Requests and answers overtake each other: the last thing that was sent or chosen counts."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from playwright.async_api import Page, Route, expect

from tests.browser.conftest import OpenPage
from tests.browser.lists import choose, row, shows
from tests.browser.test_session import log_in
from tests.fakes.api import FakeApi

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.long]
ENGLISH = {"locale": "en-US"}


async def hold(
    page: Page, pattern: str, method: str = "GET", times: int = 1
) -> tuple[asyncio.Event, Callable[[], Awaitable[None]]]:
    """Let the server answer the next requests to `pattern`, but hold the answers back until the returned
    function is called.

    The returned event is set once the first of the requests has its answer.
    """
    is_answered, may_go = asyncio.Event(), asyncio.Event()
    left = times

    async def handle(route: Route) -> None:
        nonlocal left
        if route.request.method != method or left == 0:
            await route.fallback()
            return
        left -= 1
        answer = await route.fetch()
        is_answered.set()
        await may_go.wait()
        await route.fulfill(response=answer)

    await page.route(pattern, handle)

    async def let_go() -> None:
        async with page.expect_event("requestfinished"):
            may_go.set()
        await page.evaluate("() => new Promise((done) => setTimeout(done, 50))")

    return is_answered, let_go


async def test_the_language_that_was_chosen_last_is_that_of_the_page(
    api: FakeApi, open_page: OpenPage
) -> None:
    async with open_page(api.url, **ENGLISH) as page:
        await page.locator("#menu").click()
        await page.get_by_role("menuitem", name="Settings").click()
        language = page.get_by_role("dialog").get_by_role("combobox", name="Language")
        is_answered, let_go = await hold(page, "**/static/i18n/zh.json*")
        await language.select_option("zh")
        await is_answered.wait()
        await language.select_option("en")
        await expect(page.get_by_role("heading", name="Settings")).to_be_visible()
        await let_go()
        await expect(page.get_by_role("heading", name="Settings")).to_be_visible()
        assert await page.evaluate("document.documentElement.lang") == "en"
        assert await page.evaluate("localStorage['clipwire.language']") == '"en"'


async def test_texts_that_arrive_late_leave_what_the_button_says_of_two_links(
    api: FakeApi, open_page: OpenPage
) -> None:
    async with open_page(api.url, **ENGLISH) as page:
        is_answered, let_go = await hold(page, "**/static/i18n/en.json*")
        box = page.get_by_role("textbox", name="Link")
        await box.fill("https://a.example/1")
        await is_answered.wait()
        await box.fill("https://a.example/1\nhttps://a.example/2")
        await expect(page.get_by_role("button", name="Download 2")).to_be_visible()
        await let_go()
        await expect(page.get_by_role("button", name="Download 2")).to_be_visible()


async def test_a_request_for_many_waits_for_those_that_were_sent_before(
    api: FakeApi, open_page: OpenPage
) -> None:
    await api.put("a", "paused")
    await api.put("b", "download")
    async with open_page(api.url, **ENGLISH) as page:
        held = asyncio.Event()

        async def late(route: Route) -> None:
            await held.wait()
            await route.continue_()

        await page.route("**/api/tasks/a/start*", late)
        async with page.expect_request("**/api/tasks/a/start*"):
            await row(page, "a").focus()
            await page.keyboard.press("g")
        await page.keyboard.press("Control+a")
        await page.get_by_role("toolbar").get_by_role("button", name="Cancel 2").click()
        await expect(row(page, "b")).to_have_attribute("aria-busy", "true")
        asked = len(api.requests)
        await page.evaluate("() => new Promise((done) => setTimeout(done, 200))")
        assert not [each for each in api.requests[asked:] if "actions" in each]
        held.set()
        for name in ("a", "b"):
            await expect(row(page, name)).to_have_attribute("data-stage", "cancelled")
            await expect(row(page, name)).to_have_attribute("aria-busy", "false")


async def test_a_pause_is_not_taken_back_by_what_was_asked_before_it(
    api: FakeApi, open_page: OpenPage
) -> None:
    await api.put("a")
    async with open_page(api.url, **ENGLISH) as page:
        await page.locator("#filter[data-counted]").wait_for(state="attached")
        is_answered, let_go = await hold(page, "**/api/queue?*")
        await api.put("b", "completed")  # makes the page count the tasks again
        await is_answered.wait()
        await page.locator("#menu").click()
        await page.get_by_role("menuitem", name="Pause the queue").click()
        await expect(page.locator("#paused")).to_be_visible()
        states = "paused.seen = []; new MutationObserver(() => paused.seen.push(paused.hidden))"
        await page.evaluate(f"{states}.observe(paused, {{ attributes: true }})")
        await let_go()
        assert await page.evaluate("paused.seen.includes(true)") is False


async def put_list(api: FakeApi) -> list[str]:
    """Put a list and its entries without sending them over the socket; return their ids in the order of the
    page.
    """
    counts = {"total": 3, "completed": 3, "failed": 0}
    ended = {"completed_at": "2025-03-01T13:00:00Z"}
    await api.put("list", "completed", entries=counts, video_info={"title": "Bread"}, **ended)
    await api.put_many(3, playlist_id="list", **ended)
    return list(api.tasks)


async def test_a_list_whose_entries_did_not_come_is_asked_for_again_when_it_is_opened_again(
    api: FakeApi, open_page: OpenPage
) -> None:
    tasks = await put_list(api)
    async with open_page(api.url, **ENGLISH) as page:
        failure = {"code": "internal", "detail": "Something went wrong."}

        async def fail(route: Route) -> None:
            await route.fulfill(status=500, json=failure, content_type="application/problem+json")

        await page.route("**/api/tasks?playlist_id=*", fail, times=1)
        opens = row(page, "list").get_by_role("button", name="Bread")
        await opens.click()
        await expect(page.locator("#refused")).to_have_text("Something went wrong.")
        await opens.click()
        await opens.click()
        await shows(page, *tasks)


async def test_a_list_can_be_opened_again_after_the_next_log_in(api: FakeApi, open_page: OpenPage) -> None:
    api.token = "sesame"
    tasks = await put_list(api)
    async with open_page(api.url, is_listed=False) as page:
        await log_in(page, api.token)
        opens = row(page, "list").get_by_role("button", name="Bread")
        await opens.click()
        await shows(page, *tasks)
        await api.end_session()
        await log_in(page, api.token)
        await shows(page, "list")
        await opens.click()
        await shows(page, *tasks)


async def test_an_answer_to_an_earlier_search_of_a_list_changes_nothing(
    api: FakeApi, open_page: OpenPage
) -> None:
    counts = {"total": 12, "completed": 12, "failed": 0}
    await api.put("list", "completed", entries=counts, video_info={"title": "Bread"})
    for number in range(12):
        await api.put(f"e{number}", "completed", playlist_id="list", video_info={"title": f"Film {number}"})
    async with open_page(api.url, **ENGLISH) as page:
        await row(page, "list").get_by_role("button", name="Bread").click()
        is_answered, let_go = await hold(page, "**/api/tasks?playlist_id=list&q=*")
        search = page.get_by_role("searchbox", name="Search these entries")
        await search.fill("film 1")
        await is_answered.wait()
        await search.fill("film 2")
        await shows(page, "list", "e2")
        await let_go()
        await shows(page, "list", "e2")


async def test_the_end_of_a_log_is_not_replaced_by_what_was_asked_for_before(
    api: FakeApi, open_page: OpenPage
) -> None:
    await api.put("a", "download", url="https://a.example/early")
    async with open_page(api.url, **ENGLISH) as page:
        await choose(page, "a", "Log")
        log = row(page, "a").locator("pre")
        await expect(log).to_contain_text("early")
        is_answered, let_go = await hold(page, "**/api/tasks/a/log*")
        await is_answered.wait()
        await api.put("a", "completed", url="https://a.example/late")
        await expect(log).to_contain_text("late")
        await let_go()
        await expect(log).to_contain_text("late")
