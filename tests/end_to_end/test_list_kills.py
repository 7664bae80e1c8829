"""Lists on a server that is killed again and again: no entry is lost, and none is there twice."""

import asyncio
import random

import pytest

from tests.service import Payload, Service
from tests.site import Site

ENTRIES = 150


@pytest.mark.long
@pytest.mark.parametrize(("seed", "kills"), [(1, 2), *((seed, 6) for seed in range(2, 7))])
async def test_a_list_outlives_kills_with_each_entry_once(
    service: Service, site: Site, seed: int, kills: int
) -> None:
    chance = random.Random(seed)
    asked = {"playlist": True, "outputs": ["video"], "priority": 1}
    playlist_id = (
        await service.submit(site.url(f"/feed?entry=/gone.mp4&count={ENTRIES}&delay=0.2"), **asked)
    )["task_id"]
    for _ in range(kills):
        await asyncio.sleep(chance.uniform(0, 0.8))
        await service.kill()
        await service.start()
        await service.ready()
    while (playlist := await service.status(playlist_id))["entries"]["total"] <= ENTRIES:
        await asyncio.sleep(0.05)
    async with service.client.post(f"/api/tasks/{playlist_id}/cancel") as answer:
        playlist = await answer.json() if answer.status == 200 else await service.status(playlist_id)
    found = await entries(service, playlist_id)
    links = ["/gone.mp4", *(f"/video.mp4?times={n}" for n in range(1, ENTRIES + 1))]
    assert [entry["url"] for entry in found] == [site.url(link) for link in links]
    completed = len([entry for entry in found if entry["stage"] == "completed"])
    assert playlist["entries"] == {"total": 151, "completed": completed, "failed": 151 - completed}


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(2, 7))])
async def test_an_answered_action_on_a_list_holds_for_all_its_entries_after_a_kill(
    service: Service, site: Site, seed: int
) -> None:
    """The server is killed while it still changes the rows of the entries, after that of the list."""
    chance = random.Random(seed)
    # These four entries stall, and occupy all slots.
    links = "&entry=".join(f"/video.mp4%3Fstall={1000 + n}" for n in range(4))
    asked = site.url(f"/feed?entry={links}&count={ENTRIES - 4}")
    playlist_id = (await service.submit(asked, playlist=True, outputs=["video"]))["task_id"]
    while (await service.status(playlist_id))["entries"]["total"] < ENTRIES:
        await asyncio.sleep(0.05)
    actions = [("pause", "paused"), ("resume", "queued"), ("pause", "paused"), ("cancel", "cancelled")]
    for action, stage in actions:
        async with service.client.post(f"/api/tasks/{playlist_id}/{action}") as answer:
            assert answer.status == 200
        before = await entries(service, playlist_id)
        assert {entry["stage"] for entry in before[4:]} == {stage}
        await asyncio.sleep(chance.uniform(0, 0.2))
        await service.kill()
        await service.start()
        await service.ready()
        after = await entries(service, playlist_id)
        assert after[4:] == before[4:]
    playlist = await service.status(playlist_id)
    assert playlist["entries"] == {"total": ENTRIES, "completed": 0, "failed": ENTRIES}


async def entries(service: Service, playlist_id: str) -> list[Payload]:
    async with service.client.get(f"/api/tasks?limit=200&playlist_id={playlist_id}") as answer:
        return list(reversed((await answer.json())["tasks"]))
