"""Actions of clients on a task: from every stage, twice, at the last moment, and all at once."""

import asyncio
import random
from collections import Counter
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from server.tasks import children
from tests.child.test_faults import long_sound
from tests.service import FINAL, Payload, Service, gone
from tests.site import Site, sha256

CONTRACT = 2.0  # seconds within which all processes of a task have to end after an action
GONE_WITHIN = 30  # seconds that are enough on a busy machine
SOURCES = {
    "info": "/1mb.mp4?wait=30",
    "download": "/8mb.mp4?rate=50000",  # a download that lasts longer than any test
    "convert": "/long.m4a",
}
MAX_CONCURRENT = 4  # downloads at the same time, by default
ACTIONS = ("cancel", "pause", "resume", "retry")


# In `convert` the child has started an ffmpeg.
@pytest.mark.parametrize(
    "stage",
    [stage if stage == "convert" else pytest.param(stage, marks=pytest.mark.wide) for stage in SOURCES],
)
async def test_in_any_stage_the_child_and_all_it_started_are_gone_when_the_answer_comes(
    service: Service, site: Site, media: Path, stage: str
) -> None:
    assert SOURCES["convert"] == f"/{long_sound(media).name}"
    for action, expected in (("cancel", "cancelled"), ("pause", "paused"), ("delete", None)):
        task = await begun(service, site, stage)
        family = service.processes()[1:]  # all processes but the fork server, which stays
        assert family
        async with asyncio.timeout(GONE_WITHIN):
            assert await act(service, task["task_id"], action) in (HTTPStatus.OK, HTTPStatus.NO_CONTENT)
        assert not any(map(writes, family))
        await gone(family)
        if expected is None:
            assert service.files_of(task["task_id"]) == []
            continue
        assert (await service.status(task["task_id"]))["stage"] == expected
        assert await act(service, task["task_id"], action) == HTTPStatus.OK, "the second time is a no-op"
        assert (await service.status(task["task_id"]))["stage"] == expected


async def test_what_fits_no_stage_is_refused_by_name(service: Service, site: Site) -> None:
    running = await begun(service, site, "download")
    assert await refusal(service, running["task_id"], "retry") == "wrong_stage"
    assert await act(service, running["task_id"], "resume") == HTTPStatus.OK
    await act(service, running["task_id"], "cancel")
    for action in ("pause", "resume"):
        assert await refusal(service, running["task_id"], action) == "task_already_final"
    task = await service.submit(site.url("/video.mp4"), outputs=["video"])
    await service.wait(task["task_id"])
    for action in ("cancel", "pause", "resume"):
        assert await refusal(service, task["task_id"], action) == "task_already_final"


async def test_what_waits_begins_at_once_when_it_is_started(service: Service, site: Site) -> None:
    running = [await begun(service, site, "download") for _ in range(MAX_CONCURRENT)]
    waiting = await service.submit(site.url(SOURCES["download"]), outputs=["video"])
    later = {"start_at": "2099-01-01T00:00:00Z"}
    scheduled = await service.submit(site.url(SOURCES["download"]), outputs=["video"], **later)
    paused = await service.submit(site.url(SOURCES["download"]), outputs=["video"], auto_start=False)
    for task in (waiting, scheduled, paused):
        assert (await service.status(task["task_id"]))["stage"] in ("queued", "paused")
        for _ in range(2):  # the second call has no effect
            async with service.client.post(f"/api/tasks/{task['task_id']}/start") as answer:
                started = await answer.json()
                assert (answer.status, started["stage"]) in ((200, "info"), (200, "download"))
        assert not {"waiting", "not_before"} & started.keys()
    for task in running:
        assert (await service.status(task["task_id"]))["stage"] == "download", "it goes on"


async def test_nothing_is_started_while_the_queue_is_paused_or_after_its_end(
    service: Service, site: Site
) -> None:
    task = await service.submit(site.url("/video.mp4"), outputs=["video"], auto_start=False)
    async with service.client.post("/api/queue/pause") as answer:
        assert answer.status == HTTPStatus.OK
    assert await refusal(service, task["task_id"], "start") == "queue_paused"
    assert (await service.status(task["task_id"]))["stage"] == "paused"
    async with service.client.post("/api/queue/resume") as answer:
        assert answer.status == HTTPStatus.OK
    assert await act(service, task["task_id"], "start") == HTTPStatus.OK
    await service.wait(task["task_id"])
    assert await refusal(service, task["task_id"], "start") == "task_already_final"


async def test_a_paused_download_stays_so_over_a_restart_and_goes_on_from_where_it_was(
    service: Service, site: Site, media: Path, tmp_path: Path
) -> None:
    task = await service.submit(site.url("/8mb.mp4?stall=5000000&after=1&times=1"), outputs=["video"])
    await site.stalled()
    await service.wait(task["task_id"], "download")
    assert await act(service, task["task_id"], "pause") == HTTPStatus.OK
    await service.restart()
    assert (await service.status(task["task_id"]))["stage"] == "paused"
    assert await act(service, task["task_id"], "resume") == HTTPStatus.OK
    done = await service.wait(task["task_id"])
    fetched = await service.fetch(done["files"]["video"], tmp_path / "video.mp4")
    assert sha256(fetched) == sha256(media / "8mb.mp4")
    assert any(request.range for request in site.seen("/8mb.mp4")), "it began from the start again"


@pytest.mark.wide
async def test_a_cancelled_download_goes_on_from_where_it_was_when_it_is_retried(
    service: Service, site: Site
) -> None:
    task = await service.submit(site.url("/8mb.mp4?stall=5000000&after=1&times=1"), outputs=["video"])
    await site.stalled()
    await service.wait(task["task_id"], "download")
    assert await act(service, task["task_id"], "cancel") == HTTPStatus.OK
    assert await act(service, task["task_id"], "retry") == HTTPStatus.OK
    assert (await service.wait(task["task_id"]))["attempt"] == 2
    assert any(request.range for request in site.seen("/8mb.mp4")), "it began from the start again"


async def test_a_child_that_does_not_listen_is_killed_in_time(service: Service, site: Site) -> None:
    assert children.GRACE < CONTRACT / 2
    task = await begun(service, site, "download")
    [child] = service.processes()[1:]
    child.suspend()
    async with asyncio.timeout(GONE_WITHIN):
        assert await act(service, task["task_id"], "cancel") == HTTPStatus.OK
    await gone([child])


@pytest.mark.wide
async def test_a_fork_server_that_stands_still_holds_up_no_cancel(service: Service, site: Site) -> None:
    assert children.GRACE + children.KILLED_WITHIN + children.DIES_WITHIN < CONTRACT
    fork_server = await warm(service, site)
    running = [await begun(service, site, "download") for _ in range(2)]
    family = service.processes()[1:]
    family[1].suspend()  # a suspended child does not receive the command to stop
    fork_server.suspend()
    beginning = await service.submit(site.url(SOURCES["info"]), outputs=["video"])
    await service.wait(beginning["task_id"], "info")
    for task in (*running, beginning):
        async with asyncio.timeout(GONE_WITHIN):
            assert await act(service, task["task_id"], "cancel") == HTTPStatus.OK
        assert (await service.status(task["task_id"]))["stage"] == "cancelled"
    assert fork_server.status() == psutil.STATUS_STOPPED, "it was not replaced yet"
    assert not any(map(writes, family))
    fork_server.resume()
    async with asyncio.timeout(GONE_WITHIN):
        while service.processes() != [fork_server]:
            await asyncio.sleep(0.01)


@pytest.mark.long
async def test_a_fork_server_that_stands_still_is_told_by_readyz_and_replaced(
    service: Service, site: Site
) -> None:
    fork_server = await warm(service, site)
    task = await begun(service, site, "info")
    fork_server.suspend()
    async with service.client.get("/readyz?lang=en") as answer:
        check = (await answer.json())["checks"]["fork_server"]
    assert (answer.status, check["ok"]) == (HTTPStatus.SERVICE_UNAVAILABLE, False)
    assert check["detail"] == "no answer within 5 seconds"
    await gone([fork_server])
    await service.ready()
    assert (await service.wait(task["task_id"], "info"))["attempt"] == 2
    assert await act(service, task["task_id"], "cancel") == HTTPStatus.OK


async def test_a_cancel_that_overtakes_the_start_of_the_child_leaves_no_child(
    service: Service, site: Site
) -> None:
    fork_server = await warm(service, site)
    fork_server.suspend()
    task = await service.submit(site.url(SOURCES["info"]), outputs=["video"])
    await service.wait(task["task_id"], "info")
    cancelling = asyncio.create_task(act(service, task["task_id"], "cancel"))
    await asyncio.sleep(0.2)
    assert not cancelling.done()
    fork_server.resume()
    async with asyncio.timeout(GONE_WITHIN):
        assert await cancelling == HTTPStatus.OK
    assert (await service.status(task["task_id"]))["stage"] == "cancelled"
    assert service.processes() == [fork_server]
    assert service.complaints() == []


@pytest.mark.long
async def test_at_the_moment_of_completion_there_is_one_last_word(
    service: Service, site: Site, tmp_path: Path
) -> None:
    """Whichever comes first: a completed task has its file, and a cancelled one leaves no file behind."""
    words: Counter[str] = Counter()
    await warm(service, site)
    delay = 0.05
    while words.total() < 12 or len(words) < 2:
        task = await service.submit(site.url("/video.mp4"), outputs=["video"])
        listening = asyncio.create_task(service.listen(task["task_id"]))
        await asyncio.sleep(delay)
        answer = await act(service, task["task_id"], "cancel")
        last = await service.status(task["task_id"])
        assert (await listening)[-1].count('"stage":"' + last["stage"]) == 1
        assert answer == (HTTPStatus.OK if last["stage"] == "cancelled" else HTTPStatus.CONFLICT)
        words[last["stage"]] += 1
        public = service.data / "files" / task["task_id"]
        assert public.exists() is (last["stage"] == "completed")
        if last["stage"] == "completed":
            await service.fetch(last["files"]["video"], tmp_path / "video.mp4")
        # Later tries come closer to the moment of completion, however long this machine takes for a film just
        # now.
        delay *= 1.4 if last["stage"] == "cancelled" else 0.8
    assert set(words) == {"completed", "cancelled"}
    assert service.complaints() == []


@pytest.mark.long
async def test_everything_at_once_from_many_clients_ends_in_one_word_and_no_fault(
    service: Service, site: Site
) -> None:
    tasks = [await service.submit(site.url("/1mb.mp4?rate=900000"), outputs=["video"]) for _ in range(8)]
    ids = [task["task_id"] for task in tasks]
    answers: Counter[int] = Counter()

    async def client(seed: int) -> None:
        choice = random.Random(seed)
        for _ in range(25):
            await asyncio.sleep(choice.uniform(0, 0.1))
            answers[await act(service, choice.choice(ids), choice.choice([*ACTIONS, "prioritize"]))] += 1

    await asyncio.gather(*map(client, range(8)))
    assert set(answers) == {HTTPStatus.OK, HTTPStatus.CONFLICT}, answers
    for task_id in ids:
        payload = await service.status(task_id)
        if payload["stage"] == "paused":
            await act(service, task_id, "resume")
        await service.wait(task_id, *FINAL)
    await asyncio.gather(*(act(service, task_id, "delete") for task_id in ids for _ in range(2)))
    for folder in ("work", "files", "logs"):
        assert list((service.data / folder).iterdir()) == []
    assert len(service.processes()) == 1, "more than the fork server"
    assert service.complaints() == []


@pytest.mark.wide
async def test_a_retry_in_the_moment_of_the_failure_is_not_lost(service: Service, site: Site) -> None:
    """The client retries as early as possible: as soon as it learns of the failure, while the attempt still
    deletes files.
    """
    for _ in range(8):
        task = await service.submit(site.url("/missing.mp4"), outputs=["video"])
        await service.listen(task["task_id"])
        assert await act(service, task["task_id"], "retry") == HTTPStatus.OK
        failed = await service.wait(task["task_id"], "failed")
        while failed["attempt"] == 1:
            failed = await service.wait(task["task_id"], "failed")
        assert failed["attempt"] == 2


async def test_a_change_of_priority_moves_what_waits_and_leaves_alone_what_runs(
    service: Service, site: Site
) -> None:
    for _ in range(MAX_CONCURRENT - 1):
        hanging = await service.submit(site.url("/8mb.mp4?stall=500000&after=1"), outputs=["video"])
        await service.wait(hanging["task_id"], "download")
    running = await begun(service, site, "download")
    first, second = [await service.submit(site.url("/video.mp4"), outputs=["video"]) for _ in range(2)]
    for _ in range(2):
        assert await act(service, second["task_id"], "prioritize") == HTTPStatus.OK
    assert await act(service, running["task_id"], "prioritize") == HTTPStatus.OK
    assert (await service.status(running["task_id"]))["stage"] == "download"
    assert (await service.status(running["task_id"]))["attempt"] == 1
    await act(service, running["task_id"], "cancel")
    await service.wait(first["task_id"])
    ended = [await service.status(task["task_id"]) for task in (first, second)]
    assert [payload["stage"] for payload in ended] == ["completed", "completed"]
    assert site.requests
    assert await refusal(service, running["task_id"], "prioritize") == "task_already_final"


# --- helpers ---


async def begun(service: Service, site: Site, stage: str) -> Payload:
    """Submit a task and return it once it is working in `stage`."""
    outputs = ["audio"] if stage == "convert" else ["video"]
    task = await service.submit(site.url(SOURCES[stage]), outputs=outputs)
    await service.wait(task["task_id"], stage)
    while len(service.processes()) < (3 if stage == "convert" else 2):
        await asyncio.sleep(0.01)
    return task


async def act(service: Service, task_id: str, action: str) -> int:
    path = f"/api/tasks/{task_id}"
    if action == "delete":
        request = service.client.delete(path)
    elif action == "prioritize":
        request = service.client.patch(path, json={"priority": random.randint(1, 9)})
    else:
        request = service.client.post(f"{path}/{action}")
    async with request as answer:
        return answer.status


async def refusal(service: Service, task_id: str, action: str) -> str:
    path = f"/api/tasks/{task_id}"
    request = (
        service.client.patch(path, json={"priority": 1})
        if action == "prioritize"
        else service.client.post(f"{path}/{action}")
    )
    async with request as answer:
        assert answer.status == HTTPStatus.CONFLICT, await answer.text()
        return str((await answer.json())["code"])


async def warm(service: Service, site: Site) -> psutil.Process:
    """Run a job, so that the fork server is warm; return its process."""
    task = await service.submit(site.url("/video.mp4"), outputs=["video"])
    await service.wait(task["task_id"])
    while len(found := service.processes()) > 1:
        await asyncio.sleep(0.01)
    return found[0]


def writes(process: psutil.Process) -> bool:
    """Return whether the process could still write a file: a zombie cannot."""
    with suppress(psutil.NoSuchProcess):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False
