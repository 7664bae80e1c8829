"""How much CPU a start takes until the service is ready, compared with the imports of both processes."""

import asyncio
import resource
import subprocess
import sys

from tests.bench.client import Client, client_of
from tests.bench.figures import Figure, middle
from tests.bench.lab import Lab
from tests.bench.programs import PATIENCE, Clipwire, clean_environment, cpu_of

ROUNDS = 5
IMPORTS = (
    "import aiohttp.web, aiosqlite, click, pydantic",
    "import yt_dlp.extractor.extractors, yt_dlp.networking._requests",
)


async def starts(lab: Lab) -> list[Figure]:
    folder = lab.new_folder("starts")

    async def start() -> float:
        async with Clipwire(folder, lab.tree) as server, client_of(server) as client:
            await ready(client)
            return server.cpu() + cpu_of(server.fork_server().pid)

    mine, theirs = (middle(costs) for costs in await lab.alternate(ROUNDS, start, _imports))
    return [
        Figure("start to ready: CPU of server and fork server", mine, "s", at_most=0.5),
        Figure("... against the imports of their libraries", mine, "s", theirs),
    ]


async def ready(client: Client) -> None:
    async with asyncio.timeout(PATIENCE):
        while (await client.session.get("/readyz")).status != 200:
            await asyncio.sleep(0.1)  # each request for `/readyz` costs a millisecond


async def _imports() -> float:
    def run() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        for statement in IMPORTS:
            subprocess.run([sys.executable, "-c", statement], check=True, env=clean_environment())
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    return await asyncio.to_thread(run)
