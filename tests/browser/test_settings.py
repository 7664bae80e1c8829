"""The settings: cookie files, the state of the service, and notifications for readers whose page is in the
background.
"""

import re
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from server import __version__
from tests.browser.conftest import OpenPage
from tests.browser.lists import row
from tests.fakes.api import FakeApi
from tests.service import Services

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.long]
COOKIES = "# Netscape HTTP Cookie File\n.videos.example\tTRUE\t/\tTRUE\t4102444800\tname\tvalue\n"
_LOOK_AWAY = "Object.defineProperty(document, 'hidden', { get: () => true, configurable: true })"


async def test_cookies_are_stored_and_deleted_and_the_service_says_how_it_is(
    services: Services, tmp_path: Path, open_page: OpenPage
) -> None:
    (tmp_path / "my site.txt").write_text(COOKIES)
    (tmp_path / "wrong.txt").write_text("no cookies\n")
    async with (
        services.lend() as service,
        open_page(service.url, locale="en-US") as page,
    ):
        await page.get_by_role("button", name="Menu").click()
        await page.get_by_role("menuitem", name="Settings").click()
        settings = page.get_by_role("dialog", name="Settings")
        await expect(settings).to_contain_text(f"Clipwire {__version__}All well")
        await expect(settings).to_contain_text("downloads pause below")
        await settings.get_by_label("Add or replace a file").set_input_files(tmp_path / "my site.txt")
        stored = settings.get_by_role("listitem")
        await expect(stored).to_contain_text("my-site")
        await expect(stored).to_contain_text("videos.example · until Jan 1, 2100")
        await settings.get_by_label("Add or replace a file").set_input_files(tmp_path / "wrong.txt")
        await expect(settings.get_by_role("alert")).to_contain_text("Line 1")
        await page.keyboard.press("Escape")
        await expect(page.locator("#settings li, #settings dd")).to_have_count(0)
        await page.get_by_role("button", name="Menu").click()
        await page.get_by_role("menuitem", name="Settings").click()
        await stored.get_by_role("button", name="Delete: my-site").click()
        await expect(stored).to_have_count(0)


async def test_who_would_use_cookies_and_has_none_is_led_to_where_they_are_stored_and_told_how(
    api: FakeApi, open_page: OpenPage
) -> None:
    await api.put("a", "failed", error_code="login_required", remedies=["use_cookies"])
    async with open_page(api.url, locale="en-US") as page:
        await row(page, "a").get_by_role("button", name="Use cookies").click()
        field = page.get_by_label("Add or replace a file")
        await expect(field).to_be_focused()
        await expect(field).to_be_in_viewport()
        await expect(field).to_have_accessible_description(re.compile("Log in to videos.example .*Netscape"))
        await page.keyboard.press("Escape")
        await page.get_by_role("button", name="Menu").click()
        await page.get_by_role("menuitem", name="Settings").click()
        await expect(page.get_by_text("No cookies are stored yet")).to_be_hidden()


async def test_another_language_holds_for_what_is_known_of_the_link_too(
    api: FakeApi, open_page: OpenPage
) -> None:
    entries = [{"index": n, "title": f"Film {n}"} for n in range(1, 4)]
    api.looks["https://a.example/list"] = {"title": "Films", "entries": entries}
    async with open_page(api.url, locale="en-US") as page:
        await page.get_by_role("textbox", name="Link").fill("https://a.example/list")
        await expect(page.locator("#draft")).to_contain_text("3 entries")
        await choose_chinese(page)
        await expect(page.locator("#draft")).to_contain_text("3 个条目")
        await expect(page.get_by_role("button", name="从 3 个中选择")).to_be_visible()


async def test_a_language_that_does_not_come_is_not_shown_as_chosen(
    api: FakeApi, open_page: OpenPage
) -> None:
    async with open_page(api.url, locale="en-US") as page:
        await page.route("**/static/i18n/zh.json*", lambda route: route.abort())
        await choose_chinese(page)
        await expect(page.locator("#refused")).to_contain_text("did not answer")
        await expect(page.locator("#language")).to_have_value("en")
        await page.unroute("**/static/i18n/zh.json*")
        await page.locator("#language").select_option("zh")
        await expect(page.get_by_role("heading", name="设置")).to_be_visible()


async def choose_chinese(page: Page) -> None:
    await page.get_by_role("button", name="Menu").click()
    await page.get_by_role("menuitem", name="Settings").click()
    await page.locator("#language").select_option("zh")


async def test_the_title_tells_what_has_ended_meanwhile(api: FakeApi, open_page: OpenPage) -> None:
    for name in ("a", "b", "c"):
        await api.put(name, "download")
    async with open_page(api.url, locale="en-US") as page:
        await expect(page).to_have_title("3 in progress – Clipwire")
        await page.evaluate(_LOOK_AWAY)
        await api.put("a", "completed")
        await api.put("b", "failed", error="e")
        await expect(page).to_have_title("1 finished, 1 failed – Clipwire")
        await page.evaluate("delete document.hidden")
        await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        await expect(page).to_have_title("1 in progress – Clipwire")


async def test_the_usual_options_can_be_as_they_were_at_first(api: FakeApi, open_page: OpenPage) -> None:
    async with open_page(api.url, locale="en-US") as page:
        chosen = page.locator("[data-part=chosen]")
        await expect(chosen).to_be_hidden()
        await page.locator("[name=quality]").select_option("720")
        await page.locator("#choices .more").click()
        await page.get_by_label("Video format").select_option("mkv")
        await expect(chosen).to_have_text("MKV")
        await page.get_by_role("button", name="Menu").click()
        await page.get_by_role("menuitem", name="Settings").click()
        settings = page.get_by_role("dialog", name="Settings")
        await expect(settings).to_contain_text("720p video as MKV and MP3 audio")
        await settings.get_by_text("720p video as MKV").click()
        await settings.get_by_role("button", name="Reset").click()
        await expect(settings).to_contain_text("Best video as MP4 and MP3 audio")
        await page.reload()
        await expect(page.locator("#choices [name=quality]")).to_have_value("best")
        await expect(chosen).to_be_hidden()


async def test_the_usual_options_and_presets_are_set_in_the_settings(
    api: FakeApi, open_page: OpenPage
) -> None:
    api.usual = {"small": {"quality": "480", "outputs": ["video"]}}
    async with open_page(api.url, locale="en-US") as page:
        await page.get_by_role("button", name="Menu").click()
        await page.get_by_role("menuitem", name="Settings").click()
        settings = page.get_by_role("dialog", name="Settings")
        await expect(settings).to_contain_text("small480p video as MP4")
        await settings.get_by_text("Best video as MP4 and MP3 audio").click()
        await settings.get_by_label("Quality").select_option("720")
        await settings.get_by_label("Video format").select_option("mkv")
        await settings.get_by_text("Save as preset").click()
        await settings.get_by_label("Name of the preset").fill("talks")
        await page.keyboard.press("Enter")
        await expect(settings.get_by_role("button", name="Delete preset")).to_be_visible()
        await expect(settings).to_contain_text("720p video as MKV and MP3 audio")
        await page.keyboard.press("Escape")
        await expect(page.locator("#choices [name=quality]")).to_have_value("720")
        await expect(page.locator("#choices [data-part=chosen]")).to_have_text("MKV")


async def test_an_empty_page_tells_of_the_other_ways_that_links_come(
    api: FakeApi, open_page: OpenPage
) -> None:
    async with open_page(api.url, locale="en-US") as page:
        await page.get_by_role("button", name="Add from other pages or a phone…").click()
        bookmarklet = page.get_by_role("dialog", name="Settings").get_by_role(
            "link", name="Download with Clipwire"
        )
        await expect(bookmarklet).to_be_focused()
        await page.keyboard.press("Escape")
        await expect(page.get_by_role("button", name="Add from other pages or a phone…")).to_be_focused()
