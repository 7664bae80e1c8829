"""Servers are killed again and again while clients follow their tasks by webhooks and events.

The receiver of the webhooks is told every end: once, or again under the same `webhook-id`. A client that
follows the events with `Last-Event-ID` gets the last status of every task, and every removal.
"""

import asyncio
import json
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from standardwebhooks import Webhook

from server.notices.deliveries import LEASE
from tests.cluster.nodes import Cluster
from tests.cluster.postgres import database
from tests.service import FINAL, Payload, Service
from tests.site import Site

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SETTINGS = {
    "CLIPWIRE_WEBHOOKS__SECRET": SECRET,
    "CLIPWIRE_WEBHOOKS__ALLOWED_PRIVATE_HOSTS": '["127.0.0.1"]',
    "CLIPWIRE_DOWNLOADS__MIN_FREE_DISK": "0",
}
TASKS, KILLS = 40, 8


class Receiver:
    """A receiver of webhooks that refuses some first deliveries with a 503, and answers others late."""

    def __init__(self, chance: random.Random) -> None:
        # Received webhooks by task: webhook-id and payload.
        self.told: dict[str, list[tuple[str, Payload]]] = defaultdict(list)
        self._chance = chance

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        Webhook(SECRET).verify(body, dict(request.headers))
        payload: Payload = json.loads(body)
        self.told[payload["task_id"]].append((request.headers["webhook-id"], payload))
        match self._chance.randrange(6):
            case 0 if len(self.told[payload["task_id"]]) == 1:
                return web.Response(status=503)
            case 1:
                await asyncio.sleep(self._chance.uniform(0, 1))
        return web.Response(status=204)


@pytest.fixture(params=["one server", "nodes"])
async def servers(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Sequence[Service]]:
    """The servers that answer clients; the test kills one at a time."""
    async with AsyncExitStack() as stack:
        if request.param == "one server":
            yield [await stack.enter_async_context(Service(tmp_path, **SETTINGS))]
            return
        url = stack.enter_context(database(request.getfixturevalue("postgres")))
        cluster = Cluster(tmp_path, url, **SETTINGS)
        stack.callback(cluster.close)
        needed = [*cluster.web, cluster.workers[0]]
        yield (await stack.enter_async_context(cluster.running(*needed))).web


async def follow(servers: Sequence[Service], seen: dict[str, Payload], removed: set[str]) -> None:
    """Follow the events as an `EventSource` does: with the last id, at any running server, and anew after
    each end.
    """
    last_id = ""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(sock_connect=2)) as client:
        while True:
            server = random.choice([each for each in servers if each.runs] or servers)
            headers = {"Last-Event-ID": last_id} if last_id else {}
            with suppress(aiohttp.ClientError, TimeoutError):
                async with client.get(f"{server.url}/api/events", headers=headers) as answer:
                    event: dict[str, str] = {}
                    async for line in answer.content:
                        name, _, value = line.decode().rstrip("\n").partition(": ")
                        if name:
                            event[name] = value
                            continue
                        last_id = event.get("id", last_id)
                        assert event.get("event") != "reset"
                        if "data" in event:
                            payload = json.loads(event["data"])
                            task_id = payload["task_id"]
                            if payload.get("removed"):
                                removed.add(task_id)
                            elif payload["revision"] >= seen.get(task_id, payload)["revision"]:
                                seen[task_id] = payload
                        event = {}
            await asyncio.sleep(0.05)


@pytest.mark.long
@pytest.mark.minutes(1)
@pytest.mark.parametrize("seed", [1, 2])
async def test_webhooks_and_events_tell_every_end_whatever_is_killed(
    servers: Sequence[Service], site: Site, seed: int
) -> None:
    chance = random.Random(seed)
    receiver, seen, removed = Receiver(chance), dict[str, Payload](), set[str]()
    app = web.Application()
    app.router.add_post("/", receiver.take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    webhook = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    following = asyncio.create_task(follow(servers, seen, removed))
    try:
        tasks, gone = await _busy(servers, site, webhook, chance)
        ends = {task_id: await _end(servers[0], task_id) for task_id in tasks}
        async with asyncio.timeout(2 * LEASE + 30):
            while not (ends.keys() <= receiver.told.keys() and await _nothing_is_due(servers[0])):
                await asyncio.sleep(0.2)
            while not (gone <= removed and ends.keys() <= seen.keys()):
                await asyncio.sleep(0.1)
            while any(seen[task_id]["revision"] < end["revision"] for task_id, end in ends.items()):
                await asyncio.sleep(0.1)
    finally:
        following.cancel()
        await runner.cleanup()
    for task_id, end in ends.items():
        assert len({webhook_id for webhook_id, _ in receiver.told[task_id]}) == 1
        assert all(payload["stage"] == end["stage"] for _, payload in receiver.told[task_id])
        assert seen[task_id]["stage"] == end["stage"]
    assert any(len(told) > 1 for told in receiver.told.values()), "nothing was ever told again"


async def _busy(
    servers: Sequence[Service], site: Site, webhook: str, chance: random.Random
) -> tuple[list[str], set[str]]:
    """Make tasks and kill servers meanwhile; return the ids of the tasks that are there, and of those that
    were removed.
    """
    tasks: list[str] = []
    gone: set[str] = set()
    for number in range(TASKS):
        server = chance.choice(servers)
        link = site.url(chance.choice(("/1mb.mp4", "/video.mp4", "/1mb.mp4?status=404")))
        task = await server.submit(link, outputs=["video"], webhook=webhook)
        tasks.append(task["task_id"])
        if chance.random() < 0.15:
            gone.add(unwanted := tasks.pop(chance.randrange(len(tasks))))
            async with server.client.delete(f"/api/tasks/{unwanted}") as answer:
                assert answer.status == 204
        if number % (TASKS // KILLS) == 0:
            await asyncio.sleep(chance.uniform(0, 0.5))
            await server.kill()
            await server.start()
    return tasks, gone


async def _end(server: Service, task_id: str) -> Payload:
    return await server.wait(task_id, *FINAL, within=90)


async def _nothing_is_due(server: Service) -> bool:
    async with server.client.get("/api/webhooks") as answer:
        return not (await answer.json())["webhooks"]


@pytest.mark.long
async def test_a_webhook_that_a_kill_interrupts_is_sent_again_at_the_next_start(
    site: Site, tmp_path: Path
) -> None:
    ids, asked = list[str](), asyncio.Event()

    async def take(request: web.Request) -> web.Response:
        ids.append(request.headers["webhook-id"])
        if not asked.is_set():
            asked.set()
            await asyncio.Event().wait()  # the receiver never answers the first delivery
        return web.Response(status=204)

    receiver = TestServer(web.Application())
    receiver.app.router.add_post("/", take)
    async with receiver, Service(tmp_path, **SETTINGS) as service:
        hook = str(receiver.make_url("/"))
        await service.submit(site.url("/silent.mp4"), outputs=["video"], webhook=hook)
        await asked.wait()
        await service.kill()
        await service.start()
        # The server need not wait until the lease of the delivery ends.
        async with asyncio.timeout(LEASE / 3):
            while len(ids) < 2:
                await asyncio.sleep(0.02)
        assert len(set(ids)) == 1
