"""Subscriptions on the page: hidden until there is a source to follow, then all in one dialog."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import CDPSession, Locator, Page, Route, expect

from tests.browser.conftest import OpenPage
from tests.browser.test_overtaking import hold
from tests.browser.test_tasks import PATIENCE
from tests.fakes.api import FakeApi
from tests.fakes.subscriptions import entries, from_now
from tests.service import Services
from tests.site import open_site
from tests.site.followed import Film, Followed

pytestmark = pytest.mark.asyncio(loop_scope="session")
CHANNEL = "https://films.example/channel"
ENGLISH = {"locale": "en-US"}
# Does what a podcast player on the web does: reads the feed and plays its first episode. Returns its length
# in seconds.
_PLAY_FIRST = """async (feed) => {
    const text = await (await fetch(feed)).text()
    const read = new DOMParser().parseFromString(text, "text/xml")
    const link = read.querySelector("enclosure").getAttribute("url")
    const part = await fetch(link, { headers: { Range: "bytes=0-9" } })
    if (!/^bytes 0-9[/]/.test(part.headers.get("Content-Range"))) throw new Error("no range")
    const sound = new Audio()
    sound.crossOrigin = "anonymous"
    sound.src = link
    await new Promise((done, fail) => { sound.onloadedmetadata = done; sound.onerror = fail })
    return sound.duration
}"""
TICK_FIVE = """async (dialog) => {
    for (const tick of [...dialog.querySelectorAll(".follow-items input")].slice(1500, 1505)) {
        tick.click()
        await new Promise((done) => requestAnimationFrame(() => setTimeout(done)))
    }
}"""


async def paste_list(page: Page, api: FakeApi) -> None:
    """Paste a link to a list, and wait until the page can subscribe to it."""
    films = [{"index": n, "title": f"Film {n}", "url": f"{CHANNEL}/{n}"} for n in range(1, 4)]
    api.looks[CHANNEL] = {"title": "Bread", "entries": films, "total_entries": 43}
    await page.locator("#links").fill(CHANNEL)
    await page.locator("#draft").get_by_role("button", name="Subscribe").wait_for()


async def open_menu(page: Page) -> None:
    await page.locator("#menu").hover()
    await page.locator("#menu").click()


async def open_subscriptions(page: Page) -> Locator:
    await open_menu(page)
    await page.get_by_role("menuitem", name="Subscriptions").click()
    return page.get_by_role("dialog")


async def open_first(page: Page) -> Locator:
    dialog = await open_subscriptions(page)
    await dialog.locator(".follow-open").first.click()
    await dialog.locator(".follow-items li").first.wait_for()
    return dialog


async def busy(session: CDPSession) -> float:
    """Return the processor time of the page's thread, in seconds: its real time would include that of
    others.
    """
    found = (await session.send("Performance.getMetrics"))["metrics"]
    return float(next(each["value"] for each in found if each["name"] == "TaskDuration"))


def changes(api: FakeApi) -> list[Any]:
    return [body for _, body in api.subscriptions.asked]


async def test_who_follows_nothing_sees_nothing_of_it_and_asks_nothing(
    api: FakeApi, open_page: OpenPage
) -> None:
    await api.put("task", "completed")
    async with open_page(api.url, **ENGLISH) as page:
        await expect(page.locator("#connection[data-state=live]")).to_be_attached()
        assert [asked for asked in api.requests if "subscriptions" in asked or "rare.js" in asked] == []
        async with page.expect_response("**/api/subscriptions?*"):
            await open_menu(page)
        await expect(page.get_by_role("menuitem", name="Keys")).to_be_visible()
        await expect(page.get_by_role("menuitem", name="Subscriptions")).to_have_count(0)
        assert [asked for asked in api.requests if "rare.js" in asked or "subscriptions.css" in asked] == []


async def test_a_subscription_says_what_it_has_found_and_fetches_the_last_ones(
    api: FakeApi, open_page: OpenPage
) -> None:
    async with open_page(api.url, **ENGLISH) as page:
        await paste_list(page, api)
        await page.get_by_role("button", name="Subscribe").click()
        dialog = page.get_by_role("dialog")
        await expect(dialog.get_by_text("Reading the list…")).to_be_visible()
        await expect(page.locator("#links")).to_have_value("")
        [(_, body)] = api.subscriptions.asked
        assert body["url"] == CHANNEL
        assert body["request"]["outputs"] == ["video", "audio"]
        assert not body["request"].keys() & {"url", "playlist", "start_at", "reuse"}
        [name] = api.subscriptions.all
        await api.subscriptions.change(name, entries(43, "known"), stage="idle", name="Bread", title="Bread")
        await expect(dialog.get_by_role("heading", name="Bread")).to_be_visible()
        await expect(dialog.get_by_text("43 older entries, not downloaded.")).to_be_visible()
        await dialog.get_by_role("button", name="Download the last 5").press("Enter")
        await expect(dialog.get_by_text("In progress", exact=True)).to_have_count(5)
        assert changes(api)[-1] == {"action": "fetch", "keys": [f"films {n}" for n in range(1, 6)]}
        await expect(dialog.get_by_text("not downloaded")).to_be_hidden()
        await expect(dialog.get_by_role("heading", name="Bread")).to_be_focused()
        await dialog.get_by_role("button", name="Close").click()
        await expect(page.locator("#links")).to_be_focused()
        await page.locator("h1").hover()
        await page.locator("#menu").click()  # the page knows by now that there are subscriptions
        await expect(page.get_by_role("menuitem", name="Subscriptions")).to_be_visible()


async def test_who_subscribes_is_asked_for_the_library_and_the_answer_is_that_of_the_next_one(
    api: FakeApi, open_page: OpenPage
) -> None:
    api.has_library = True
    async with open_page(api.url, **ENGLISH) as page:
        await paste_list(page, api)
        await page.get_by_role("button", name="Subscribe").click()
        dialog = page.get_by_role("dialog")
        layout = dialog.get_by_label("Add to the library as")
        await expect(layout.locator("option:checked")).to_have_text("Don’t add")
        assert "library" not in api.subscriptions.asked[0][1]
        async with page.expect_response(lambda response: response.request.method == "PATCH"):
            await layout.select_option(label="Films")
        [name] = api.subscriptions.all
        done = [entry | {"task_id": f"t{n}"} for n, entry in enumerate(entries(2, "fetched"))]
        await api.subscriptions.change(name, done, stage="idle", library={"layout": "movies"})
        assert changes(api)[-1] == {"library": {"layout": "movies"}}
        await dialog.locator(".follow-items input").nth(0).check()
        await dialog.get_by_role("button", name="Add 1 to the library").click()
        await expect(dialog.locator(".follow-items input").nth(0)).not_to_be_checked()
        assert changes(api)[-1] == {"action": "place", "keys": ["films 1"]}
        await dialog.get_by_role("button", name="Close").click()
        await api.subscriptions.change(name, url=CHANNEL + "/other")
        await paste_list(page, api)
        await page.get_by_role("button", name="Subscribe").click()
        await expect(layout.locator("option:checked")).to_have_text("Films")
        assert api.subscriptions.asked[-1][1]["library"] == {"layout": "movies"}
        await dialog.get_by_role("button", name="Edit").click()
        await expect(dialog.get_by_role("group", name="Library").get_by_label("as")).to_have_value("movies")


@pytest.mark.long
async def test_one_that_is_there_already_is_shown_and_a_refused_one_stays_in_the_box(
    api: FakeApi, open_page: OpenPage
) -> None:
    async with open_page(api.url, **ENGLISH) as page:
        reason = {
            "status": 422,
            "code": "invalid_request",
            "errors": [{"field": "url", "message": "Not this."}],
        }
        api.subscriptions.refuses[CHANNEL] = reason
        await paste_list(page, api)
        await page.get_by_role("button", name="Subscribe").click()
        await expect(page.locator("#problems")).to_contain_text("Not this.")
        await expect(page.get_by_role("dialog")).to_have_count(0)
        other = api.subscriptions.add(CHANNEL, entries(3, "fetched"), name="Bread")
        api.subscriptions.refuses[CHANNEL] = {"status": 409, "code": "subscribed", "subscription_id": other}
        await page.get_by_role("button", name="Subscribe").click()
        await expect(page.get_by_role("dialog").get_by_role("alert")).to_have_text(
            "You are already subscribed to this."
        )
        await expect(page.get_by_role("dialog").locator(".follow-items li")).to_have_count(3)


@pytest.mark.wide
async def test_a_failure_says_its_cause_and_what_to_do_and_a_held_host_until_when(
    api: FakeApi, open_page: OpenPage
) -> None:
    soon = from_now(hours=3)  # shown in hours, so the time that the test takes does not matter
    held: dict[str, Any] = {"waiting": "host_held", "next_check_at": soon}
    api.subscriptions.add("https://tube.example/a", **held)
    api.subscriptions.add("https://tube.example/b", name="Held", stage="failing", error_code="http_429",
                          error="Too many requests", hint="Wait.", **held)  # fmt: skip
    async with open_page(api.url, **ENGLISH) as page:
        dialog = await open_subscriptions(page)
        rows = dialog.locator(".follow-list li")
        await expect(rows.nth(0)).to_contain_text("Too many requests")
        for row in (rows.nth(0), rows.nth(1)):  # the second subscription has no error, and waits as well
            await expect(row).to_contain_text("This site asked for a pause until ")
        await rows.nth(0).get_by_role("button", name="Pause: Held").press("Enter")
        await expect(rows.nth(0)).to_contain_text("Paused")
        await expect(rows.nth(0).get_by_role("button", name="Resume: Held")).to_be_focused()
        await rows.nth(0).get_by_role("button", name="Resume: Held").press("Enter")
        await expect(rows.nth(0)).to_contain_text("Too many requests")
        assert changes(api) == [{"enabled": False}, {"enabled": True}]
        await rows.nth(0).locator(".follow-open").press("ArrowDown")
        await expect(rows.nth(1).locator(".follow-open")).to_be_focused()
        await page.keyboard.press("ArrowUp")
        await page.keyboard.press("Enter")
        await expect(dialog.locator(".follow-why")).to_contain_text("Wait.")
        await expect(dialog.locator(".follow-why")).to_contain_text("http_429")
        await dialog.get_by_role("button", name="All subscriptions").press("Enter")
        await expect(rows.nth(0).locator(".follow-open")).to_be_focused()


@pytest.mark.wide
async def test_many_subscriptions_are_ticked_and_acted_on_at_once(api: FakeApi, open_page: OpenPage) -> None:
    names = [api.subscriptions.add(f"{CHANNEL}/{number}", name=f"Show {number}") for number in range(4)]
    api.subscriptions.profiles = {"music": {}, "talks": {}}
    async with open_page(api.url, **ENGLISH) as page:
        dialog = await open_subscriptions(page)
        rows, bar = dialog.locator(".follow-list li"), dialog.get_by_role("toolbar", name="Selected")
        await dialog.get_by_label("Select: Show 3").press("Space")
        await page.keyboard.press("ArrowDown")
        await page.keyboard.press("Space")
        await expect(bar).to_contain_text("2 selected")
        await bar.get_by_role("button", name="Pause 2").press("Enter")
        await expect(dialog.get_by_text("Paused")).to_have_count(2)
        await expect(bar).to_be_hidden()
        assert changes(api)[-1] == {"action": "pause", "ids": names[3:1:-1]}
        for number in range(4):
            await rows.nth(number).get_by_role("checkbox").check()
        await expect(bar.get_by_role("button", name="Pause 2")).to_be_visible()
        await bar.get_by_role("button", name="Profile for 4…").press("Enter")
        await bar.get_by_label("Profile").select_option("talks")
        await bar.get_by_role("button", name="Apply").click()
        await expect(bar).to_be_hidden()
        assert changes(api)[-1] == {"action": "profile", "profile": "talks", "ids": names[::-1]}
        api.subscriptions.refuses[f"{CHANNEL}/2"] = {"status": 409, "title": "Not this one.", "code": "busy"}
        for number in range(3):
            await rows.nth(number).get_by_role("checkbox").check()
        await bar.get_by_role("button", name="Delete 3").press("Enter")
        await expect(bar).to_contain_text("Delete 3 subscriptions? What was downloaded stays.")
        await expect(bar.get_by_role("button", name="Cancel")).to_be_focused()
        await page.keyboard.press("Enter")
        await expect(bar.get_by_role("button", name="Delete 3")).to_be_focused()
        await page.keyboard.press("Enter")
        await bar.get_by_role("button", name="Delete 3").click()
        await expect(rows).to_have_count(2)
        await expect(dialog.get_by_role("alert")).to_have_text("Show 2: Not this one.")
        await expect(bar).to_contain_text("1 selected")  # the refused subscription stays selected
        assert [*api.subscriptions.all] == [names[0], names[2]]


@pytest.mark.wide
async def test_subscriptions_are_searched_and_sorted_and_their_entries_searched(
    api: FakeApi, open_page: OpenPage
) -> None:
    for number, name in enumerate(("Bread", "Apples", "Films", "Dough", "Cakes", "Eggs")):
        api.subscriptions.add(f"{CHANNEL}/{number}", entries(12, "known"), name=name)
    async with open_page(api.url, **ENGLISH) as page:
        dialog = await open_subscriptions(page)
        names = dialog.locator(".follow-name")
        await expect(names).to_have_text(["Eggs", "Cakes", "Dough", "Films", "Apples", "Bread"])
        await dialog.get_by_label("Sort").select_option(label="By name")
        await expect(names).to_have_text(["Apples", "Bread", "Cakes", "Dough", "Eggs", "Films"])
        search = dialog.get_by_label("Search subscriptions")
        await search.fill("bre")
        await expect(names).to_have_text(["Bread"])
        await search.fill("beer")
        await expect(dialog.get_by_text("Nothing found")).to_be_visible()
        await search.press("Escape")  # the first Escape empties the search, and does not close the dialog
        await expect(names).to_have_count(6)
        await dialog.get_by_role("button", name="Close").click()
        dialog = await open_first(page)  # the dialog lists them in the chosen order
        await expect(dialog.get_by_role("heading", name="Apples")).to_be_visible()
        await dialog.get_by_label("Search these entries").fill("12")
        await expect(dialog.locator(".follow-items .name")).to_have_text(["12"])
        await dialog.get_by_role("button", name="Select all").click()
        await dialog.get_by_role("button", name="Download 1", exact=True).click()
        await expect(dialog.locator(".follow-items li")).to_contain_text("In progress")
        assert changes(api) == [{"action": "fetch", "keys": ["films 12"]}]


@pytest.mark.wide
async def test_a_profile_is_chosen_with_what_it_gives_and_takes_the_place_of_what_was_set(
    api: FakeApi, open_page: OpenPage
) -> None:
    music = {"interval": "6h", "request": {"outputs": ["audio"], "audio_format": "mp3"},
             "filters": {"min_duration": 90}, "keep": {"last": 50}}  # fmt: skip
    api.subscriptions.profiles = {"music": music}
    name = api.subscriptions.add(CHANNEL, entries(1, "fetched"), title="Bread", keep={"days": 3})
    async with open_page(api.url, **ENGLISH) as page:
        dialog = await open_first(page)
        await dialog.get_by_role("button", name="Edit").click()
        profile = dialog.get_by_label("Profile")
        await expect(profile.locator("option:checked")).to_have_text("no profile")
        await profile.select_option("music")
        await expect(dialog).to_contain_text(
            "Replaces what is set here: Interval between checks: 6 hours · MP3 audio · "
            "Minimum length (minutes): 1.5 · Keep only the newest: 50"
        )
        await dialog.get_by_label("Keep only the newest").fill("20")
        await dialog.get_by_role("button", name="Save").click()
        await expect(dialog.get_by_role("button", name="Edit")).to_be_visible()
        given = {"interval": None, "request": None, "filters": None}
        assert changes(api)[-1] == given | {"profile": "music", "keep": {"last": 20}}
        new = {"interval": "6h", "request": {}, "filters": {"members": False}}
        await api.subscriptions.change(name, description="Every Monday", **new)
        await expect(dialog).to_contain_text("Every Monday")
        await dialog.get_by_role("button", name="Edit").click()
        await expect(dialog).to_contain_text("Sets: Interval between checks: 6 hours")
        await profile.select_option("")
        await dialog.get_by_role("button", name="Save").click()
        await expect(dialog.get_by_role("button", name="Edit")).to_be_visible()
        assert changes(api)[-1] == {"profile": None}


@pytest.mark.wide
async def test_an_entry_on_its_way_into_the_library_says_where_it_is_once_it_is_there(
    api: FakeApi, open_page: OpenPage
) -> None:
    waiting = {"state": "waiting", "reason": "full", "paths": []}
    name = api.subscriptions.add(CHANNEL, entries(1, "fetched", library=waiting))
    async with open_page(api.url, has_clock=True, **ENGLISH) as page:
        dialog = await open_first(page)
        path = dialog.locator(".follow-items .path")
        await expect(path).to_have_text("Waiting for space in the library")
        [entry] = api.subscriptions.items[name].values()
        # This change leaves all counts as they are.
        entry["library"] = {"state": "placed", "paths": ["Films/1.mp4"]}
        async with page.expect_response("**/items?*"):
            await page.clock.run_for(3_000)
        await expect(path).to_have_text("Films/1.mp4")
        asked = len(api.requests)
        await page.clock.run_for(6_000)
        assert not [each for each in api.requests[asked:] if "/items?" in each], (
            "there is nothing to wait for"
        )


@pytest.mark.wide
async def test_what_was_downloaded_before_there_was_a_library_is_put_there(
    api: FakeApi, open_page: OpenPage
) -> None:
    files = {"files": {"video": "/api/download/a.mp4"}, "video_info": {"title": "Deep sea"}}
    await api.put("early", "completed", **files)
    blocked = {"state": "waiting", "reason": "blocked", "path": "Films/Deep sea", "paths": []}
    await api.put("stuck", "completed", library=blocked, **files)
    await api.put("there", "completed", library={"state": "placed", "paths": ["Films/a.mp4"]}, **files)
    api.has_library = True
    async with open_page(api.url, **ENGLISH) as page:
        for name in ("there", "early", "stuck"):
            await page.locator(f".row[data-id={name}] [data-action=open]").click()
        early, stuck = page.locator(".row[data-id=early]"), page.locator(".row[data-id=stuck]")
        await expect(stuck).to_contain_text("Not in the library: “Films/Deep sea” is in the way")
        await stuck.get_by_role("button", name="Add to the library now").click()
        await expect(stuck.locator(".placing")).to_have_count(0)
        await early.get_by_label("Add to the library as").select_option(label="Series")
        await early.get_by_role("button", name="Add", exact=True).press("Enter")
        await expect(early.locator(".placing")).to_have_count(0)
        await expect(page.locator(".row[data-id=there] .placing")).to_have_count(0)
        assert api.placed == [("stuck", None), ("early", {"library": {"layout": "shows"}})]


async def test_what_is_held_is_fetched_or_skipped_at_once(api: FakeApi, open_page: OpenPage) -> None:
    items = [*entries(3, "waiting", reason="held"), *entries(2, "waiting", 4, reason="retry")]
    api.subscriptions.add(CHANNEL, items)
    async with open_page(api.url, **ENGLISH) as page:
        dialog = await open_first(page)
        await expect(dialog.get_by_text("3 entries are held")).to_be_visible()
        await dialog.get_by_role("button", name="Skip all 3").click()
        await expect(dialog.get_by_text("Skipped · by you")).to_have_count(3)
        await expect(dialog.get_by_text("entries are held")).to_be_hidden()
        assert changes(api) == [{"action": "skip", "keys": ["films 1", "films 2", "films 3"]}]


@pytest.mark.wide
async def test_entries_are_ticked_with_the_keyboard_and_their_files_go_only_after_a_question(
    api: FakeApi, open_page: OpenPage
) -> None:
    api.subscriptions.add(CHANNEL, [*entries(4, "fetched"), *entries(1, "known", 5)])
    async with open_page(api.url, **ENGLISH) as page:
        dialog = await open_first(page)
        ticks = dialog.locator(".follow-items input")
        await ticks.nth(0).press("Space")
        await page.keyboard.press("ArrowDown")
        await page.keyboard.press("Space")
        bar = dialog.get_by_role("toolbar", name="Selected entries")
        await expect(bar).to_contain_text("2 selected")
        # It fetches files again that are gone.
        await expect(bar.get_by_role("button", name="Download 2")).to_be_visible()
        await bar.get_by_role("button", name="Pin 2").press("Enter")
        await expect(dialog.get_by_text("Downloaded · pinned")).to_have_count(2)
        await expect(ticks.nth(2)).to_be_focused()
        await ticks.nth(0).press("Space")
        await bar.get_by_role("button", name="Delete 1").press("Enter")
        await expect(bar).to_contain_text("Delete the files of 1 entry?")
        await expect(bar.get_by_role("button", name="Cancel")).to_be_focused()
        await page.keyboard.press("Enter")
        await expect(bar.get_by_role("button", name="Delete 1")).to_be_focused()
        await page.keyboard.press("Enter")
        await bar.get_by_role("button", name="Delete 1").click()
        await expect(dialog.locator(".follow-items li").nth(0)).to_contain_text("Removed")
        await ticks.nth(4).press("Space")
        await bar.get_by_role("button", name="Forget 1").press("Enter")
        await expect(ticks).to_have_count(4)
        await expect(ticks.nth(3)).to_be_focused()
        acted = [(body["action"], body["keys"]) for body in changes(api)]
        both = ["films 1", "films 2"]
        assert acted == [("pin", both), ("delete", ["films 1"]), ("forget", ["films 5"])]


@pytest.mark.wide
async def test_what_is_about_to_be_pressed_stays_when_entries_change(
    api: FakeApi, open_page: OpenPage
) -> None:
    name = api.subscriptions.add(CHANNEL, entries(1200, "known"))
    async with open_page(api.url, **ENGLISH) as page:
        dialog = await open_first(page)
        await dialog.get_by_label("Which entries to show").select_option(label="Older (1,200)")
        await expect(dialog.locator(".follow-items li")).to_have_count(200)
        await dialog.get_by_role("button", name="Select all").click()
        bar = dialog.get_by_role("toolbar", name="Selected entries")
        skip = bar.get_by_role("button", name="Skip")
        await expect(skip).to_have_text("Skip 1,200")
        pressed = await skip.element_handle()
        await api.subscriptions.change(name, entries(1, "failed", reason="private"))
        await expect(skip).to_have_text("Skip 1,199")  # the selection still means all entries
        assert await pressed.evaluate("button => button.isConnected")


@pytest.mark.wide
async def test_the_question_whether_files_are_to_be_deleted_stays_when_entries_change(
    api: FakeApi, open_page: OpenPage
) -> None:
    name = api.subscriptions.add(CHANNEL, [*entries(4, "fetched"), *entries(1, "known", 5)])
    async with open_page(api.url, **ENGLISH) as page:
        dialog = await open_first(page)
        await dialog.locator(".follow-items input").first.press("Space")
        bar = dialog.get_by_role("toolbar", name="Selected entries")
        await bar.get_by_role("button", name="Delete 1").click()
        await expect(bar).to_contain_text("Delete the files of 1 entry?")
        await api.subscriptions.change(name, entries(1, "failed", 5, reason="private"))
        await expect(dialog.get_by_text("Failed · private")).to_be_visible()
        await expect(bar).to_contain_text("Delete the files of 1 entry?")
        await bar.get_by_role("button", name="Delete 1").click()
        await expect(dialog.locator(".follow-items li").first).to_contain_text("Removed")


@pytest.mark.wide
async def test_all_in_a_state_are_meant_although_not_all_are_loaded(
    api: FakeApi, open_page: OpenPage
) -> None:
    api.subscriptions.add(CHANNEL, [*entries(1200, "known"), *entries(2, "failed", 1201, reason="private")])
    async with open_page(api.url, **ENGLISH) as page:
        dialog = await open_first(page)
        await dialog.get_by_label("Which entries to show").select_option(label="Failed (2)")
        await expect(dialog.locator(".follow-items li")).to_have_count(2)
        await expect(dialog.get_by_text("Failed · private")).to_have_count(2)
        await dialog.get_by_label("Which entries to show").select_option(label="Older (1,200)")
        await expect(dialog.locator(".follow-items li")).to_have_count(200)
        await dialog.get_by_role("button", name="Select all").click()
        await expect(dialog.get_by_text("1,200 selected")).to_be_visible()
        await dialog.get_by_role("button", name="Download 1,200").click()
        # The action has reached all entries.
        await expect(dialog.get_by_role("toolbar", name="Selected entries")).to_be_hidden()
        assert changes(api) == [{"action": "fetch", "state": "known"}] * 3
        assert {item["state"] for item in api.subscriptions.items["subscription-1"].values()} == {
            "queued",
            "failed",
        }


@pytest.mark.wide
async def test_what_is_new_waits_for_a_click_and_what_changes_does_so_in_its_row(
    api: FakeApi, open_page: OpenPage
) -> None:
    name = api.subscriptions.add(CHANNEL, entries(3, "queued", 2))
    async with open_page(api.url, **ENGLISH) as page:
        dialog = await open_first(page)
        rows = dialog.locator(".follow-items li")
        before = api.subscriptions.items[name]
        api.subscriptions.items[name] = {item["key"]: item for item in entries(1, "queued")} | before
        await api.subscriptions.change(name, entries(1, "fetched", 2))
        await expect(rows.nth(0)).to_contain_text("Downloaded")
        await expect(rows).to_have_count(3)
        await dialog.get_by_role("button", name="1 new").click()
        await expect(rows).to_have_count(4)


@pytest.mark.wide
async def test_only_what_was_changed_is_sent_and_a_refused_field_says_why(
    api: FakeApi, open_page: OpenPage
) -> None:
    request = {"outputs": ["audio"], "quality": "best", "video_format": "mp4", "codec": "auto",
               "audio_format": "mp3", "rate_limit": 5}  # fmt: skip
    filters = {"members": False, "not_title": "trailer", "min_duration": 90}
    name = api.subscriptions.add(
        CHANNEL, entries(1, "fetched"), title=CHANNEL, request=request, filters=filters
    )
    async with open_page(api.url, **ENGLISH) as page:
        dialog = await open_first(page)
        await dialog.get_by_role("button", name="Edit").press("Enter")
        await expect(dialog.get_by_label("Minimum length (minutes)")).to_have_value("1.5")
        await dialog.get_by_label("Name", exact=True).fill("Bread")
        await dialog.get_by_label("Interval between checks").select_option(label="6 hours")
        await dialog.get_by_label("Title does not contain").fill("")
        await dialog.get_by_label("Title contains").fill("(")
        await dialog.get_by_label("Shorts").uncheck()
        await dialog.get_by_label("Keep only the newest").fill("20")
        await dialog.get_by_label("Options of the downloads").click()
        await dialog.get_by_label("Embed tags, chapters and cover").check()
        api.subscriptions.wrong = [{"field": "filters.title", "message": "Not a valid pattern."}]
        await dialog.get_by_role("button", name="Save").click()
        title = dialog.get_by_label("Title contains")
        await expect(title).to_be_focused()
        await expect(title).to_have_accessible_description("Not a valid pattern.")
        await title.fill("bread")
        await title.press("Enter")
        await expect(dialog.get_by_role("heading", name="Bread")).to_be_visible()
        assert changes(api)[-1] == {
            "name": "Bread",
            "interval": "6h",
            "filters": {"title": "bread", "not_title": None, "kinds": ["video", "stream"]},
            "keep": {"last": 20},
            "request": {"embed_metadata": True},
        }
        assert api.subscriptions.all[name]["request"]["rate_limit"] == 5


async def test_what_is_typed_before_the_profiles_are_there_is_saved(
    api: FakeApi, open_page: OpenPage
) -> None:
    api.subscriptions.add(CHANNEL, entries(1, "fetched"), title=CHANNEL)
    api.subscriptions.profiles = {"music": {}}
    is_typed = asyncio.Event()

    async def answer_late(route: Route) -> None:
        await is_typed.wait()
        await route.continue_()

    async with open_page(api.url, **ENGLISH) as page:
        await page.route("**/api/profiles*", answer_late)
        dialog = await open_first(page)
        await dialog.get_by_role("button", name="Edit").click()
        await dialog.get_by_label("Name", exact=True).fill("Bread")
        is_typed.set()
        await expect(dialog.get_by_label("Profile")).to_be_visible()
        await dialog.get_by_role("button", name="Save").click()
        await expect(dialog.get_by_role("heading", name="Bread")).to_be_visible()
        assert changes(api)[-1] == {"name": "Bread"}


@pytest.mark.wide
async def test_what_becomes_of_the_files_is_asked_before_a_subscription_goes(
    api: FakeApi, open_page: OpenPage
) -> None:
    for number in range(2):
        api.subscriptions.add(f"{CHANNEL}/{number}", entries(1, "fetched"))
    async with open_page(api.url, **ENGLISH) as page:
        dialog = await open_first(page)
        await dialog.get_by_role("button", name="Delete").press("Enter")
        await expect(dialog.get_by_role("button", name="Keep the files")).to_be_focused()
        await dialog.get_by_role("button", name="Cancel").press("Enter")
        await expect(dialog.get_by_role("button", name="Keep the files")).to_be_hidden()
        await dialog.get_by_role("button", name="Delete").click()
        await dialog.get_by_role("button", name="Delete the files as well").click()
        await expect(dialog.locator(".follow-list li")).to_have_count(1)
        assert "files=delete" in api.subscriptions.asked[-1][0]


@pytest.mark.long
async def test_an_opml_file_goes_in_and_its_refused_links_say_why(api: FakeApi, open_page: OpenPage) -> None:
    api.subscriptions.add(CHANNEL)
    wrong = {"code": "invalid_request", "errors": [{"field": "url", "message": "Not a link."}]}
    api.subscriptions.imported = [
        {"url": "https://a.example/", "status": 201},
        {"url": CHANNEL, "status": 409, "problem": {"code": "subscribed"}},
        {"url": "nonsense", "status": 422, "problem": wrong},
    ]
    async with open_page(api.url, has_clock=True, **ENGLISH) as page:
        dialog = await open_subscriptions(page)
        file = {"name": "my.opml", "mimeType": "text/x-opml", "buffer": b"<opml/>"}
        await dialog.get_by_label("Import OPML…").set_input_files(file)  # type: ignore[arg-type]
        outcome = dialog.get_by_text("1 added, 1 already there, 1 refused")
        await expect(outcome).to_be_visible()
        async with page.expect_response("**/api/subscriptions?*"):
            await page.clock.run_for(6_000)
        # The message stays after the page has listed the subscriptions again.
        await expect(outcome).to_be_visible()
        await expect(dialog.get_by_role("alert")).to_have_text("nonsense: Not a link.")
        assert changes(api) == ["<opml/>"]
        link = dialog.get_by_role("link", name="Export OPML")
        assert "api/subscriptions.opml" in str(await link.get_attribute("href"))


@pytest.mark.wide
async def test_an_archive_of_what_was_fetched_goes_in_for_who_follows_nothing_yet(
    api: FakeApi, open_page: OpenPage
) -> None:
    lines = list(range(3, 15))
    api.subscriptions.archived = {"taken": 1201, "known": 3, "unreadable": lines}
    async with open_page(api.url, **ENGLISH) as page:
        await open_menu(page)
        await page.get_by_role("menuitem", name="Settings").click()
        await page.get_by_role("button", name="Import subscriptions…").press("Enter")
        dialog = page.get_by_role("dialog", name="Subscriptions")
        await expect(dialog).to_contain_text("No subscriptions yet.")
        file = {"name": "archive.txt", "mimeType": "text/plain", "buffer": b"youtube dQw4w9WgXcQ\n"}
        archive = dialog.get_by_label("Import a yt-dlp archive…")
        await archive.set_input_files(file)  # type: ignore[arg-type]
        await expect(dialog).to_contain_text("Newly recorded: 1,201. Already known: 3.")
        await expect(dialog.get_by_role("alert")).to_have_text(
            "Lines without a video: 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, …."
        )
        assert api.subscriptions.asked == [("/api/media", "youtube dQw4w9WgXcQ\n")]
        await page.keyboard.press("Escape")
        await expect(page.locator("#menu")).to_be_focused()


@pytest.mark.wide
async def test_addresses_of_feeds_are_renewed_all_together_after_a_question(
    api: FakeApi, open_page: OpenPage
) -> None:
    api.subscriptions.add(CHANNEL, entries(1, "fetched"), feed=api.subscriptions.feed("films"))
    async with open_page(api.url, **ENGLISH) as page:
        dialog = await open_subscriptions(page)
        link = dialog.get_by_role("link", name="/feeds/")
        await expect(link).to_have_attribute("href", "http://127.0.0.1/feeds/secret-1.opml")
        renew = dialog.get_by_role("button", name="New addresses…")
        await renew.press("Enter")
        await expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
        await dialog.get_by_role("button", name="Cancel").press("Enter")
        await expect(renew).to_be_focused()
        assert changes(api) == []
        await renew.press("Enter")
        await dialog.get_by_role("button", name="Change all addresses").press("Enter")
        await expect(link).to_have_attribute("href", "http://127.0.0.1/feeds/secret-1+1.opml")
        await expect(renew).to_be_focused()
        await dialog.locator(".follow-open").first.click()
        await expect(dialog.get_by_role("link", name="films.xml")).to_have_text(
            "http://127.0.0.1/feeds/secret-1+1/films.xml"
        )


@pytest.mark.long
async def test_a_library_that_has_a_template_only_is_edited_with_an_example_of_its_names(
    api: FakeApi, open_page: OpenPage
) -> None:
    library = {"name": "{channel}/{title}", "nfo": True, "keep_task": False}
    name = api.subscriptions.add(CHANNEL, entries(1, "fetched"), library=library)
    async with open_page(api.url, **ENGLISH) as page:
        dialog = await open_first(page)
        await dialog.get_by_role("button", name="Edit").click()
        layout, template = dialog.get_by_label("Add to the library as"), dialog.get_by_label("(template)")
        await expect(layout.locator("option:checked")).to_have_text("By template")
        await expect(template).to_have_value("{channel}/{title}")
        await expect(dialog).to_contain_text("For example: {channel}/{title}/Film.mp4")
        await template.fill("{nope}")
        await expect(dialog).to_contain_text("No such field.")
        await template.fill("")
        await dialog.get_by_role("button", name="Save").click()
        await expect(template).to_be_focused()
        await expect(template).to_have_accessible_description("Enter a template.")
        await template.fill("{date} {title}")
        await dialog.get_by_label("Folder", exact=True).fill("Talks")
        await template.press("Enter")
        await expect(dialog.get_by_role("button", name="Edit")).to_be_visible()
        assert changes(api)[-1] == {"library": {"name": "{date} {title}", "folder": "Talks"}}
        await dialog.get_by_role("button", name="Edit").click()
        await layout.select_option(label="Series")
        await dialog.get_by_role("button", name="Save").click()
        await expect(dialog.get_by_role("button", name="Edit")).to_be_visible()
        assert changes(api)[-1] == {"library": {"layout": "shows"}}
        assert api.subscriptions.all[name]["library"] == library | {
            "layout": "shows", "name": "{date} {title}", "folder": "Talks"
        }  # fmt: skip
        await dialog.get_by_role("button", name="Edit").click()
        await layout.select_option(label="Don’t add")
        await dialog.get_by_role("button", name="Save").click()
        await expect(dialog.get_by_role("button", name="Edit")).to_be_visible()
        assert changes(api)[-1] == {"library": None}


@pytest.mark.wide
async def test_what_is_pressed_in_one_go_is_done_in_its_order(api: FakeApi, open_page: OpenPage) -> None:
    api.subscriptions.add(CHANNEL, entries(3, "waiting", reason="held"))
    async with open_page(api.url, **ENGLISH) as page:
        dialog = await open_first(page)
        may_go = asyncio.Event()

        async def late(route: Route) -> None:
            await may_go.wait()
            await route.continue_()

        await page.route("**/items/actions*", late, times=1)
        async with page.expect_request("**/items/actions*"):
            await dialog.get_by_role("button", name="Skip all 3").click()
        await dialog.get_by_role("button", name="Download all 3").click()
        await page.wait_for_timeout(200)
        assert changes(api) == []
        may_go.set()
        await expect(dialog.locator("li[data-state=queued]")).to_have_count(3)
        assert [change["action"] for change in changes(api)] == ["skip", "fetch"]


@pytest.mark.wide
async def test_entries_that_were_read_before_an_action_do_not_take_it_back(
    api: FakeApi, open_page: OpenPage
) -> None:
    api.subscriptions.add(CHANNEL, entries(1, "known"))
    is_answered, may_go = asyncio.Event(), asyncio.Event()

    async def late(route: Route) -> None:
        answer = await route.fetch()
        is_answered.set()
        await may_go.wait()
        await route.fulfill(response=answer)

    async with open_page(api.url, **ENGLISH) as page:
        dialog = await open_first(page)
        entry = dialog.locator(".follow-items li")
        await entry.wait_for()
        await page.route("**/items?*", late, times=1)
        await entry.get_by_role("checkbox").check()
        await dialog.get_by_role("button", name="Skip 1").click()
        await is_answered.wait()
        await entry.get_by_role("checkbox").check()
        async with page.expect_response("**/items?*"):
            await dialog.get_by_role("button", name="Download 1").click()
        await expect(entry).to_have_attribute("data-state", "queued")
        may_go.set()
        await page.wait_for_timeout(200)
        await expect(entry).to_have_attribute("data-state", "queued")


@pytest.mark.wide
async def test_what_was_asked_before_a_change_does_not_take_it_back(
    api: FakeApi, open_page: OpenPage
) -> None:
    api.subscriptions.add(CHANNEL, entries(1, "fetched"))
    async with open_page(api.url, has_clock=True, **ENGLISH) as page:
        dialog = await open_subscriptions(page)
        await dialog.locator(".follow-list li").wait_for()
        is_answered, let_go = await hold(page, "**/api/subscriptions?limit=200*")
        await page.clock.run_for(6_000)
        await is_answered.wait()
        await dialog.get_by_role("button", name="Pause").click()
        resume = dialog.get_by_role("button", name="Resume")
        await resume.wait_for()
        await let_go()
        assert await resume.is_visible()


@pytest.mark.long
async def test_nothing_is_asked_once_the_dialog_is_closed(api: FakeApi, open_page: OpenPage) -> None:
    name = api.subscriptions.add(CHANNEL, entries(1, "fetched"))
    async with asyncio.timeout(PATIENCE), open_page(api.url, has_clock=True, **ENGLISH) as page:
        dialog = await open_first(page)
        await page.wait_for_timeout(50)
        assert any(f"{name}?wait=" in asked for asked in api.requests)
        await dialog.get_by_role("button", name="All subscriptions").click()
        await dialog.locator(".follow-list li").wait_for()
        await page.keyboard.press("Escape")
        before = len(api.requests)
        await page.clock.run_for(40_000)
        assert [asked for asked in api.requests[before:] if "subscriptions" in asked] == []


@pytest.mark.long
@pytest.mark.parametrize("width", [390, 320])
async def test_three_thousand_entries_stay_quick_on_a_small_screen(
    api: FakeApi, open_page: OpenPage, width: int
) -> None:
    """A tick takes less than a tenth of a second of processor time, also once all entries are loaded."""
    api.subscriptions.add(CHANNEL, entries(3000, "known"))
    size = {"width": width, "height": 740}
    async with open_page(api.url, viewport=size, **ENGLISH) as page:
        dialog = await open_first(page)
        loaded = await dialog.locator(".follow-items li").count()
        assert loaded <= 400
        while await dialog.locator(".follow-items li").count() < 3000:
            await dialog.evaluate("(dialog) => (dialog.scrollTop = dialog.scrollHeight)")
            await page.wait_for_timeout(50)
        await dialog.locator(".follow-items input").nth(1500).scroll_into_view_if_needed()
        session = await page.context.new_cdp_session(page)
        await session.send("Performance.enable", {"timeDomain": "threadTicks"})
        await page.wait_for_timeout(200)  # long enough to paint the scrolled list
        before = await busy(session)
        await dialog.evaluate(TICK_FIVE)
        assert (await busy(session) - before) / 5 < 0.1
        await expect(dialog.locator(".follow-bar")).to_contain_text("5 selected")
        wide = "(dialog) => dialog.scrollWidth - dialog.clientWidth"
        assert await dialog.evaluate(wide) == 0


@pytest.mark.wide
async def test_a_link_whose_video_is_remembered_says_so(api: FakeApi, open_page: OpenPage) -> None:
    """One link leads to a video that was fetched by another link, and has its file; the file of the second
    link is gone.
    """
    files = {"files": {"video": "/api/download/a.mp4"}, "video_info": {"title": "Deep sea"}}
    task = await api.put("task", "completed", url="https://films.example/watch?v=1", **files)
    short, gone = "https://short.example/1", "https://short.example/2"
    fetched = {"fetched_at": "2025-03-01T12:00:00Z", "key": "films 1", "subscriptions": []}
    api.subscriptions.media = {short: fetched | {"task_id": task["task_id"]}, gone: fetched}
    async with open_page(api.url, **ENGLISH) as page:
        preview = page.locator("#draft")
        await page.locator("#links").fill(short)
        await expect(preview).to_contain_text("You have it already · ")
        await expect(preview.get_by_role("button")).to_have_text(["Play"])
        await page.locator("#links").fill(gone)
        await expect(preview).to_contain_text("Downloaded before, Mar 1, 2025")
        await expect(preview.get_by_role("button")).to_have_text(["Download"])


@pytest.mark.long
async def test_a_feed_is_followed_from_the_page_with_the_real_service(
    services: Services, media: Path, open_page: OpenPage
) -> None:
    quick = {"CLIPWIRE_SUBSCRIPTIONS__PAUSE": "0s", "CLIPWIRE_SUBSCRIPTIONS__MAX_NEW": "2"}
    async with (
        open_site(media) as site,
        services.lend(**quick) as service,
        open_page(service.url, **ENGLISH) as page,
    ):
        site.followed["page"] = followed = Followed(films(*range(8, 0, -1)), title="Films")
        link = site.url("/followed/page.rss")
        await page.locator("#links").fill(link)
        await page.get_by_role("button", name="Subscribe").click()
        dialog = page.get_by_role("dialog")
        await expect(dialog.get_by_role("heading", name="Films")).to_be_visible(timeout=30_000)
        await expect(dialog.get_by_text("8 older entries, not downloaded.")).to_be_visible()
        await dialog.get_by_role("button", name="Choose…").click()
        await expect(dialog.locator(".follow-items input").nth(0)).to_be_focused()
        await page.keyboard.press("Space")
        await dialog.get_by_role("button", name="Download 1").click()
        await expect(dialog.locator(".follow-items li").nth(0)).to_contain_text("In progress")
        await dialog.get_by_label("Which entries to show").select_option(index=0)
        await expect(dialog.locator(".follow-items li").nth(0)).to_contain_text("Downloaded", timeout=60_000)
        followed.films[:0] = films(*range(12, 8, -1))
        await dialog.get_by_role("button", name="Check now").click()
        await expect(dialog.get_by_text("2 entries are held")).to_be_visible(timeout=30_000)
        await dialog.get_by_role("button", name="Skip all 2").click()
        await dialog.get_by_role("button", name="4 new").click()
        await expect(dialog.get_by_text("Skipped · by you")).to_have_count(2)
        await expect(dialog.get_by_text("Downloaded", exact=True)).to_have_count(3, timeout=60_000)
        await dialog.get_by_role("button", name="Edit").click()
        await dialog.get_by_label("Name in the address").fill("films")
        await dialog.get_by_role("button", name="Save").click()
        feed = await dialog.get_by_role("link", name="films.xml").get_attribute("href")
        player = await page.context.new_page()
        await player.goto(site.url("/page/blank"))  # a page of another origin
        assert await player.evaluate(_PLAY_FIRST, feed) > 1
        await player.close()
        await dialog.get_by_role("button", name="Edit").click()
        await dialog.get_by_label("Title contains").fill("(")
        await dialog.get_by_role("button", name="Save").click()
        await expect(dialog.get_by_label("Title contains")).to_have_attribute("aria-invalid", "true")
        await dialog.get_by_label("Title contains").fill("film")
        await dialog.get_by_label("Keep only the newest").fill("5")
        await dialog.get_by_role("button", name="Save").click()
        followed.films.clear()
        await dialog.get_by_role("button", name="Check now").click()
        await expect(dialog.locator(".follow-why")).to_contain_text("empty_list", timeout=30_000)
        await dialog.get_by_role("button", name="Delete").click()
        await dialog.get_by_role("button", name="Delete the files as well").click()
        await expect(dialog.get_by_text("No subscriptions yet.")).to_be_visible()


@pytest.mark.wide
async def test_what_is_followed_shows_the_picture_and_the_text_of_its_source_and_asks_no_other_host(
    services: Services, media: Path, open_page: OpenPage
) -> None:
    async with (
        open_site(media) as site,
        services.lend(CLIPWIRE_SUBSCRIPTIONS__PAUSE="0s") as service,
        open_page(service.url, **ENGLISH) as page,
    ):
        about = (
            f'<itunes:image href="{site.url("/thumbnail.png")}"/><description>All about films</description>'
        )
        site.followed["seen"] = Followed(films(1), title="Films", about=about)
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        await page.locator("#links").fill(site.url("/followed/seen.rss"))
        await page.get_by_role("button", name="Subscribe").click()
        dialog = page.get_by_role("dialog")
        await expect(dialog.get_by_text("All about films")).to_be_visible(timeout=30_000)
        picture = dialog.locator(".follow-picture")
        await expect(picture).to_be_visible()
        await page.wait_for_function("() => document.querySelector('.follow-picture').naturalWidth === 240")
        await dialog.get_by_role("button", name="All subscriptions").click()
        await expect(dialog.locator(".follow-list .follow-picture")).to_be_visible()
        assert {url for url in asked if not url.startswith(service.url)} == set()
        await dialog.locator(".follow-open").click()
        await dialog.get_by_role("button", name="Delete").click()
        await dialog.get_by_role("button", name="Delete the files as well").click()
        await expect(dialog.get_by_text("No subscriptions yet.")).to_be_visible()


def films(*numbers: int) -> list[Film]:
    return [
        Film(f"f{n}", f"Film {n}", f"/video.mp4?times={n}", at=1_700_000_000.0 + n * 3600, guid=f"g{n}")
        for n in numbers
    ]


async def test_a_row_leads_to_its_subscription_and_folds_the_others_of_it(
    api: FakeApi, open_page: OpenPage
) -> None:
    name = api.subscriptions.add("https://films.example/channel", name="Deep sea")
    for title in ("Eel", "Crab", "Squid"):
        await api.put(title, "completed", subscription_id=name, video_info={"title": title})
    await api.put("other", "completed", video_info={"title": "Bread"})
    async with open_page(api.url, **ENGLISH) as page:
        rows = page.locator(".row")
        first = page.locator(".row[data-id=Squid]")
        await expect(rows.filter(has_text="Deep sea")).to_have_count(3)
        assert sum("/api/subscriptions?" in each for each in api.requests) == 1
        await first.get_by_role("button", name="2 more", expanded=True).click()
        await expect(rows.locator(".title")).to_have_text(["Bread", "Squid"])
        await page.reload()
        await expect(rows.locator(".title")).to_have_text(["Bread", "Squid"])
        await first.get_by_role("button", name="2 more", expanded=False).click()
        await expect(rows).to_have_count(4)
        await first.get_by_role("button", name="Deep sea").click()
        await expect(page.get_by_role("dialog").get_by_role("heading", name="Deep sea")).to_be_visible()


async def test_the_menu_counts_the_subscriptions_that_need_the_reader(
    api: FakeApi, open_page: OpenPage
) -> None:
    api.subscriptions.add("https://films.example/well")
    api.subscriptions.add("https://films.example/failing", stage="failing")
    api.subscriptions.add("https://films.example/all_new", notice="all_new")
    async with open_page(api.url, **ENGLISH) as page:
        await page.locator("#menu").click()
        badge = page.locator("#menu-items .badge")
        await expect(badge).to_have_text("2")
        await expect(badge).to_have_accessible_name("2 subscriptions need your attention")
        for number in range(9):
            api.subscriptions.add(f"https://films.example/{number}", stage="failing")
        await page.keyboard.press("Escape")
        await page.locator("#menu").click()
        await expect(badge).to_have_text("9+")
