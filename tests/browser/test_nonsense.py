"""Nonsense: answers without sense, a browser that stores nothing, odd addresses and clocks."""

import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from playwright.async_api import Page, Route, expect

from tests.browser.conftest import OpenPage
from tests.browser.lists import leave, row, shown, shows
from tests.browser.test_nested import fill
from tests.fakes.api import FakeApi

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.long]
ENGLISH = {"locale": "en-US"}
_NO_STORE = """for (const name of ["getItem", "setItem"]) {
    Storage.prototype[name] = () => { throw new DOMException("no", "QuotaExceededError") }
}"""
_COME_BACK = """() => {
    dispatchEvent(new PageTransitionEvent("pagehide", { persisted: true }))
    dispatchEvent(new PageTransitionEvent("pageshow", { persisted: true }))
}"""


@pytest.mark.parametrize(
    "answer", ["{}", "[]", "null", "7", '{"tasks": null}', '{"tasks": [null]}', "<html>Sign in</html>", ""]
)
async def test_an_answer_that_makes_no_sense_is_none_and_is_asked_for_again(
    api: FakeApi, open_page: OpenPage, answer: str
) -> None:
    await api.put("a")
    async with open_page(api.url, **ENGLISH) as page:

        async def respond(route: Route) -> None:
            await route.fulfill(content_type="application/json", body=answer)

        await page.route("**/api/tasks?*", respond)
        await page.reload()
        await expect(page.locator("#offline")).not_to_be_empty()
        await page.unroute("**/api/tasks?*")
        await shows(page, "a")
        await expect(page.locator("#offline")).to_be_empty()


@pytest.mark.parametrize("message", ["null", "[]", "7", '{"task_id": "x"}', '{"removed": true}'])
async def test_a_message_that_makes_no_sense_is_ignored(
    api: FakeApi, open_page: OpenPage, message: str
) -> None:
    await api.put("a")
    async with open_page(api.url, **ENGLISH) as page:
        await expect(page.locator("#connection")).to_have_attribute("data-state", "live")
        for socket in list(api._sockets):
            await socket.send_str(message)
        await api.put("b")
        await leave(page)
        await expect(row(page, "b")).to_be_visible()
        assert await page.locator(".row").count() == 2


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_server_that_refuses_the_list_is_asked_until_it_gives_it(
    api: FakeApi, open_page: OpenPage, status: int
) -> None:
    await api.put("a")
    problem = {"code": "x", "detail": "Come back later."}

    async def refuse(route: Route) -> None:
        await route.fulfill(status=status, json=problem, headers={"Content-Type": "application/problem+json"})

    async with open_page(api.url, **ENGLISH) as page:
        await page.route("**/api/tasks?*", refuse)
        await page.reload()
        await expect(page.locator("#offline")).to_have_text("Come back later.")
        await page.unroute("**/api/tasks?*")
        await shows(page, "a")
        await expect(page.locator("#offline")).to_be_empty()


async def test_a_browser_that_stores_nothing_only_forgets(api: FakeApi, open_page: OpenPage) -> None:
    await api.put("a")
    async with open_page(api.url, **ENGLISH) as page:
        await page.add_init_script(_NO_STORE)
        await page.reload()
        await shows(page, "a")
        await page.locator("#menu").click()
        await page.get_by_role("menuitem", name="Settings").click()
        settings = page.get_by_role("dialog")
        await settings.get_by_label("Theme").select_option("dark")
        await settings.locator("#language").select_option("zh")
        await expect(page.get_by_role("heading", name="设置")).to_be_visible()
        assert await page.evaluate("document.documentElement.dataset.theme") == "dark"
        await page.keyboard.press("Escape")
        await page.locator("#choices .more").click()
        await page.locator("#options select").nth(1).select_option(index=1)
        await page.locator("#links").fill("https://a.example/1")
        await page.keyboard.press("Enter")
        await expect(page.locator(".row")).to_have_count(2)
        await page.locator("#choices .more").click()
        await page.locator("#options").get_by_text("存为预设").click()
        name = page.get_by_role("textbox", name="预设名称")
        await expect(name).to_be_focused()  # the field gets the focus a moment after it is shown
        await page.keyboard.type("mine")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("alert").get_by_text("未能保存")).to_be_visible()
        await expect(name).to_have_value("mine")


@pytest.mark.parametrize("days", [-1, 1])
async def test_how_long_it_records_is_told_by_the_clock_of_the_service(
    api: FakeApi, open_page: OpenPage, days: int
) -> None:
    now = datetime.now(UTC)
    live = {"video_info": {"title": "Live", "live": True}, "downloaded_bytes": 1_000_000}
    begun = (now - timedelta(minutes=5, seconds=20)).isoformat()
    await api.put("a", "download", started_at=begun, **live)
    async with open_page(api.url, has_clock=True, **ENGLISH) as page:
        await page.clock.set_system_time(now + timedelta(days=days))
        await page.reload()
        await expect(row(page, "a")).to_contain_text("Recording · 5:")


@pytest.mark.parametrize(
    "query", ["?q=", "?q=%20%20&show=&sort=", "?show=toString&sort=__proto__", "?show=all&show=failed&q=%00"]
)
async def test_an_address_that_makes_no_sense_shows_all_tasks(
    api: FakeApi, open_page: OpenPage, query: str
) -> None:
    await api.put("a")
    await api.put("b", "completed")
    async with open_page(api.url + query, **ENGLISH) as page:
        if "%00" not in query:
            await shows(page, "a", "b")
        search = page.locator("#filter input[type=search]")
        await search.fill("   ")
        await shows(page, "a", "b")
        await search.fill("zzzz")
        await expect(page.locator(".no-match")).to_be_visible()
        await search.fill("")
        await shows(page, "a", "b")
        assert "q=" not in page.url


async def test_links_that_are_words_of_the_page_are_told_apart(api: FakeApi, open_page: OpenPage) -> None:
    words = ["error", "failed", "constructor", "__proto__", "toString"]
    api.refuses = dict.fromkeys(words, "No link.")
    async with open_page(api.url, **ENGLISH) as page:
        await page.locator("#links").fill("\n".join([*words, "https://a.example/constructor"]))
        await page.keyboard.press("Enter")
        problems = page.locator("#problems p")
        await expect(problems).to_have_count(len(words))
        for word in words:
            await expect(problems.filter(has_text=re.compile(f"^{word}"))).to_have_count(1)
        await expect(page.locator(".row")).to_have_count(1)


async def test_entries_that_are_deleted_elsewhere_leave_an_opened_list(
    api: FakeApi, open_page: OpenPage
) -> None:
    await fill(api, 4, failed=1)
    async with open_page(api.url, **ENGLISH) as page:
        await row(page, "list").get_by_role("button", name="Bread").click()
        await shows(page, "list", "e0", "e1", "e2", "e3")
        await leave(page)
        await api.remove("e1")
        await api.remove("e3")
        await shows(page, "list", "e0", "e2")
        await expect(row(page, "e2")).to_have_attribute("aria-posinset", "2")
        await row(page, "e2").focus()
        await api.remove("e2")  # this row has the focus
        await expect(row(page, "e2")).to_have_attribute("data-leaving", "deleted")
        await api.remove("e0")
        await api.remove("list")
        await leave(page)
        await expect(page.locator(".row")).to_have_count(0)
        assert await shown(page) == []


async def test_a_page_that_comes_back_from_the_history_is_as_true_as_before(
    api: FakeApi, open_page: OpenPage
) -> None:
    for name in ("a", "b"):
        await api.put(name, "completed")
    async with open_page(api.url, **ENGLISH) as page:
        await row(page, "a").focus()
        await page.keyboard.press("Delete")
        await expect(row(page, "a")).to_have_attribute("data-leaving", "undo")
        await lose_deletions(page)
        await page.evaluate(_COME_BACK)
        # The deletion failed, so the row is shown again.
        await expect(row(page, "a")).to_have_attribute("data-leaving", "")
        await page.unroute("**/api/tasks/actions*")
        await row(page, "a").focus()
        await page.keyboard.press("Delete")
        async with page.expect_request("**/api/tasks/actions*") as asked:
            await page.evaluate(_COME_BACK)
        assert json.loads((await asked.value).post_data or "") == {"action": "delete", "ids": ["a"]}
        await leave(page)
        await shows(page, "b")


async def lose_deletions(page: Page) -> None:
    async def lose(route: Route) -> None:
        await route.abort()

    await page.route("**/api/tasks/actions*", lose)


@pytest.mark.parametrize("hours", [-48, 48])
async def test_a_clock_that_is_set_changes_days_and_nothing_else(
    api: FakeApi, open_page: OpenPage, hours: int
) -> None:
    await api.put("a", "completed", completed_at="2026-03-14T11:00:00Z")
    async with open_page(api.url, has_clock=True, **ENGLISH) as page:
        await page.clock.set_system_time("2026-03-14T12:00:00Z")
        await page.clock.run_for(61_000)
        await expect(page.locator(".section h2")).to_contain_text("Today")
        day = 14 + hours // 24
        await page.clock.set_system_time(f"2026-03-{day}T12:00:00Z")
        await page.clock.run_for(61_000)
        await expect(page.locator(".section h2")).not_to_contain_text("Today" if hours > 0 else "Yesterday")
        await api.put("b", "download", completed_at="")
        await page.clock.run_for(1_000)
        await expect(row(page, "b")).to_be_visible()
        await expect(page.locator("#connection")).to_have_attribute("data-state", "live")


async def test_what_was_said_of_a_link_is_not_said_of_what_is_typed_next(
    api: FakeApi, open_page: OpenPage
) -> None:
    async with open_page(api.url, locale="en-US") as page:
        box = page.get_by_role("textbox", name="Link", exact=True)
        await box.fill("https://a.example/blank")
        await expect(page.locator("#draft [data-part=verb]")).to_have_text("Subscribe")
        await box.fill("hello")
        await expect(page.locator(".entry-line .primary")).to_have_text("Download")


async def test_a_link_that_cannot_be_looked_at_has_the_words_of_a_task_that_fails_so(
    api: FakeApi, open_page: OpenPage
) -> None:
    refused = {"code": "source_refused", "detail": "Nothing could be read (dns_error).",
               "error_code": "dns_error", "error": "The host was not found"}  # fmt: skip
    async with open_page(api.url, locale="en-US") as page:
        await page.route("**/api/info?*", lambda route: route.fulfill(status=502, json=refused))
        box = page.get_by_role("textbox", name="Link", exact=True)
        await box.fill("https://nowhere.example/1")
        facts = page.locator("#draft [data-part=facts]")
        await expect(facts).to_have_text("The host was not found")
        await page.unroute("**/api/info?*")
        await page.route("**/api/info?*", lambda route: route.abort())
        await box.fill("https://nowhere.example/2")
        await expect(facts).to_have_text("")  # the error is shown in one place only


async def test_a_thousand_links_are_read_once_for_each_change(api: FakeApi, open_page: OpenPage) -> None:
    async with open_page(api.url, locale="en-US") as page:
        box = page.get_by_role("textbox", name="Link", exact=True)
        text = "\n".join(f"https://a.example/watch?v={number}&list=some-list" for number in range(1000))
        reads = await box.evaluate(
            """(area, text) => {
                let reads = 0
                const match = String.prototype.match
                String.prototype.match = function (...given) { reads += 1; return match.apply(this, given) }
                area.value = text
                area.dispatchEvent(new Event("input"))
                String.prototype.match = match
                return reads
            }""",
            text,
        )
        assert reads == 1000
        await expect(page.locator(".entry-line .primary")).to_have_text("Download 1,000")
