"""Looking at lists: what is in the document, and what comes when one scrolls."""

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
    for (let [last, y] = [-1, await scrollToY(0)]; y !== last || hasMore();) {{
        for (const row of root.querySelectorAll(".card")) found.set(Number(row.ariaPosInSet), row.dataset.id)
        ;[last, y] = [y, await scrollToY(y + 2 * innerHeight)]
    }}
    return [...found].sort(([a], [b]) => a - b)
}}"""
_IN_SIGHT = """() => [...document.querySelectorAll(".card")]
    .map((row) => [row.dataset.id, row.getBoundingClientRect()])
    .filter(([, box]) => box.bottom > 0 && box.top < innerHeight)
    .map(([id, box]) => [id, Math.round(box.top)])"""


_TITLES = """() => [...document.querySelectorAll("#tasks > li")].flatMap((row) =>
    row.matches(".gap") ? row.textContent.split("\\n") : [row.querySelector("h3").textContent])"""


def card(page: Page, task_id: str) -> Locator:
    return page.locator(f".card[data-id='{task_id}']")


async def shown(page: Page) -> list[str]:
    """Ids of the rows in the document, in its order."""
    ids: list[str] = await page.locator(".card").evaluate_all("cards => cards.map((card) => card.dataset.id)")
    return ids


async def scroll_through(page: Page) -> list[str]:
    """All ids from the top of the list to its end, in the order of the places that rows say they have."""
    found: list[tuple[int, str]] = await page.evaluate(_SCROLL_THROUGH)
    assert [place for place, _ in found] == list(range(1, len(found) + 1))
    return [task_id for _, task_id in found]


async def load_all(page: Page) -> None:
    """Scroll to the end until there is nothing more to come."""
    while await page.locator("[aria-setsize='-1']").count():
        await scroll_to(page, 1_000_000_000)
    await scroll_to(page, 1_000_000_000)


async def scroll_to(page: Page, y: int) -> None:
    """At once, and until the rows that are in sight now are there."""
    await page.evaluate(_SCROLL_TO, y)


async def titles(page: Page) -> list[str]:
    """Of all rows, those in the document and those that a gap stands for."""
    found: list[str] = await page.evaluate(_TITLES)
    return found


async def in_sight(page: Page) -> dict[str, int]:
    """Task -> the distance of its row from the window's upper edge, in the document's order."""
    return dict(await page.evaluate(_IN_SIGHT))


async def count_nodes(session: CDPSession) -> int:
    """All nodes that the page holds, texts and those outside the document with them."""
    await session.send("HeapProfiler.collectGarbage")
    counters = await session.send("Memory.getDOMCounters")
    return int(counters["nodes"])
