"""A list of two thousand entries: how long until all are tasks, and what others notice meanwhile.

Its source answers at once: what is measured is ours.
"""

import asyncio
import time
from typing import Any

from tests.bench.client import Client, client_of
from tests.bench.figures import Figure, percentile
from tests.bench.lab import Lab
from tests.bench.programs import PATIENCE, Clipwire

ENTRIES = 2000


async def lists(lab: Lab) -> list[Figure]:
    count = lab.count(ENTRIES, 50)
    async with Clipwire(lab.new_folder("lists")) as ours, client_of(ours) as client:
        began = time.monotonic()
        playlist_id = await client.submit(
            f"http://127.0.0.1:{lab.site.port}/feed?count={count}", playlist=True
        )
        playlist: dict[str, Any] = {"entries": {"total": 0}}
        beside: list[float] = []
        while playlist["entries"]["total"] < count and time.monotonic() - began < PATIENCE:
            beside.append(await _submit(client))
            playlist = await client.get(f"/api/status/{playlist_id}")
        took = time.monotonic() - began
        assert playlist["entries"]["total"] == count, playlist
        began = time.monotonic()
        await client.act(playlist_id, "cancel")
        cancelled = time.monotonic() - began
    what = f"a list of {count} entries"
    return [
        Figure(f"{what}: all are tasks", took, "s", at_most=5),
        Figure(f"{what}: a submit beside it: p99", percentile(beside, 99) * 1e3, "ms", at_most=200),
        Figure(f"{what}: cancelled", cancelled, "s", at_most=2),
    ]


async def _submit(client: Client) -> float:
    """Seconds."""
    await asyncio.sleep(0.005)
    began = time.monotonic()
    await client.paused()
    return time.monotonic() - began
