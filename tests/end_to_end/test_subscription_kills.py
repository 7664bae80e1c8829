"""Subscriptions on servers that are killed again and again: each entry becomes one task, and none is lost."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import aiohttp
import pytest

from tests.end_to_end.test_subscriptions import PLAIN, QUICK, films, known, subscribe
from tests.fakes.checking import LEASE
from tests.lasting import part_of
from tests.service import Payload, Service
from tests.site import Site
from tests.site.followed import Followed
from tests.zygote import CHECKING

NAMES = ("one", "two")
WANTED = PLAIN | {"auto_start": False}  # the tasks are only counted: nothing has to be fetched
KILLED_AFTER = 0.5  # most seconds from a start to a kill that waits for no check
KILLED_IN_A_LOOK = 0.12  # most seconds from the request of a feed to a kill
KILLS = round(part_of(200))

pytestmark = [pytest.mark.long, pytest.mark.minutes(2)]


class Quick(Service):
    """A service that checks soon after its start: see `tests.fakes.checking`."""

    command = CHECKING
    patience = 120.0


class Killing:
    """Servers that check the same feed for two subscriptions, and are killed again and again."""

    def __init__(self, servers: list[Service], site: Site, seed: int) -> None:
        self.kills = 0
        self._servers = servers
        self._site = site
        self._chance = random.Random(seed)
        self._followed = Followed(films(1))
        site.followed |= dict.fromkeys(NAMES, self._followed)

    async def run(self, kills: int) -> None:
        """Kill servers so many times; then compare tasks and items with the feed."""
        first = self._servers[0]
        made = [
            await subscribe(first, self._site.url(f"/followed/{name}.rss"), request=WANTED, backlog="all")
            for name in NAMES
        ]
        ids = [each["subscription_id"] for each in made]
        while self.kills < kills:
            count = len(self._followed.films)
            self._followed.films[:0] = films(count + 1)
            asked = len(self._asked)
            await asyncio.gather(*(self._have_looked(each) for each in ids))
            await self._moment(asked)
            most = min(len(self._servers), kills - self.kills)
            dying = self._chance.sample(self._servers, self._chance.randint(1, most))
            await asyncio.gather(*(server.kill() for server in dying))
            self.kills += len(dying)
            await asyncio.gather(*(server.start() for server in dying))
        print(f"{self.kills} kills, {len(self._followed.films)} entries, {len(self._asked)} checks")
        await self._settled(first, ids)

    @property
    def _asked(self) -> list[object]:
        return [seen for name in NAMES for seen in self._site.seen(f"/followed/{name}.rss")]

    async def _have_looked(self, subscription_id: str) -> None:
        """Ask any server for a check. One that does not answer has just been killed."""
        with suppress(aiohttp.ClientError, TimeoutError):
            path = f"/api/subscriptions/{subscription_id}/check"
            async with self._chance.choice(self._servers).client.post(path) as answer:
                assert answer.status in (202, 503), await answer.text()

    async def _moment(self, asked: int) -> None:
        """Wait for the moment of a kill: mostly during a check or just after it, else any time after a
        start.
        """
        if self._chance.random() < 0.25:
            await asyncio.sleep(self._chance.uniform(0, KILLED_AFTER))
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(2 * LEASE):
                while len(self._asked) == asked:
                    await asyncio.sleep(0.005)
        await asyncio.sleep(self._chance.uniform(0, KILLED_IN_A_LOOK))

    async def _settled(self, server: Service, ids: list[str]) -> None:
        """Have both subscriptions checked until all entries have tasks; fetch the entries that a check
        holds.
        """
        wanted = {"queued": len(self._followed.films)}
        for subscription_id in ids:
            acting = f"/api/subscriptions/{subscription_id}"
            while (await known(server, subscription_id))["items"] != wanted:
                body = {"action": "fetch", "state": "waiting"}
                async with server.client.post(f"{acting}/items/actions", json=body) as answer:
                    assert answer.status == 200
                async with server.client.post(f"{acting}/check") as answer:
                    assert answer.status == 202
                await asyncio.sleep(0.3)
        found = [{item["url"]: item["task_id"] for item in await all_items(server, each)} for each in ids]
        assert found[0] == found[1], "they share each task"
        links = Counter(await all_links(server))
        assert links == Counter(self._site.url(film.link) for film in self._followed.films), "each once"


async def test_each_entry_of_two_subscriptions_becomes_one_task_over_kills(
    tmp_path: Path, site: Site
) -> None:
    async with Quick(tmp_path, **QUICK) as server:
        await Killing([server], site, 2).run(KILLS)


@pytest.fixture
async def nodes(tmp_path: Path, empty_database: str) -> AsyncIterator[list[Service]]:
    settings = {
        **QUICK,
        "CLIPWIRE_STORAGE__DATABASE": empty_database,
        "CLIPWIRE_STORAGE__DATA_DIR": str(tmp_path / "data"),
        "CLIPWIRE_WORKERS__HEARTBEAT": "1",
        "CLIPWIRE_WORKERS__LOST_AFTER": "4",
        "CLIPWIRE_DOWNLOADS__MIN_FREE_DISK": "0",
    }
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(Quick(tmp_path / name, **settings)) for name in ("a", "b", "c")
        ]


async def test_each_entry_becomes_one_task_on_three_nodes_that_are_killed(
    nodes: list[Service], site: Site
) -> None:
    await Killing(nodes, site, 4).run(KILLS // 2)


async def all_items(service: Service, subscription_id: str) -> list[Payload]:
    found, path, cursor = list[Payload](), f"/api/subscriptions/{subscription_id}/items?limit=200", ""
    while True:
        async with service.client.get(f"{path}{cursor}") as answer:
            page = await answer.json()
        found += page["items"]
        if "next_cursor" not in page:
            return found
        cursor = f"&cursor={page['next_cursor']}"


async def all_links(service: Service) -> list[str]:
    links, cursor = list[str](), ""
    while True:
        async with service.client.get(f"/api/tasks?limit=200{cursor}") as answer:
            page = await answer.json()
        links += [task["url"] for task in page["tasks"]]
        if "next_cursor" not in page:
            return links
        cursor = f"&cursor={page['next_cursor']}"
