"""Two neighbouring releases are one service on one database, for as long as an upgrade takes."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest

from server.storage.postgresql.migrations import released_scripts
from tests.next_release import NextRelease
from tests.release_before import ReleaseBefore
from tests.service import Payload, Service
from tests.site import Site, sha256

pytestmark = pytest.mark.long
SLOW = "/8mb.mp4?rate=4000000"


def settings_of(url: str, tmp_path: Path) -> dict[str, str]:
    return {
        "CLIPWIRE_STORAGE__DATABASE": url,
        "CLIPWIRE_STORAGE__DATA_DIR": str(tmp_path / "data"),
        "CLIPWIRE_DOWNLOADS__MAX_CONCURRENT": "1",
        "CLIPWIRE_DOWNLOADS__MIN_FREE_DISK": "0",
        "CLIPWIRE_WORKERS__HEARTBEAT": "0.5",
    }


@pytest.fixture
async def releases(empty_database: str, tmp_path: Path) -> AsyncIterator[tuple[Service, Service]]:
    """A node of this release, which runs first, and one of the next release with another setting."""
    settings = settings_of(empty_database, tmp_path)
    async with AsyncExitStack() as stack:
        this = await stack.enter_async_context(Service(tmp_path / "this", **settings))
        follows = NextRelease(tmp_path / "next", 0, **settings, CLIPWIRE_DOWNLOADS__MAX_QUEUED="99")
        yield this, await stack.enter_async_context(follows)


async def last_of(node: Service, task_id: str) -> Payload:
    async with asyncio.timeout(20), node.client.ws_connect(f"/ws/{task_id}") as socket:
        return [message.json() async for message in socket][-1]  # type: ignore[no-any-return]


async def done_to(node: Service, task_id: str, action: str) -> Payload:
    async with node.client.post(f"/api/tasks/{task_id}/{action}") as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json()  # type: ignore[no-any-return]


def without_mood(payload: Payload) -> Payload:
    return {name: value for name, value in payload.items() if name != "mood"}


async def settings_check(node: Service) -> dict[str, Any]:
    """Wait until the check of the settings fails, and return it: a node that has just started is not known to
    the other yet.
    """
    async with asyncio.timeout(20):
        while True:
            async with node.client.get("/readyz?lang=en") as answer:
                check: dict[str, Any] = (await answer.json())["checks"]["settings"]
            if not check["ok"]:
                return check
            await asyncio.sleep(0.1)


async def test_two_neighbouring_releases_are_one_service(
    releases: tuple[Service, Service], site: Site, media: Path, tmp_path: Path
) -> None:
    this, follows = releases

    # Each node runs tasks that either was asked for, and both show every task.
    tasks = [await node.submit(site.url(SLOW), outputs=["video"]) for node in (this, follows, this, follows)]
    ids = [task["task_id"] for task in tasks]
    heard = await asyncio.gather(*(last_of(node, each) for node in releases for each in ids))
    for one, other in zip(heard[:4], heard[4:], strict=True):
        assert (one["stage"], other["mood"]) == ("completed", "calm")
        assert one == without_mood(other) == await this.status(one["task_id"])
        assert other == await follows.status(one["task_id"])
    for node in releases:
        assert any("attempt" in line for line in node.log), "it ran nothing"
        link = heard[0]["files"]["video"]
        assert sha256(await node.fetch(link, tmp_path / "video")) == sha256(media / "8mb.mp4")
        async with node.client.get("/api/tasks?q=8mb") as listed:
            assert [task["task_id"] for task in (await listed.json())["tasks"]] == ids[::-1]

    # A change by one release keeps what the other has written, in both directions.
    for first, then in (releases, releases[::-1]):
        task_id = (await first.submit(site.url(SLOW), auto_start=False))["task_id"]
        assert (await done_to(then, task_id, "cancel"))["stage"] == "cancelled"
        assert (await follows.status(task_id))["mood"] == "calm"
        assert (await done_to(first, task_id, "retry"))["stage"] == "queued"
        async with then.client.delete(f"/api/tasks/{task_id}") as answer:
            assert answer.status == 204
        async with first.client.get(f"/api/status/{task_id}") as answer:
            assert answer.status == 404

    # A rollback by one release is possible: this release starts on the tables of the next.
    await this.restart()
    assert (await this.status(ids[0])) == heard[0]

    # Both nodes say that their settings differ, and go on.
    for node in releases:
        check = await settings_check(node)
        assert (check["ok"], check["needed"]) == (False, False)
        told = f"different from this node's: downloads.max_queued on {socket.gethostname()}"
        assert check["detail"] == told
        assert any(line.endswith(told) for line in node.log)
        assert node.complaints() == []


async def test_a_release_that_this_one_cannot_work_beside_is_said_in_one_line(
    empty_database: str, tmp_path: Path
) -> None:
    settings, newest = settings_of(empty_database, tmp_path), len(released_scripts())
    async with NextRelease(tmp_path / "next", newest + 1, **settings):
        this = Service(tmp_path / "this", **settings)
        with pytest.raises(RuntimeError, match=r"storage.database.* is of a newer server .*update this one"):
            await this.start()
        assert await this.ended() == 1


async def test_this_release_and_a_real_copy_of_the_one_before_are_one_service_both_ways(
    empty_database: str, site: Site, media: Path, tmp_path: Path
) -> None:
    settings = settings_of(empty_database, tmp_path)
    async with ReleaseBefore(tmp_path / "before", **settings) as before:
        old = await before.wait((await before.submit(site.url("/1mb.mp4"), outputs=["video"]))["task_id"])
        waits = await before.submit(site.url(SLOW), outputs=["video"], auto_start=False)

        # Upgrade: this release migrates the tables while the release before runs on them.
        async with Service(tmp_path / "this", **settings) as this:
            both = (before, this)
            assert read(empty_database, "SELECT version FROM schema") == [(len(released_scripts()),)]
            for node in both:
                assert (await node.status(old["task_id"]))["files"] == old["files"]
                fetched = await node.fetch(old["files"]["video"], tmp_path / "video")
                assert sha256(fetched) == sha256(media / "1mb.mp4")

            # Each node runs tasks that either was asked for, and both show the same.
            ids = [
                (await node.submit(site.url(SLOW), outputs=["video"]))["task_id"] for node in (*both, *both)
            ]
            for node in both:
                for task_id in ids:
                    assert (await last_of(node, task_id))["stage"] == "completed"
                assert any("attempt" in line for line in node.log), "it ran nothing"
                async with node.client.get("/api/tasks?q=8mb") as listed:
                    assert [each["task_id"] for each in (await listed.json())["tasks"]][:4] == ids[::-1]
            await the_same_is_told(both, ids)

            # Each node changes what the other has written.
            for first, then in (both, both[::-1]):
                task_id = (await first.submit(site.url(SLOW), auto_start=False))["task_id"]
                assert (await done_to(then, task_id, "cancel"))["stage"] == "cancelled"
                assert (await done_to(first, task_id, "retry"))["stage"] == "queued"
                async with then.client.delete(f"/api/tasks/{task_id}") as answer:
                    assert answer.status == 204
                async with first.client.get(f"/api/status/{task_id}") as answer:
                    assert answer.status == 404

            # Rollback: the release before starts on the tables of this one, and goes on alone.
            await before.restart()
            await this.stop()
            await done_to(before, waits["task_id"], "resume")
            assert (await before.wait(waits["task_id"]))["stage"] == "completed"

            # A second upgrade.
            await this.start()
            await the_same_is_told(both, [*ids, waits["task_id"]])
            for node in both:
                assert [line for line in node.complaints() if "Traceback" in line] == []


async def the_same_is_told(nodes: tuple[Service, Service], ids: list[str]) -> None:
    """Check that both nodes show the same of each task, in all fields that both know."""
    for task_id in ids:
        one, other = [await node.status(task_id) for node in nodes]
        shared = in_common(one, other)
        assert shared == in_common(other, one)
        assert {"files", "video_info", "revision", "attempt", "message"} < shared.keys()


def in_common(one: Payload, other: Payload) -> Payload:
    """Return `one` without the fields that `other` lacks, also within nested objects."""
    return {
        name: in_common(value, other[name]) if isinstance(value, dict) else value
        for name, value in one.items()
        if name in other
    }


def read(url: str, sql: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as db:
        return db.execute(sql.encode()).fetchall()
