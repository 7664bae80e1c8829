"""Mishaps: double clicks, scripts that do not load, and requests that the server refuses."""

import asyncio

import pytest
from playwright.async_api import Route, expect

from tests.browser.conftest import OpenPage
from tests.browser.lists import choose, leave, row, shown
from tests.fakes.api import FakeApi

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.long]

_DROP = """(target, [type, text]) => {
    const dataTransfer = new DataTransfer()
    if (type === "file") dataTransfer.items.add(new File([text], "links.txt", { type: "text/plain" }))
    else dataTransfer.setData(type, text)
    const how = { dataTransfer, bubbles: true, cancelable: true }
    return ["dragover", "drop"].map((name) => !target.dispatchEvent(new DragEvent(name, how)))
}"""


async def _busy(route: Route) -> None:
    problem = {"status": 503, "code": "busy", "detail": "Too much to do."}
    await route.fulfill(status=503, content_type="application/problem+json", json=problem)


async def _without_server(route: Route) -> None:
    """Answer as a proxy does whose server is away."""
    await route.fulfill(status=502, content_type="text/html", body="<h1>502 Bad Gateway</h1>")


async def test_today_is_called_yesterday_after_midnight(api: FakeApi, open_page: OpenPage) -> None:
    await api.put("a", "completed", completed_at="2025-03-01T12:00:00Z")
    async with (
        open_page("about:blank", is_listed=False, timezone_id="Asia/Shanghai") as page,
    ):
        await page.clock.install(time="2025-03-01T15:58:30Z")
        await page.goto(api.url)
        await expect(page.get_by_role("list", name="今天")).to_be_visible()
        await page.clock.run_for(180_000)
        await expect(page.get_by_role("list", name="昨天")).to_be_visible()
        await expect(page.get_by_role("heading", name="今天")).to_have_count(0)


async def test_the_second_click_of_a_double_one_does_not_take_back_the_first(
    api: FakeApi, open_page: OpenPage
) -> None:
    await api.put("a", "download")
    async with open_page(api.url) as page:
        place = await row(page, "a").get_by_role("button", name="暂停").bounding_box()
        assert place is not None
        await page.mouse.move(place["x"] + place["width"] / 2, place["y"] + place["height"] / 2)
        for click in (1, 2):
            await page.mouse.down(click_count=click)
            await page.mouse.up(click_count=click)
            await expect(row(page, "a").get_by_role("button", name="继续")).to_be_visible()
        # By now the page has sent what the clicks asked for.
        await row(page, "a").get_by_role("button", name="更多").click()
        assert [request.split("?")[0] for request in api.requests if request.startswith("POST")] == [
            "POST /api/tasks/a/pause"
        ]


async def test_a_double_click_saves_a_file_once(api: FakeApi, open_page: OpenPage) -> None:
    await api.put("a", "completed", files={"video": "/api/download/v.mp4"})
    async with open_page(api.url, locale="en-US") as page:
        link, other = row(page, "a").get_by_role("link", name="Save video"), page.locator("#links")
        async with page.expect_download():
            await link.dblclick()
        await other.click()
        async with page.expect_download():
            await link.click()
    assert len([request for request in api.requests if "/api/download/" in request]) == 2


async def test_the_focus_is_in_the_list_when_the_row_of_a_film_went_while_it_was_played(
    api: FakeApi, open_page: OpenPage
) -> None:
    for name in "ab":
        await api.put(name, "completed", files={"video": "/api/download/v.mp4"}, video_info={"title": name})
    async with open_page(api.url, has_clock=True) as page:
        await row(page, "a").focus()
        await page.keyboard.press("Space")
        await expect(page.locator("#player")).to_be_visible()
        await api.remove("a")
        await page.clock.run_for(4_000)
        await expect(row(page, "a")).to_have_count(0)
        await page.keyboard.press("Escape")
        await expect(page.locator("#player")).to_be_hidden()
        assert await page.evaluate("document.querySelector('#tasks').contains(document.activeElement)")


async def test_what_is_asked_for_during_a_slow_answer_is_asked_afterwards(
    api: FakeApi, open_page: OpenPage
) -> None:
    await api.put("a", "download")
    async with open_page(api.url) as page:
        answers = asyncio.Event()

        async def slowly(route: Route) -> None:
            await answers.wait()
            await route.continue_()

        await page.route("**/api/tasks/a/pause?*", slowly)
        await row(page, "a").get_by_role("button", name="暂停").click()
        await choose(page, "a", "取消")
        await expect(row(page, "a")).to_have_attribute("aria-busy", "true")
        answers.set()
        await expect(row(page, "a")).to_contain_text("已取消")
        assert api.tasks["a"]["stage"] == "cancelled"


async def test_what_was_deleted_again_can_be_taken_back_as_long_as_the_first_time(
    api: FakeApi, open_page: OpenPage
) -> None:
    for name in "ab":
        await api.put(name, "completed")
    async with open_page(api.url, has_clock=True) as page:
        await page.locator("h1").click()
        await page.keyboard.press("Control+a")
        await page.get_by_role("toolbar").get_by_role("button", name="删除").click()
        await expect(page.locator("#undone button")).to_be_focused()
        await row(page, "a").get_by_role("button", name="撤销").click()
        await page.clock.run_for(5_000)
        await choose(page, "a", "删除")
        async with page.expect_response("**/api/tasks/actions?*"):
            await page.clock.run_for(6_000)
        assert list(api.tasks) == ["a"]
        await row(page, "a").get_by_role("button", name="撤销").click()
        await expect(row(page, "a").get_by_role("heading")).to_be_visible()


async def test_many_that_were_deleted_do_not_come_back_for_a_moment(
    api: FakeApi, open_page: OpenPage
) -> None:
    for name in "ab":
        await api.put(name, "completed")
    async with open_page(api.url, has_clock=True) as page:
        await api.lose_sockets()
        await page.locator("h1").click()
        await page.keyboard.press("Control+a")
        await page.get_by_role("toolbar").get_by_role("button", name="删除").click()
        await page.evaluate("""() => {
            window.leavings = []
            const row = document.querySelector(".row")
            const look = () => leavings.push(row.dataset.leaving)
            new MutationObserver(look).observe(row, { attributeFilter: ["data-leaving"] })
        }""")
        async with page.expect_response("**/api/tasks/actions?*"):
            await page.clock.run_for(10_500)
        await page.clock.run_for(1_000)
        assert "" not in await page.evaluate("leavings")


async def test_what_many_were_refused_stands_in_their_rows(api: FakeApi, open_page: OpenPage) -> None:
    for name in "ab":
        await api.put(name, "download")
    async with open_page(api.url) as page:
        await page.route("**/api/tasks/actions?*", _busy)
        await page.locator("h1").click()
        await page.keyboard.press("Control+a")
        await page.get_by_role("toolbar").get_by_role("button", name="取消 2 个").click()
        for name in "ab":
            await expect(row(page, name)).to_contain_text("Too much to do.")


async def test_a_refusal_that_is_of_no_row_is_said_over_the_page(api: FakeApi, open_page: OpenPage) -> None:
    await api.put("a", "failed", remedies=["use_cookies"])
    async with open_page(api.url, locale="en-US") as page:
        said = page.get_by_role("alert").filter(has_text="Too much to do.")
        await page.route("**/api/cookies?*", _busy)
        await row(page, "a").get_by_role("button", name="Use cookies").click()
        await expect(said).to_be_visible()
        await page.reload()
        await page.route("**/api/queue/pause?*", _busy)
        await page.get_by_role("button", name="Menu").click()
        await page.get_by_role("menuitem", name="Pause the queue").click()
        await expect(said).to_be_visible()


@pytest.mark.parametrize("part", ["later.js", "later.css"])
async def test_a_part_that_did_not_come_is_said_and_asked_for_again(
    api: FakeApi, open_page: OpenPage, part: str
) -> None:
    await api.put("a", "completed", files={"video": "/v.mp4"}, file_info={"video": {"type": "video/mp4"}})
    async with open_page(api.url, locale="en-US") as page:
        # The route is kept: a request that comes while a route is removed may never be answered.
        comes = asyncio.Event()
        await page.route(
            f"**/static/{part}?*", lambda route: route.continue_() if comes.is_set() else route.abort()
        )
        await row(page, "a").get_by_role("button", name="Play").click()
        await expect(page.get_by_text("Part of the page failed to load.")).to_be_visible()
        comes.set()
        await row(page, "a").get_by_role("button", name="Play").click()
        await expect(page.get_by_role("dialog")).to_be_visible()
        assert await page.evaluate("document.querySelector('#later-sheet').sheet.cssRules.length") > 20


async def test_enter_that_ends_a_word_of_an_input_method_sends_nothing(
    api: FakeApi, open_page: OpenPage
) -> None:
    async with open_page(api.url) as page:
        box = page.get_by_role("textbox", name="链接")
        await box.fill("https://videos.example/1")
        for how in ({"isComposing": True}, {"keyCode": 229}):  # Safari sends only the latter
            event = {"key": "Enter", "bubbles": True, "cancelable": True, **how}
            await box.evaluate("(box, how) => box.dispatchEvent(new KeyboardEvent('keydown', how))", event)
        await expect(box).to_have_value("https://videos.example/1")
        await expect(page.locator("#submit")).to_have_attribute("aria-busy", "false")
        assert [request for request in api.requests if request.startswith("POST /api/process")] == []


async def test_enter_that_ends_a_word_of_an_input_method_saves_no_preset(
    api: FakeApi, open_page: OpenPage
) -> None:
    async with open_page(api.url) as page:
        await page.locator("#choices .more").click()
        await page.locator("#choices select[name=quality]").select_option(index=1)
        await page.get_by_text("存为预设").click()
        name = page.get_by_role("textbox", name="预设名称")
        await name.fill("手机")
        event = {"key": "Enter", "bubbles": True, "cancelable": True, "keyCode": 229}
        await name.evaluate("(box, how) => box.dispatchEvent(new KeyboardEvent('keydown', how))", event)
        await expect(name).to_have_value("手机")
        assert await page.evaluate("localStorage['clipwire.presets']") is None
        await name.press("Enter")
        await expect(page.locator("#options select[name=preset]")).to_have_value("own:手机")


async def test_many_links_leave_the_box_by_few_changes_of_its_text(api: FakeApi, open_page: OpenPage) -> None:
    """Each change of the text is read as a whole: a thousand changes stopped the page for seconds."""
    links = "\n".join(f"https://videos.example/{number}" for number in range(1_000))
    async with open_page(api.url) as page:
        box = page.get_by_role("textbox", name="链接")
        await page.evaluate(
            """(text) => {
            const clipboardData = new DataTransfer()
            clipboardData.setData("text", text)
            const paste = { clipboardData, bubbles: true, cancelable: true }
            document.body.dispatchEvent(new ClipboardEvent("paste", paste))
            window.changes = 0
            const change = HTMLTextAreaElement.prototype.setRangeText
            HTMLTextAreaElement.prototype.setRangeText = function (...how) {
                changes += 1
                change.apply(this, how)
            }
        }""",
            links,
        )
        await box.press("Enter")
        await expect(box).to_have_value("")
        assert await page.evaluate("changes") == 1


async def test_files_and_links_that_are_dropped_on_the_box_itself_come_on_a_line_of_their_own(
    api: FakeApi, open_page: OpenPage
) -> None:
    async with open_page(api.url) as page:
        box = page.get_by_role("textbox", name="链接")
        await box.fill("https://videos.example/1")
        assert await box.evaluate(_DROP, ["text/plain", "moved within"]) == [False, False]
        assert await box.evaluate(_DROP, ["file", "https://videos.example/2"]) == [True, True]
        await expect(box).to_have_value("https://videos.example/1\nhttps://videos.example/2")
        list_of_links = "# a comment\r\nhttps://videos.example/3\r\n"
        assert await box.evaluate(_DROP, ["text/uri-list", list_of_links]) == [True, True]
        await expect(page.get_by_role("button", name="下载 3 个")).to_be_visible()


async def test_a_link_that_was_shared_and_sent_is_not_offered_again(
    api: FakeApi, open_page: OpenPage
) -> None:
    api.looks["https://a.example/1"] = {"title": "Bread", "duration": 60}
    async with open_page(f"{api.url}?url=https://a.example/1&sort=added") as page:
        await page.reload()
        await expect(page.get_by_role("textbox", name="链接")).to_have_value("https://a.example/1")
        await page.get_by_role("button", name="下载").click()
        await expect(page).to_have_url(f"{api.url}?sort=added")
        await page.reload()
        await expect(page.get_by_role("textbox", name="链接")).to_have_value("")


async def test_a_finger_that_rolls_a_little_selects_and_keys_go_on_working(
    api: FakeApi, open_page: OpenPage
) -> None:
    for name in "ab":
        await api.put(name, "completed")
    phone = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
    async with open_page(api.url, **phone) as page:
        touch = await page.context.new_cdp_session(page)
        place = await row(page, "a").locator(".text").bounding_box()
        assert place is not None
        for kind, by in (("touchStart", 0), ("touchMove", 3)):
            point = {"x": place["x"] + 60 + by, "y": place["y"] + 30}
            await touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [point]})
        await expect(row(page, "a")).to_have_attribute("data-selected", "")
        await touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        await row(page, "b").get_by_role("button", name="更多").focus()
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("menu")).to_be_visible()


async def test_a_stage_of_a_later_release_does_not_hide_the_others(api: FakeApi, open_page: OpenPage) -> None:
    await api.put("a", "download")
    async with open_page(api.url) as page:
        await api.put("b", "archived", message="Archiving", status="processing")
        await api.put("c", "queued")
        await expect(row(page, "b")).to_contain_text("Archiving")
        await leave(page)
        await expect(row(page, "c")).to_be_visible()
        assert sorted(await shown(page)) == ["a", "b", "c"]


async def test_links_wait_for_a_server_that_a_proxy_misses(api: FakeApi, open_page: OpenPage) -> None:
    async with open_page(api.url, locale="en-US") as page:
        await page.route("**/api/**", _without_server)
        await api.lose_sockets()
        await expect(page.locator("#offline")).to_have_text("The server is not responding. Trying again…")
        await page.get_by_role("textbox", name="Link").fill("https://videos.example/1")
        await page.keyboard.press("Enter")
        await expect(page.locator("#note")).to_contain_text("will be sent")
        await page.unroute("**/api/**")
        await expect(page.get_by_role("listitem")).to_have_count(1)
        await expect(page.get_by_role("textbox", name="Link")).to_have_value("")


async def test_only_rows_are_items_of_lists(api: FakeApi, open_page: OpenPage) -> None:
    api.refuses["https://a.example/no"] = "Not this one."
    async with open_page(api.url, locale="en-US") as page:
        await page.get_by_role("textbox", name="Link").fill("https://a.example/no\nhttps://a.example/yes")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("alert").filter(has_text="Not this one.")).to_be_visible()
        await expect(page.get_by_role("listitem")).to_have_count(1)


async def test_a_task_that_goes_takes_the_focus_to_its_row_and_its_files_along(
    api: FakeApi, open_page: OpenPage
) -> None:
    for name in "ab":
        await api.put(name, "completed", files={"video": "/v.mp4", "audio": "/a.mp3"})
    async with open_page(api.url, locale="en-US") as page:
        await row(page, "a").get_by_role("heading").click()
        await expect(row(page, "a").get_by_role("link", name="Save audio")).to_be_visible()
        await row(page, "a").get_by_role("button", name="More").focus()
        await api.remove("a")
        await expect(row(page, "a")).to_contain_text("Deleted.")
        await expect(row(page, "a")).to_be_focused()
        await expect(row(page, "a").get_by_role("link")).to_have_count(0)
        await row(page, "b").get_by_role("button", name="More").click()
        await api.remove("b")
        await expect(row(page, "b")).to_contain_text("Deleted.")
        await page.keyboard.press("Escape")
        await expect(row(page, "b")).to_be_focused()


async def test_all_of_a_log_is_selected_to_be_copied(api: FakeApi, open_page: OpenPage) -> None:
    await api.put("a", "completed")
    async with open_page(api.url, locale="en-US") as page:
        await choose(page, "a", "Log")
        log = row(page, "a").locator("pre")
        await expect(log).to_contain_text("<b>not bold</b>")
        await log.press("Control+a")
        assert await page.evaluate("String(getSelection())") == (await log.inner_text()).rstrip()
        await expect(page.get_by_role("toolbar")).to_be_hidden()
