"""A server is killed while it deletes many tasks: after its next start no task is half deleted."""

import asyncio
import sqlite3
from contextlib import closing, suppress

import aiohttp
import pytest

from tests.service import Service
from tests.site import Site

FILMS, WAITING = 12, 150


@pytest.mark.parametrize("gone", [1, FILMS - 2])
async def test_no_task_is_half_deleted_after_a_kill(service: Service, site: Site, gone: int) -> None:
    """Kill the server once the folders of `gone` films have vanished."""
    link, kinds = site.url("/video.mp4"), ["video"]
    films = [(await service.submit(link, outputs=kinds))["task_id"] for _ in range(FILMS)]
    for task_id in films:
        await service.wait(task_id)
    waiting = [(await service.submit(link, auto_start=False))["task_id"] for _ in range(WAITING)]
    ids = [*films, *waiting]

    async def delete() -> None:
        body = {"action": "delete", "ids": ids}
        with suppress(aiohttp.ClientError):  # the server is killed before it answers
            await service.client.post("/api/tasks/actions", json=body)

    deletion = asyncio.create_task(delete(), name="deletion")
    folders = [service.data / "files" / task_id for task_id in films]
    async with asyncio.timeout(20):
        while sum(not folder.exists() for folder in folders) < gone:
            await asyncio.sleep(0)
    await service.kill()
    await deletion
    rows = rows_of(service)
    assert {task_id for task_id in films if service.files_of(task_id)} <= rows.keys(), "files without a row"
    assert rows, "the kill came too late"

    await service.start()
    await service.ready()
    async with asyncio.timeout(20):  # the deletion that the kill interrupted goes on
        while any(rows_of(service).values()):
            await asyncio.sleep(0.05)
    left = [task_id for task_id in ids if await is_there(service, task_id)]
    assert len(left) < len(ids)
    assert rows_of(service).keys() == set(left)
    assert {task_id for task_id in ids if rows.get(task_id) == 0} == set(left), "as it was at the kill"
    for task_id in ids:
        assert task_id in left or not service.files_of(task_id)
    for task_id in set(films) & set(left):
        [link_to_film] = (await service.status(task_id))["files"].values()
        async with service.client.get(link_to_film) as answer:
            assert answer.status == 200


def rows_of(service: Service) -> dict[str, int]:
    """Return the stored tasks, and whether each is marked as removed."""
    with closing(sqlite3.connect(f"file:{service.data}/clipwire.db?mode=ro", uri=True)) as db:
        return dict(db.execute("SELECT task_id, removed FROM tasks"))


async def is_there(service: Service, task_id: str) -> bool:
    async with service.client.get(f"/api/status/{task_id}") as answer:
        assert answer.status in (200, 404)
        return answer.status == 200
