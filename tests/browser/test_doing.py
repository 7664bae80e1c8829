"""What a reader does on the page: send links, choose options, act on tasks, log in; with the mouse and
without it.
"""

import asyncio
import re
from typing import Any

import pytest
from playwright.async_api import Page, Route, expect

from tests.browser.conftest import OpenPage
from tests.browser.lists import choose, leave, menu_of, row, shown, shows, stop_clock
from tests.fakes.api import FakeApi, open_api

pytestmark = pytest.mark.asyncio(loop_scope="session")

_PASTE = """(text) => {
    const data = new DataTransfer()
    data.setData("text/plain", text)
    document.body.dispatchEvent(new ClipboardEvent("paste", { bubbles: true, clipboardData: data }))
}"""


async def send(page: Page, text: str) -> None:
    await page.get_by_role("textbox", name="链接").fill(text)
    await page.get_by_role("button", name=re.compile("^下载")).click()


@pytest.mark.wide
async def test_each_line_becomes_a_task_and_a_wrong_one_stays_with_its_reason(
    api: FakeApi, open_page: OpenPage
) -> None:
    api.refuses["nonsense"] = "链接必须以 http:// 或 https:// 开头"
    async with open_page(api.url) as page:
        await send(page, "https://a.example/1\n\nnonsense\n看看这个 https://b.example/2，复制打开【App】\n")
        await expect(page.locator(".row")).to_have_count(2)
        sent = [task["url"] for task in api.tasks.values()]
        assert sent == ["https://a.example/1", "https://b.example/2"]  # in the order of the lines in the box
        await expect(page.get_by_role("textbox", name="链接")).to_have_value("nonsense")
        await expect(page.locator("#problems")).to_contain_text("这不是链接")
        await send(page, "https://c.example/3")
        await expect(page.locator("#problems")).to_be_hidden()


@pytest.mark.wide
async def test_a_file_of_an_opened_row_says_what_it_is(api: FakeApi, open_page: OpenPage) -> None:
    names = {"video": "a.mp4", "audio": "a.m4a", "thumbnail": "a.jpg"}
    files = {kind: f"/api/download/{name}" for kind, name in names.items()}
    about = {
        "video": {"size": 12_000_000, "type": "video/mp4", "codec": "h264"},
        "audio": {"size": 1_600_000, "type": "audio/mp4", "codec": "aac"},
        "thumbnail": {"size": 10_000, "type": "image/jpeg"},
    }
    await api.put(
        "a", "completed", files=files, file_info=about, video_info={"duration": 100, "height": 1080}
    )
    async with open_page(api.url, locale="en-US") as page:
        await row(page, "a").get_by_role("heading").click()
        said = row(page, "a").locator(".file .about")
        await expect(said).to_have_text(
            ["MP4 · 1080p · H.264 · 12 MB", "M4A · AAC · 128 kbit/s · 1.6 MB", "JPG · 10 kB"]
        )


@pytest.mark.wide
async def test_what_is_chosen_is_saved_under_a_name_offered_beside_the_services_and_deleted(
    api: FakeApi, open_page: OpenPage
) -> None:
    api.usual = {"Talks": {"quality": "480"}}
    async with open_page(api.url, locale="en-US") as page:
        folded, chosen = page.locator("#choices .more"), page.locator("select[name=quality]")
        await page.get_by_role("textbox", name="Link").fill("https://a.example/1")
        await folded.click()
        await page.locator("select[name=quality]").select_option("720")
        await page.get_by_text("Save as preset").click()
        name = page.get_by_role("textbox", name="Name of the preset")
        await expect(name).to_be_focused()
        await name.fill("Talks")  # the service has a preset of this name, too
        await name.press("Enter")
        presets = page.locator("select[name=preset]")
        await expect(presets.locator("option")).to_have_text(["None", "Talks", "Talks"])
        await expect(presets).to_have_value("own:Talks")
        await expect(page.get_by_role("button", name="Delete preset")).to_be_focused()
        assert not api.tasks
        await page.locator("select[name=quality]").select_option("360")
        await expect(presets).to_have_value("")

        await page.reload()
        await folded.click()
        # Both presets are offered.
        await expect(presets.locator("option")).to_have_text(["None", "Talks", "Talks"])
        await presets.select_option("own:Talks")
        await expect(chosen).to_have_value("720")
        await presets.select_option("Talks")
        await expect(chosen).to_have_value("480")
        await presets.select_option("own:Talks")
        await page.get_by_role("textbox", name="Link").fill("https://a.example/1")
        await page.keyboard.press("Enter")
        await expect(page.locator(".row")).to_have_count(1)
        [task] = api.tasks.values()
        assert (task["request"].get("quality"), task["request"].get("preset")) == ("720", None)

        await folded.click()
        await page.get_by_role("button", name="Delete preset").click()
        await expect(presets.locator("option")).to_have_text(["None", "Talks"])
        await expect(page.get_by_text("Save as preset")).to_be_focused()


@pytest.mark.long
async def test_enter_sends_and_shift_enter_begins_another_line(api: FakeApi, open_page: OpenPage) -> None:
    async with open_page(api.url) as page:
        box = page.get_by_role("textbox", name="链接")
        await expect(box).to_be_focused()  # the reader can paste at once, without a click
        await box.press_sequentially("https://a.example/1")
        await box.press("Shift+Enter")
        await box.press_sequentially("https://a.example/2")
        assert not api.tasks
        await box.press("Enter")
        await expect(page.locator(".row")).to_have_count(2)
        await expect(box).to_have_value("")


@pytest.mark.long
async def test_links_wait_in_the_box_while_the_server_does_not_answer_and_are_sent_then(
    open_page: OpenPage,
) -> None:
    async with open_api() as api, open_page(api.url) as page:
        await page.context.set_offline(True)
        await send(page, "https://a.example/1\nhttps://a.example/2")
        await expect(page.locator("#note")).to_contain_text("已保留")
        box = page.get_by_role("textbox", name="链接")
        await expect(box).to_have_value("https://a.example/1\nhttps://a.example/2")
        await page.context.set_offline(False)  # the links are sent without a further press
        await expect(page.locator(".row")).to_have_count(2)


@pytest.mark.long
async def test_a_link_whose_answer_was_lost_becomes_one_task(api: FakeApi, open_page: OpenPage) -> None:
    async def lose(route: Route) -> None:
        await route.fetch()
        await route.abort()

    async with open_page(api.url) as page:
        await page.route("**/api/process?*", lose, times=1)
        await send(page, "https://a.example/1")
        await expect(page.locator("#note")).to_contain_text("已保留")
        box = page.get_by_role("textbox", name="链接")
        await box.press("Enter")
        await expect(box).to_have_value("")
        assert len(api.tasks) == 1
        await send(page, "https://a.example/1")  # the reader sends the link again on purpose
        await expect(page.locator(".row")).to_have_count(2)


@pytest.mark.wide
async def test_links_that_come_while_others_are_sent_are_kept_and_sent_in_their_turn(
    api: FakeApi, open_page: OpenPage
) -> None:
    async with open_page(api.url, locale="en-US") as page:
        box = page.get_by_role("textbox", name="Link")
        await box.fill("https://a.example/1")
        api.answers.clear()
        async with page.expect_request("**/api/process?*"):
            await box.press("Enter")
        await box.press_sequentially("https://a.example/2")
        await box.press("Enter")
        await page.evaluate(_PASTE, "https://a.example/3")
        await box.press("Enter")
        await box.press_sequentially("https://a.ex")
        async with page.expect_response("**/api/process?*"):
            api.answers.set()
        await expect(page.locator(".row")).to_have_count(3)
        await expect(box).to_have_value("https://a.ex")
        await box.press_sequentially("ample/4")
        await expect(box).to_have_value("https://a.example/4")
        assert [task["url"] for task in api.tasks.values()] == [f"https://a.example/{n}" for n in (1, 2, 3)]


@pytest.mark.wide
async def test_a_link_that_is_refused_comes_back_beside_what_is_being_typed(
    api: FakeApi, open_page: OpenPage
) -> None:
    api.refuses["https://a.example/1"] = "Not this one."
    async with open_page(api.url, locale="en-US") as page:
        box = page.get_by_role("textbox", name="Link")
        await page.locator("#choices .more").click()
        await page.get_by_role("textbox", name="Clip from").fill("0:05")
        await box.fill("https://a.example/1")
        api.answers.clear()
        async with page.expect_request("**/api/process?*"):
            await box.press("Enter")
        # The options are folded and emptied:
        await expect(page.get_by_role("textbox", name="Clip from")).to_be_hidden()
        # The clip was for that link only.
        await expect(page.locator("input[name=clip_start]")).to_have_value("")
        await box.press_sequentially("https://a.ex")
        api.answers.set()
        await expect(page.locator("#problems")).to_contain_text("Not this one.")
        await box.press_sequentially("ample/2")
        await expect(box).to_have_value("https://a.example/1\nhttps://a.example/2")
        await expect(page.locator("input[name=clip_start]")).to_have_value("0:05")


@pytest.mark.wide
async def test_what_is_being_typed_into_an_option_stays_when_the_service_answers(
    api: FakeApi, open_page: OpenPage
) -> None:
    may = asyncio.Event()

    async def later(route: Route) -> None:
        await may.wait()
        await route.fulfill(json={"presets": {"small": {"quality": "480"}}})

    async with open_page(api.url, locale="en-US") as page:
        await page.route("**/api/presets*", later)
        await page.locator("#choices .more").click()
        clip = page.get_by_role("textbox", name="Clip from")
        await clip.press_sequentially("0:0")
        may.set()
        await expect(page.get_by_role("combobox", name="Preset")).to_be_visible()
        await clip.press_sequentially("5")
        await expect(clip).to_have_value("0:05")


@pytest.mark.long
async def test_a_date_that_is_half_typed_stays_when_the_service_answers(
    api: FakeApi, open_page: OpenPage
) -> None:
    api.looks["https://a.example/1"] = {"title": "Bread", "formats": [{"format_id": "1", "ext": "mp4"}]}
    async with open_page(api.url, locale="en-US") as page:
        await page.locator("#choices .more").click()
        begin = page.locator("[name=start_at]")
        await begin.focus()
        await page.keyboard.type("0705")
        await page.locator("#links").evaluate(
            "(box, link) => { box.value = link; box.dispatchEvent(new Event('input')) }",
            "https://a.example/1",
        )
        await expect(page.locator("[name=format] option")).to_have_count(2)
        await page.keyboard.type("2031")
        await page.keyboard.press("Tab")
        await page.keyboard.type("0830PM")
        await expect(begin).to_have_value("2031-07-05T20:30")


@pytest.mark.long
async def test_a_preset_that_was_deleted_in_another_tab_changes_no_choice(
    api: FakeApi, open_page: OpenPage
) -> None:
    async with open_page(api.url, locale="en-US") as page:
        await page.locator("#choices .more").click()
        quality = page.locator("[name=quality]")
        await quality.select_option("720")
        await page.get_by_text("Save as preset").click()
        await page.get_by_role("textbox", name="Name of the preset").fill("Talks")
        await page.keyboard.press("Enter")
        await quality.select_option("480")
        presets = page.locator("select[name=preset]")
        await expect(presets.locator("option")).to_have_text(["None", "Talks"])
        await page.evaluate("delete localStorage['clipwire.presets']")
        await presets.select_option("own:Talks")
        await expect(presets.locator("option")).to_have_text(["None"])
        await expect(quality).to_have_value("480")


@pytest.mark.wide
async def test_what_waits_for_the_server_goes_alone_and_as_it_was_meant(
    api: FakeApi, open_page: OpenPage
) -> None:
    link = "https://a.example/list"
    api.looks[link] = {"title": "Films", "entries": [{"index": 1, "title": "Film 1"}]}
    async with open_page(api.url, locale="en-US") as page:
        box = page.get_by_role("textbox", name="Link")
        await box.fill(link)
        await expect(page.locator("#draft [data-part=facts]")).to_have_text("1 entry")
        await page.get_by_role("button", name="Choose from 1").click()
        await page.get_by_label("Film 1").check()
        await page.context.set_offline(True)
        await page.get_by_role("button", name="Download 1").click()
        await expect(page.locator("#note")).to_contain_text("will be sent")
        await box.press("Control+End")
        await box.press("Shift+Enter")
        await box.press_sequentially("https://a.example/2")
        await page.context.set_offline(False)
        await expect(page.locator(".row")).to_have_count(1)
        await expect(box).to_have_value("https://a.example/2")
        [task] = api.tasks.values()
        assert task["request"]["playlist_items"] == "1"


@pytest.mark.wide
async def test_enter_does_the_one_thing_that_the_row_of_a_link_offers(
    api: FakeApi, open_page: OpenPage
) -> None:
    link = "https://a.example/list"
    api.looks[link] = {"title": "Films", "entries": [{"index": n, "title": f"{n}"} for n in (1, 2)]}
    async with open_page(api.url, locale="en-US") as page:
        box = page.get_by_role("textbox", name="Link")
        await box.fill(link)
        await expect(page.get_by_role("button", name="Choose from 2")).to_be_enabled()
        await box.press("Enter")
        dialog = page.get_by_role("dialog", name="Films")
        await expect(dialog.locator("li")).to_have_count(2)
        assert not api.tasks
        await page.keyboard.press("Escape")
        await expect(dialog).to_be_hidden()
        await page.locator("#choices .more").click()
        await page.get_by_label("All entries, if it’s a list").check()
        await expect(page.get_by_role("button", name="All 2")).to_be_enabled()
        await box.press("Enter")  # the reader has already said which entries are meant
        await expect(page.locator(".row")).to_have_count(1)
        await expect(box).to_be_focused()
        # The options are folded again.
        await expect(page.get_by_label("All entries, if it’s a list")).to_be_hidden()
        api.looks[link] = {"title": "The launch", "live": True}
        await box.fill(link + "?live")
        api.looks[link + "?live"] = {"title": "The launch", "live": True}
        await expect(page.get_by_role("button", name="Record it")).to_be_enabled()
        await box.press("Enter")
        await expect(page.locator(".row")).to_have_count(2)
    assert [task["request"].get("playlist") for task in api.tasks.values()] == [True, None]
    assert [task["request"].get("live") for task in api.tasks.values()] == [None, "record"]


async def test_several_links_go_out_as_one_batch_each_once(api: FakeApi, open_page: OpenPage) -> None:
    api.refuses["https://a.example/2"] = "这个站点不行"
    async with open_page(api.url) as page:
        box = page.get_by_role("textbox", name="链接")
        await box.fill("https://a.example/1 https://a.example/2\nwww.a.example/3\nhttps://a.example/1")
        await expect(page.get_by_text("已略去 1 个重复的链接。")).to_be_visible()
        await page.get_by_role("button", name="下载 3 个").click()
        await expect(page.locator(".row")).to_have_count(2)
        assert [task["url"] for task in api.tasks.values()] == [
            "https://a.example/1",
            "https://www.a.example/3",
        ]
        assert len([request for request in api.requests if request.startswith("POST /api/process/")]) == 1
        await expect(box).to_have_value("https://a.example/2")
        await expect(page.locator("#problems")).to_contain_text("这个站点不行")
        await box.press_sequentially("2")
        await expect(page.locator("#problems")).to_be_hidden()


@pytest.mark.long
async def test_what_is_pasted_or_dropped_anywhere_lands_in_the_box_and_is_not_sent(
    api: FakeApi, open_page: OpenPage
) -> None:
    async with open_page(api.url) as page:
        box = page.get_by_role("textbox", name="链接")
        await box.fill("https://a.example/1")
        await box.blur()
        await page.evaluate("""() => {
            const transfer = (type, make) => {
                const data = new DataTransfer()
                make(data)
                const init = { bubbles: true, cancelable: true, clipboardData: data, dataTransfer: data }
                const event = type === "paste" ? new ClipboardEvent(type, init) : new DragEvent(type, init)
                document.body.dispatchEvent(event)
            }
            transfer("paste", (data) => data.setData("text/plain", "https://a.example/2"))
            const file = new File(["https://a.example/3\\n"], "links.txt", { type: "text/plain" })
            transfer("drop", (data) => data.items.add(file))
        }""")
        await expect(box).to_have_value("https://a.example/1\nhttps://a.example/2\nhttps://a.example/3")
        await expect(page.get_by_role("button", name="下载 3 个")).to_be_visible()
    assert not api.tasks


@pytest.mark.wide
async def test_the_server_is_told_of_the_first_link_in_the_box_before_it_is_looked_at(
    api: FakeApi, open_page: OpenPage
) -> None:
    asked = list[str]()
    async with open_page(api.url, locale="en-US") as page:
        box = page.get_by_role("textbox", name="Link")
        page.on("request", lambda request: asked.append(f"{request.method} {request.url.partition('?')[0]}"))
        async with page.expect_request(lambda request: request.url.endswith("/api/info?lang=en")):
            await box.fill("https://a.example/1")
        async with page.expect_request(lambda request: request.url.endswith("/api/info?lang=en")):
            await box.fill("https://a.example/2")
    root = api.url.rstrip("/")
    ours = [each for each in asked if each in (f"HEAD {root}/", f"POST {root}/api/info")]
    assert ours == [f"HEAD {root}/", *2 * [f"POST {root}/api/info"]], asked


async def test_what_a_link_is_stands_as_the_first_row_and_becomes_its_task_there(
    api: FakeApi, open_page: OpenPage
) -> None:
    formats = [{"format_id": "22", "ext": "mp4", "height": 720, "filesize": 30_000_000}]
    api.looks["https://a.example/1"] = {"title": "Bread", "duration": 61, "formats": formats}
    await api.put("a", "download")
    async with open_page(api.url, locale="en-US") as page:
        api.answers.clear()
        await page.get_by_role("textbox", name="Link").fill("https://a.example/1")
        draft = page.get_by_role("region", name="New")
        await expect(draft).to_contain_text("Checking…")
        before = await row(page, "a").bounding_box()
        assert before
        api.answers.set()
        await expect(draft).to_contain_text("1:01 · about 30 MB · up to 720p")
        assert await row(page, "a").bounding_box() == before
        place = await draft.locator(".line").bounding_box()
        api.answers.clear()
        await draft.get_by_role("button", name="Download").click()
        await expect(draft).to_contain_text("Bread")  # the draft stays until its task is there
        await expect(page.get_by_role("textbox", name="Link")).to_have_value("")
        api.answers.set()
        await expect(draft).to_be_hidden()
        task = page.get_by_role("list", name="New").get_by_role("listitem", name="Bread")
        assert await task.locator(".line").bounding_box() == place
        assert await row(page, "a").bounding_box() == before
        await page.get_by_role("textbox", name="Link").fill("https://a.example/1")
        await page.locator("#choices .more").click()
        await page.get_by_label("Exact format").select_option("22")
        await expect(page.locator("#choices .chosen")).to_have_text("Format 22")
        await page.get_by_role("textbox", name="Link").fill("https://a.example/2")
        await expect(draft).to_contain_text("There is nothing to see.")
        await page.get_by_role("button", name="Subscribe").wait_for()  # the link may be that of a feed
        await page.get_by_role("textbox", name="Link").fill("")
        await expect(draft).to_be_hidden()


@pytest.mark.long
async def test_the_place_for_a_look_is_kept_for_links_only(api: FakeApi, open_page: OpenPage) -> None:
    """The place is kept however long the script of the draft takes to load."""
    may_come = asyncio.Event()

    async def hold(route: Route) -> None:
        await may_come.wait()
        await route.continue_()

    api.looks["https://a.example/1"] = {"title": "Bread"}
    async with open_page(api.url) as page:
        await page.route("**/later.js*", hold)
        await page.locator("#links").fill("nonsense")
        assert await page.locator("#draft").is_hidden()
        await page.locator("#links").fill("https://a.example/1")
        await expect(page.locator("#draft")).to_be_visible()
        may_come.set()
        await expect(page.locator("#draft").get_by_text("Bread")).to_be_visible()


async def test_a_list_asks_which_of_its_entries(api: FakeApi, open_page: OpenPage) -> None:
    entries = [{"index": n, "title": f"Film {n}", "url": f"https://a.example/{n}"} for n in range(1, 7)]
    api.looks["https://a.example/list"] = {"title": "Films", "entries": entries}
    await api.put("have", "completed", url="https://a.example/2")
    async with open_page(api.url, locale="en-US") as page:
        box = page.get_by_role("textbox", name="Link")
        await box.fill("https://a.example/list")
        await page.get_by_role("button", name="Choose from 6").click()
        dialog = page.get_by_role("dialog", name="Films")
        await expect(dialog.locator(".have:visible")).to_have_count(1)
        await expect(dialog.get_by_role("button", name="Download")).to_be_disabled()  # no entry is chosen yet
        await dialog.get_by_label("Film 1").check()
        await dialog.get_by_label("Film 3").check()
        await dialog.get_by_text("Film 4").click()
        # A click on the text, which would select it without the page's own handling.
        await dialog.get_by_text("Film 6").click(modifiers=["Shift"])
        await dialog.get_by_role("button", name="Download 5").click()
        await expect(box).to_have_value("")
        await expect(page.locator(".row")).to_have_count(2)
        [sent] = [task["request"] for task in api.tasks.values() if "request" in task]
        assert (sent["url"], sent["playlist_items"]) == ("https://a.example/list", "1,3-6")
        await api.put("sent early", "failed", error_code="is_playlist", url="https://a.example/list")
        await row(page, "sent early").get_by_role("button", name="Choose…").click()
        await dialog.get_by_label("All", exact=True).check()
        await dialog.get_by_label("Film 2").uncheck()
        await expect(dialog.get_by_label("All", exact=True)).to_be_checked(indeterminate=True)
        await dialog.get_by_role("button", name="Download 5").click()
        await expect(row(page, "sent early").get_by_role("button", name="Undo")).to_be_visible()
        assert [task["request"] for task in api.tasks.values() if "request" in task][-1][
            "playlist_items"
        ] == "1,3-6"


@pytest.mark.long
async def test_a_question_about_a_list_stays_when_more_is_known_of_its_link(
    api: FakeApi, open_page: OpenPage
) -> None:
    link, may = "https://a.example/list", asyncio.Event()
    api.looks[link] = {"title": "Films", "entries": [{"index": n, "title": f"Film {n}"} for n in (1, 2)]}
    await api.put("have", "completed", url=link, files={"video": "/api/download/film.mp4"})

    async def later(route: Route) -> None:
        await may.wait()
        await route.continue_()

    async with open_page(api.url, locale="en-US") as page:
        await page.route("**/api/tasks?q=*", later)
        await page.get_by_role("textbox", name="Link").fill(link)
        choice = page.get_by_role("button", name="Choose from 2")
        await choice.focus()
        asked = await choice.element_handle()
        may.set()
        await expect(page.locator("#draft [data-part=verb]")).to_have_text("Play")
        await expect(page.locator("#draft [data-part=verb]")).to_be_focused()
        assert await asked.evaluate("button => button.isConnected")


async def test_a_press_does_only_what_the_button_said_when_it_began(
    api: FakeApi, open_page: OpenPage
) -> None:
    link, may = "https://a.example/list", asyncio.Event()
    api.looks[link] = {"title": "Films", "entries": [{"index": n, "title": f"Film {n}"} for n in (1, 2)]}

    async def later(route: Route) -> None:
        await may.wait()
        await route.continue_()

    async with open_page(api.url, locale="en-US") as page:
        await page.route("**/api/info*", later)
        await page.locator("#links").fill(link)
        verb = page.locator("#draft [data-part=verb]")
        await expect(verb).to_have_text("Download")
        await verb.evaluate("""verb => {
            verb.dispatchEvent(new PointerEvent("pointerdown"))
            const watch = new MutationObserver(() => verb.click() ?? watch.disconnect())
            watch.observe(verb, { childList: true, characterData: true, subtree: true })
        }""")
        may.set()
        await expect(verb).to_have_text("Choose from 2")
        await expect(verb).to_be_enabled()
        await verb.evaluate(
            'verb => verb.dispatchEvent(new PointerEvent("click", '
            "{ detail: 1, bubbles: true, cancelable: true }))"
        )
        await expect(page.get_by_role("dialog")).to_have_count(0)
        assert await page.locator("#links").input_value() == link
        await verb.click()
        await expect(page.get_by_role("dialog", name="Films")).to_be_visible()
    assert not any("process" in each for each in api.requests)


async def test_a_search_of_entries_that_finds_none_says_so_and_moves_nothing(
    api: FakeApi, open_page: OpenPage
) -> None:
    link = "https://a.example/list"
    api.looks[link] = {"title": "Films", "entries": [{"index": n, "title": f"Film {n}"} for n in range(1, 9)]}
    async with open_page(api.url, locale="en-US") as page:
        await page.get_by_role("textbox", name="Link").fill(link)
        await page.get_by_role("button", name="Choose from 8").click()
        dialog = page.get_by_role("dialog", name="Films")
        state, search = dialog.get_by_role("status"), dialog.get_by_role("searchbox")
        await expect(state).to_have_text("8 entries")
        before = await dialog.bounding_box()
        for text, found, words in (("film 3", 1, "8 entries"), ("zzz", 0, "Nothing found")):
            await search.fill(text)
            await expect(dialog.locator("li:visible")).to_have_count(found)
            await expect(state).to_have_text(words)
            assert await dialog.bounding_box() == before
        await search.fill("")
        await expect(state).to_have_text("8 entries")
        assert await dialog.bounding_box() == before


@pytest.mark.long
async def test_entries_of_a_long_list_come_page_by_page(api: FakeApi, open_page: OpenPage) -> None:
    link = "https://a.example/list"
    entries = [{"index": n, "title": f"Film {n}"} for n in range(1, 2001)]
    api.looks[link] = {"title": "Films", "entries": entries, "total_entries": 2000}
    async with open_page(api.url, locale="en-US") as page:
        box, dialog = page.get_by_role("textbox", name="Link"), page.get_by_role("dialog", name="Films")
        await box.fill(link)
        await page.get_by_role("button", name="Choose from 2,000").click()
        await expect(dialog.get_by_role("status")).to_have_text("500 of 2,000 entries")
        everything = dialog.get_by_label("All", exact=True)
        await everything.check()
        await expect(dialog.get_by_role("button", name="Download 2,000")).to_be_enabled()
        await dialog.get_by_label("Film 400").uncheck()
        await expect(dialog.get_by_role("button", name="Download 499")).to_be_enabled()
        more = dialog.get_by_role("button", name="Show more")
        await more.click()
        await expect(dialog.get_by_label("Film 501")).to_be_focused()
        # The range crosses the border of two pages.
        await dialog.locator("[value='600']").click(modifiers=["Shift"])
        await expect(dialog.get_by_role("button", name="Download 799")).to_be_visible()
        await everything.check()
        await everything.uncheck()
        for last in (1500, 2000):
            await more.click()
            await expect(dialog.locator("li")).to_have_count(last)
        await expect(more).to_be_hidden()
        await expect(dialog.get_by_role("status")).to_have_text("2,000 entries")
        await expect(dialog.get_by_role("button", name="Download", exact=True)).to_be_disabled()
        await dialog.get_by_role("searchbox", name="Search these entries").fill("film 2000")
        await everything.check()  # checks all entries that the search has found
        await expect(dialog.locator("li:visible")).to_have_count(1)
        await dialog.get_by_role("searchbox", name="Search these entries").fill("")
        await dialog.locator("[value='7']").check()
        await dialog.get_by_role("button", name="Download 2").click()
        await expect(box).to_have_value("")
        await expect(page.locator("#entries li")).to_have_count(0)
        await box.fill(link)
        await page.get_by_role("button", name="Choose from 2,000").click()
        await everything.check()
        await dialog.get_by_role("button", name="Download 2,000").click()
        await expect(box).to_have_value("")
    sent = [
        (task["request"]["playlist"], task["request"].get("playlist_items")) for task in api.tasks.values()
    ]
    assert sent == [(True, "7,2000"), (True, None)]


@pytest.mark.wide
async def test_entries_show_their_pictures_as_far_as_the_reader_has_come(
    api: FakeApi, open_page: OpenPage
) -> None:
    link, shown = "https://a.example/list", "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg'/%3E"
    entries: list[dict[str, Any]] = [
        {"index": n, "title": f"Film {n}", "thumbnail": f"https://a.example/{n}.jpg"} for n in range(1, 201)
    ]
    del entries[2]["thumbnail"]
    api.looks[link] = {"title": "Films", "entries": entries}
    api.entry_pictures = {
        entry["thumbnail"]: shown for entry in entries if entry.get("thumbnail") and entry["index"] != 2
    }

    def requested() -> int:
        return sum("/api/info/thumbnails" in request for request in api.requests)

    async with open_page(api.url, locale="en-US") as page:
        dialog = page.get_by_role("dialog", name="Films")
        await page.get_by_role("textbox", name="Link").fill(link)
        await page.get_by_role("button", name="Choose from 200").click()
        entry = dialog.locator("li")
        for number in (1, 4, 5):
            await expect(entry.nth(number - 1).locator("img")).to_have_attribute("src", shown)
        for number in (2, 3, 200):  # it fails; there is none; it is far away
            await expect(entry.nth(number - 1).locator("img")).to_have_count(0)
        first = requested()
        assert 1 <= first <= 5
        await entry.last.scroll_into_view_if_needed()
        await expect(entry.last.locator("img")).to_have_attribute("src", shown)
        await expect(entry.nth(99).locator("img")).to_have_count(0)
        assert requested() > first
        await dialog.get_by_role("button", name="Close").click()
        del api.looks[link]["entries"][0]
        await page.get_by_role("button", name="Choose from 200").click()  # its pictures are loaded anew
        await expect(entry.nth(2).locator("img")).to_have_attribute("src", shown)


@pytest.mark.long
async def test_a_page_of_entries_that_does_not_come_can_be_asked_for_again(
    api: FakeApi, open_page: OpenPage
) -> None:
    link = "https://a.example/list"
    look = {"title": "Films", "entries": [{"index": n, "title": f"Film {n}"} for n in range(1, 502)]}
    api.looks[link] = look
    async with open_page(api.url, locale="en-US") as page:
        dialog = page.get_by_role("dialog", name="Films")
        await page.get_by_role("textbox", name="Link").fill(link)
        await page.get_by_role("button", name="Choose…").click()
        await expect(dialog.get_by_role("status")).to_have_text("more than 500 entries")
        for name in (1, 2):
            await dialog.locator(f"[value='{name}']").check()
        del api.looks[link]
        await dialog.get_by_role("button", name="Show more").click()
        await expect(dialog.get_by_role("status")).to_have_text("There is nothing to see.")
        await expect(dialog.get_by_role("button", name="Download 2")).to_be_enabled()
        api.looks[link] = look
        await dialog.get_by_role("button", name="Show more").click()
        await dialog.get_by_label("Film 501").check()
        await expect(dialog.get_by_role("button", name="Download 3")).to_be_enabled()


@pytest.mark.long
async def test_who_went_on_while_a_link_was_sent_is_not_called_back(
    api: FakeApi, open_page: OpenPage
) -> None:
    await api.put("a")  # the search field appears with the first task
    async with open_page(api.url) as page:
        api.answers.clear()
        async with page.expect_request("**/api/process*"):
            await send(page, "https://a.example/1")
        await page.get_by_role("searchbox").focus()
        api.answers.set()
        await expect(page.get_by_role("textbox", name="链接")).to_have_value("")
        await expect(page.get_by_role("searchbox")).to_be_focused()


@pytest.mark.long
async def test_the_last_choices_are_remembered(api: FakeApi, open_page: OpenPage) -> None:
    async with open_page(api.url) as page:
        await page.locator("#choices .more").click()
        await page.get_by_label("清晰度").select_option("720")
        await page.get_by_role("radio", name="音频", exact=True).check()
        await page.get_by_label("音频格式").select_option("opus")
        await page.get_by_label("每章一个文件").check()
        await page.get_by_label("仅添加，不开始").check()
        await send(page, "https://a.example/1")
        await expect(page.locator(".row[data-stage=paused]")).to_have_count(1)
        await page.reload()
        await expect(page.get_by_role("radio", name="音频", exact=True)).to_be_checked()
        await expect(page.locator("#choices .chosen")).to_have_text("OPUS 音频 · 每章一个文件")
        await send(page, "https://a.example/2")
        await expect(page.locator(".row")).to_have_count(2)
    first, second = (task["request"] for task in api.tasks.values())
    assert first == {
        "url": "https://a.example/1",
        "outputs": ["audio"],
        "quality": "best",
        "video_format": "mp4",
        "codec": "auto",
        "audio_format": "opus",
        "split_chapters": True,
        "auto_start": False,
    }
    assert "auto_start" not in second
    assert second["split_chapters"]


async def test_a_link_whose_video_is_gone_is_tried_all_the_same_and_not_recommended(
    api: FakeApi, open_page: OpenPage
) -> None:
    api.looks["https://a.example/1"] = {"error_code": "http_404", "error": "Download failed: HTTP 404"}
    async with open_page(api.url, locale="en-US") as page:
        box, verb = page.locator("#links"), page.locator("#draft [data-part=verb]")
        await box.fill("https://a.example/1")
        await expect(verb).to_have_text("Try anyway")
        await expect(verb).to_have_attribute("data-quiet", "")
        await box.fill("https://a.example/2")
        await expect(verb).not_to_have_attribute("data-quiet", "")
        await box.fill("https://a.example/1")
        await expect(verb).to_have_text("Try anyway")
        await verb.click()
        await expect(page.locator(".row")).to_have_count(1)


async def test_a_long_link_that_is_pasted_shows_its_beginning(api: FakeApi, open_page: OpenPage) -> None:
    allowed = ["clipboard-read", "clipboard-write"]
    async with open_page(api.url, permissions=allowed) as page:
        await page.evaluate("navigator.clipboard.writeText('https://a.example/' + '1234567890'.repeat(40))")
        box = page.locator("#links")
        for is_in_box in (True, False):
            await box.fill("")
            await (box.focus() if is_in_box else box.blur())
            await page.keyboard.press("ControlOrMeta+v")
            await expect(box).to_have_value(re.compile(r"^https://a\.example/\d{400}$"))
            await expect(box).to_be_focused()
            await page.evaluate("new Promise((drawn) => requestAnimationFrame(() => setTimeout(drawn)))")
            assert await box.evaluate("(box) => [box.scrollLeft, box.scrollWidth > box.clientWidth]") == [
                0,
                True,
            ]


async def test_three_options_are_in_sight_and_never_choose_nothing(api: FakeApi, open_page: OpenPage) -> None:
    api.has_library = True
    api.looks["https://a.example/1"] = {"title": "Bread", "duration": 60}
    async with open_page(api.url, locale="en-US") as page:
        subtitles, languages = (
            page.locator("[name=subtitles]"),
            page.get_by_label("Subtitle languages"),
        )
        neither, audio = (page.get_by_role("radio", name=name, exact=True) for name in ("Neither", "Audio"))
        await expect(languages).to_be_hidden()
        await expect(neither).to_be_hidden()  # without subtitles, "Neither" would make no file
        await subtitles.select_option("file")
        await languages.fill("en")
        await neither.check()
        await expect(page.locator("[name=quality]")).to_be_hidden()
        await subtitles.select_option("")
        await expect(page.get_by_role("radio", name="Video and audio")).to_be_checked()
        await subtitles.select_option("file,video")
        await audio.check()
        await expect(subtitles).to_have_value("file")  # the subtitles cannot be embedded: there is no video
        await page.get_by_role("textbox", name="Link", exact=True).fill("https://a.example/1")
        await expect(page.locator("#draft")).to_contain_text("1:00")
        await page.locator("#choices .more").click()
        await expect(page.get_by_text("Save as preset")).to_be_visible()
        # The link leads to one video.
        await expect(page.get_by_label("All entries, if it’s a list")).to_be_hidden()
        await page.get_by_label("Add to the library as").select_option("music")
        await page.get_by_role("textbox", name="Link", exact=True).press("Enter")
        await expect(page.locator(".row")).to_have_count(1)
        await expect(page.locator("#options")).to_be_hidden()
        await page.locator("#choices .more").click()
        # The choice was for that link only.
        await expect(page.get_by_label("Add to the library as")).to_have_value("")
    [task] = api.tasks.values()
    assert task["request"]["outputs"] == ["audio", "subtitles"]
    assert task["request"]["subtitles"] == {"languages": ["en"]}
    assert task["request"]["library"] == {"layout": "music"}


@pytest.mark.long
async def test_a_link_that_another_app_hands_over_waits_in_the_box(api: FakeApi, open_page: OpenPage) -> None:
    async with open_page(api.url + "?url=https%3A%2F%2Fa.example%2F1") as page:
        await expect(page.get_by_role("textbox", name="链接")).to_have_value("https://a.example/1")
    assert not api.tasks


@pytest.mark.wide
async def test_one_thing_comes_first_and_the_rest_is_in_the_menu(api: FakeApi, open_page: OpenPage) -> None:
    await api.put("a", "download")
    async with open_page(api.url) as page:
        first = row(page, "a").locator(".acts .act")
        await expect(first).to_have_text("暂停")
        assert await menu_of(page, "a") == ["取消", "播放", "选择", "日志", "复制链接", "删除"]
        await first.click()
        await expect(first).to_have_text("继续")
        assert (await menu_of(page, "a"))[:4] == ["立即开始", "取消", "移到队首", "移到队尾"]
        await api.put("a", "failed", error="下载失败: HTTP 404")
        await expect(first).to_have_text("重试")
        await api.put("a", "completed", files={"video": "/v.mp4"})
        await expect(first).to_have_text("保存视频")
        assert await menu_of(page, "a") == ["播放", "发送到…", "重新下载", "选择", "日志", "复制链接", "删除"]


@pytest.mark.long
async def test_a_control_that_has_just_become_another_one_is_not_pressed_by_mistake(
    api: FakeApi, open_page: OpenPage
) -> None:
    await api.put("a", "download")
    async with open_page(api.url) as page:
        await row(page, "a").get_by_role("button", name="暂停").hover()
        await page.evaluate("""() => new MutationObserver(([{ addedNodes: [button] }]) => button.click())
            .observe(document.querySelector("[data-part=primary]"), { childList: true })""")
        await api.put("a", "failed")
        await expect(row(page, "a").get_by_role("button", name="重试")).to_be_visible()
        assert [request for request in api.requests if request.startswith("POST")] == []
        await page.evaluate("() => new Promise((done) => setTimeout(done, 400))")
        await row(page, "a").get_by_role("button", name="重试").click()
        await expect(row(page, "a")).to_have_attribute("data-stage", "queued")


@pytest.mark.long
async def test_the_button_that_replaces_a_pressed_one_has_the_focus(
    api: FakeApi, open_page: OpenPage
) -> None:
    await api.put("a", "download")
    async with open_page(api.url) as page:
        await row(page, "a").get_by_role("button", name="暂停").focus()
        for stage, name in (("paused", "继续"), ("queued", "暂停"), ("paused", "继续")):
            await page.keyboard.press("Enter")
            await expect(row(page, "a")).to_have_attribute("data-stage", stage)
            button = row(page, "a").get_by_role("button", name=name)
            await expect(button).to_be_focused()


@pytest.mark.parametrize("stage", ["completed", "failed", "paused"])
@pytest.mark.long
async def test_the_focus_moves_to_no_other_control_by_itself(
    api: FakeApi, open_page: OpenPage, stage: str
) -> None:
    """A reader who presses a key without looking would press another control than the one that had the
    focus.
    """
    await api.put("a", "download")
    async with open_page(api.url) as page:
        await row(page, "a").get_by_role("button", name="暂停").focus()
        await api.put("a", stage, files={"video": "/v.mp4"})
        await expect(row(page, "a")).to_be_focused()
        assert [request for request in api.requests if request.startswith("POST")] == []


@pytest.mark.long
async def test_what_waits_is_moved_to_the_front_and_to_the_end(api: FakeApi, open_page: OpenPage) -> None:
    for name in ("first", "second", "third"):
        await api.put(name)
    async with open_page(api.url) as page:
        await shows(page, "first", "second", "third")
        for name, place in (("third", "移到队首"), ("first", "移到队尾")):
            async with page.expect_response(f"**/api/tasks/{name}?*"):
                await choose(page, name, place)
        await leave(page)
        await shows(page, "third", "second", "first")


@pytest.mark.long
async def test_a_new_attempt_leaves_the_old_files_until_the_new_ones_are_there(
    api: FakeApi, open_page: OpenPage
) -> None:
    old, new = {"video": "/api/download/old.mp4"}, {"video": "/api/download/new.mp4"}
    await api.put("a", "completed", files=old)
    async with open_page(api.url) as page:
        await row(page, "a").locator("[data-action=open]").click()
        save = row(page, "a").locator(".files").get_by_role("link", name="保存视频")
        note = row(page, "a").get_by_text("新文件完成之前，原有文件仍可使用。")
        await expect(note).to_be_hidden()
        await choose(page, "a", "重新下载")
        for stage in ("queued", "download"):
            await api.put("a", stage)
            await expect(row(page, "a")).to_have_attribute("data-stage", stage)
            assert await save.get_attribute("href") == api.url + "api/download/old.mp4"
            await expect(note).to_be_visible()
        await save.focus()
        await api.put("a", "failed", error="下载失败: HTTP 404")
        await expect(note).to_be_hidden()
        await expect(save).to_be_focused()
        await expect(row(page, "a").get_by_role("button", name="重试")).to_be_visible()
        await api.put("a", "completed", files=new)
        await expect(save).to_have_attribute("href", api.url + "api/download/new.mp4")


async def test_a_deletion_can_be_taken_back_and_happens_later(api: FakeApi, open_page: OpenPage) -> None:
    for name in ("c", "b", "a"):
        await api.put(name, "completed")
    async with open_page(api.url, has_clock=True) as page:
        await stop_clock(page)
        for name in ("a", "b"):
            await choose(page, name, "删除")
            await expect(row(page, name)).to_contain_text("已删除。")
            await expect(row(page, name).get_by_role("button", name="撤销")).to_be_focused()
        await row(page, "a").get_by_role("button", name="撤销").press("Enter")
        await expect(row(page, "a")).to_be_focused()
        await page.clock.run_for(5_000)
        assert list(api.tasks) == ["c", "b", "a"]
        async with page.expect_response("**/api/tasks/b?*"):
            await page.clock.run_for(6_000)
        await expect(row(page, "b").get_by_role("button", name="撤销")).to_be_hidden()
        await expect(row(page, "a").get_by_role("heading")).to_be_visible()
        assert list(api.tasks) == ["c", "a"]


@pytest.mark.long
async def test_a_deletion_happens_when_the_page_goes(api: FakeApi, open_page: OpenPage) -> None:
    for name in ("b", "a"):
        await api.put(name, "completed")
    async with open_page(api.url) as page:
        await row(page, "a").focus()
        await page.keyboard.press("Delete")
        await expect(row(page, "a").get_by_role("button", name="撤销")).to_be_focused()
        await page.reload()
        await expect(row(page, "b")).to_be_visible()
        while "a" in api.tasks:
            await asyncio.sleep(0.02)
        await expect(row(page, "a")).to_have_count(0)


@pytest.mark.long
async def test_a_cancel_is_taken_back_by_going_on(api: FakeApi, open_page: OpenPage) -> None:
    await api.put("a", "download")
    async with open_page(api.url) as page:
        await choose(page, "a", "取消")
        await expect(row(page, "a")).to_have_attribute("data-stage", "cancelled")
        undo = row(page, "a").get_by_role("button", name="撤销")
        await expect(undo).to_be_focused()
        await undo.press("Enter")
        await expect(row(page, "a")).to_have_attribute("data-stage", "queued")
        await expect(undo).to_be_hidden()


@pytest.mark.long
async def test_an_action_that_came_too_late_is_explained_in_the_row(
    api: FakeApi, open_page: OpenPage
) -> None:
    await api.put("a", "download")
    async with open_page(api.url) as page:
        api.tasks["a"] |= {"stage": "completed", "status": "completed"}  # the page is not told of this change
        await row(page, "a").get_by_role("button", name="暂停").click()
        await expect(row(page, "a")).to_contain_text("It has ended already.")
        await expect(page.locator("#news")).to_have_text("It has ended already.")
        del api.tasks["a"]
        await row(page, "a").get_by_role("button", name="暂停").click()
        await expect(row(page, "a")).to_contain_text("已删除。")


@pytest.mark.long
async def test_a_row_that_is_opened_shows_everything_and_its_log(api: FakeApi, open_page: OpenPage) -> None:
    files = {"video": "/api/download/v.mp4", "audio": "/api/download/a.mp3"}
    info = {"title": "Bread", "uploader": "Baker"}
    await api.put("a", "completed", files=files, attempt=2, video_info=info)
    await api.put("b", "completed")
    async with open_page(api.url) as page:
        title = row(page, "a").get_by_role("button", name="Bread")
        below = await row(page, "b").bounding_box()
        await title.click()
        await expect(title).to_have_attribute("aria-expanded", "true")
        for text in ("https://videos.example/watch?v=1", "尝试次数"):
            await expect(row(page, "a").get_by_text(text, exact=True)).to_be_visible()
        files_of = row(page, "a").locator(".files")
        await expect(files_of.get_by_role("link", name="保存")).to_have_text(["保存视频", "保存音频"])
        await expect(files_of.get_by_role("button", name="播放")).to_have_count(2)
        for text in ("Bread", "Baker", "处理完成！"):  # the row above shows these texts already
            await expect(row(page, "a").locator(".details").get_by_text(text)).to_have_count(0)
        await choose(page, "a", "日志")
        await expect(row(page, "a").locator("pre")).to_contain_text("[info] https://videos.example")
        await title.click()
        await expect(title).to_have_attribute("aria-expanded", "false")
        assert await row(page, "b").bounding_box() == below


@pytest.mark.long
async def test_clicks_on_one_spot_never_hit_a_task_that_was_not_pointed_at(
    api: FakeApi, open_page: OpenPage
) -> None:
    for number in range(30):
        await api.put(f"t{number:02}", "download", video_info={"title": f"Film {number}"})
    async with open_page(api.url) as page:
        box = await row(page, "t02").locator("[data-action=pause]").bounding_box()
        assert box
        await page.mouse.move(box["x"] + 5, box["y"] + 5)
        for number in range(100):
            if number < 30 and number != 2:
                await api.put(f"t{number:02}", "completed")
            await page.mouse.click(box["x"] + 5, box["y"] + 5)
        asked = {request.split("/")[3] for request in api.requests if request.startswith("POST")}
        assert asked == {"t02"}
        await expect(page.get_by_role("button", name="项更新")).to_be_visible()


@pytest.mark.wide
async def test_while_the_reader_points_at_the_list_what_is_due_waits(
    api: FakeApi, open_page: OpenPage
) -> None:
    await api.put_many(3)
    async with open_page(api.url, has_clock=True, locale="en-US") as page:
        before = await shown(page)
        await row(page, before[1]).hover()
        for name in ("x", "y"):
            await api.put(name)
        await api.remove(before[0])
        await expect(page.get_by_role("button", name="3 changes")).to_be_visible()
        await expect(row(page, before[0])).to_contain_text("Deleted.")
        assert await shown(page) == before
        await stop_clock(page)
        await page.mouse.move(5, 5)
        await page.clock.run_for(1_000)
        assert await shown(page) == before
        await page.clock.run_for(3_000)
        await shows(page, "x", "y", *before[1:])
        await page.clock.resume()
        await row(page, "x").focus()
        await api.put("z")
        await page.get_by_role("button", name="1 new").click()
        await shows(page, "x", "y", "z", *before[1:])
