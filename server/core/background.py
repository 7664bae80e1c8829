"""An asyncio task that runs for as long as a block."""

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

log = logging.getLogger(__name__)

CANCEL_AGAIN_AFTER = 0.5  # seconds


@asynccontextmanager
async def in_background(work: Coroutine[Any, Any, None], name: str) -> AsyncIterator[None]:
    """Run `work` for as long as the block lasts; log an error that ends it."""
    task = asyncio.create_task(work, name=name)
    task.add_done_callback(_report)
    try:
        yield
    finally:
        while not task.done():
            task.cancel()  # more than once, because `wait_for` of Python 3.11 may swallow a cancel
            await asyncio.wait([task], timeout=CANCEL_AGAIN_AFTER)


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        log.error("%s ended unexpectedly", task.get_name(), exc_info=error)
