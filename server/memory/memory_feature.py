"""The memory as a feature."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from server.api.spool import SpoolTurns
from server.core.owner_scope import OwnerScope
from server.feature import Added, Feature, Kernel
from server.memory import media_routes
from server.memory.media_rows import MediaRows, hooks_of


@asynccontextmanager
async def _open(kernel: Kernel) -> AsyncIterator[Added]:
    rows = MediaRows(kernel.store.transactions)

    async def move(name: str | None, to: str | None) -> bool:
        """Give nobody's videos to `to`. What a removed person remembers is forgotten with their
        subscriptions.
        """
        heir = OwnerScope(to, is_separate=kernel.settings.access.separate_lists)
        return name is None and heir.person is not None and await rows.adopt(heir)

    kernel.hooks.move_things.append(move)
    yield Added({media_routes.MEDIA: rows, media_routes.TURNS: SpoolTurns()})


MEMORY = Feature(
    "memory",
    _open,
    media_routes.ROUTES,
    lambda settings: hooks_of(separate_lists=settings.access.separate_lists),
)
