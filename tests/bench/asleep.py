"""How much memory the service uses once it sleeps, that is, without its fork server; and how soon it is awake
again.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

import psutil  # type: ignore[import-untyped]

from tests.bench.client import Client, client_of
from tests.bench.figures import Figure, middle
from tests.bench.lab import Lab
from tests.bench.polling import constant_like
from tests.bench.programs import PATIENCE, Clipwire, Program, memory_of
from tests.bench.starts import ready

ROUNDS = 5
WAKES = 15
NEVER, SOON = "0", "0.5"  # values of `downloads.sleep_after`, in seconds
MB = 1.048576  # megabytes in a MiB


async def asleep(lab: Lab) -> list[Figure]:
    return [*await _memory(lab), await _waking(lab)]


async def _memory(lab: Lab) -> list[Figure]:
    """Measure memory after one status request: of both processes while awake, and of the server alone while
    the fork server sleeps.
    """

    async def awake() -> float:
        async with _service(lab, NEVER) as server, client_of(server) as client:
            await ready(client)
            await client.get(f"/api/status/{await client.paused()}")
            return server.memory() + memory_of(server.fork_server().pid)

    async def sleeping() -> float:
        async with _service(lab, SOON) as server, client_of(server) as client:
            await client.get(f"/api/status/{await client.paused()}")
            await _asleep(server)
            return server.memory()

    async def bare() -> float:
        async with _service(lab, NEVER) as server, client_of(server) as client:
            path = f"/api/status/{await client.paused()}"
            async with constant_like(client, path, lab.new_folder("constant")) as program:
                return await _answered(program, path)

    runs = await lab.alternate(ROUNDS, awake, sleeping, bare)
    both, one, reference = (middle(side) * MB for side in runs)
    return [
        Figure("memory while awake, both processes", both, "MB"),
        Figure("memory while asleep", one, "MB", at_most=55),
        Figure("... against a bare aiohttp server", one, "MB", reference),
    ]


async def _answered(program: Program, path: str) -> float:
    async with client_of(program) as client:
        await client.get(path)
        return program.memory()


async def _waking(lab: Lab) -> Figure:
    """Measure the seconds from a POST without earlier signs to the file, for a tiny film."""
    async with (
        _service(lab, SOON) as sleeper,
        _service(lab, NEVER) as other,
        client_of(sleeper) as waking,
        client_of(other) as awake,
    ):
        await ready(awake)

        async def after_sleep() -> float:
            await _asleep(sleeper)
            return await _file(lab, waking)

        def at_once() -> Awaitable[float]:
            return _file(lab, awake)

        sides: tuple[Callable[[], Awaitable[float]], ...] = (after_sleep, at_once)
        mine, theirs = await lab.alternate(WAKES, *sides)
    later = middle(one - other for one, other in zip(mine, theirs, strict=True))
    return Figure("submit to a tiny file, after a sleep: later than awake by", later, "s", at_most=0.5)


def _service(lab: Lab, sleep_after: str) -> Clipwire:
    return lab.service("asleep", CLIPWIRE_DOWNLOADS__SLEEP_AFTER=sleep_after)


async def _asleep(server: Clipwire) -> None:
    """Return once the fork server has ended."""
    async with asyncio.timeout(PATIENCE):
        while psutil.Process(server.pid).children():
            await asyncio.sleep(0.05)


async def _file(lab: Lab, client: Client) -> float:
    began = time.perf_counter()
    await client.completed(await client.submit(f"{lab.site.url}/video.mp4", outputs=["video"]))
    return time.perf_counter() - began
