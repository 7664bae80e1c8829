"""Links to files as a feature."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from server.feature import Added, Feature, Kernel
from server.links import link_routes
from server.links.link_rows import LinkRows


@asynccontextmanager
async def _open(kernel: Kernel) -> AsyncIterator[Added]:
    yield Added({link_routes.LINKS: LinkRows(kernel.store.transactions)})


LINKS = Feature("links", _open, link_routes.ROUTES)
