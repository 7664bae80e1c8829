"""Awaits work that must finish even if the coroutine that awaits it is cancelled."""

import asyncio
import logging
from collections.abc import Awaitable
from typing import Protocol, TypeVar

from server.core.errors import TaskNotFound

log = logging.getLogger(__name__)

T = TypeVar("T")


class Closable(Protocol):
    def close(self) -> object: ...


C = TypeVar("C", bound=Closable)


async def to_the_end(work: Awaitable[T]) -> T:
    """Await `work` even if the caller is cancelled meanwhile, however often; then raise `CancelledError`."""
    task = asyncio.ensure_future(work)
    cancel: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])  # unlike `await task`, this does not cancel `task`
        except asyncio.CancelledError as exc:
            cancel = exc
    if cancel is None:
        return task.result()
    error = None if task.cancelled() else task.exception()
    # `TaskNotFound` is expected: the removal of a task cancels its work.
    if error and not isinstance(error, TaskNotFound):
        log.warning("failed after its waiter was cancelled: %r", error)
    raise cancel


async def open_shielded(work: Awaitable[C]) -> C:
    """Await `work`, which opens a file in a thread; if the caller is cancelled meanwhile, close the file."""
    opening = asyncio.ensure_future(work)
    try:
        return await to_the_end(opening)
    except asyncio.CancelledError:
        if not opening.cancelled() and not opening.exception():
            opening.result().close()
        raise
