"""Finished films as a wall of covers: a press plays a film, and the page remembers how far it was watched."""

import re

import pytest
from playwright.async_api import expect

from tests.browser.conftest import OpenPage
from tests.fakes.api import FakeApi
from tests.fakes.subscriptions import entries

pytestmark = pytest.mark.asyncio(loop_scope="session")

_UNTIL = """(media, name) => new Promise((done) => {
    const look = () => media[name] && done()
    for (const event of ["timeupdate", "ended"]) media.addEventListener(event, look)
    look()
})"""
_FILM = {"files": {"audio": "/api/download/a.wav"}, "file_info": {"audio": {"type": "audio/wav"}}}


@pytest.mark.wide
async def test_a_cover_plays_says_how_far_it_was_watched_and_the_way_back_leads_to_the_wall(
    api: FakeApi, open_page: OpenPage
) -> None:
    for name in ("Cheese", "Bread"):
        about = {"title": name, "uploader": "Kitchen", "duration": 300}
        await api.put(
            name, "completed", video_info=about, playlist_id="list", **_FILM
        )  # the task belongs to a list that was removed
    await api.put("text", "completed", files={"subtitle.en": "/api/download/a.srt"})
    async with open_page(api.url, locale="en-US") as page:
        covers = page.get_by_role("button", name="As covers")
        await expect(covers).to_be_hidden()
        await page.get_by_role("radio", name="Finished").check(force=True)
        await covers.click()
        wall = page.get_by_role("dialog", name="Finished")
        bread, cheese = (wall.get_by_role("button", name=name) for name in ("Bread", "Cheese"))
        await expect(wall.locator("li")).to_have_count(2)  # only tasks that can be played are shown
        await expect(bread).to_be_focused()
        await expect(bread).to_contain_text("5:00")
        await page.keyboard.press("ArrowRight")
        await expect(cheese).to_be_focused()
        await page.keyboard.press("ArrowLeft")
        await page.keyboard.press("Enter")
        media = page.locator("#player audio")
        await expect(media).to_be_visible()
        await media.evaluate(_UNTIL, "currentTime")
        await page.go_back()
        await expect(page.locator("#player")).to_be_hidden()
        await expect(bread).to_be_visible()
        await expect(wall.locator("[data-watched]")).to_have_count(1)
        await bread.click()
        await expect(media).to_be_visible()
        await media.evaluate(_UNTIL, "ended")
        await page.keyboard.press("Escape")
        await expect(bread).to_contain_text("Watched")
        await wall.get_by_role("searchbox").fill("chee")
        await expect(wall.locator("li")).to_have_count(1)
        await page.keyboard.press("Escape")
        await page.go_back()
        await expect(wall).to_be_hidden()


async def test_a_subscription_is_a_shelf_and_what_comes_and_goes_moves_no_cover_under_the_pointer(
    api: FakeApi, open_page: OpenPage
) -> None:
    await api.put("old", "completed", video_info={"title": "Old"}, **_FILM)
    await api.put("loaf", "completed", video_info={"title": "Loaf"}, **_FILM)
    loaf = [entry | {"task_id": "loaf"} for entry in entries(1, "fetched")]
    api.subscriptions.add("https://films.example/kitchen", loaf, name="Kitchen")
    api.subscriptions.add("https://films.example/gone", name="Gone", stage="failing", error="No list.")
    async with open_page(api.url, locale="en-US") as page:
        await page.get_by_role("radio", name="Finished").check(force=True)
        await page.get_by_role("button", name="As covers").click()
        wall = page.get_by_role("dialog", name="Finished")
        covers = wall.locator(".shelf li")
        await expect(wall.locator(".shelves label")).to_have_text(["All", "G!Gone", "KKitchen"])
        await expect(covers).to_have_count(2)
        await wall.get_by_role("heading").hover()
        await api.put("new", "completed", video_info={"title": "New one"}, **_FILM)
        await expect(covers).to_have_text([re.compile(name) for name in ("New one", "Loaf", "Old")])
        await covers.nth(1).hover()
        await api.put("newer", "completed", video_info={"title": "Newer"}, **_FILM)
        await wall.get_by_role("button", name="1 new").wait_for()
        await expect(covers).to_have_count(3)
        await api.remove("old")
        await expect(wall.locator("[data-gone]")).to_have_count(1)
        await expect(covers).to_have_count(3)
        await wall.get_by_role("button", name="1 new").click()
        await expect(covers).to_have_text([re.compile(name) for name in ("Newer", "New one", "Loaf")])
        await wall.get_by_role("radio", name="Gone").check(force=True)
        await expect(wall).to_contain_text("No list.")
        await wall.get_by_role("radio", name="Kitchen").check(force=True)
        await expect(covers).to_have_text([re.compile("Loaf")])
        await wall.get_by_role("button", name="Open subscription").click()
        entry = page.get_by_role("dialog", name="Kitchen").locator(".follow-items li")
        await entry.get_by_role("checkbox").press("ArrowRight")
        await expect(entry.get_by_role("button", name="Play")).to_be_focused()
        await entry.get_by_role("button", name="Show in the list of downloads").click()
        await expect(page.locator('.row[data-id="loaf"]')).to_be_focused()
