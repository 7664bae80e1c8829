"""People as a feature."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from server.api.session import DIRECTORY
from server.core.background import in_background
from server.feature import Added, Feature, Kernel
from server.people import me_routes, people_routes
from server.people.directory import PeopleDirectory
from server.people.people_rows import PeopleRows


@asynccontextmanager
async def _open(kernel: Kernel) -> AsyncIterator[Added]:
    rows = PeopleRows(kernel.store.transactions)
    access, signals = kernel.settings.access, kernel.store.transactions.signals
    directory = PeopleDirectory(rows, signals, access, is_alone=kernel.is_alone)
    directory.take(await rows.let_in())
    async with in_background(directory.follow(), "people"):
        yield Added({DIRECTORY: directory, people_routes.PEOPLE: directory, people_routes.PEOPLE_ROWS: rows})


PEOPLE = Feature("people", _open, [*me_routes.ROUTES, *people_routes.ROUTES])
