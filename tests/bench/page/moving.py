"""What hundreds of tasks that change four times a second cost the page."""

import asyncio
import time
from typing import Any

from playwright.async_api import Browser

from tests.bench.figures import Figure
from tests.bench.lab import Lab
from tests.bench.page.browser import DESKTOP, costs, metrics, opened
from tests.fakes.api import FakeApi, open_api

MOVING = 500
A_SECOND = 4  # changes of each task
_COSTS = ("TaskDuration", "ScriptDuration", "RecalcStyleDuration", "LayoutDuration")


async def moving(browser: Browser, lab: Lab) -> list[Figure]:
    count, seconds = lab.count(MOVING, 20), lab.seconds(15)
    async with open_api() as api:
        await api.put_many(
            count, "download", **progress(0, 0), video_info={"title": "A film that is on its way"}
        )
        async with opened(browser, api.url, DESKTOP) as desktop:
            session = await metrics(desktop)
            await asyncio.sleep(lab.seconds(2))
            await desktop.evaluate("seen.tasks.length = 0")
            before, began = await costs(session), time.monotonic()
            await move(api, seconds)
            after, took = await costs(session), time.monotonic() - began
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


async def move(api: FakeApi, seconds: float) -> None:
    """Each task changes in each round, and the rounds are spread evenly."""
    for round_ in range(1, int(seconds * A_SECOND) + 1):
        due = time.monotonic() + 1 / A_SECOND
        for number, name in enumerate(tuple(api.tasks)):
            await api.put(name, "download", **progress(number, round_))
        await asyncio.sleep(due - time.monotonic())


def progress(number: int, round_: int) -> dict[str, Any]:
    done = (number * 7_919 + round_ * 1_000_003) % 100_000_000
    return {
        "progress": 20 + done * 79 // 100_000_000,
        "downloaded_bytes": done,
        "total_bytes": 100_000_000,
        "speed": 4_000_000.0,
        "eta": 25,
    }
