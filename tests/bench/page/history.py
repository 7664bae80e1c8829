"""How soon the page answers with a long history in its list."""

from aiohttp import web
from playwright.async_api import Browser, Page

from tests.bench.figures import Figure
from tests.bench.lab import Lab
from tests.bench.page.browser import DESKTOP, opened
from tests.fakes.api import FakeApi, localized, new_task, open_api

HISTORY = 100_000


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


async def history(browser: Browser, lab: Lab) -> list[Figure]:
    count = lab.count(HISTORY, 500)
    api = LongApi()
    api.fill(count)
    async with open_api(api=api), opened(browser, api.url, DESKTOP) as desktop:
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
