"""A reader marks a part of a film in the player; the part is written above the box of links, and sent with
the link.
"""

from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import OpenPage
from tests.browser.lists import row
from tests.fakes.api import FakeApi
from tests.service import Services
from tests.site import open_site

pytestmark = pytest.mark.asyncio(loop_scope="session")
LINK, SAME = "https://a.example/watch?v=1", "https://short.example/1"
_STAND_AT = """(video, seconds) => new Promise((done) => {
    video.pause()
    video.addEventListener("seeked", done, { once: true })
    video.currentTime = seconds
})"""


def film(url: str = LINK, **about: Any) -> dict[str, Any]:
    """Put a finished task without a real film: enough for the player to open."""
    return {
        "url": url,
        "video_info": {"title": "Bread", **about},
        "files": {"video": "/api/download/video_bread_abcdefghijklm.mp4"},
        "file_info": {"video": {"size": 1000, "type": "video/mp4"}},
    }


def link_box(page: Page) -> Any:
    return page.get_by_role("textbox", name="Link")


@pytest.mark.wide
async def test_a_part_is_marked_in_the_player_and_sent_from_the_box_by_keys_alone(
    services: Services, media: Path, open_page: OpenPage
) -> None:
    async with (
        open_site(media) as site,
        services.lend() as service,
        open_page(service.url, locale="en-US") as page,
    ):
        link = site.url("/page?kind=video&src=/video.mp4&title=Bread")
        whole = await service.submit(link, outputs=["video"])
        await service.wait(whole["task_id"])
        await row(page, whole["task_id"]).get_by_role("button", name="Play").press("Enter")
        player = page.get_by_role("dialog", name="Bread")
        start = player.get_by_role("spinbutton", name="Clip from")
        video = player.locator("video")
        await player.locator("summary").press("Enter")
        await video.evaluate(_STAND_AT, 1)
        await player.get_by_role("button", name="Start here").press("Enter")
        await expect(start).to_have_value("0:01.0")
        await start.press("ArrowUp")
        await start.press("ArrowUp")
        await expect(start).to_have_value("0:01.2")
        assert await video.evaluate("video => video.currentTime") == pytest.approx(1.2)
        await video.evaluate(_STAND_AT, 3)
        await player.get_by_role("button", name="End here").press("Enter")
        await expect(player.get_by_role("status")).to_have_text("Length 0:01.8")
        await player.get_by_role("button", name="Download clip").press("Enter")
        await expect(player).to_be_hidden()
        await expect(link_box(page)).to_have_value(link)
        await expect(page.get_by_text("from 0:01.2 to 0:03.0")).to_be_visible()
        go = page.get_by_role("button", name="Download", exact=True)
        await expect(go).to_be_focused()
        await page.keyboard.press("Enter")
        await expect(link_box(page)).to_have_value("")
        clip = page.locator(f".row:not([data-id='{whole['task_id']}'])")
        await expect(clip).to_have_count(1)
        clip_id = await clip.get_attribute("data-id") or ""
        assert (await service.wait(clip_id))["video_info"]["cut"] is True
        await row(page, clip_id).get_by_role("button", name="Play").click()
        await expect(player.get_by_role("button", name="Send to…")).to_be_visible()
        # The times of a clip are not those of its film.
        await expect(player.get_by_text("Clip", exact=True)).to_be_hidden()


@pytest.mark.wide
async def test_an_end_before_the_start_is_said_and_not_taken(api: FakeApi, open_page: OpenPage) -> None:
    await api.put("a", "completed", **film())
    async with open_page(api.url, locale="en-US") as page:
        await row(page, "a").get_by_role("button", name="Play").click()
        player = page.get_by_role("dialog", name="Bread")
        await player.get_by_text("Clip", exact=True).click()
        await player.get_by_role("spinbutton", name="Clip from").fill("1:30")
        end = player.get_by_role("spinbutton", name="Clip to")
        await end.fill("1:00")
        await player.get_by_role("button", name="Download clip").click()
        await expect(player.get_by_role("status")).to_have_text("The end must be after the start.")
        await expect(end).to_be_focused()
        await end.fill("2:00")
        await player.get_by_role("button", name="Download clip").click()
        await expect(page.get_by_text("from 1:30.0 to 2:00.0")).to_be_visible()


@pytest.mark.wide
async def test_the_options_open_the_player_of_the_film_whose_link_is_in_the_box(
    api: FakeApi, open_page: OpenPage
) -> None:
    await api.put("a", "completed", **film(webpage_url=SAME))
    await api.put("b", "completed", **film("https://a.example/cut", cut=True))
    async with open_page(api.url, locale="en-US") as page:
        offer = page.get_by_role("button", name="Set in the player")
        await page.locator("#choices .more").click()
        for link, is_offered in ((LINK, True), ("https://a.example/2", False), (SAME, True),
                                 ("https://a.example/cut", False), (LINK, True)):  # fmt: skip
            await link_box(page).fill(link)
            await expect(offer).to_be_visible(visible=is_offered)
        await offer.click()
        await expect(page.get_by_role("dialog").get_by_role("button", name="Start here")).to_be_visible()


@pytest.mark.wide
async def test_what_stood_in_the_box_comes_back_when_the_clip_was_sent(
    api: FakeApi, open_page: OpenPage
) -> None:
    await api.put("a", "completed", **film())
    async with open_page(api.url, locale="en-US") as page:
        await link_box(page).fill("https://a.example/2\nhttps://a.example/3")
        await row(page, "a").get_by_role("button", name="Play").click()
        player = page.get_by_role("dialog", name="Bread")
        await player.get_by_text("Clip", exact=True).click()
        await player.get_by_role("spinbutton", name="Clip to").fill("9")
        await player.get_by_role("button", name="Download clip").click()
        await expect(page.get_by_text("The other links come back")).to_be_visible()
        await page.keyboard.press("Enter")
        await expect(link_box(page)).to_have_value("https://a.example/2\nhttps://a.example/3")
        await expect(page.locator(".row")).to_have_count(2)
        (sent,) = [task["request"] for task in api.tasks.values() if "request" in task]
        assert (sent["url"], sent["clip"]) == (LINK, {"start": "0:00.0", "end": "0:09.0"})
