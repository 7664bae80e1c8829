"""A Chromium with the page in it, which notes what jumps, what holds it up and how soon it answers."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from playwright.async_api import Browser, CDPSession, Page

DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 360, "height": 740}
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


@asynccontextmanager
async def new_tab(browser: Browser, viewport: Mapping[str, int]) -> AsyncIterator[Page]:
    """In a profile of its own: nothing is kept from other visits."""
    context = await browser.new_context(locale="en-US", viewport=viewport)  # type: ignore[arg-type]
    await context.add_init_script(_OBSERVE)
    yield await context.new_page()
    await context.close()


@asynccontextmanager
async def opened(browser: Browser, url: str, viewport: Mapping[str, int]) -> AsyncIterator[Page]:
    """`window.seen` has what was noted: `[time, value]` each, in ms after the navigation."""
    async with new_tab(browser, viewport) as tab:
        await tab.goto(url)
        await tab.locator("#tasks[data-listed]").wait_for(state="attached")
        yield tab


async def metrics(tab: Page) -> CDPSession:
    """For `costs`."""
    session = await tab.context.new_cdp_session(tab)
    await session.send("Performance.enable")
    return session


async def costs(session: CDPSession) -> dict[str, float]:
    """What the main thread has spent since it began, in seconds: `TaskDuration` and its parts."""
    found = await session.send("Performance.getMetrics")
    return {metric["name"]: metric["value"] for metric in found["metrics"]}
