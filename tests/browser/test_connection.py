"""The page shows the true state without a socket, after a gap, and when a dead connection looks like a silent
one.
"""

import asyncio

import pytest
from playwright.async_api import Locator, Page, expect

from tests.browser.conftest import OpenPage
from tests.browser.lines import open_relay
from tests.browser.lists import leave, load_all, row, scroll_through, shown
from tests.fakes.api import FakeApi, open_api

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.long]


def state(page: Page) -> Locator:
    return page.locator("#connection")


async def is_live(page: Page) -> None:
    await expect(state(page)).to_have_attribute("data-state", "live")


def line(page: Page) -> Locator:
    """Return the line that says what is wrong with the connection."""
    return page.locator("#offline")


def listings(api: FakeApi) -> list[str]:
    return [request for request in api.requests if request.startswith("GET /api/tasks?sort=")]


def sockets(api: FakeApi) -> int:
    return len([request for request in api.requests if request.startswith("GET /ws")])


async def test_the_list_is_asked_for_once_and_the_socket_brings_what_changed_meanwhile(
    api: FakeApi, open_page: OpenPage
) -> None:
    await api.put_many(60)
    for name in ("kept", "deleted"):
        await api.put(name)
    api.opens_sockets.clear()
    async with open_page(api.url) as page:
        await expect(row(page, "deleted")).to_be_visible()
        await api.remove("deleted")
        await api.put("kept", "download", downloaded_bytes=30_000_000)
        await api.put("new")
        api.opens_sockets.set()
        await is_live(page)
        await expect(row(page, "kept")).to_contain_text("30 MB")
        await expect(row(page, "new")).to_be_visible()
        await expect(row(page, "deleted")).to_have_count(0)
        assert len(listings(api)) == 1


async def test_a_socket_that_opens_too_late_to_know_what_changed_lists_anew(
    api: FakeApi, open_page: OpenPage
) -> None:
    await api.put("kept")
    api.opens_sockets.clear()
    async with open_page(api.url, has_clock=True) as page:
        await page.clock.run_for(9_000)
        api.opens_sockets.set()
        await is_live(page)
        assert len(listings(api)) > 1


async def test_without_the_socket_the_page_polls_says_so_and_comes_back(
    api: FakeApi, open_page: OpenPage
) -> None:
    await api.put("kept", "download", progress=20)
    await api.put("deleted")
    async with open_page(api.url) as page:
        await is_live(page)
        await api.lose_sockets()
        await expect(line(page)).to_have_text("实时连接中断，每 2 秒刷新一次")
        await api.put("kept", "completed", progress=100)
        await api.put("new")
        await api.remove("deleted")
        await expect(row(page, "kept")).to_have_attribute("data-stage", "completed")
        await expect(row(page, "new")).to_be_visible()
        await expect(row(page, "deleted")).to_have_count(0)
        api.takes_sockets = True
        await is_live(page)
        await api.put("new", "paused")
        await expect(row(page, "new")).to_have_attribute("data-stage", "paused")


async def test_it_polls_every_two_seconds_however_seldom_it_tries_the_socket(
    api: FakeApi, open_page: OpenPage
) -> None:
    async with open_page(api.url, has_clock=True) as page:
        await api.lose_sockets()
        await expect(state(page)).to_have_attribute("data-state", "polling")
        for _ in range(10):
            async with page.expect_event("requestfinished", lambda request: "/api/tasks?" in request.url):
                await page.clock.run_for(2_000)
        assert sockets(api) < 9  # the pauses between two tries grow: at most 0.5 s, 1 s, 2 s, ...


async def test_after_a_gap_nothing_that_is_shown_is_out_of_date(api: FakeApi, open_page: OpenPage) -> None:
    """Also far down, which a poll of the first page does not reach, and for changes that came over the
    socket.
    """
    await api.put("old", "download")
    async with open_page(api.url) as page:
        await is_live(page)
        for number in range(60):
            await api.put(f"live{number}", "download")
        await expect(page).to_have_title("61 个进行中 – Clipwire")
        await api.put_many(250)
        await page.reload()
        await is_live(page)
        await load_all(page)
        await api.lose_sockets()
        for number in range(0, 60, 3):
            await api.put(f"live{number}", "completed")
        for number in range(1, 60, 3):
            await api.remove(f"live{number}")
        for number in range(100, 120):
            await api.remove(f"task-{number:04}")
        await api.put("new", "failed")
        api.takes_sockets = True
        await is_live(page)
        await expect(page).to_have_title("21 个进行中 – Clipwire")
        running = [name for name, task in api.tasks.items() if task["stage"] == "download"]
        others = [name for name, task in api.tasks.items() if task["stage"] != "download"]
        assert await scroll_through(page) == [*running, *reversed(others)]
        assert await page.locator(".row[data-stage=completed][data-id^=live]").count() > 0


async def test_tasks_that_only_the_socket_told_of_are_caught_up_with(
    api: FakeApi, open_page: OpenPage
) -> None:
    async with open_page(api.url) as page:
        await is_live(page)
        for number in range(120):
            await api.put(f"t{number:03}", "download")
        await expect(page).to_have_title("120 个进行中 – Clipwire")
        await api.lose_sockets()
        for number in range(20):
            await api.put(f"t{number:03}", "completed")
        for number in range(20, 40):
            await api.remove(f"t{number:03}")
        api.takes_sockets = True
        await is_live(page)
        await expect(page).to_have_title("80 个进行中 – Clipwire")
        running = [f"t{number:03}" for number in range(40, 120)]
        assert await scroll_through(page) == [*running, *(f"t{number:03}" for number in range(19, -1, -1))]


async def test_what_is_counted_and_not_shown_is_caught_up_with_too(api: FakeApi, open_page: OpenPage) -> None:
    for name in ("ends", "goes", "stays"):
        await api.put(name, "download")
    async with open_page(api.url) as page:
        await is_live(page)
        await page.locator(".chips").get_by_text("已完成").click()
        await expect(page.locator(".row")).to_have_count(0)
        await expect(page).to_have_title("3 个进行中 – Clipwire")
        await api.lose_sockets()
        await api.put("ends", "completed")
        await api.remove("goes")
        api.takes_sockets = True
        await expect(page).to_have_title("1 个进行中 – Clipwire")
        await is_live(page)
        assert await shown(page) == ["ends"]


async def test_a_dead_socket_is_noticed_by_what_it_does_not_tell(api: FakeApi, open_page: OpenPage) -> None:
    await api.put("a", "download")
    await api.put("b")
    async with open_page(api.url, has_clock=True) as page:
        await is_live(page)
        api.kill_sockets()
        await api.put("a", "completed")
        await api.remove("b")
        await api.put("c")
        await page.clock.run_for(13_000)
        await expect(row(page, "a")).to_have_attribute("data-stage", "completed")
        await expect(row(page, "b")).to_have_count(0)
        await expect(row(page, "c")).to_be_visible()
        await page.clock.run_for(2_000)
        await is_live(page)
        assert sockets(api) == 2
        await api.put("c", "paused")  # this change comes over the new socket
        await expect(row(page, "c")).to_have_attribute("data-stage", "paused")


async def test_a_line_on_which_nothing_is_answered_is_not_called_live(
    api: FakeApi, open_page: OpenPage
) -> None:
    async with open_page(api.url, has_clock=True) as page:
        await is_live(page)
        api.kill_sockets()
        api.answers.clear()
        await page.clock.run_for(13_000)
        await page.clock.run_for(5_000)
        await expect(line(page)).to_have_text("服务器没有应答，正在重试…")
        api.answers.set()
        await page.clock.run_for(4_000)
        await is_live(page)
        assert sockets(api) == 2  # a server that does not answer gets no further socket
        await api.put("a")
        await expect(row(page, "a")).to_be_visible()


async def test_lines_that_are_all_dead_are_given_up_within_half_a_minute(
    api: FakeApi, open_page: OpenPage
) -> None:
    """The dead connections are the socket, and those that the browser keeps for its next requests."""
    await api.put("a", "download")
    async with (
        open_relay(api.url) as relay,
        open_page(relay.url, has_clock=True) as page,
    ):
        await is_live(page)
        await relay.freeze()
        await api.put("a", "completed")
        seconds = 0
        while await row(page, "a").get_attribute("data-stage") == "download":
            await page.clock.run_for(1_000)
            # Time for what the page's clock does not drive: answers over the loopback.
            await asyncio.sleep(0.05)
            seconds += 1
        assert seconds <= 30
        await is_live(page)


async def test_an_action_over_a_dead_line_tells_as_well(api: FakeApi, open_page: OpenPage) -> None:
    await api.put("a", "download")
    async with open_page(api.url) as page:
        await is_live(page)
        api.kill_sockets()
        await api.put("b")
        await row(page, "a").get_by_role("button", name="暂停").click()
        await expect(row(page, "a")).to_have_attribute("data-stage", "paused")
        await leave(page)
        # The page has listed the tasks as soon as it had the new socket.
        await expect(row(page, "b")).to_be_visible()
        assert sockets(api) == 2


async def test_a_socket_that_speaks_is_believed(api: FakeApi, open_page: OpenPage) -> None:
    await api.put("a", "download")
    async with open_page(api.url, has_clock=True) as page:
        await is_live(page)
        asked = len(listings(api))
        for size in range(20, 30):
            await api.put("a", "download", downloaded_bytes=size * 1_000_000)
            await expect(row(page, "a")).to_contain_text(f"{size} MB")
            await page.clock.run_for(4_000)
        assert len(listings(api)) == asked


async def test_a_silent_socket_is_asked_about_and_kept(api: FakeApi, open_page: OpenPage) -> None:
    await api.put_many(60)
    async with open_page(api.url, has_clock=True) as page:
        await is_live(page)
        for _ in range(20):
            await page.clock.run_for(2_000)
            await page.evaluate("fetch('static/icon.svg')")  # all earlier requests have been answered by now
        await is_live(page)
        looks = [request for request in api.requests if "limit=50" in request]
        assert len(looks) in (1 + 3, 1 + 4)
        assert sockets(api) == 1


@pytest.mark.parametrize("event", ["online", "pageshow", "visibilitychange", "resume"])
async def test_a_machine_that_slept_looks_at_once(api: FakeApi, open_page: OpenPage, event: str) -> None:
    await api.put("a", "download")
    async with open_page(api.url) as page:
        await is_live(page)
        api.kill_sockets()
        await api.put("a", "completed")
        target = "document" if event in ("visibilitychange", "resume") else "window"
        await page.evaluate(f"{target}.dispatchEvent(new Event('{event}'))")
        await expect(row(page, "a")).to_have_attribute("data-stage", "completed")


async def test_being_offline_is_said_at_once_and_so_is_its_end(api: FakeApi, open_page: OpenPage) -> None:
    async with open_page(api.url) as page:
        await is_live(page)
        await page.context.set_offline(True)
        await expect(line(page)).to_have_text("服务器没有应答，正在重试…")
        await api.put("a")
        await page.context.set_offline(False)
        await expect(row(page, "a")).to_be_visible()
        await is_live(page)


async def test_while_the_server_is_away_nothing_pretends_to_move_and_each_sentence_is_said_once(
    open_page: OpenPage,
) -> None:
    async with open_api() as api, open_page(api.url, locale="en-US") as page:
        moving = {"downloaded_bytes": 5_000_000, "total_bytes": 20_000_000, "speed": 1_500_000, "eta": 10}
        await api.put("a", "download", progress=40, **moving)
        facts = row(page, "a").locator("[data-part=facts]")
        await expect(facts).to_have_text("5 MB / 20 MB · 1.5 MB/s · 0:10 left")
        await expect(page.locator("#speed")).to_have_text("1.5 MB/s")
        await page.context.set_offline(True)
        await expect(facts).to_have_text("5 MB / 20 MB")
        await expect(page.locator("#speed")).to_be_empty()
        fill = row(page, "a").locator("[data-part=fill]")
        await expect(fill).to_have_css("transition-duration", "0s")
        sentence = "The server is not responding. Trying again…"
        await page.get_by_role("textbox", name="Link").fill("https://a.example/1")
        await page.keyboard.press("Enter")
        await expect(page.locator("#note")).to_contain_text("will be sent")
        await row(page, "a").get_by_role("button", name="Pause").click()
        await expect(row(page, "a")).to_contain_text("nothing was changed")
        await page.get_by_role("button", name="Menu").click()
        await page.get_by_role("menuitem", name="Pause the queue").click()
        await expect(page.locator("#refused")).to_contain_text("nothing was changed")
        await expect(page.get_by_text(sentence)).to_have_count(1)
        await page.context.set_offline(False)
        await expect(facts).to_have_text("5 MB / 20 MB · 1.5 MB/s · 0:10 left")


async def test_a_first_visit_while_the_server_is_away_succeeds_later(
    api: FakeApi, open_page: OpenPage
) -> None:
    await api.put("a")
    async with open_page(api.url) as page:
        await page.route("**/api/**", lambda route: route.abort())
        await page.reload()
        await expect(line(page)).to_have_text("服务器没有应答，正在重试…")
        await page.unroute("**/api/**")
        await expect(row(page, "a")).to_be_visible()
        await is_live(page)


async def test_what_is_asked_for_while_the_list_is_caught_up_with_is_answered_too(
    api: FakeApi, open_page: OpenPage
) -> None:
    """More pages are requested while the list catches up, and the other rows still become true."""
    await api.put_many(300)
    async with open_page(api.url) as page:
        await is_live(page)
        await page.keyboard.press("Tab")
        await api.lose_sockets()
        await api.remove("task-0280")
        api.takes_sockets = True
        api.answers.clear()
        await page.evaluate("dispatchEvent(new Event('online'))")
        await page.evaluate("scrollTo(0, 1e6)")
        api.answers.set()
        await is_live(page)
        await load_all(page)
        assert await scroll_through(page) == list(reversed(api.tasks))
