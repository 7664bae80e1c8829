"""Work of Python that takes longer than the event loop may stand still: one at a time, in its own thread.

Threads share the interpreter: several that compute at once delay the event loop by each of them, and in
asyncio's default pool they would keep the disk work of all routes waiting. Whoever is cancelled while others
are being served leaves the queue, so that nothing is computed for nobody.
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
