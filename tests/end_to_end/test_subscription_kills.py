"""Subscriptions on a server that is killed again and again: each entry becomes one task, and none is lost."""

import asyncio
import random
from collections import Counter

import pytest

from tests.end_to_end.test_subscriptions import PLAIN, QUICK, films, known, subscribe, unsubscribe_all
from tests.service import Payload, Service, Services
from tests.site import Site
from tests.site.followed import Followed

NAMES = ("one", "two")


@pytest.mark.parametrize(
    ("seed", "kills"), [(1, 3), pytest.param(2, 200, marks=[pytest.mark.long, pytest.mark.minutes])]
)
async def test_each_entry_of_two_subscriptions_becomes_one_task_over_kills(
    services: Services, site: Site, seed: int, kills: int
) -> None:
    chance = random.Random(seed)
    both = Followed(films(1), conditional=True)
    site.followed |= dict.fromkeys(NAMES, both)
    async with services.lend(**QUICK) as service:
        wanted = PLAIN | {"auto_start": False}  # the tasks are counted, not fetched
        mine = [
            (await subscribe(service, site.url(f"/followed/{name}.rss"), request=wanted, backlog="all"))
            for name in NAMES
        ]
        ids = [each["subscription_id"] for each in mine]
        for number in range(2, kills + 2):
            both.films[:0] = films(number)
            for subscription_id in ids:
                async with service.client.post(f"/api/subscriptions/{subscription_id}/check") as answer:
                    assert answer.status == 202
            await asyncio.sleep(chance.uniform(0, 0.7))  # the moment of the kill
            await service.kill()
            await service.start()
            await service.ready(60)
        await settled(service, ids, kills + 1)
        found = [{item["url"]: item["task_id"] for item in await all_items(service, each)} for each in ids]
        assert found[0] == found[1], "they share each task"
        links = Counter(await all_links(service))
        assert links == Counter(site.url(film.link) for film in both.films), "each once, none more"
        await unsubscribe_all(service)


async def settled(service: Service, ids: list[str], count: int) -> None:
    """Have both looked at until all `count` entries have tasks: those beyond a few new ones are held."""
    async with asyncio.timeout(120):
        for subscription_id in ids:
            acting = f"/api/subscriptions/{subscription_id}"
            while (await known(service, subscription_id))["items"] != {"queued": count}:
                body = {"action": "fetch", "state": "waiting"}
                async with service.client.post(f"{acting}/items/actions", json=body) as answer:
                    assert answer.status == 200
                async with service.client.post(f"{acting}/check") as answer:
                    assert answer.status == 202
                await asyncio.sleep(0.3)


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
