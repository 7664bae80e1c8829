"""The page in a Chromium: what moving tasks and a long history cost it, and whether anything jumps.

The API is the tests' own (`tests/fakes/api.py`): what is measured is the page.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from playwright.async_api import Browser, CDPSession, Page, async_playwright

from tests.bench.figures import Figure
from tests.bench.lab import Lab
from tests.fakes.api import FakeApi, localized, new_task, open_api
from tests.tools import find_chromium

DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 360, "height": 740}
MOVING = 500
A_SECOND = 4  # changes of each task
HISTORY = 100_000
_OBSERVE = """
    window.seen = { shifts: [], tasks: [], events: [] }
    const observe = (type, then, more) => {
        const observer = new PerformanceObserver((list) => list.getEntries().forEach(then))
        observer.observe({ type, buffered: true, ...more })
    }
    const note = (to, entry, value = entry.duration) => to.push([entry.startTime, value])
    observe("layout-shift", (entry) => entry.hadRecentInput || note(seen.shifts, entry, entry.value))
    observe("longtask", (entry) => note(seen.tasks, entry))
    observe("event", (entry) => entry.interactionId && note(seen.events, entry), { durationThreshold: 16 })
"""
_COSTS = ("TaskDuration", "ScriptDuration", "RecalcStyleDuration", "LayoutDuration")


class LongApi(FakeApi):
    """With a history whose pages are cut out of it without looking at all of it."""

    def fill(self, count: int) -> None:
        for number in range(1, count + 1):
            ended = f"{2026 - number * 10 // (count + 1)}-0{1 + number % 9}-10T12:00:00Z"
            task = new_task(f"old-{number:06}", number) | {"stage": "completed", "status": "completed"}
            title = f"Film {number} of a long history"
            self.tasks[task["task_id"]] = task | {
                "revision": number,
                "completed_at": ended,
                "video_info": {"title": title, "duration": number % 9000},
            }
        self._newest = [*reversed(self.tasks.values())]

    async def listing(self, request: web.Request) -> web.Response:
        query = request.query
        if {"status", "stage", "q", "ids"} & set(query):
            return (
                await super().listing(request) if "stage" not in query else web.json_response({"tasks": []})
            )
        start, limit = int(query.get("cursor", "0")), int(query["limit"])
        page = [localized(task, query["lang"]) for task in self._newest[start : start + limit]]
        more = {"next_cursor": str(start + limit)} if start + limit < len(self._newest) else {}
        return web.json_response({"tasks": page, **more})


async def page(lab: Lab) -> list[Figure]:
    async with _browser() as browser:
        return [*await _stillness(browser, lab), *await _moving(browser, lab), *await _history(browser, lab)]


@asynccontextmanager
async def _browser() -> AsyncIterator[Browser]:
    program = find_chromium()
    assert program, "this needs a Chromium"
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    async with async_playwright() as playwright:
        yield await playwright.chromium.launch(executable_path=program, args=arguments, env={**os.environ})


@asynccontextmanager
async def _opened(browser: Browser, api: FakeApi, viewport: dict[str, int]) -> AsyncIterator[Page]:
    context = await browser.new_context(locale="en-US", viewport=viewport)  # type: ignore[arg-type]
    await context.add_init_script(_OBSERVE)
    opened = await context.new_page()
    await opened.goto(api.url)
    await opened.locator("#tasks[data-listed]").wait_for(state="attached")
    yield opened
    await context.close()


async def _stillness(browser: Browser, lab: Lab) -> list[Figure]:
    """From nothing to hundreds of running tasks and back to nothing, on a phone."""
    count = lab.count(MOVING, 20)
    async with open_api() as api, _opened(browser, api, PHONE) as phone:
        for number in range(count):
            await api.put(f"t{number}", "info", progress=10)
            await api.put(f"t{number}", "download", **_progress(number, 0))
        await phone.get_by_text(f"Now{count}").or_(phone.locator("#tasks .row").first).first.wait_for()
        await asyncio.sleep(lab.seconds(2))
        for number in range(count):
            await api.put(f"t{number}", "completed", progress=100)
            await api.remove(f"t{number}")
        await phone.get_by_text("No tasks yet").wait_for()
        await asyncio.sleep(lab.seconds(1))
        shifts: list[tuple[float, float]] = await phone.evaluate("seen.shifts")
    return [
        Figure(
            f"0 to {count} running tasks and back, on a phone: layout shift", worst(shifts), "", at_most=0.02
        )
    ]


def worst(shifts: list[tuple[float, float]]) -> float:
    """Cumulative layout shift: the worst session window, of at most 5 s with gaps below 1 s."""
    sums = [0.0]
    began = last = -1e9
    for at, value in shifts:
        if at - last >= 1_000 or at - began >= 5_000:
            sums.append(0.0)
            began = at
        last = at
        sums[-1] += value
    return max(sums)


async def _moving(browser: Browser, lab: Lab) -> list[Figure]:
    count, seconds = lab.count(MOVING, 20), lab.seconds(15)
    async with open_api() as api:
        await api.put_many(
            count, "download", **_progress(0, 0), video_info={"title": "A film that is on its way"}
        )
        async with _opened(browser, api, DESKTOP) as desktop:
            session = await _metrics(desktop)
            await asyncio.sleep(lab.seconds(2))
            await desktop.evaluate("seen.tasks.length = 0")
            before, began = await _costs(session), time.monotonic()
            await _move(api, seconds)
            after, took = await _costs(session), time.monotonic() - began
            rows = await desktop.locator(".row").count()
            long_tasks: list[float] = await desktop.evaluate("seen.tasks.map(([, ms]) => ms)")
    spent = {name: (after[name] - before[name]) / took * 1e3 for name in _COSTS}
    what = f"{count} tasks, each changing {A_SECOND} times a second"
    ours = sum(spent[name] for name in _COSTS[1:])
    return [
        Figure(f"{what}: script, style and layout", ours, "ms/s", at_most=150),
        Figure(f"{what}: all of the main thread", spent["TaskDuration"], "ms/s", at_most=300),
        Figure(f"{what}: the longest task", max(long_tasks, default=0), "ms", at_most=50),
        Figure(f"{what}: rows in the document", rows, "", at_most=80),
    ]


async def _move(api: FakeApi, seconds: float) -> None:
    """Each task changes in each round, and the rounds are spread evenly."""
    for round_ in range(1, int(seconds * A_SECOND) + 1):
        due = time.monotonic() + 1 / A_SECOND
        for number, name in enumerate(tuple(api.tasks)):
            await api.put(name, "download", **_progress(number, round_))
        await asyncio.sleep(due - time.monotonic())


def _progress(number: int, round_: int) -> dict[str, Any]:
    done = (number * 7_919 + round_ * 1_000_003) % 100_000_000
    return {
        "progress": 20 + done * 79 // 100_000_000,
        "downloaded_bytes": done,
        "total_bytes": 100_000_000,
        "speed": 4_000_000.0,
        "eta": 25,
    }


async def _history(browser: Browser, lab: Lab) -> list[Figure]:
    count = lab.count(HISTORY, 500)
    api = LongApi()
    api.fill(count)
    async with open_api(api=api), _opened(browser, api, DESKTOP) as desktop:
        await desktop.evaluate(_LOAD_ALL)
        await desktop.evaluate("seen.events.length = 0")
        rows = await desktop.locator(".row").count()
        await _use(desktop)
        durations: list[float] = await desktop.evaluate("seen.events.map(([, ms]) => ms)")
    what = f"{count:,} tasks in the list"
    return [
        Figure(f"{what}: the slowest interaction", max(durations, default=0), "ms", at_most=100),
        Figure(f"{what}: rows in the document", rows, "", at_most=80),
    ]


_LOAD_ALL = """async () => {
    const hasMore = () => document.querySelector("#tasks [aria-setsize='-1']") !== null
    do {
        scrollTo({ top: 1e9, behavior: "instant" })
        await new Promise((done) => setTimeout(done, 20))
    } while (hasMore())
    scrollTo({ top: 0, behavior: "instant" })
}"""


async def _use(desktop: Page) -> None:
    """What people do with a long list."""
    pause = 300
    for key in ("End", "PageUp", "Home", "PageDown"):
        await desktop.keyboard.press(key)
        await desktop.wait_for_timeout(pause)
    await desktop.locator(".row").first.locator("[data-action=open]").click()
    await desktop.wait_for_timeout(pause)
    await desktop.locator(".row").first.locator("[data-action=more]").click()
    await desktop.wait_for_timeout(pause)
    await desktop.keyboard.press("Escape")
    await desktop.locator("h1").click()
    await desktop.keyboard.press("Control+a")
    await desktop.wait_for_timeout(pause)
    await desktop.keyboard.press("Escape")
    await desktop.wait_for_timeout(pause)
    await desktop.locator(".chips label").nth(3).click()
    await desktop.wait_for_timeout(3 * pause)
    await desktop.get_by_role("searchbox").press_sequentially("film 99", delay=60)
    await desktop.wait_for_timeout(3 * pause)


async def _metrics(opened: Page) -> CDPSession:
    session = await opened.context.new_cdp_session(opened)
    await session.send("Performance.enable")
    return session


async def _costs(session: CDPSession) -> dict[str, float]:
    metrics = await session.send("Performance.getMetrics")
    return {metric["name"]: metric["value"] for metric in metrics["metrics"]}
