"""A list of entries is one row of the page: unfolding it loads its entries, in their order, below it."""

import asyncio

import pytest
from playwright.async_api import Route, expect

from tests.browser.conftest import OpenPage
from tests.browser.lists import choose, row, scroll_to, shown, shows
from tests.browser.test_tasks import PATIENCE
from tests.fakes.api import FakeApi

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def fill(api: FakeApi, count: int, failed: int = 0) -> None:
    """Put a list of `count` entries, the last `failed` of which have failed."""
    counts = {"total": count, "completed": count - failed, "failed": failed}
    ended = {"completed_at": "2025-03-01T13:00:00Z"}
    await api.put("list", "completed", entries=counts, video_info={"title": "Bread"}, **ended)
    for number in range(count):
        stage = "failed" if number >= count - failed else "completed"
        title = {"title": f"Film {number}"}
        await api.put(f"e{number}", stage, playlist_id="list", video_info=title, **ended)


async def test_entries_stand_under_their_list_once_it_is_unfolded(api: FakeApi, open_page: OpenPage) -> None:
    await api.put("other")
    await fill(api, 3, failed=1)
    async with open_page(api.url, locale="en-US") as page:
        assert await shown(page) == ["other", "list"]
        await expect(row(page, "list")).to_contain_text("2 of 3 done, 1 failed")
        await row(page, "list").get_by_role("button", name="Bread").click()
        await shows(page, "other", "list", "e0", "e1", "e2")
        await expect(row(page, "e1")).to_have_attribute("aria-posinset", "2")
        await expect(row(page, "e1")).to_have_attribute("aria-setsize", "3")
        await expect(page.get_by_role("button", name="new")).to_be_hidden()
        await api.put("e2", "download", playlist_id="list", video_info={"title": "Film 2"})
        await expect(row(page, "e2")).to_have_attribute("data-stage", "download")
        assert await shown(page) == ["other", "list", "e0", "e1", "e2"]
        await row(page, "list").get_by_role("button", name="Bread").click()
        await shows(page, "other", "list")


@pytest.mark.wide
async def test_all_that_failed_of_a_list_is_retried_at_once_and_its_files_are_one_archive(
    api: FakeApi, open_page: OpenPage
) -> None:
    await fill(api, 3, failed=2)
    async with open_page(api.url, locale="en-US") as page:
        await row(page, "list").get_by_role("button", name="Bread").press("Enter")
        save = row(page, "list").get_by_role("link", name="Save all as a zip")
        assert await save.get_attribute("href") == f"{api.url}api/download.zip?ids=list"
        await row(page, "list").get_by_role("button", name="Retry 2", exact=True).click()
        for name in ("e1", "e2"):
            await expect(row(page, name)).to_have_attribute("data-stage", "queued")
        assert api.tasks["e0"]["stage"] == "completed"


@pytest.mark.wide
async def test_where_the_reader_looks_for_some_tasks_an_entry_stands_by_itself_and_names_its_list(
    api: FakeApi, open_page: OpenPage
) -> None:
    await fill(api, 3, failed=1)
    async with open_page(api.url + "?q=film+2", locale="en-US") as page:
        await shows(page, "e2")
        await expect(row(page, "e2")).to_contain_text("in “Bread”")
        await page.get_by_role("searchbox").fill("")
        await shows(page, "list")


async def test_a_number_counts_rows_of_which_a_list_is_one_and_what_was_cancelled_apart(
    api: FakeApi, open_page: OpenPage
) -> None:
    await fill(api, 3, failed=1)
    await api.put("b", "failed")
    for name in ("c", "d"):
        await api.put(name, "cancelled")
    entries = {"total": 9, "completed": 3, "failed": 6}
    await api.put("gone", "cancelled", entries=entries, video_info={"title": "Cakes"})
    async with open_page(api.url, locale="en-US") as page:
        await expect(page.locator("#filter[data-counted]")).to_be_attached()
        for name, ids in (("Failed 1", {"b"}), ("Cancelled 3", {"c", "d", "gone"})):
            await page.locator(".chips").get_by_text(name.split()[0]).click()
            await expect(page.get_by_role("radio", name=name)).to_be_checked()
            await expect(page.locator(".row")).to_have_count(len(ids))
            assert {*await shown(page)} == ids
        await expect(row(page, "gone")).to_contain_text("3 of 9")
        await expect(row(page, "gone").locator(".facts")).not_to_contain_text("failed")


@pytest.mark.wide
async def test_the_entries_of_an_opened_list_are_searched_where_they_stand(
    api: FakeApi, open_page: OpenPage
) -> None:
    await fill(api, 12)
    async with open_page(api.url, locale="en-US") as page:
        await row(page, "list").get_by_role("button", name="Bread").click()
        await expect(row(page, "e0")).to_be_visible()
        search = page.get_by_role("searchbox", name="Search these entries")
        await search.fill("ﬁlm 1")  # the server decides which letters count as equal
        await shows(page, "list", "e1", "e10", "e11")
        status = row(page, "list").get_by_role("status")
        await expect(status).to_have_text("3 of 12 entries")
        await expect(search).to_be_focused()
        await expect(row(page, "e10")).to_have_attribute("aria-posinset", "2")
        await expect(row(page, "e10")).to_have_attribute("aria-setsize", "3")
        # A change of a found entry leaves the others hidden, and a found entry has all actions.
        await api.put("e10", "download", playlist_id="list", video_info={"title": "Film 10"})
        await expect(row(page, "e10")).to_have_attribute("data-stage", "download")
        await page.keyboard.press("?")
        await expect(search).to_have_value("ﬁlm 1?")
        await expect(status).to_have_text("0 of 12 entries")
        await shows(page, "list")
        # A new entry whose title has the text of the search appears as well.
        await search.fill("film 1")
        await shows(page, "list", "e1", "e10", "e11")
        await api.put("e12", "completed", playlist_id="list", video_info={"title": "Film 12"})
        await api.put("list", "download", entries={"total": 13, "completed": 12, "failed": 0})
        await shows(page, "list", "e1", "e10", "e11", "e12")
        await search.fill("")
        await expect(row(page, "e0")).to_be_visible()
        await expect(status).to_have_text("")
        await page.locator(".row[data-id=list] [data-action=open]").click()
        await shows(page, "list")
        await page.locator(".row[data-id=list] [data-action=open]").click()
        await expect(search).to_have_value("")


@pytest.mark.wide
async def test_a_short_list_has_no_search_and_a_search_that_is_refused_says_why(
    api: FakeApi, open_page: OpenPage
) -> None:
    await fill(api, 9)
    async with open_page(api.url, locale="en-US") as page:
        await row(page, "list").get_by_role("button", name="Bread").click()
        await expect(row(page, "e8")).to_be_visible()
        search = page.get_by_role("searchbox", name="Search these entries")
        await expect(search).to_have_count(0)
        await api.put("e9", "completed", playlist_id="list", video_info={"title": "Film 9"})
        await api.put("list", "download", entries={"total": 10, "completed": 10, "failed": 0})
        refused = {"code": "rate_limited", "detail": "Too many requests."}

        async def refuse(route: Route) -> None:
            await route.fulfill(status=429, json=refused, content_type="application/problem+json")

        await page.route("**/api/tasks?playlist_id=list&q=*", refuse, times=1)
        await search.fill("film")
        await expect(row(page, "list").get_by_role("status")).to_have_text("Too many requests.")
        await expect(row(page, "e8")).to_be_visible()


@pytest.mark.long
async def test_a_list_of_500_is_unfolded_and_read_and_few_of_its_rows_are_in_the_document(
    api: FakeApi, open_page: OpenPage
) -> None:
    await fill(api, 500)
    async with asyncio.timeout(2 * PATIENCE), open_page(api.url, locale="en-US") as page:
        await row(page, "list").get_by_role("button", name="Bread").click()
        await expect(row(page, "e0")).to_be_visible()
        assert await page.locator(".row").count() < 80
        await scroll_to(page, 1_000_000)
        await expect(row(page, "e499")).to_be_visible()
        await choose(page, "e499", "Select")
        await expect(page.get_by_role("toolbar")).to_contain_text("1 selected")
        # While something is selected, a click selects instead of unfolding.
        await page.keyboard.press("Escape")
        await scroll_to(page, 0)
        await row(page, "list").get_by_role("button", name="Bread").click()
        await shows(page, "list")


@pytest.mark.wide
async def test_one_that_waits_begins_now(api: FakeApi, open_page: OpenPage) -> None:
    await api.put("a")
    async with open_page(api.url, locale="en-US") as page:
        await choose(page, "a", "Start now")
        await expect(row(page, "a")).to_have_attribute("data-stage", "info")
        assert "POST /api/tasks/a/start?lang=en" in api.requests


@pytest.mark.wide
async def test_what_an_opened_entry_says_stands_under_its_title(api: FakeApi, open_page: OpenPage) -> None:
    await fill(api, 2)
    left = "e => e.getBoundingClientRect().left"
    async with open_page(api.url, locale="en-US") as page:
        await row(page, "list").get_by_role("button", name="Bread").click()
        await row(page, "e0").get_by_role("button", name="Film 0").click()
        await expect(row(page, "e0").locator(".details dl")).to_be_visible()
        of_title = await row(page, "e0").locator(".title").evaluate(left)
        assert await row(page, "e0").locator(".details dl").evaluate(left) == of_title


@pytest.mark.wide
async def test_a_link_whose_file_is_there_says_so(api: FakeApi, open_page: OpenPage) -> None:
    files = {"video": "/api/download/v.mp4"}
    await api.put("a", "completed", files=files, url="https://a.example/1", video_info={"title": "Bread"})
    await api.put("b", "completed", files=files, url="https://a.example/2", video_info={"title": "Cake"})
    async with open_page(api.url, locale="en-US") as page:
        preview = page.locator("#draft")
        await page.get_by_role("textbox", name="Link").fill("https://a.example/2")
        await expect(preview).to_contain_text("You have it already · ")
        await api.remove("b")
        await expect(preview).not_to_contain_text("You have it already · ")
        await page.get_by_role("textbox", name="Link").fill("https://a.example/1")
        await expect(preview).to_contain_text("You have it already · ")
        await expect(preview.get_by_role("button")).to_have_text("Play")


@pytest.mark.wide
async def test_what_does_not_apply_is_not_in_the_form(api: FakeApi, open_page: OpenPage) -> None:
    async with open_page(api.url, locale="en-US") as page:
        await page.locator("#choices .more").click()
        rate, exact = page.get_by_label("Audio bit rate"), page.get_by_label("Cut to the exact frame")
        await expect(rate).to_be_visible()
        await expect(exact).to_be_hidden()
        await page.get_by_role("radio", name="Audio", exact=True).check()
        await expect(page.locator("[name=quality]")).to_be_hidden()
        await page.get_by_role("radio", name="Video", exact=True).check()
        await expect(rate).to_be_hidden()
        await page.get_by_role("textbox", name="Clip from").fill("1:00")
        await page.keyboard.press("Tab")
        await exact.check()
        await page.get_by_label("Video without sound").check()
        await page.get_by_role("textbox", name="Link", exact=True).fill("https://a.example/1")
        await page.keyboard.press("Enter")
        await expect(page.locator(".row")).to_have_count(1)
        [task] = api.tasks.values()
        clip = {"start": "1:00", "end": "99:00:00", "exact": True}
        assert {**task["request"], "url": ""} == {
            "url": "", "outputs": ["video"], "quality": "best", "video_format": "mp4", "codec": "auto",
            "audio_format": "mp3", "mute": True, "clip": clip,
        }  # fmt: skip
