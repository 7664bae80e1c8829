"""What is finished as a wall of covers: a press plays, and how far it was watched is remembered."""

import pytest
from playwright.async_api import expect

from tests.browser.conftest import OpenPage
from tests.fakes.api import FakeApi

pytestmark = pytest.mark.asyncio(loop_scope="session")

_UNTIL = """(media, name) => new Promise((done) => {
    const look = () => media[name] && done()
    for (const event of ["timeupdate", "ended"]) media.addEventListener(event, look)
    look()
})"""
_FILM = {"files": {"audio": "/api/download/a.wav"}, "file_info": {"audio": {"type": "audio/wav"}}}


async def test_a_cover_plays_says_how_far_it_was_watched_and_the_way_back_leads_to_the_wall(
    api: FakeApi, open_page: OpenPage
) -> None:
    for name in ("Cheese", "Bread"):
        about = {"title": name, "uploader": "Kitchen", "duration": 300}
        await api.put(
            name, "completed", video_info=about, playlist_id="list", **_FILM
        )  # of a list that is gone
    await api.put("text", "completed", files={"subtitle.en": "/api/download/a.srt"})
    async with open_page(api.url, locale="en-US") as page:
        covers = page.get_by_role("button", name="As covers")
        await expect(covers).to_be_hidden()
        await page.get_by_role("radio", name="Finished").check(force=True)
        await covers.click()
        wall = page.get_by_role("dialog", name="Finished")
        bread, cheese = (wall.get_by_role("button", name=name) for name in ("Bread", "Cheese"))
        await expect(wall.locator("li")).to_have_count(2)  # what can be played
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
