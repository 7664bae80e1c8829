"""Whether anything jumps while hundreds of tasks come, run and go."""

import asyncio

from playwright.async_api import Browser

from tests.bench.figures import Figure
from tests.bench.lab import Lab
from tests.bench.page.browser import PHONE, opened
from tests.bench.page.moving import MOVING, progress
from tests.fakes.api import open_api


async def stillness(browser: Browser, lab: Lab) -> list[Figure]:
    """From nothing to hundreds of running tasks and back to nothing, on a phone."""
    count = lab.count(MOVING, 20)
    async with open_api() as api, opened(browser, api.url, PHONE) as phone:
        for number in range(count):
            await api.put(f"t{number}", "info", progress=10)
            await api.put(f"t{number}", "download", **progress(number, 0))
        await phone.get_by_text(f"Now{count}").or_(phone.locator("#tasks .row").first).first.wait_for()
        await asyncio.sleep(lab.seconds(2))
        for number in range(count):
            await api.put(f"t{number}", "completed", progress=100)
            await api.remove(f"t{number}")
        await phone.get_by_text("Paste a link to").wait_for()
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
