"""`kill -9` of any process at any time: at random, and at moments that random kills would hardly hit."""

import asyncio
import fcntl
import json
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from tests.crowds import open_crowd
from tests.kills import FRAMES, Rampage, check_end, check_files, make_film, swept
from tests.lasting import part_of
from tests.moments import Moment, died
from tests.reached import all_kinds
from tests.service import Payload, Service, children_of, command_of, descendants, gone
from tests.site import SECONDS, Site, probe, sha256

ACCEPTED = Moment("server.tasks.dispatcher", "LocalDispatcher", "submit")
STARTED = Moment("server.tasks.children", "ForkServer", "start")
PRODUCED = Moment("server.files.local", "LocalFiles", "publish")
PUBLISHED = Moment("server.tasks.recorder", "Recorder", "record", "isinstance(args[2], Completed)")
STARTED_AGAIN = Moment("server.tasks.recorder", "Recorder", "record", "isinstance(args[2], Started)")
MARKED = Moment("server.files.local", "LocalFiles", "remove")
REMOVED = Moment("server.storage.sqlite.store", "SqliteStore", "forget")


@pytest.mark.long
async def test_whatever_is_killed_and_whenever_every_task_completes_and_nothing_is_left(
    media: Path, tmp_path: Path
) -> None:
    await survive(media, tmp_path, round(part_of(60)), reached=False)


@pytest.mark.long
async def test_tasks_of_difficult_sources_complete_whatever_is_killed(media: Path, tmp_path: Path) -> None:
    await survive(media, tmp_path, round(part_of(40)), reached=True)


@pytest.mark.long
async def test_lists_batches_subtitles_and_clips_complete_once_whatever_is_killed(
    media: Path, tmp_path: Path
) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")  # pytest shows it if the test fails
    async with open_crowd(tmp_path, make_film(media, tmp_path / "media"), seed) as running:
        await rage(running, round(part_of(40)), tmp_path)


async def survive(media: Path, folder: Path, kills: int, *, reached: bool) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")  # pytest shows it if the test fails
    film = make_film(media, folder / "media")
    async with all_kinds(folder, film, seed, reached=reached) as running:
        await rage(running, kills, folder)


async def rage(running: Rampage, kills: int, folder: Path) -> None:
    await running.run(kills)
    await running.settle(within=90)
    running.check()
    await check_files(running, folder)
    await check_end(running)
    print(running.toll.killed)


@pytest.mark.parametrize(
    ("moment", "attempts"),
    [
        pytest.param(ACCEPTED, 1, id="accepted and not yet answered"),
        pytest.param(STARTED, 2, id="begun and no child yet", marks=pytest.mark.long),
        pytest.param(PRODUCED, 2, id="produced and not yet published", marks=pytest.mark.long),
        pytest.param(PUBLISHED, 1, id="published and the status not yet saved", marks=pytest.mark.long),
    ],
)
async def test_a_task_whose_server_dies_at_a_chosen_moment_completes_after_the_next_start(
    mortal: Service, site: Site, media: Path, tmp_path: Path, moment: Moment, attempts: int
) -> None:
    await moment.comes(mortal)
    submitting = asyncio.create_task(mortal.submit(site.url("/1mb.mp4"), outputs=["video"]))
    await died(mortal)
    asked = len(site.requests)
    await asyncio.wait([submitting])  # the server may have answered before it died
    submitting.exception()
    await mortal.start()
    [task] = await all_tasks(mortal)
    done = await mortal.wait(task["task_id"])
    assert done["attempt"] == attempts
    fetched = await mortal.fetch(done["files"]["video"], tmp_path / "video.mp4")
    assert sha256(fetched) == sha256(media / "1mb.mp4")
    if moment is PUBLISHED:
        assert len(site.requests) == asked, "it was fetched again"
    await swept(mortal.data)
    assert leftovers(mortal) == []


@pytest.mark.long
@pytest.mark.parametrize(
    "moment",
    [
        pytest.param(MARKED, id="marked and its files still there"),
        pytest.param(REMOVED, id="without files and its row still there"),
    ],
)
async def test_a_removal_that_was_begun_is_finished_at_the_next_start(
    mortal: Service, site: Site, moment: Moment
) -> None:
    done = await finished(mortal, site)
    await moment.comes(mortal)
    deleting = asyncio.create_task(mortal.client.delete(f"/api/tasks/{done['task_id']}"))
    await died(mortal)
    await asyncio.wait([deleting])
    deleting.exception()
    await mortal.start()
    async with mortal.client.get(f"/api/status/{done['task_id']}") as answer:
        assert answer.status == 404
    assert await all_tasks(mortal) == []
    assert mortal.files_of(done["task_id"]) == []


@pytest.mark.long
async def test_a_server_that_dies_between_a_retry_and_its_attempt_makes_the_attempt_at_the_next_start(
    mortal: Service, site: Site, media: Path, tmp_path: Path
) -> None:
    """The old files and their manifest are still there: the new attempt must not take them for its own."""
    done = await finished(mortal, site)
    await STARTED_AGAIN.comes(mortal)
    async with mortal.client.post(f"/api/tasks/{done['task_id']}/retry") as answer:
        assert answer.status == 200
    await died(mortal)
    asked = len(site.requests)
    await mortal.start()
    again = await mortal.wait(done["task_id"])
    assert again["attempt"] == 2
    assert len(site.requests) > asked
    assert again["files"] != done["files"]
    fetched = await mortal.fetch(again["files"]["video"], tmp_path / "video.mp4")
    assert sha256(fetched) == sha256(media / "1mb.mp4")


async def test_a_dead_fork_server_is_replaced_and_its_tasks_go_on_from_where_they_were(
    service: Service, site: Site, media: Path, tmp_path: Path
) -> None:
    url = site.url("/8mb.mp4?stall=5000000&after=1&times=1")
    task = await service.submit(url, outputs=["video"])
    await site.stalled()
    await service.wait(task["task_id"], "download")
    [before] = fork_servers(service)
    family = [before, *descendants(before.pid)]
    assert len(family) > 1
    before.kill()
    await gone(family)
    done = await service.wait(task["task_id"])
    [after] = fork_servers(service)
    assert after.pid != before.pid
    assert done["attempt"] == 2
    assert any(request.range for request in site.seen("/8mb.mp4")), "it began from the start again"
    fetched = await service.fetch(done["files"]["video"], tmp_path / "video.mp4")
    assert sha256(fetched) == sha256(media / "8mb.mp4")
    assert service.complaints() == []


@pytest.mark.long
async def test_a_fork_server_that_dies_before_its_child_says_a_word_costs_one_attempt(
    service: Service, site: Site
) -> None:
    await finished(service, site)  # a finished task shows that the fork server is warm
    [fork_server] = fork_servers(service)
    with stopped(fork_server):
        task = await service.submit(site.url("/1mb.mp4"), outputs=["video"])
        await service.wait(task["task_id"], "info")
        fork_server.kill()
    done = await service.wait(task["task_id"])
    assert done["attempt"] == 2
    assert service.complaints() == []


async def test_a_child_that_waits_for_its_predecessor_dies_with_the_server(
    service: Service, site: Site, media: Path, tmp_path: Path
) -> None:
    task = await service.submit(site.url("/1mb.mp4"), outputs=["video"], auto_start=False)
    with locked(service.data / "work" / f"{task['task_id']}.lock"):
        async with service.client.post(f"/api/tasks/{task['task_id']}/resume") as answer:
            assert answer.status == 200
        await service.wait(task["task_id"], "info")
        await service.kill()
        await service.start()
        await service.wait(task["task_id"], "info")
        await asyncio.sleep(0.3)
        assert not (service.data / "work" / task["task_id"] / "out").exists()
        assert site.requests == [], "it works where somebody else still may"
    done = await service.wait(task["task_id"])
    assert done["attempt"] == 2
    fetched = await service.fetch(done["files"]["video"], tmp_path / "video.mp4")
    assert sha256(fetched) == sha256(media / "1mb.mp4")


@pytest.mark.long
@pytest.mark.parametrize(("kind", "first"), [("fmp4", "init.mp4"), ("ts", "0.ts"), ("aes", "0.ts")])
async def test_a_stream_of_segments_that_is_interrupted_twice_neither_lacks_nor_repeats_one(
    service: Service, site: Site, tmp_path: Path, kind: str, first: str
) -> None:
    task = await service.submit(site.url(f"/hls/{kind}/index.m3u8?rate=60000"), outputs=["video"])
    noted = await pieces(service, task["task_id"], other_than=(0, 1))
    for _ in range(2):
        for action in ("pause", "resume"):
            async with service.client.post(f"/api/tasks/{task['task_id']}/{action}") as answer:
                assert answer.status == 200
        noted = await pieces(service, task["task_id"], other_than=(noted,))
    done = await service.wait(task["task_id"])
    film = await service.fetch(done["files"]["video"], tmp_path / "video.mp4")
    assert (await probe(film)).pictures == SECONDS * FRAMES
    assert len(site.seen(f"/hls/{kind}/{first}")) == 1, "what was there was fetched again"


async def test_a_task_whose_child_dies_three_times_in_a_row_ends_in_an_error_and_can_be_retried(
    service: Service, site: Site
) -> None:
    task = await service.submit(site.url("/1mb.mp4?stall=0"), outputs=["video"])
    for attempt in (1, 2, 3):
        # Every child is killed in its first download: one that gets further would end the row of deaths.
        await downloads(service, task["task_id"], attempt)
        [child] = await children(service)
        child.kill()
    failed = await service.wait(task["task_id"], "failed")
    assert (failed["error_code"], failed["attempt"]) == ("worker_lost", 3)
    assert failed["hint"]
    site.release()
    async with service.client.post(f"/api/tasks/{task['task_id']}/retry") as answer:
        assert answer.status == 200
    assert (await service.wait(task["task_id"]))["attempt"] == 4


# --- helpers of these tests ---


async def finished(service: Service, site: Site) -> Payload:
    task = await service.submit(site.url("/1mb.mp4"), outputs=["video"])
    return await service.wait(task["task_id"])


async def all_tasks(service: Service) -> list[Payload]:
    async with service.client.get("/api/tasks") as answer:
        tasks: list[Payload] = (await answer.json())["tasks"]
        return tasks


async def downloads(service: Service, task_id: str, attempt: int) -> None:
    while (seen := await service.status(task_id))["attempt"] < attempt or seen["stage"] != "download":
        await asyncio.sleep(0.01)


async def pieces(service: Service, task_id: str, *, other_than: tuple[int, ...]) -> int:
    """Wait until the number of joined segments, as the child notes it, is none of `other_than`; return it, or
    0 once the task is completed.
    """
    while True:
        found = noted_pieces(service.data / "work" / task_id)
        if found and found[0] not in other_than:
            return int(found[0])
        if not found and (await service.status(task_id))["stage"] == "completed":
            return 0
        await asyncio.sleep(0.02)


def noted_pieces(folder: Path) -> list[int]:
    with suppress(FileNotFoundError):  # the child deletes its note when the last segment is joined
        notes = [note.read_text() for note in folder.glob("*.ytdl")]
        return [json.loads(note)["downloader"]["current_fragment"]["index"] for note in notes]
    return []


def fork_servers(service: Service) -> list[psutil.Process]:
    return [
        process
        for process in children_of(service.pid)
        if any("forkserver" in word for word in command_of(process))
    ]


async def children(service: Service) -> list[psutil.Process]:
    """Wait until the fork server has children; return them."""
    found: list[psutil.Process] = []
    while not found:
        found = [child for server in fork_servers(service) for child in children_of(server.pid)]
        await asyncio.sleep(0.01)
    return found


def leftovers(service: Service) -> list[Path]:
    return list((service.data / "work").iterdir())


@contextmanager
def stopped(process: psutil.Process) -> Iterator[None]:
    process.suspend()
    try:
        yield
    finally:
        if process.is_running():
            process.resume()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file of a task, as a child would that takes long to die."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
