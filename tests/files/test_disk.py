"""A disk that fills up: nothing is lost, clients are told, and the service goes on when there is room.

If the tests run as root, the data is on a small file system of its own, which is filled to the last byte.
Otherwise tests that need this are skipped, and the floor is set a little below the free space.
"""

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from uuid import uuid4

import pytest

from server.child.process.job_failed import is_full
from server.storage.sqlite.ballast import SIZE
from tests.service import ROOT, Payload, Service, gone
from tests.site import Site, sha256
from tests.storage.test_database_faults import refused

MIB = 1 << 20
HANGS_ONCE = "/8mb.mp4?stall=5000000&after=1&times=1"
NO_ROOM = "Waiting... there is not room enough on the disk"


@dataclass(frozen=True, slots=True)
class Volume:
    """The file system with the data; `fill` leaves less than `floor` bytes free."""

    folder: Path
    floor: int
    ballast: int

    @contextmanager
    def filled(self) -> Iterator[None]:
        path = self.folder / "ballast"
        with path.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, self.ballast)
        try:
            yield
        finally:
            path.unlink()

    @contextmanager
    def all_but(self, free: int) -> Iterator[None]:
        path = self.folder / "ballast"
        with path.open("wb") as file:
            # The allocation fails if the service has written since the free bytes were counted: then try
            # again.
            for _ in range(10):
                more = shutil.disk_usage(self.folder).free - free
                with suppress(OSError):
                    os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, max(1, more))
                    break
            else:
                raise AssertionError("the service writes faster than the disk is filled")
        try:
            yield
        finally:
            path.unlink()

    @contextmanager
    def full(self, but: int = 0) -> Iterator[None]:
        """Fill the disk to the last byte, or to all but `but` bytes."""
        path = self.folder / "ballast"
        # The OSError says that the disk is full.
        with path.open("wb", buffering=0) as file, suppress(OSError):
            while (free := shutil.disk_usage(self.folder).free) > but:
                file.write(bytes(max(1, min(free - but, MIB))))
        try:
            yield
        finally:
            path.unlink()


def mounted(folder: Path) -> bool:
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64m,mode=0700", "clipwire-test", str(folder)]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Volume]:
    folder = tmp_path / "volume"
    if mounted(folder):
        try:
            yield Volume(folder, floor=24 * MIB, ballast=44 * MIB)
        finally:
            subprocess.run(["umount", "-l", str(folder)], check=True)
    else:
        yield Volume(folder, floor=shutil.disk_usage(folder).free - 512 * MIB, ballast=1024 * MIB)


@pytest.fixture
def small(volume: Volume) -> Volume:
    if not os.path.ismount(volume.folder):
        pytest.skip("needs to mount a file system of its own")
    return volume


async def test_below_the_floor_all_waits_and_says_so_and_goes_on_by_itself(
    volume: Volume, site: Site, media: Path, tmp_path: Path
) -> None:
    floor = {"CLIPWIRE_DOWNLOADS__MIN_FREE_DISK": str(volume.floor), "CLIPWIRE_SERVER__LANGUAGE": "en"}
    async with Service(volume.folder / "service", **floor) as service:
        task = await service.submit(site.url(HANGS_ONCE), outputs=["video"])
        await site.stalled()
        before = await service.wait(task["task_id"], "download")
        children = service.processes()[1:]
        with volume.filled():
            waiting = await service.wait(task["task_id"], "queued")
            assert (waiting["status"], waiting["message"]) == ("processing", NO_ROOM)
            assert waiting["progress"] >= before["progress"]
            await gone(children)
            async with service.client.post("/api/process", json={"url": site.url("/video.mp4")}) as refused:
                assert refused.status == HTTPStatus.INSUFFICIENT_STORAGE
                assert (await refused.json())["code"] == "disk_full"
            async with service.client.get("/readyz?lang=en") as readiness:
                assert readiness.status == HTTPStatus.SERVICE_UNAVAILABLE
                assert not (await readiness.json())["checks"]["disk"]["ok"]
            assert (await service.status(task["task_id"]))["attempt"] == 1
        done = await service.wait(task["task_id"])
        assert done["attempt"] == 2
        assert any(request.range for request in site.seen("/8mb.mp4")), "it began from the start again"
        fetched = await service.fetch(done["files"]["video"], tmp_path / "video.mp4")
        assert sha256(fetched) == sha256(media / "8mb.mp4")
        assert service.complaints() == []


@pytest.mark.long
async def test_what_waits_for_room_can_be_cancelled_and_removed(volume: Volume, site: Site) -> None:
    floor = {"CLIPWIRE_DOWNLOADS__MIN_FREE_DISK": str(volume.floor)}
    async with Service(volume.folder / "service", **floor) as service:
        task = await service.submit(site.url("/8mb.mp4?rate=500000"), outputs=["video"])
        await service.wait(task["task_id"], "download")
        with volume.filled():
            await service.wait(task["task_id"], "queued")
            async with service.client.post(f"/api/tasks/{task['task_id']}/cancel") as answer:
                assert (await answer.json())["stage"] == "cancelled"
            async with service.client.delete(f"/api/tasks/{task['task_id']}") as answer:
                assert answer.status == HTTPStatus.NO_CONTENT
        assert list((service.data / "work").iterdir()) == []


async def hanging(service: Service, url: str, size: int) -> str:
    """Start a task that stalls with about `size` bytes in its partial file."""
    task = await service.submit(url, outputs=["video"])
    work = service.data / "work" / task["task_id"]
    while sum(part.stat().st_size for part in work.glob("*.part")) < size - MIB:
        await asyncio.sleep(0.02)
    return str(task["task_id"])


@pytest.mark.long
@pytest.mark.parametrize("floor", [pytest.param(24 * MIB, id="floor"), pytest.param(0, id="no floor")])
async def test_what_waits_gets_the_room_of_cancelled_tasks_the_oldest_first(
    small: Volume, site: Site, media: Path, tmp_path: Path, floor: int
) -> None:
    settings = {"CLIPWIRE_DOWNLOADS__MIN_FREE_DISK": str(floor)}
    sooner = patched(
        tmp_path / "patch", "import server.tasks.next_attempt as attempts; attempts.DISK_DELAY = 1"
    )
    async with Service(small.folder / "service", **settings, **sooner) as service:
        cancelled = [
            await hanging(service, site.url(f"/8mb.mp4?stall={size}&after=1"), size)
            for size in (5_000_001, 5_000_002)
        ]
        for task_id in reversed(cancelled):
            async with service.client.post(f"/api/tasks/{task_id}/cancel") as answer:
                assert answer.status == HTTPStatus.OK
        waiting = await hanging(service, site.url("/8mb.mp4?stall=7000000&after=1&times=1"), 7_000_000)
        with small.all_but(max(floor - 2 * MIB, MIB // 4)):
            if not floor:  # with a floor, the stalled task is sent back to the queue
                site.release()
            done = await service.wait(waiting)
        fetched = await service.fetch(done["files"]["video"], tmp_path / "video.mp4")
        assert sha256(fetched) == sha256(media / "8mb.mp4")
        second, first = ((service.data / "work" / task_id).exists() for task_id in cancelled)
        assert (first, second) == (False, True)
        assert [line for line in service.log if cancelled[1] in line and "given up" in line], service.log
        async with service.client.get(f"/api/tasks/{cancelled[1]}/log") as answer:
            assert "its partial files were given up" in await answer.text()
        assert service.complaints() == []


def test_a_child_sees_for_itself_whether_the_disk_is_full(small: Volume) -> None:
    assert not is_full(small.folder)
    with (small.folder / "all").open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(MIB)):
            pass
    assert is_full(small.folder)


@pytest.mark.wide
async def test_a_disk_that_is_full_in_the_middle_loses_nothing(
    small: Volume, site: Site, media: Path, tmp_path: Path
) -> None:
    """At first the disk has no room for the status either: it is saved as soon as there is a little."""
    settings = {"CLIPWIRE_DOWNLOADS__MIN_FREE_DISK": "0", "CLIPWIRE_SERVER__LANGUAGE": "en"}
    sooner = patched(
        tmp_path / "patch", "import server.tasks.next_attempt as attempts; attempts.DISK_DELAY = 3"
    )
    reserve = small.folder / "reserve"
    reserve.write_bytes(bytes(MIB))
    async with Service(small.folder / "service", **settings, **sooner) as service:
        with small.full(but=4 * MIB):
            task = await service.submit(site.url("/8mb.mp4?chunked=yes"), outputs=["video"])
            await out_of_room(service, small)
            reserve.unlink()
            await waits_for_room(service, task["task_id"])
        done = await service.wait(task["task_id"])
        assert any(request.range for request in site.seen("/8mb.mp4")), "it began from the start again"
        fetched = await service.fetch(done["files"]["video"], tmp_path / "video.mp4")
        assert sha256(fetched) == sha256(media / "8mb.mp4")
        assert service.complaints() == []


@pytest.mark.long
async def test_what_will_not_fit_waits_long_before_the_disk_is_full_and_gets_the_room_of_cancelled_tasks(
    small: Volume, site: Site, media: Path, tmp_path: Path
) -> None:
    settings = {"CLIPWIRE_DOWNLOADS__MIN_FREE_DISK": "0", "CLIPWIRE_SERVER__LANGUAGE": "en"}
    sooner = patched(
        tmp_path / "patch", "import server.tasks.next_attempt as attempts; attempts.DISK_DELAY = 0.5"
    )
    async with Service(small.folder / "service", **settings, **sooner) as service:
        cancelled = await hanging(service, site.url("/8mb.mp4?stall=5000000&after=1"), 5_000_000)
        with small.all_but(6 * MIB):
            task = await service.submit(site.url("/8mb.mp4?rate=2000000"), outputs=["video"])
            await waits_for_room(service, task["task_id"])
            assert shutil.disk_usage(small.folder).free > 4 * MIB
            while (again := await service.status(task["task_id"]))["revision"] < 12:
                await asyncio.sleep(0.02)
            assert (again["attempt"], again["waiting"]) == (1, "disk_full"), "its source was asked again"
            async with service.client.post(f"/api/tasks/{cancelled}/cancel") as answer:
                assert answer.status == HTTPStatus.OK
            done = await service.wait(task["task_id"])
        assert done["attempt"] == 2
        fetched = await service.fetch(done["files"]["video"], tmp_path / "video.mp4")
        assert sha256(fetched) == sha256(media / "8mb.mp4")
        assert service.complaints() == []


@pytest.mark.long
async def test_a_disk_without_a_byte_left_takes_no_task_and_lets_the_server_stop(
    small: Volume, site: Site, media: Path, tmp_path: Path
) -> None:
    settings = {"CLIPWIRE_DOWNLOADS__MIN_FREE_DISK": "0"}
    async with Service(small.folder / "service", **settings) as service:
        task = await service.submit(site.url(HANGS_ONCE), outputs=["video"])
        await site.stalled()
        with small.full():
            answers = [await post(service, site.url("/video.mp4")) for _ in range(40)]
            # The log of the database had room for some tasks.
            assert answers[-1] == HTTPStatus.INSUFFICIENT_STORAGE
            assert set(answers) <= {HTTPStatus.ACCEPTED, HTTPStatus.INSUFFICIENT_STORAGE}
            site.release()
            assert await service.stop() == 0
        assert not any("took longer" in line for line in service.log), "it had to be ended by force"
        await service.start()
        done = await service.wait(task["task_id"])
        fetched = await service.fetch(done["files"]["video"], tmp_path / "video.mp4")
        assert sha256(fetched) == sha256(media / "8mb.mp4")
        async with service.client.get("/api/tasks?limit=200") as answer:
            known = (await answer.json())["tasks"]
        assert len(known) == 1 + answers.count(HTTPStatus.ACCEPTED)
        assert service.complaints() == []


@pytest.mark.long
async def test_on_a_disk_without_a_byte_left_tasks_can_be_deleted_which_makes_room(
    small: Volume, site: Site
) -> None:
    async with crowded(small) as service:
        finished = await service.submit(site.url("/8mb.mp4"), outputs=["video"])
        await service.wait(finished["task_id"])
        with small.full():
            await submit_until_refused(service, site)
            async with service.client.delete(f"/api/tasks/{finished['task_id']}") as answer:
                assert answer.status == HTTPStatus.NO_CONTENT
            assert service.files_of(finished["task_id"]) == []
            assert await post(service, site.url("/video.mp4")) == HTTPStatus.ACCEPTED
            await service.kill()
            await service.start()
        assert service.complaints() == []


@pytest.mark.long
async def test_on_a_disk_without_a_byte_left_tasks_can_be_cancelled(small: Volume, site: Site) -> None:
    async with crowded(small) as service:
        waits = await service.submit(site.url("/video.mp4"), auto_start=False)
        with small.full():
            await submit_until_refused(service, site)
            async with service.client.get("/readyz") as answer:
                assert (await answer.json())["checks"]["disk"]["ok"] is False
            async with service.client.post(f"/api/tasks/{waits['task_id']}/cancel") as answer:
                assert answer.status == HTTPStatus.OK
        assert (await service.status(waits["task_id"]))["stage"] == "cancelled"


@asynccontextmanager
async def crowded(volume: Volume) -> AsyncIterator[Service]:
    """A service that keeps nothing free but its ballast, whose ballast is written."""
    settings = {"CLIPWIRE_DOWNLOADS__MIN_FREE_DISK": "0"}
    async with Service(volume.folder / "service", **settings) as service, asyncio.timeout(60):
        while not (ballast := service.data / "ballast").exists() or ballast.stat().st_size < SIZE:
            await asyncio.sleep(0.02)
        yield service


async def submit_until_refused(service: Service, site: Site) -> None:
    """Submit tasks until one is refused: the log of the database has room for some."""
    while await post(service, site.url("/video.mp4")) != HTTPStatus.INSUFFICIENT_STORAGE:
        pass


@pytest.mark.long
async def test_a_server_that_finds_no_room_to_start_says_so_in_one_line(
    small: Volume, tmp_path: Path
) -> None:
    with small.full():
        data = small.folder / "data"
        line = await refused(Service(tmp_path / "service", CLIPWIRE_STORAGE__DATA_DIR=str(data)), status=1)
    assert str(data) in line
    assert "No space left on device" in line or "the disk is full" in line


@pytest.mark.wide
async def test_what_ended_long_enough_ago_is_removed_with_its_files_and_nothing_else(
    site: Site, media: Path, tmp_path: Path
) -> None:
    may_look = tmp_path / "may-look"
    sooner = patched(
        tmp_path / "patch",
        "import pathlib, server.tasks.janitor as j; j.CHECK_EXPIRED_EVERY = 0.2; remove = j.remove_expired\n"
        "async def remove_then(*given):\n"
        f"    if pathlib.Path({str(may_look)!r}).exists(): await remove(*given)\n"
        "j.remove_expired = remove_then",
    )
    settings = {"CLIPWIRE_DOWNLOADS__RETENTION_HOURS": str(4 / 3600)}
    async with Service(tmp_path / "service", **settings, **sooner) as service:
        paused = await service.submit(site.url("/video.mp4"), auto_start=False)
        running = await service.submit(site.url("/8mb.mp4?stall=5000000&after=1"), outputs=["video"])
        task = await service.submit(site.url("/8mb.mp4"), outputs=["video"])
        done = await service.wait(task["task_id"])
        async with service.client.get(done["files"]["video"]) as slow_reader:
            begun = await slow_reader.content.readexactly(1000)
            may_look.touch()
            while await code(service, f"/api/status/{task['task_id']}") != HTTPStatus.NOT_FOUND:
                await asyncio.sleep(0.05)
            while service.files_of(task["task_id"]):
                await asyncio.sleep(0.05)
            whole = begun + await slow_reader.read()
        assert whole == (media / "8mb.mp4").read_bytes(), "who was reading it has lost it"
        assert await code(service, done["files"]["video"]) == HTTPStatus.NOT_FOUND
        assert (await service.status(paused["task_id"]))["stage"] == "paused"
        assert (await service.status(running["task_id"]))["stage"] == "download"
        assert service.complaints() == []


@pytest.mark.long
async def test_leftovers_of_tasks_that_are_no_more_are_swept_at_the_start(
    service: Service, site: Site
) -> None:
    task = await service.submit(site.url("/8mb.mp4?rate=500000"), outputs=["video"])
    await service.wait(task["task_id"], "download")
    await service.kill()
    gone_task = str(uuid4())
    for folder in ("work", "files"):
        (service.data / folder / gone_task).mkdir()
        (service.data / folder / gone_task / "part").write_bytes(bytes(1000))
    (service.data / "logs" / f"{gone_task}.log").touch()
    (service.data / "work" / f"{gone_task}.lock").touch()
    await service.start()
    while service.files_of(gone_task):
        await asyncio.sleep(0.02)
    assert (service.data / "work" / task["task_id"]).exists()


async def out_of_room(service: Service, volume: Volume) -> None:
    """Wait until a child has used up the free space and ended."""
    while shutil.disk_usage(volume.folder).free > MIB // 4 or len(service.processes()) > 1:
        await asyncio.sleep(0.02)


async def waits_for_room(service: Service, task_id: str) -> None:
    seen: list[Payload] = []
    with suppress(TimeoutError):
        async with asyncio.timeout(20):
            while not seen or seen[-1]["message"] != NO_ROOM:
                seen.append(await service.status(task_id))
                await asyncio.sleep(0.02)
    assert seen[-1]["message"] == NO_ROOM, seen[-1]


async def post(service: Service, url: str) -> int:
    async with service.client.post("/api/process", json={"url": url, "auto_start": False}) as answer:
        return answer.status


async def code(service: Service, path: str) -> int:
    async with service.client.get(path) as answer:
        return answer.status


def patched(folder: Path, statement: str) -> dict[str, str]:
    """Return the environment of a server whose interpreter runs `statement` first."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n{statement}\n")
    return {"PYTHONPATH": str(folder)}
