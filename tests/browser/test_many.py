"""Actions on many tasks at once, with the keyboard only; and what the address of the page remembers."""

import asyncio

import pytest
from playwright.async_api import expect

from tests.browser.conftest import OpenPage
from tests.browser.lists import leave, row, shown
from tests.fakes.api import FakeApi

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.long]


async def test_several_are_selected_by_marks_by_shift_and_all_of_them_by_a_key(
    api: FakeApi, open_page: OpenPage
) -> None:
    for name in "edcba":
        await api.put(name, "completed", files={"video": f"/{name}.mp4"})
    async with open_page(api.url, locale="en-US") as page:
        bar = page.get_by_role("toolbar", name="Selected tasks")
        await expect(bar).to_be_hidden()
        await row(page, "b").hover()
        await row(page, "b").get_by_role("button", name="Select").click()
        await row(page, "d").get_by_role("button", name="Select").click(modifiers=["Shift"])
        await expect(bar).to_contain_text("3 selected")
        link = bar.get_by_role("link", name="Save 3 as a zip")
        await expect(link).to_have_attribute("href", f"{api.url}api/download.zip?ids=b,c,d&lang=en")
        await bar.get_by_role("button", name="Delete").click()
        for name in "bcd":
            await expect(row(page, name).get_by_role("button", name="Undo")).to_be_visible()
        await row(page, "c").get_by_role("button", name="Undo").click()
        await page.keyboard.press("Escape")
        await page.locator("h1").click()
        await page.keyboard.press("Control+a")
        await expect(bar).to_contain_text("5 selected")
        await page.keyboard.press("Escape")
        await expect(bar).to_be_hidden()
        await page.reload()  # a reload sends the deletions that the page has put off
        await expect(page.locator(".row")).to_have_count(3)
        assert sorted(api.tasks) == ["a", "c", "e"]


async def test_deletions_of_many_are_asked_for_together_after_a_while(
    api: FakeApi, open_page: OpenPage
) -> None:
    for name in "abc":
        await api.put(name, "completed")
    async with open_page(api.url, has_clock=True) as page:
        await page.locator("h1").click()
        await page.keyboard.press("Control+a")
        await page.get_by_role("toolbar").get_by_role("button", name="删除").click()
        await row(page, "b").get_by_role("button", name="撤销").click()
        async with page.expect_response("**/api/tasks/actions?*"):
            await page.clock.run_for(11_000)
        assert list(api.tasks) == ["b"]
        await expect(row(page, "b").get_by_role("heading")).to_be_visible()


async def test_all_that_failed_is_tried_again_by_one_button(api: FakeApi, open_page: OpenPage) -> None:
    for name in "ab":
        await api.put(name, "failed")
    await api.put("asks", "failed", error_code="is_playlist")
    await api.put("cancelled", "cancelled")
    async with open_page(api.url + "?show=failed") as page:
        await expect(page.get_by_role("radio", name="失败 2")).to_be_checked()
        await page.get_by_role("button", name="重试 2 个失败项").click()
        await expect(page.get_by_text("没有找到")).to_be_visible()
        await page.get_by_role("button", name="清除筛选").click()
        await expect(page.locator(".row[data-stage=queued]")).to_have_count(2)
    assert [api.tasks[name]["stage"] for name in ("asks", "cancelled")] == ["failed", "cancelled"]


async def test_many_go_into_the_library_from_the_bar(api: FakeApi, open_page: OpenPage) -> None:
    files = {"video": "/api/download/a.mp4"}
    await api.put("there", "completed", files=files, library={"state": "placed", "paths": ["Films/a.mp4"]})
    await api.put("stuck", "completed", files=files, library={"state": "waiting", "paths": []})
    await api.put("early", "completed", files=files)
    await api.put("failed", "failed")
    api.has_library = True
    async with open_page(api.url, locale="en-US") as page:
        await row(page, "early").focus()
        await page.keyboard.press("Control+a")
        await page.get_by_role("button", name="Add 2 to the library").click()
        await page.get_by_role("menuitem", name="Series").click()
        await expect(row(page, "early")).to_contain_text("Being added to the library")
        await expect(page.locator("#selected")).to_be_hidden()
    assert sorted(api.placed, key=str) == [("early", {"library": {"layout": "shows"}}), ("stuck", None)]


async def test_filter_search_and_order_stand_in_the_address(api: FakeApi, open_page: OpenPage) -> None:
    await api.put("bread", "completed", video_info={"title": "Bread"})
    await api.put("cake", "completed", video_info={"title": "Cake"})
    async with open_page(api.url, locale="en-US") as page:
        await page.locator(".chips").get_by_text("Finished").click()
        await page.get_by_label("Sort").select_option("added")
        await page.get_by_role("searchbox", name="Search").fill("bread")
        await expect(page).to_have_url(api.url + "?show=completed&sort=added&q=bread")
        await page.reload()
        await expect(page.get_by_role("searchbox", name="Search")).to_have_value("bread")
        await expect(page.get_by_role("radio", name="Finished")).to_be_checked()
        await expect(page.locator(".row")).to_have_count(1)
        assert await shown(page) == ["bread"]


async def test_what_was_sent_while_a_filter_hides_it_is_not_lost_from_sight(
    api: FakeApi, open_page: OpenPage
) -> None:
    async with open_page(api.url + "?show=failed", locale="en-US") as page:
        await page.get_by_role("textbox", name="Link").fill("https://a.example/1")
        await page.keyboard.press("Enter")
        await page.locator("#filtered").get_by_role("button", name="Clear filter").click()
        await expect(page.locator(".row")).to_have_count(1)
        await expect(page.locator("#filtered")).to_be_hidden()


async def test_everything_goes_by_the_keyboard(api: FakeApi, open_page: OpenPage) -> None:
    for name in ("a", "b", "c"):
        await api.put(name)
    async with open_page(api.url, locale="en-US") as page:
        await page.locator("h1").click()
        await page.keyboard.press("?")
        await expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
        await page.keyboard.press("Escape")
        await page.keyboard.press("/")
        await expect(page.get_by_role("searchbox")).to_be_focused()
        await page.evaluate("document.activeElement.blur()")
        await page.keyboard.press("j")
        await expect(row(page, "a")).to_be_focused()
        await page.keyboard.press("ArrowDown")
        await page.keyboard.press("j")
        await expect(row(page, "c")).to_be_focused()
        await page.keyboard.press("p")
        await expect(row(page, "c")).to_have_attribute("data-stage", "paused")
        await page.keyboard.press("p")
        await expect(row(page, "c")).to_have_attribute("data-stage", "queued")
        async with page.expect_response("**/api/tasks/c?*"):
            await page.keyboard.press("t")
        await page.keyboard.press("Enter")
        await expect(row(page, "c").locator(".details")).to_be_visible()
        await page.keyboard.press("Enter")
        await page.keyboard.press("c")
        await expect(row(page, "c").get_by_role("button", name="Undo")).to_be_focused()
        await page.keyboard.press("z")
        await expect(row(page, "c")).to_have_attribute("data-stage", "queued")
        await page.keyboard.press("m")
        await expect(page.get_by_role("menu")).to_be_visible()
        await page.keyboard.press("ArrowUp")
        await expect(page.get_by_role("menuitem", name="Delete")).to_be_focused()
        await page.keyboard.press("Escape")
        await page.keyboard.press("Delete")
        await expect(row(page, "c").get_by_role("button", name="Undo")).to_be_focused()
        await leave(page)


async def test_a_paused_queue_says_so_until_it_is_resumed(api: FakeApi, open_page: OpenPage) -> None:
    await api.put("runs", "download", speed=1e6, eta=120)
    await api.put("waits")
    async with open_page(api.url, locale="en-US") as page:
        await page.get_by_role("button", name="Menu").click()
        await page.get_by_role("menuitem", name="Pause the queue").click()
        await expect(page.get_by_text("The queue is paused: nothing new starts.")).to_be_visible()
        await expect(row(page, "waits").get_by_text("Next in queue", exact=True)).to_be_visible()
        await page.reload()
        await page.get_by_role("button", name="Resume the queue").click()
        await expect(page.get_by_text("The queue is paused")).to_be_hidden()
        await expect(row(page, "waits").get_by_text("Next in queue · about 2 min")).to_be_visible()
        assert not api.is_paused


async def test_a_pause_by_anybody_is_said_in_every_tab_of_which_one_waits_for_it(
    api: FakeApi, open_page: OpenPage
) -> None:
    async with (
        open_page(api.url, locale="en-US") as page,
        open_page(api.url, locale="en-US") as elsewhere,
    ):
        tabs = [
            page,
            *[await page.context.new_page() for _ in range(7)],
        ]  # more tabs than a browser has connections to one server
        for tab in tabs[1:]:
            await tab.goto(api.url)
            await tab.locator("#tasks[data-listed]").wait_for(state="attached")
        while api.held != 2:
            await asyncio.sleep(0.02)
        for is_paused in (True, False):
            await api.pause(is_paused)
            for tab in (*tabs, elsewhere):
                await expect(tab.locator("#paused")).to_be_visible(visible=is_paused)
        # Closes the tab whose request waits; another tab must then wait in its place.
        await tabs.pop().close()
        while api.held != 2:
            await asyncio.sleep(0.02)
        await page.get_by_role("button", name="Menu").click()
        await page.get_by_role("menuitem", name="Pause the queue").click()
        for tab in (*tabs, elsewhere):
            await expect(tab.locator("#paused")).to_be_visible()


async def test_what_applies_to_the_selected_is_offered_with_how_many_it_applies_to(
    api: FakeApi, open_page: OpenPage
) -> None:
    for name, stage in {
        "a": "completed",
        "b": "failed",
        "c": "paused",
        "d": "queued",
        "e": "download",
    }.items():
        await api.put(name, stage)
    async with open_page(api.url, locale="en-US") as page:
        bar = page.get_by_role("toolbar", name="Selected tasks")
        await page.locator("h1").click()
        await page.keyboard.press("Control+a")
        offered = bar.locator("[data-many]:visible:not(.icon-only)")
        await expect(offered).to_have_text(
            ["Older than…", "Pause 2", "Resume 1", "Try 1 again", "Cancel 3", "Delete 5"]
        )
        await api.put("e", "completed", files={"video": "/e.mp4"})
        await expect(offered).to_have_text(
            ["Older than…", "Pause 1", "Resume 1", "Try 1 again", "Cancel 2", "Delete 5"]
        )
        await expect(bar.get_by_role("link", name="Save 1 as a zip")).to_be_visible()
        await bar.get_by_role("button", name="Resume 1").hover()
        await api.put("c", "queued")  # no button below the pointer moves
        await expect(bar.get_by_role("button", name="Resume 0")).to_be_disabled()
        await bar.get_by_role("button", name="Pause 2").click()
        await expect(page.locator(".row[data-stage=paused]")).to_have_count(2)
        await expect(bar).to_be_hidden()
    assert {name: task["stage"] for name, task in api.tasks.items()} == {
        "a": "completed",
        "b": "failed",
        "c": "paused",
        "d": "paused",
        "e": "completed",
    }


async def test_several_that_were_cancelled_are_taken_back_together_or_one_by_one(
    api: FakeApi, open_page: OpenPage
) -> None:
    for name in "abc":
        await api.put(name, "download")
    async with open_page(api.url, locale="en-US") as page:
        for _ in range(2):
            await page.locator("h1").click()
            await page.keyboard.press("Control+a")
            await page.get_by_role("button", name="Cancel 3").focus()
            await page.keyboard.press("Enter")
            line = page.locator("#undone")
            await expect(line).to_contain_text("3 cancelled.")
            await expect(line.get_by_role("button", name="Undo")).to_be_focused()
            await row(page, "b").get_by_role("button", name="Undo").click()
            await expect(line).to_contain_text("2 cancelled.")
            await expect(row(page, "b")).to_have_attribute("data-stage", "queued")
            await line.get_by_role("button", name="Undo").focus()
            await page.keyboard.press("Enter")
            await expect(page.locator(".row[data-stage=queued]")).to_have_count(3)
            await expect(line).to_be_hidden()
            await expect(page.locator(".row:focus")).to_have_count(1)
            await leave(page)


async def test_the_undo_of_many_goes_when_it_is_too_late(api: FakeApi, open_page: OpenPage) -> None:
    for name in "ab":
        await api.put(name, "download")
    async with (
        open_page(api.url, locale="en-US", has_clock=True) as page,
    ):
        await page.locator("h1").click()
        await page.keyboard.press("Control+a")
        await page.get_by_role("button", name="Cancel 2").click()
        await expect(page.locator("#undone")).to_be_visible()
        await page.clock.run_for(11_000)
        await expect(page.locator("#undone")).to_be_hidden()
        await expect(page.locator(".row[data-stage=cancelled]")).to_have_count(2)


async def test_who_resumes_the_queue_by_the_keyboard_keeps_a_place(api: FakeApi, open_page: OpenPage) -> None:
    await api.pause(True)
    async with open_page(api.url, locale="en-US") as page:
        await page.get_by_role("button", name="Resume the queue").focus()
        await page.keyboard.press("Enter")
        await expect(page.locator("#paused")).to_be_hidden()
        await expect(page.locator("#tasks")).to_be_focused()


async def test_a_long_press_begins_a_selection_on_a_phone(api: FakeApi, open_page: OpenPage) -> None:
    for name in ("a", "b"):
        await api.put(name, "completed")
    phone = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
    async with open_page(api.url, locale="en-US", **phone) as page:
        box = await row(page, "a").locator(".text").bounding_box()
        assert box
        session = await page.context.new_cdp_session(page)
        at = [{"x": box["x"] + 20, "y": box["y"] + 20}]
        await session.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": at})
        await expect(page.get_by_role("toolbar")).to_contain_text("1 selected")
        await session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        await row(page, "b").locator(".text").tap()
        await expect(page.get_by_role("toolbar")).to_contain_text("2 selected")
