"""A server that cannot use its database says so in one clear line. A backup that was made while the server
ran can be started.
"""

import asyncio
import errno
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager
from pathlib import Path

import pytest

from server.core.unusable import DatabaseUnusable
from server.files.public_names import short_of
from server.storage import sqlite
from server.storage.sqlite import DATABASE, open_lock, open_store
from tests.commands.test_commands import Command, command, of
from tests.service import ROOT, Service
from tests.site import Site, sha256

__all__ = ["command"]


def damage(path: Path) -> None:
    """Overwrite the middle of the file."""
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(bytes(range(256)) * 64)


def run_sql(path: Path, statement: str) -> None:
    database = sqlite3.connect(path)
    with database:
        database.execute(statement)
    database.close()


@pytest.fixture
async def stopped(tmp_path: Path) -> Service:
    """A service that was not started yet, with the database of one that ran."""
    service = Service(tmp_path / "service")
    async with (
        open_lock(service.data),
        open_store(service.data / DATABASE, max_queued=1, find_short=short_of),
    ):
        return service


@pytest.mark.long
async def test_a_second_server_is_told_in_one_line_who_holds_the_data(service: Service) -> None:
    second = Service(service.folder, CLIPWIRE_SERVER__PORT="0")
    began = asyncio.get_running_loop().time()
    line = await refused(second, status=3)
    assert str(service.pid) in line
    assert str(service.data) in line
    assert 10 <= asyncio.get_running_loop().time() - began < 20, "it waits for a server that is stopping"
    async with service.client.get("/healthz") as answer:
        assert answer.status == 200


@pytest.mark.long
async def test_a_server_takes_over_from_one_that_is_stopping(service: Service, site: Site) -> None:
    task = await service.submit(site.url("/8mb.mp4?rate=2000000"), outputs=["video"])
    await service.wait(task["task_id"], "download")
    second = Service(service.folder, CLIPWIRE_SERVER__PORT="0")
    starting = asyncio.create_task(second.start())
    await asyncio.sleep(1)
    assert not starting.done()
    assert await service.stop() == 0
    async with asyncio.timeout(20):
        await starting
    async with AsyncExitStack() as stack:
        stack.push_async_exit(second)
        done = await second.wait(task["task_id"])
        assert done["attempt"] == 2


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        pytest.param(
            lambda path: path.write_bytes(b"no database " * 100), "not a SQLite database", id="garbage"
        ),
        pytest.param(damage, "is damaged", id="damaged"),
        pytest.param(lambda path: path.write_bytes(path.read_bytes()[:5000]), "is damaged", id="cut off"),
        pytest.param(lambda path: run_sql(path, "PRAGMA user_version = 99"), "newer server", id="newer"),
        pytest.param(
            lambda path: run_sql(path, "PRAGMA application_id = 1"), "another program", id="foreign"
        ),
    ],
)
def test_a_database_that_cannot_be_used_is_one_clear_line_and_stays_as_it_is(
    command: Command, stopped: Service, harm: Callable[[Path], object], says: str
) -> None:
    path = stopped.data / DATABASE
    harm(path)
    before = path.read_bytes()
    there = {"CLIPWIRE_STORAGE__DATA_DIR": str(stopped.data), "CLIPWIRE_SERVER__PORT": "0"}
    status, out, line = command(**there)
    assert (status, out, line.count("\n")) == (1, "", 1)
    assert says in line
    assert str(path) in line
    assert path.read_bytes() == before


@pytest.mark.long
async def test_a_database_that_is_read_only_is_one_clear_line(stopped: Service) -> None:
    with read_only(stopped.data):
        line = await refused(stopped, status=1)
    assert str(stopped.data) in line
    assert "cannot be written" in line


async def test_a_backup_made_while_it_runs_can_be_restored(
    service: Service, site: Site, media: Path, tmp_path: Path
) -> None:
    """As `docs/operations.md` says: the copy takes the place of the database, beside the files."""
    finished = await service.submit(site.url("/1mb.mp4"), outputs=["video"])
    done = await service.wait(finished["task_id"])
    running = await service.submit(site.url("/8mb.mp4?stall=5000000&after=1&times=1"), outputs=["video"])
    async with asyncio.timeout(20):
        await site.stalled()
    copy = tmp_path / "backup.db"
    assert await backup(service, copy) == 0
    assert copy.stat().st_mode & 0o077 == 0
    later = await service.submit(site.url("/video.mp4"), auto_start=False)
    await service.kill()

    for path in service.data.glob(f"{DATABASE}*"):
        path.unlink()
    copy.rename(service.data / DATABASE)
    await service.start()
    assert await service.status(finished["task_id"]) == done
    fetched = await service.fetch(done["files"]["video"], tmp_path / "video.mp4")
    assert sha256(fetched) == sha256(media / "1mb.mp4")
    again = await service.wait(running["task_id"])
    fetched = await service.fetch(again["files"]["video"], tmp_path / "video.mp4")
    assert sha256(fetched) == sha256(media / "8mb.mp4")
    async with service.client.get(f"/api/status/{later['task_id']}") as answer:
        assert answer.status == 404, "it was made after the copy"
    assert service.complaints() == []


async def test_a_look_changes_nothing_of_what_a_crash_has_left(
    command: Command, service: Service, tmp_path: Path
) -> None:
    task = await service.submit("http://media.test/", auto_start=False)
    await service.kill()
    path, before = service.data / DATABASE, everything_in(service.data)
    assert path.with_name(f"{DATABASE}-wal").stat().st_size, "the task stands in the log alone"
    for arguments in (["check"], ["backup", str(tmp_path / "copy.db")]):
        assert (await asyncio.to_thread(command, *arguments, **of(service)))[0] == 0
    assert everything_in(service.data) == before
    assert tasks_in(tmp_path / "copy.db") == [task["task_id"]]


@pytest.mark.parametrize("index", ["as it was", "empty", "gone"])
async def test_a_look_sees_what_only_the_log_says(tmp_path: Path, index: str) -> None:
    """A copy that was made by hand may lack the index of the log; after a power cut the index may be
    empty.
    """
    path = tmp_path / DATABASE
    await migrated(path)
    run_sql_and_die(path, "PRAGMA user_version = 99")
    shm = path.with_name(f"{DATABASE}-shm")
    if index == "empty":
        shm.write_bytes(b"")
    elif index == "gone":
        shm.unlink()
    before = everything_in(tmp_path)
    with pytest.raises(DatabaseUnusable, match="newer server"):
        await sqlite.check(path)
    assert everything_in(tmp_path) == before


async def test_a_look_at_a_database_that_was_closed_leaves_no_log(tmp_path: Path) -> None:
    path = tmp_path / DATABASE
    await migrated(path)
    before = everything_in(tmp_path)
    await sqlite.check(path)
    assert everything_in(tmp_path) == before
    with path.open("r+b") as file:
        file.truncate(5000)
    with pytest.raises(DatabaseUnusable, match="damaged"):
        await sqlite.check(path)


async def test_a_look_works_where_nobody_can_write_and_beside_a_server(tmp_path: Path) -> None:
    path = tmp_path / "data" / DATABASE
    async with opened(path):
        await sqlite.check(path)
        await sqlite.backup(path, tmp_path / "copy.db")
    run_sql_and_die(path, "CREATE TABLE kept (number)")
    with read_only(path.parent):
        await sqlite.check(path)
        await sqlite.backup(path, tmp_path / "copy of what a crash has left.db")


async def test_a_database_that_this_user_may_not_even_look_at_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Path) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "exists", refuse)
    for looking in (sqlite.check(tmp_path / DATABASE), sqlite.backup(tmp_path / DATABASE, tmp_path / "copy")):
        with pytest.raises(DatabaseUnusable, match="cannot be opened"):
            await looking


async def refused(service: Service, status: int) -> str:
    """Start a server that fails; return its only line."""
    service.log.clear()
    with pytest.raises(RuntimeError, match="did not start"):
        await service.start()
    assert await service.ended() == status
    [line] = service.log
    assert line.startswith("clipwire: ")
    return line


async def backup(service: Service, target: Path) -> int:
    program = [sys.executable, "-m", "server", "backup", str(target)]
    result = await asyncio.to_thread(subprocess.run, program, cwd=ROOT, env=service.environment())
    return result.returncode


def everything_in(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Return the time of a folder, and name, time and bytes of all files in it."""
    files = (path for path in folder.rglob("*") if path.is_file())
    found = {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}
    return found | {"": (folder.stat().st_mtime_ns, b"")}


def tasks_in(path: Path) -> list[str]:
    database = sqlite3.connect(path)
    found = [task_id for (task_id,) in database.execute("SELECT task_id FROM tasks")]
    database.close()
    return found


def opened(path: Path) -> AbstractAsyncContextManager[object]:
    path.parent.mkdir(exist_ok=True)
    return sqlite.open_store(path, max_queued=10, find_short=lambda _: None)


async def migrated(path: Path) -> None:
    async with opened(path):
        pass


def run_sql_and_die(path: Path, statement: str) -> None:
    """Run a statement in a process that dies, so that its change stays in the write-ahead log."""
    program = (
        "import os, sqlite3, sys\n"
        "database = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "database.execute(sys.argv[2])\n"
        "os._exit(0)\n"
    )
    subprocess.run([sys.executable, "-c", program, path, statement], check=True)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Make the data read-only: root may write everything, unless the file system itself is read-only.

    Other users can't mount a file system, but must respect the mode of the database. (The server corrects the
    mode of the folder.)
    """
    if os.geteuid():
        (folder / DATABASE).chmod(0o400)
        yield
        (folder / DATABASE).chmod(0o600)
        return
    subprocess.run(["mount", "--bind", folder, folder], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", folder], check=True)
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)
