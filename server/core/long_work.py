"""Computations that would block the event loop for too long: one at a time, in a thread of their own.

Threads share the interpreter. Each thread that computes delays the event loop, and in asyncio's default pool
the disk work of all routes would wait for it. A caller that is cancelled while it waits leaves the queue, so
that nothing is computed for nobody.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
_THREAD: Final = ThreadPoolExecutor(1, thread_name_prefix="long work")


async def compute(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return what `function` returns, called in the thread once all earlier calls are done."""
    return await asyncio.get_running_loop().run_in_executor(_THREAD, partial(function, *args, **kwargs))
