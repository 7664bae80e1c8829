"""A data directory that disappears while the server runs: the server accepts nothing that the next start
would not know, and goes on by itself once the directory is back.
"""

import asyncio
import errno
import logging
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from server.core.data_dir import DataDir
from server.core.errors import StorageFailed
from server.core.task import Stage, TaskStatus
from server.files.local import LocalFiles
from server.files.public_names import short_of
from server.files.workplace import LocalWorkplace
from server.storage.sqlite import open_store
from server.tasks import janitor
from tests.adding import add
from tests.examples import new_task, started
from tests.inside import TASK, Inside, inside
from tests.site import Site
from tests.storage.test_migrations import NOBODY, as_somebody_else
from tests.storage.test_migrations import shared as shared

STALLS = "/1mb.mp4?stall=300000&after=1&times=1"


class Folder:
    """A data directory behind a symbolic link, with methods that take it away and put it back."""

    def __init__(self, home: Path) -> None:
        self.path, self._was, self._other = home / "data", home / "was", home / "other"
        self._was.mkdir()
        self._other.mkdir()
        self.path.symlink_to(self._was)

    def switch(self) -> None:
        """Let the link lead to another folder, as a deployment does."""
        self.path.unlink()
        self.path.symlink_to(self._other)

    def remove(self) -> None:
        self.path.unlink()

    def put_back(self) -> None:
        self.path.unlink(missing_ok=True)
        self.path.symlink_to(self._was)

    def delete(self) -> None:
        shutil.rmtree(self._was)

    def empty(self) -> None:
        self.delete()
        self._was.mkdir()

    def copy(self) -> None:
        """Copy the data to another place and let the link lead there, as after the restore of a backup."""
        pipes = shutil.ignore_patterns("people.bell")  # `copytree` cannot copy a pipe
        shutil.copytree(self._was, self._other, dirs_exist_ok=True, ignore=pipes)
        self.switch()

    def lose_the_log_of_the_database(self) -> None:
        """Delete the write-ahead log, which has all commits that no checkpoint has moved into the
        database.
        """
        (self._was / "clipwire.db-wal").unlink()

    def mount(self) -> None:
        command = ["mount", "-t", "tmpfs", "-o", "size=1m", "clipwire-test", str(self._was)]
        if os.geteuid() or subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("needs to mount a file system of its own")

    def unmount(self) -> None:
        subprocess.run(["umount", "-l", str(self._was)], check=True)


GOES = [
    Folder.delete,
    Folder.empty,
    Folder.remove,
    Folder.switch,
    Folder.copy,
    Folder.mount,
    Folder.lose_the_log_of_the_database,
]
RETURNS = [(Folder.remove, Folder.put_back), (Folder.switch, Folder.put_back), (Folder.mount, Folder.unmount)]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    folder = Folder(tmp_path)
    yield folder
    if os.path.ismount(tmp_path / "was"):
        folder.unmount()


class Looks:
    """Counts how often the server checks its data directory, and makes it check more often than by
    default.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(janitor, "CHECK_DISK_EVERY", 0.02)
        monkeypatch.setattr(janitor, "CHECK_IDLE_DISK_EVERY", 0.02)
        original, self.count = DataDir.look, 0

        async def counted(data: DataDir) -> str | None:
            found = await original(data)
            self.count += 1
            return found

        monkeypatch.setattr(DataDir, "look", counted)

    async def again(self, times: int = 5) -> None:
        until = self.count + times
        while self.count < until:
            await asyncio.sleep(0.01)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Looks:
    return Looks(monkeypatch)


async def submitted(server: Inside, **headers: str) -> int:
    async with server.client.post("/api/process", json=TASK, headers=headers) as answer:
        assert answer.status == 202 or (await answer.json())["code"] == "storage_failed"
        return answer.status


async def readiness(server: Inside) -> tuple[int, dict[str, Any]]:
    async with server.client.get("/readyz?lang=en") as answer:
        return answer.status, (await answer.json())["checks"]


async def is_ready(server: Inside) -> None:
    while (await readiness(server))[0] != 200:
        await asyncio.sleep(0.02)


def complaints(log: pytest.LogCaptureFixture) -> list[str]:
    """Return all warnings, errors, and messages with a traceback."""
    return [
        record.getMessage() for record in log.records if record.levelno >= logging.WARNING or record.exc_info
    ]


@pytest.mark.parametrize("go", GOES)
async def test_without_its_data_directory_a_server_takes_nothing_and_says_so_once(
    folder: Folder, looks: Looks, caplog: pytest.LogCaptureFixture, go: Callable[[Folder], None]
) -> None:
    async with inside(folder.path.parent) as server:
        await is_ready(server)
        assert await submitted(server, **{"Idempotency-Key": "known"}) == 202
        caplog.clear()
        go(folder)
        assert [await submitted(server) for _ in range(5)] == [503] * 5
        assert await submitted(server, **{"Idempotency-Key": "known"}) == 503
        async with server.client.post("/api/process/batch", json={"requests": [TASK] * 2}) as answer:
            assert answer.status == 503
        reused = {"json": TASK | {"reuse": True}}
        async with server.client.post("/api/process", **reused) as answer:  # type: ignore[arg-type]
            assert answer.status == 503
        status, checks = await readiness(server)
        assert (status, checks["data_dir"]["ok"]) == (503, False)
        assert folder.path.name in checks["data_dir"]["detail"]
        await looks.again()
        [line] = complaints(caplog)
        assert str(folder.path) in line


@pytest.mark.wide
@pytest.mark.parametrize(("go", "come"), RETURNS)
async def test_what_ran_goes_on_once_the_directory_is_back(
    folder: Folder,
    looks: Looks,
    site: Site,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    go: Callable[[Folder], None],
    come: Callable[[Folder], None],
) -> None:
    monkeypatch.setattr("server.tasks.runner.DISK_DELAY", 0.1)
    async with inside(folder.path.parent) as server:
        await is_ready(server)
        running = await server.submit(url=site.url(STALLS), outputs=["video"], auto_start=True)
        await site.stalled()
        caplog.clear()
        go(folder)
        site.release()
        await looks.again(20)
        told = complaints(caplog)
        assert told[0].startswith(str(folder.path))
        assert [line for line in told[1:] if running not in line] == []
        assert len(told) <= 2, told
        come(folder)
        await is_ready(server)
        done = await server.reached(running, "completed")
        assert done["files"]
        assert await submitted(server) == 202
        assert "in order again" in complaints(caplog)[-1]


async def test_nothing_begins_while_a_folder_is_missing_and_nothing_fails_by_it(
    folder: Folder,
    looks: Looks,
    site: Site,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("server.tasks.runner.DISK_DELAY", 0.1)
    async with inside(folder.path.parent) as server:
        await is_ready(server)
        caplog.clear()
        shutil.rmtree(folder.path / "work")
        task = await server.submit(url=site.url("/video.mp4"), outputs=["video"], auto_start=True)
        await looks.again()
        status, checks = await readiness(server)
        assert (status, "work cannot be used" in checks["data_dir"]["detail"]) == (503, True)
        assert (await server.status(task))["status"] == "processing"
        assert len(complaints(caplog)) == 1
        (folder.path / "work").mkdir()
        assert (await server.reached(task, "completed"))["files"]


async def test_a_check_that_is_slow_takes_back_nothing_that_a_later_one_has_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    data = DataDir(tmp_path / "data", ("work",))
    data.make()
    look, seen, go, loop = DataDir.unusable, asyncio.Event(), threading.Event(), asyncio.get_running_loop()

    def slowly(data: DataDir) -> list[tuple[Path, str]]:
        found = look(data)
        loop.call_soon_threadsafe(seen.set)
        assert go.wait(20)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(DataDir, "unusable", slowly)
        slow = asyncio.create_task(data.look())
        await seen.wait()
    (tmp_path / "data" / "work").rmdir()
    assert await data.look()
    go.set()
    assert await slow is None
    assert len(complaints(caplog)) == 1
    assert await data.look()
    assert len(complaints(caplog)) == 1
    data.make()
    assert await data.look() is None
    assert "in order again" in complaints(caplog)[-1]


async def test_a_sweep_passes_over_folders_that_are_gone(tmp_path: Path) -> None:
    files = LocalFiles(LocalWorkplace(tmp_path / "data"))
    files.workplace.data.make()
    shutil.rmtree(tmp_path / "data")
    async with open_store(tmp_path / "clipwire.db", max_queued=10, find_short=short_of) as store:
        await files.sweep(store)


async def test_a_directory_that_goes_during_the_commit_is_noticed_before_the_answer(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    look, is_there = DataDir.lost, True

    def then_it_goes(data: DataDir) -> str | None:
        lost = look(data)
        if not (is_there or lost):
            folder.remove()
        return lost

    monkeypatch.setattr(DataDir, "lost", then_it_goes)
    async with open_store(folder.path / "clipwire.db", max_queued=10, find_short=short_of) as store:
        await add(store, new_task())
        is_there = False
        with pytest.raises(StorageFailed):
            await add(store, new_task())


async def test_in_a_directory_that_went_before_the_commit_nothing_is_changed(folder: Folder) -> None:
    async with open_store(folder.path / "clipwire.db", max_queued=10, find_short=short_of) as store:
        task = await add(store, new_task())
        folder.remove()
        with pytest.raises(StorageFailed):
            await store.save(started(task.status))
        assert await store.get(task.status.task_id) == task
        folder.put_back()
        assert await store.save(started(task.status))


async def test_nothing_is_swept_from_a_directory_that_took_the_place_of_another(folder: Folder) -> None:
    task = "11111111-1111-4111-8111-111111111111"

    class Nobodys:
        async def stages(self, task_ids: list[str]) -> dict[str, Stage]:
            return {}

        async def statuses(self, task_ids: Sequence[str]) -> list[TaskStatus]:
            return []

    workplace = LocalWorkplace(folder.path)
    workplace.data.make()
    lock = folder.path / "clipwire.lock"
    lock.touch()
    workplace.data.keep_watch_of(lock)
    folder.copy()
    (folder.path / "files" / task).mkdir()
    await LocalFiles(workplace).sweep(Nobodys())
    assert (folder.path / "files" / task).exists()
    folder.put_back()
    (folder.path / "files" / task).mkdir()
    await LocalFiles(workplace).sweep(Nobodys())
    assert not (folder.path / "files" / task).exists()


async def test_cookies_are_not_stored_in_a_directory_that_took_the_place_of_another(folder: Folder) -> None:
    cookies, text = "/api/cookies/mine", ".media.test\tTRUE\t/\tFALSE\t0\tname\tvalue\n"
    headers = {"Content-Type": "text/plain"}
    async with inside(folder.path.parent) as server:
        assert await submitted(server) == 202
        # The server writes the ballast by itself after its first commit.
        while not (folder.path / "ballast").exists():
            await asyncio.sleep(0.01)
        folder.switch()
        async with server.client.put(cookies, data=text, headers=headers) as answer:
            assert answer.status == 503
        async with server.client.delete(cookies) as answer:
            assert answer.status == 503
        assert list(folder.path.iterdir()) == []


async def test_a_folder_that_the_user_may_not_write_is_named_and_how_to_mend_it(shared: Path) -> None:
    data = DataDir(shared / "data")
    data.make()
    assert data.unusable() == []
    if not os.geteuid():
        for path in (data.path, *data.folders):
            os.chown(path, NOBODY, NOBODY)
        assert [path for path, why in data.unusable() if "chown -R 0 " in why] == data.folders
    (data.path / "logs").chmod(0o500)
    with as_somebody_else():
        [(path, why)] = data.unusable()
    assert path == data.path / "logs"
    assert "give write access to" in why
    data.path.chmod(0o500)
    with as_somebody_else():
        assert [path for path, _ in data.unusable()] == [data.path]


def test_a_folder_that_finished_files_cannot_be_moved_into_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = DataDir(tmp_path)
    data.make()
    (tmp_path / "files").rmdir()
    with TemporaryDirectory(dir="/dev/shm") as elsewhere:
        (tmp_path / "files").symlink_to(elsewhere)
        is_apart = tmp_path.stat().st_dev != Path(elsewhere).stat().st_dev
        assert [path.name for path, _ in data.unusable()] == ["files"] * is_apart
    (tmp_path / "files").unlink()
    (tmp_path / "files").mkdir()
    assert data.unusable() == []

    def refuse(source: Path, target: Path) -> None:  # Linux refuses this between two mounts of one disk
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), str(source), None, str(target))

    monkeypatch.setattr(Path, "rename", refuse)
    [(path, why)] = data.unusable()
    assert (path, why.startswith("is not on the same mount as ")) == (tmp_path / "files", True)


async def test_files_that_a_start_as_another_user_left_are_named(shared: Path) -> None:
    data, task = DataDir(shared / "data"), "11111111-1111-4111-8111-111111111111"
    data.make()
    (data.path / "clipwire.lock").touch()
    (data.path / "work" / task).mkdir()
    (data.path / "logs" / f"{task}.log").touch()
    (data.path / "work" / "lost+found").mkdir()
    assert data.unusable_files() == []
    data.path.chmod(0o755)
    (data.path / "clipwire.lock").chmod(0o400)
    with as_somebody_else():
        found = [path.name for path, _ in data.unusable_files()]
    assert found[0] == "clipwire.lock"
    if not os.geteuid():
        os.chown(data.path / "work" / "lost+found", NOBODY, NOBODY)
        os.chown(data.path / "logs" / f"{task}.log", NOBODY, NOBODY)
        [(path, why)] = data.unusable_files()
        assert (path.name, why.endswith(f"chown -R 0 {path}")) == (f"{task}.log", True)


async def test_what_cannot_be_read_is_the_storages_fault_and_not_the_programs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with inside(tmp_path) as server:
        task, logs = await server.submit(), tmp_path / "data" / "logs"
        shutil.rmtree(logs)
        logs.touch()
        async with server.client.get(f"/api/tasks/{task}/log") as answer:
            assert (answer.status, (await answer.json())["code"]) == (503, "storage_failed")
    assert "Traceback" not in caplog.text


async def test_what_cannot_be_deleted_is_the_storages_fault_and_not_the_programs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    async with inside(tmp_path) as server:
        task = await server.submit()
        monkeypatch.setattr("server.files.local.delete_path", refuse)
        async with server.client.delete(f"/api/tasks/{task}") as answer:
            assert (answer.status, (await answer.json())["code"]) == (503, "storage_failed")
        [line] = complaints(caplog)
        assert "Permission denied" in line
        monkeypatch.undo()
        async with server.client.delete(f"/api/tasks/{task}") as answer:
            assert answer.status == 204
