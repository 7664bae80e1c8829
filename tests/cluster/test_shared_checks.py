"""Three nodes check two subscriptions to one list, and die in the middle of checks."""

import asyncio
import random
from collections import Counter
from contextlib import AsyncExitStack

from server.core.ports import Filter
from server.files.public_names import short_of
from server.storage.postgresql import open_store
from server.storage.postgresql.store import PostgresStore
from server.subscriptions.subscription import DAY, Claim, Pace
from tests.rooms import HOOKS, rooms
from tests.subscriptions.test_subscription_rows import LEASE, NOW, WHOLE, entries, subscribed

NODES, ROUNDS = 3, 70


async def test_each_entry_becomes_one_task_whoever_checks_and_whoever_dies(clean_database: str) -> None:
    """A node that dies has claimed a check and stores no result; one that hung stores its result too late."""
    chance = random.Random(1)
    pace = Pace(interval=60, min_interval=1, pause=0, max_new=500)
    async with AsyncExitStack() as stack:
        nodes: list[PostgresStore] = [
            await stack.enter_async_context(
                open_store(clean_database, max_queued=1000, find_short=short_of, hooks=HOOKS)
            )
            for _ in range(NODES)
        ]
        ids = [
            (await subscribed(nodes[0], url, backlog="all")).subscription_id
            for url in ("https://a.test/list", "https://b.test/list")
        ]
        now, late = NOW, list[tuple[PostgresStore, Claim, int]]()
        outcomes = Counter[str]()

        async def check(node: PostgresStore, count: int, fate: str) -> None:
            for claim in await rooms(node).checks.claim(2, LEASE, now):
                outcomes[fate] += 1
                if fate == "stands still":
                    late.append((node, claim, count))
                elif fate == "checks":
                    noticed = entries(*range(count, 0, -1))
                    await rooms(node).checks.settle(claim, noticed, WHOLE, pace, now)

        for number in range(1, ROUNDS + 1):
            fates = [chance.choice(("checks", "dies", "stands still")) for _ in nodes]
            await asyncio.gather(
                *(check(node, number, fate) for node, fate in zip(nodes, fates, strict=True))
            )
            now += 2 * LEASE  # the leases of the dead nodes have ended, and all subscriptions are due again
            if late and chance.random() < 0.5:
                node, claim, count = late.pop(chance.randrange(len(late)))
                await rooms(node).checks.settle(claim, entries(*range(count, 0, -1)), WHOLE, pace, now)
        for _ in range(2):
            now += DAY
            await check(nodes[0], ROUNDS, "checks")
            await asyncio.sleep(0)
        links = [status.url for status in (await nodes[1].page(Filter(), None, 2 * ROUNDS)).tasks]
        assert Counter(links) == Counter(f"https://a.test/{number}" for number in range(1, ROUNDS + 1))
        for subscription_id in ids:
            counts = await rooms(nodes[2]).items.counts([subscription_id])
            assert counts[subscription_id] == {"queued": ROUNDS}
        assert min(outcomes.values()) > 10, outcomes
