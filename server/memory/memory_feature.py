"""The memory as a feature."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from server.api.spool import SpoolTurns
from server.feature import Added, Feature, Kernel
from server.memory import media_routes
from server.memory.media_rows import MediaRows, hooks_of


@asynccontextmanager
async def _open(kernel: Kernel) -> AsyncIterator[Added]:
    yield Added({media_routes.MEDIA: MediaRows(kernel.store.transactions), media_routes.TURNS: SpoolTurns()})


MEMORY = Feature(
    "memory",
    _open,
    media_routes.ROUTES,
    lambda settings: hooks_of(separate_lists=settings.access.separate_lists),
)
