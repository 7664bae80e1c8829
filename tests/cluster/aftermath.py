"""Checks tasks, files and database after a storm (`tests.cluster.storm`)."""

import asyncio
import time
from datetime import datetime
from pathlib import Path

import psycopg
import pytest

from tests.cluster.storm import MAX_QUEUED, PER_HOST, Storm
from tests.cluster.watching import Witness
from tests.kills import FRAMES
from tests.service import Payload, Service, children_of, descendants
from tests.site import probe, sha256

# Most tasks that the queue may hold beyond its limit: tasks that ran and were queued again.
LOST_BY_CHANCE = PER_HOST * 2
GONE_WITHIN = 90.0  # seconds: nodes look for files of late attempts about a minute after a task's end
_LEFT = (
    "procrastinate_jobs",
    "tasks WHERE job_id IS NOT NULL",
    "tasks WHERE removed",
    "tasks WHERE ended_at IS NULL",
)


async def check(storm: Storm, media: Path, folder: Path, began: float) -> None:
    """Check all that a storm leaves; raise `AssertionError`. `began` is the start of the storm, in seconds
    since the epoch.
    """
    kept = [one for one in storm.crowd.witnesses.values() if not one.is_gone]
    for witness in kept:
        check_story(witness, began)
    assert storm.most_running <= PER_HOST
    assert storm.most_waiting <= MAX_QUEUED + LOST_BY_CHANCE
    async with asyncio.timeout(GONE_WITHIN):
        await nothing_runs(storm)
        await nothing_lies_about(storm)
    for node in storm.sky.cluster.web:
        assert await listed(node) == {one.task_id for one in kept}
        for witness in storm.crowd.witnesses.values():
            async with node.client.get(f"/api/status/{witness.task_id}") as answer:
                assert answer.status == (404 if witness.is_gone else 200)
    for number, witness in enumerate(kept):
        if witness.newest["stage"] == "completed":
            await check_file(storm.sky.cluster.web[number % 2], witness, media, folder / "fetched")
    for witness in kept:
        await storm.crowd.insist("DELETE", f"/api/tasks/{witness.task_id}", 204)


def check_story(witness: Witness, began: float) -> None:
    """Check that the task ended once, as wanted, that progress never fell within an attempt, and that its
    times come from no skewed clock.
    """
    done = witness.newest
    if not (witness.fate == "is cancelled" and done["stage"] == "cancelled"):
        witness.check()
    final = [text for text in witness.texts.values() if '"status":"completed"' in text]
    assert len(final) <= 1, final
    created, completed = (moment(done[name]) for name in ("created_at", "completed_at"))
    assert began - 2 < created <= completed < time.time() + 2, done


def moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


async def check_file(node: Service, witness: Witness, media: Path, target: Path) -> None:
    kind, done = witness.kind, witness.newest
    assert sorted(done["files"]) == sorted(kind.outputs)
    file = await node.fetch(done["files"]["video"], target)
    if kind.same_as:
        assert sha256(file) == sha256(media / kind.same_as), done
        return
    film = await probe(file)
    assert film.duration == pytest.approx(kind.seconds, abs=0.2), done
    assert film.pictures == kind.seconds * FRAMES, done


async def listed(node: Service) -> set[str]:
    """Return the ids of all tasks, read page by page; fail if an id comes twice."""
    ids: list[str] = []
    cursor = ""
    while True:
        async with node.client.get(f"/api/tasks?limit=20{cursor}") as answer:
            page: Payload = await answer.json()
        ids += [task["task_id"] for task in page["tasks"]]
        if "next_cursor" not in page:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert len(ids) == len(set(ids)), ids
    return set(ids)


async def nothing_runs(storm: Storm) -> None:
    """Wait until no job and no child is left, and no task that has a job, has not ended, or is marked as
    removed.
    """
    async with await psycopg.AsyncConnection.connect(storm.sky.postgres.url, autocommit=True) as db:
        for left in _LEFT:
            while await (await db.execute(f"SELECT 1 FROM {left}".encode())).fetchall():
                await asyncio.sleep(0.1)
    nodes = storm.sky.cluster.nodes
    while any(descendants(one.pid) for node in nodes for one in children_of(node.pid)):
        await asyncio.sleep(0.1)


async def nothing_lies_about(storm: Storm) -> None:
    """Wait until there are only files that a task needs, on all disks and in the bucket."""
    while found := await strays(storm):
        try:
            await asyncio.sleep(0.5)
        except asyncio.CancelledError:
            raise AssertionError(found) from None


async def strays(storm: Storm) -> list[str]:
    kept = [one for one in storm.crowd.witnesses.values() if not one.is_gone]
    known = {one.task_id: f"{one.newest['attempt']}" for one in kept}
    # Cancelled tasks keep their partial files for a retry.
    cancelled = {one.task_id for one in kept if one.newest["stage"] == "cancelled"}
    folders = {node.data for node in storm.sky.cluster.nodes}
    works = [path for folder in folders for path in (folder / "work").glob("*")]
    if files := storm.sky.files:
        keys = [found.key for kind in ("files", "logs") async for found in files.keys(kind)]
    else:
        data = storm.sky.cluster.web[0].data
        keys = [str(path.relative_to(data)) for path in (data / "files").glob("*/*/*")]
    left = [str(path) for path in works if path.name.removesuffix(".lock") not in cancelled]
    return left + [key for key in keys if is_stray(key, known)]


def is_stray(key: str, known: dict[str, str]) -> bool:
    kind, task_id, *rest = key.split("/")
    attempt = known.get(task_id)
    return attempt is None or (kind == "files" and rest[0].isdecimal() and rest[0] != attempt)
