"""What a visit costs on the line, and how soon the reader can begin on a slow one.

Begin means: the box is seen, and what is typed into it is sent. Somebody who is quick types before the
scripts are there: that is kept.
"""

import json
from dataclasses import dataclass

from playwright.async_api import Browser, Page, Request

from tests.bench.figures import Figure, middle
from tests.bench.lab import Lab
from tests.bench.page.browser import DESKTOP, new_tab
from tests.bench.page.line import Line
from tests.bench.programs import Clipwire

LINK = "http://127.0.0.9:9/never.mp4"
_ROUNDS = 5
# 1.6 Mbit/s both ways, each answer 150 ms late.
_SLOW = {"offline": False, "latency": 150, "downloadThroughput": 200_000, "uploadThroughput": 200_000}
# When box and list were first painted: what a frame that has the stylesheets shows.
_SEEN = """
    const look = (now) => {
        if (document.querySelector("#links")?.checkVisibility()) seen.box ??= now
        if (document.querySelector("#tasks[data-listed]")) seen.list ??= now
        if (!seen.box || !seen.list) requestAnimationFrame(look)
    }
    requestAnimationFrame(look)
"""
_IS_SEEN = "() => seen.box && performance.getEntriesByName('first-contentful-paint')[0]?.startTime"


@dataclass(frozen=True, slots=True)
class Beginning:
    """Milliseconds after the navigation began; `kept` is what the service was sent."""

    seen: float
    sent: float
    kept: str
    listed: float


async def visits(browser: Browser, lab: Lab) -> list[Figure]:
    async with Clipwire(lab.new_folder("visits")) as server:
        small = await _first_visit(browser, server.url)
        slow = [await _both(browser, server.url) for _ in range(lab.count(_ROUNDS, 1))]
    firsts, seconds = ([each[at] for each in slow] for at in (0, 1))
    return [
        Figure("a first visit, until 2 s of silence", small.received / 1e3, "kB", at_most=50),
        Figure("a first visit: requests", len(small.asked), "", at_most=10),
        *_figures("a first visit on a slow line", firsts, seen=600, sent=1_000),
        *_figures("a second visit on a slow line", seconds, seen=400, sent=400),
        Figure(
            "a second visit on a slow line: the list is seen",
            middle(each.listed for each in seconds),
            "ms",
            at_most=400,
        ),
        Figure("typed before the scripts came, and lost", _lost(firsts + seconds), "", at_most=0),
    ]


def _figures(what: str, beginnings: list[Beginning], *, seen: float, sent: float) -> list[Figure]:
    return [
        Figure(f"{what}: the box is seen", middle(each.seen for each in beginnings), "ms", at_most=seen),
        Figure(f"{what}: a link is sent", middle(each.sent for each in beginnings), "ms", at_most=sent),
    ]


def _lost(beginnings: list[Beginning]) -> int:
    return sum(each.kept != LINK for each in beginnings)


async def _first_visit(browser: Browser, url: str) -> Line:
    line = Line()
    async with new_tab(browser, DESKTOP) as tab:
        await line.listen(tab)
        await tab.goto(url)
        await line.silence()
    return line


async def _both(browser: Browser, url: str) -> tuple[Beginning, Beginning]:
    """The first visit fills the cache for the second one."""
    async with new_tab(browser, DESKTOP) as tab:
        await tab.add_init_script(_SEEN)
        session = await tab.context.new_cdp_session(tab)
        await session.send("Network.enable")
        await session.send("Network.emulateNetworkConditions", _SLOW)
        first = await _begin(tab, url)
        await tab.goto("about:blank")
        return first, await _begin(tab, url)


async def _begin(tab: Page, url: str) -> Beginning:
    """As somebody does who has the link in mind: types as soon as there is a box, and presses Enter."""
    async with tab.expect_request("**/api/process*") as sending:
        await tab.goto(url, wait_until="commit")
        seen = await (await tab.wait_for_function(_IS_SEEN)).json_value()
        await tab.locator("#links").focus()
        await tab.keyboard.insert_text(LINK)
        await tab.keyboard.press("Enter")
        request = await sending.value
    sent = json.loads(request.post_data or "{}").get("url", "")
    listed = await (await tab.wait_for_function("() => seen.list")).json_value()
    return Beginning(seen, await _after(tab, request), sent, listed)


async def _after(tab: Page, request: Request) -> float:
    began: float = await tab.evaluate("performance.timeOrigin")
    await request.response()
    return request.timing["startTime"] - began
