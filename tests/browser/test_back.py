"""The browser's Back closes dialogs one by one before it leaves the page."""

import pytest
from playwright.async_api import Locator, Page, expect

from tests.browser.conftest import OpenPage
from tests.browser.lists import choose, row
from tests.browser.test_subscriptions import CHANNEL, ENGLISH, open_first
from tests.fakes.api import FakeApi
from tests.fakes.subscriptions import entries

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def back(page: Page) -> None:
    await page.evaluate("history.back()")


async def open_settings(page: Page) -> Locator:
    await page.get_by_role("button", name="Menu").click()
    await page.get_by_role("menuitem", name="Settings").click()
    settings = page.get_by_role("dialog", name="Settings")
    await expect(settings).to_be_visible()
    return settings


@pytest.mark.wide
async def test_the_way_back_closes_the_player_and_the_settings_and_then_leaves_the_page(
    api: FakeApi, open_page: OpenPage
) -> None:
    film = {"files": {"video": "/v.mp4"}, "file_info": {"video": {"size": 1, "type": "video/mp4"}}}
    await api.put("a", "completed", video_info={"title": "Bread"}, **film)
    async with open_page(api.url, **ENGLISH) as page:
        await row(page, "a").get_by_role("button", name="Play").click()
        player = page.get_by_role("dialog", name="Bread")
        await expect(player).to_be_visible()
        await back(page)
        await expect(player).to_be_hidden()
        settings = await open_settings(page)
        await back(page)
        await expect(settings).to_be_hidden()
        for _ in range(3):  # a dialog that is closed in another way leaves no entry in the history
            settings = await open_settings(page)
            await page.keyboard.press("Escape")
            await expect(settings).to_be_hidden()
        assert page.url.startswith(api.url)
        # The entry of the last dialog is removed.
        await page.wait_for_function("navigation.currentEntry.index === 0")
        await page.go_back()
        assert page.url == "about:blank"


async def test_the_way_back_leads_through_the_subscriptions_step_by_step(
    api: FakeApi, open_page: OpenPage
) -> None:
    api.subscriptions.add(CHANNEL, entries(1, "fetched"), title="Bread")
    async with open_page(api.url, **ENGLISH) as page:
        dialog = await open_first(page)
        await dialog.get_by_role("button", name="Edit").click()
        await expect(dialog.get_by_label("Name", exact=True)).to_be_visible()
        await back(page)
        await expect(dialog.locator(".follow-items")).to_be_visible()
        await back(page)
        await expect(dialog.locator(".follow-list")).to_be_visible()
        await back(page)
        await expect(dialog).to_have_count(0)
        await page.go_back()
        assert page.url == "about:blank"


async def test_what_was_typed_into_the_settings_of_a_subscription_goes_only_after_a_question(
    api: FakeApi, open_page: OpenPage
) -> None:
    api.subscriptions.add(CHANNEL, entries(1, "fetched"), title="Bread")
    async with open_page(api.url, **ENGLISH) as page:
        dialog = await open_first(page)
        await dialog.get_by_role("button", name="Edit").click()
        name = dialog.get_by_label("Name", exact=True)
        await name.press("Escape")  # the name is unchanged: Escape only goes back one step
        await expect(dialog.locator(".follow-items")).to_be_visible()
        await dialog.get_by_role("button", name="Edit").click()
        await name.fill("Sourdough")
        for way in ("key", "history", "button"):
            if way == "key":
                await name.press("Escape")
            elif way == "history":
                await back(page)
            else:
                await dialog.get_by_role("button", name="Close").click()
            await expect(dialog.get_by_text("Your changes are not saved.")).to_be_visible()
            await dialog.get_by_role("button", name="Keep editing").click()
            await expect(name).to_have_value("Sourdough")
        await name.press("Escape")
        await dialog.get_by_role("button", name="Discard changes").click()
        await expect(dialog.locator(".follow-items")).to_be_visible()
        await expect(dialog.get_by_role("heading", name=CHANNEL)).to_be_visible()


@pytest.mark.wide
async def test_a_paused_task_whose_cancel_is_taken_back_is_paused_again(
    api: FakeApi, open_page: OpenPage
) -> None:
    for name in "abc":
        await api.put(name, "paused")
    async with open_page(api.url, **ENGLISH) as page:
        await choose(page, "a", "Cancel")
        await expect(row(page, "a")).to_have_attribute("data-stage", "cancelled")
        await row(page, "a").get_by_role("button", name="Undo").click()
        await expect(row(page, "a")).to_have_attribute("data-stage", "paused")
        await page.locator("h1").click()
        await page.keyboard.press("Control+a")
        await page.get_by_role("button", name="Cancel 3").click()
        await expect(page.locator(".row[data-stage=cancelled]")).to_have_count(3)
        await page.locator("#undone").get_by_role("button", name="Undo").click()
        await expect(page.locator(".row[data-stage=paused]")).to_have_count(3)
        asked = [request for request in api.requests if request.startswith("POST /api/tasks/")]
        assert [request.rpartition("/")[2].split("?")[0] for request in asked] == [
            *("cancel", "retry", "pause"),
            *("actions", "actions", "actions"),
        ]
