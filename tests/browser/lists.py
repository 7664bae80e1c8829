"""Helpers that read and scroll lists on the page: which rows are in the document, and which come into
sight.
"""

import asyncio

from playwright.async_api import CDPSession, Locator, Page

_SCROLL_TO = """async (y) => {
    const heard = new Promise((done) => addEventListener("scroll", done, { once: true }))
    const before = scrollY
    scrollTo({ top: y, behavior: "instant" })
    if (scrollY !== before) await heard // frames alone say nothing where a test has set the page's clock
    for (const _ of [1, 2]) await new Promise(requestAnimationFrame)
    return scrollY
}"""
_SCROLL_THROUGH = f"""async () => {{
    const scrollToY = {_SCROLL_TO}
    const found = new Map()
    const root = document.querySelector("#tasks")
    const hasMore = () => root.querySelector("[aria-setsize='-1']") !== null
    const isAtEnd = () => scrollY + innerHeight >= document.documentElement.scrollHeight - 1
    for (let [last, y] = [-1, await scrollToY(0)]; y !== last || hasMore() || !isAtEnd();) {{
        for (const [at, section] of root.querySelectorAll(".section").entries()) {{
            for (const row of section.querySelectorAll(".row")) {{
                found.set(at * 1e6 + Number(row.ariaPosInSet), row.dataset.id)
            }}
        }}
        ;[last, y] = [y, await scrollToY(y + 2 * innerHeight)]
    }}
    return [...found].sort(([a], [b]) => a - b)
}}"""
_IN_SIGHT = """() => [...document.querySelectorAll(".row")]
    .map((row) => [row.dataset.id, row.getBoundingClientRect()])
    .filter(([, box]) => box.bottom > 0 && box.top < innerHeight)
    .map(([id, box]) => [id, Math.round(box.top)])"""


_TITLES = """() => [...document.querySelectorAll("#tasks li")].flatMap((row) =>
    row.matches(".gap") ? row.textContent.split("\\n") : [row.querySelector("h3").textContent])"""


def row(page: Page, task_id: str) -> Locator:
    return page.locator(f".row[data-id='{task_id}']")


async def leave(page: Page) -> None:
    """Move the pointer away from the list, and let the page show the changes that it has held back."""
    await page.mouse.move(1, 1)
    await page.evaluate("document.activeElement.blur()")
    await page.locator("#due").dispatch_event("click")


async def stop_clock(page: Page) -> None:
    """Stop the page's clock: from now on it advances only when a test sets it forward.

    The clock is set one minute ahead first, because it can only stop at a time in the future.
    """
    now: float = await page.evaluate("Date.now()")
    await page.clock.pause_at(now / 1000 + 60)


async def choose(page: Page, task_id: str, name: str) -> None:
    """Choose an item in the menu of a row."""
    await row(page, task_id).locator("[data-action=more]").click()
    await page.get_by_role("menuitem", name=name, exact=True).click()


async def menu_of(page: Page, task_id: str) -> list[str]:
    """Return the items in the menu of a row."""
    await row(page, task_id).locator("[data-action=more]").click()
    names = await page.get_by_role("menuitem").all_inner_texts()
    await page.keyboard.press("Escape")
    return names


async def shown(page: Page) -> list[str]:
    """Return the ids of the rows in the document, in their order."""
    ids: list[str] = await page.locator(".row").evaluate_all("rows => rows.map((row) => row.dataset.id)")
    return ids


async def shows(page: Page, *ids: str) -> None:
    """Wait until exactly these rows are in the document, in this order; the caller limits the time."""
    while await shown(page) != list(ids):
        await asyncio.sleep(0.02)


async def scroll_through(page: Page) -> list[str]:
    """Scroll from the top to the end; return the ids of all rows, ordered by the position that each row
    states.
    """
    found: list[tuple[int, str]] = await page.evaluate(_SCROLL_THROUGH)
    for section in {place // 1_000_000 for place, _ in found}:
        places = [place % 1_000_000 for place, _ in found if place // 1_000_000 == section]
        assert places == list(range(1, len(places) + 1))
    return [task_id for _, task_id in found]


async def load_all(page: Page) -> None:
    """Scroll to the end until everything is loaded."""
    await scroll_to(page, 1_000_000_000)
    while await page.locator("[aria-setsize='-1']").count():
        await scroll_to(page, 1_000_000_000)
    await scroll_to(page, 1_000_000_000)


async def scroll_to(page: Page, y: int) -> None:
    """Scroll at once to a position, and wait until the rows in sight are rendered."""
    await page.evaluate(_SCROLL_TO, y)


async def titles(page: Page) -> list[str]:
    """Return the titles of all rows, both those in the document and those that a gap stands for."""
    found: list[str] = await page.evaluate(_TITLES)
    return found


async def in_sight(page: Page) -> dict[str, int]:
    """Return the distance of each row in sight from the upper edge of the window, in the order of the
    document.
    """
    return dict(await page.evaluate(_IN_SIGHT))


async def count_nodes(session: CDPSession) -> int:
    """Count all nodes that the page holds, including texts and nodes outside the document."""
    await session.send("HeapProfiler.collectGarbage")
    counters = await session.send("Memory.getDOMCounters")
    return int(counters["nodes"])
