"""A finished file from the bucket, through a web node, against one from the disk; and what it costs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from tests.bench.client import Client, client_of
from tests.bench.cluster.stage import BOTH, ROUNDS, node, postgres
from tests.bench.figures import Figure, alternate, middle
from tests.bench.http_load import get
from tests.bench.lab import BIG, Lab
from tests.bench.programs import MIB, Clipwire
from tests.bench.serving import fetcher
from tests.cluster.s3 import running_s3

AT_ONCE = 8
TIMES = 5


async def cluster_files(lab: Lab) -> list[Figure]:
    folder, size = lab.new_folder("cluster-files"), (lab.media / BIG).stat().st_size // 1_000_000
    async with AsyncExitStack() as stack:
        url, s3 = stack.enter_context(postgres()), stack.enter_context(running_s3())
        remote = await stack.enter_async_context(
            node(folder / "bucket", url, *BOTH, **s3.settings(folder.name))
        )
        alone = await stack.enter_async_context(Clipwire(folder / "alone"))
        clients = [await stack.enter_async_context(client_of(each)) for each in (remote, alone)]
        links = [await _stored(lab, client) for client in clients]
        sides = [
            fetcher(lab, each.pin(), link, {}, 1, TIMES)
            for each, link in zip((remote, alone), links, strict=True)
        ]
        runs = await alternate(lab.count(ROUNDS, 1), *sides)
        sent = await _memory(lab, remote, clients[0], links[0])
    async with AsyncExitStack() as stack:
        url, s3 = stack.enter_context(postgres()), stack.enter_context(running_s3())
        worker = await stack.enter_async_context(node(folder / "up", url, *BOTH, **s3.settings("up")))
        uploaded = await _upload_memory(lab, worker, await stack.enter_async_context(client_of(worker)))
    speeds = [middle(outcome.bytes / outcome.seconds for outcome, _ in side) / 1e6 for side in runs]
    costs = [middle(cpu for _, cpu in side) * 1e6 for side in runs]
    what = f"a file of {size} MB from the bucket through a web node"
    count = lab.count(AT_ONCE, 2)
    up = f"a file on its way to the bucket: memory for each of {AT_ONCE // 2} at a time"
    return [
        Figure(f"{what}, against one machine alone", speeds[0], "MB/s", speeds[1], at_least=0.25),
        Figure(f"{what}: CPU a MB", costs[0], "us", costs[1]),
        Figure(f"{what}: memory for each of {count} at a time", sent, "MiB", at_most=16),
        Figure(up, uploaded, "MiB", at_most=16),
    ]


async def _stored(lab: Lab, client: Client) -> str:
    task_id = await client.submit(f"{lab.files.url}/{BIG}", outputs=["video"])
    return str((await client.completed(task_id))["files"]["video"])


async def _memory(lab: Lab, server: Clipwire, client: Client, link: str) -> float:
    """What the server grows by while clients read slowly: for each."""
    count = lab.count(AT_ONCE, 2)
    before = server.memory()
    async with AsyncExitStack() as stack:
        readers = [await stack.enter_async_context(_slow_reader(server, link)) for _ in range(count)]
        most = 0.0
        for _ in range(lab.count(30, 3)):
            await asyncio.gather(*(reader.read(MIB) for reader in readers))
            await asyncio.sleep(0.05)
            most = max(most, server.memory())
    return (most - before) / count


async def _upload_memory(lab: Lab, server: Clipwire, client: Client) -> float:
    """What the server grows by while as many files are uploaded as it downloads at a time: for each.

    One was uploaded before: what the client of the bucket takes once belongs to none.
    """
    await _stored(lab, client)
    count, before, most = AT_ONCE // 2, server.memory(), 0.0
    uploading = asyncio.gather(*(_stored(lab, client) for _ in range(count)))
    while not uploading.done():
        most = max(most, server.memory())
        await asyncio.sleep(0.01)
    await uploading
    return max(0.0, most - before) / count


@asynccontextmanager
async def _slow_reader(server: Clipwire, link: str) -> AsyncIterator[asyncio.StreamReader]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1 << 16)
    try:
        writer.write(get(link, server.port))
        await writer.drain()
        yield reader
    finally:
        writer.transport.abort()
