"""Whether the page grows while it is left open beside hundreds of moving tasks."""

from playwright.async_api import CDPSession

from tests.bench.figures import Figure
from tests.bench.lab import Lab
from tests.bench.page.browser import DESKTOP, costs, metrics, opened
from tests.bench.page.moving import MOVING, move, progress
from tests.chromium import chromium
from tests.fakes.api import open_api

_MIB = 1 << 20
_EARLY, _LATE = 120, 600  # seconds after the page was opened


async def page_memory(lab: Lab) -> list[Figure]:
    """Takes ten minutes."""
    count = lab.count(MOVING, 20)
    async with open_api() as api, chromium() as browser:
        await api.put_many(count, "download", **progress(0, 0), video_info={"title": "A film on its way"})
        async with opened(browser, api.url, DESKTOP) as tab:
            session = await metrics(tab)
            await move(api, lab.seconds(_EARLY))
            early = await _heap(session)
            await move(api, lab.seconds(_LATE - _EARLY))
            late = await _heap(session)
    what = f"{count} moving tasks: the heap after a collection"
    return [
        Figure(f"{what}, after 2 minutes", early / _MIB, "MiB"),
        Figure(f"{what}, after 10 minutes against 2", late / _MIB, "MiB", early / _MIB, at_most=1.05),
    ]


async def _heap(session: CDPSession) -> float:
    """Bytes that are in use; twice, since what is finalized is freed by the next collection."""
    for _ in range(2):
        await session.send("HeapProfiler.collectGarbage")
    return (await costs(session))["JSHeapUsedSize"]
