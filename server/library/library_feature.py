"""The library as a feature."""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, nullcontext
from functools import partial

from server.api.keys import LEAVE_LIBRARY, PLACE_IN_LIBRARY
from server.api.metric_families import Family
from server.core.background import in_background
from server.core.clock import zone_of
from server.feature import Added, Feature, Kernel
from server.library import library_routes
from server.library.library_actions import LibraryActions
from server.library.library_check import library_check, library_of
from server.library.library_rows import LibraryRows
from server.library.placement_requests import HOOKS
from server.library.placement_rows import PlacementRows
from server.library.placements import REASONS
from server.library.task_placing import TaskPlacing
from server.memory.media_rows import MediaRows
from server.settings import Settings

_WAITING = Family(
    "clipwire_library_waiting",
    "gauge",
    "Downloads that are still to be placed in the library, by what they wait for, of all nodes.",
    lambda scrape: [
        ((reason,), scrape.seen[f"library {reason}"])
        for reason in ("none", *REASONS)
        if f"library {reason}" in scrape.seen  # only a server with a library has this metric
    ],
    ("reason",),
)


@asynccontextmanager
async def _open(kernel: Kernel) -> AsyncIterator[Added]:
    """Open the library's parts. Only a server that runs tasks fills the library, and must be able to access
    its folder.
    """
    library, store = library_of(kernel.settings.library), PlacementRows(kernel.store.transactions)
    rows = LibraryRows(kernel.store.transactions)
    zone = zone_of(kernel.settings.library.time_zone)
    media = MediaRows(kernel.store.transactions)
    actions = LibraryActions(rows, store, media, library, kernel.clock, zone)
    task_placing = TaskPlacing(store, kernel.tasks, has_library=library is not None)

    async def sees() -> dict[str, float]:
        waiting = await store.waiting_by_reason()
        return {f"library {reason or 'none'}": float(count) for reason, count in waiting.items()}

    placing = None
    if library and kernel.runs_tasks:
        from server.library.placer import Placer  # only a server with a library imports this

        placer = Placer(store, kernel.tasks, kernel.files, library, kernel.clock, zone)
        placing = placer.run(alone=kernel.is_alone)
    async with in_background(placing, "library") if placing else nullcontext():
        yield Added(
            {
                library_routes.PLACEMENTS: store,
                library_routes.LIBRARY_ACTIONS: actions,
                library_routes.TASK_PLACING: task_placing,
                LEAVE_LIBRARY: store.leave_task,
                PLACE_IN_LIBRARY: task_placing.also_for,
            },
            [partial(library_check, library, store)] if library and kernel.runs_tasks else (),
            metrics=[_WAITING],
            sees=[sees] if library else (),
        )


def _fields(settings: Settings) -> Collection[str]:
    return () if settings.library.path is None else ("library",)


LIBRARY = Feature("library", _open, library_routes.ROUTES, lambda _: HOOKS, _fields)
