"""The page in a Chromium: what it costs, how soon it is there and answers, and whether anything jumps.

Where tasks have to change as they are told, the API is the tests' own (`tests/fakes/api.py`): what is
measured is the page. Visits are made to the service itself.
"""

from tests.bench.figures import Figure
from tests.bench.lab import Lab
from tests.bench.page.history import history
from tests.bench.page.lighthouse import lighthouse
from tests.bench.page.memory import page_memory
from tests.bench.page.moving import moving
from tests.bench.page.stillness import stillness, worst
from tests.bench.page.visits import visits
from tests.chromium import chromium

__all__ = ["page", "page_memory", "worst"]


async def page(lab: Lab) -> list[Figure]:
    async with chromium() as browser:
        return [
            figure
            for measure in (stillness, moving, history, visits, lighthouse)
            for figure in await measure(browser, lab)
        ]
