"""Only one server may use a data directory."""

import asyncio
import errno
import os
import stat
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

from server.core.unusable import DatabaseUnusable
from server.storage.sqlite.data_dir_lock import LOCK, DataDirInUse, open_lock

HOLDER = """
import asyncio, sys
from pathlib import Path
from server.storage.sqlite import open_lock

async def hold():
    async with open_lock(Path(sys.argv[1])):
        print("held", flush=True)
        await asyncio.sleep(60)

asyncio.run(hold())
"""


async def test_a_second_server_is_told_who_holds_the_directory(tmp_path: Path) -> None:
    async with asyncio.timeout(20), open_lock(tmp_path):
        with pytest.raises(DataDirInUse) as caught:
            async with open_lock(tmp_path, patience=0.1):
                pass
    assert caught.value.pid == os.getpid()
    line = str(caught.value)
    assert str(os.getpid()) in line
    assert str(tmp_path) in line
    assert "\n" not in line


async def test_a_file_system_without_locks_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: int, __: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(DatabaseUnusable) as caught:
        async with open_lock(tmp_path):
            pass
    line = str(caught.value)
    assert line.startswith(f"{tmp_path / LOCK} cannot be locked (No locks available): ")
    assert "\n" not in line


async def test_a_second_server_waits_for_the_first_to_go(tmp_path: Path) -> None:
    order = []

    async def second() -> None:
        async with open_lock(tmp_path, patience=15):
            order.append("second in")

    async with asyncio.timeout(20):
        async with open_lock(tmp_path):
            waiting = asyncio.create_task(second())
            while not waiting.done() and not order:
                await asyncio.sleep(0.15)  # long enough for one or two tries
                order.append("first out")
        await waiting
    assert order == ["first out", "second in"]


async def test_a_server_that_gives_up_leaves_the_holder_alone(tmp_path: Path) -> None:
    async with asyncio.timeout(20), open_lock(tmp_path):
        for _ in range(2):
            with pytest.raises(DataDirInUse):
                async with open_lock(tmp_path, patience=0):
                    pass


async def python(*arguments: str) -> asyncio.subprocess.Process:
    """Start a child that inherits every descriptor which may be inherited."""
    return await asyncio.create_subprocess_exec(
        sys.executable, *arguments, stdin=PIPE, stdout=PIPE, close_fds=False
    )


@pytest.mark.wide
async def test_a_killed_server_holds_nothing(tmp_path: Path) -> None:
    async with asyncio.timeout(20):
        holder = await python("-c", HOLDER, str(tmp_path))
        assert holder.stdout
        assert await holder.stdout.readline() == b"held\n"
        with pytest.raises(DataDirInUse) as caught:
            async with open_lock(tmp_path, patience=0):
                pass
        assert caught.value.pid == holder.pid
        holder.kill()
        await holder.wait()
        async with open_lock(tmp_path, patience=0):
            assert (tmp_path / LOCK).read_text() == f"{os.getpid()}\n"


async def test_a_process_that_outlives_the_server_does_not_inherit_the_lock(tmp_path: Path) -> None:
    async with asyncio.timeout(20):
        async with open_lock(tmp_path):
            child = await python("-c", "input()")
        # Wait for the lock: a process that another test forks just now holds it open until its `exec`.
        async with open_lock(tmp_path, patience=15):
            assert child.returncode is None
        await child.communicate(b"\n")


async def test_the_directory_and_the_file_are_private(tmp_path: Path) -> None:
    data_dir = tmp_path / "deep" / "data"
    async with open_lock(data_dir):
        assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700
        assert stat.S_IMODE((data_dir / LOCK).stat().st_mode) == 0o600


async def test_a_directory_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DatabaseUnusable, match="cannot be written") as caught:
        async with open_lock(tmp_path / "file" / "data"):
            pass
    assert "\n" not in str(caught.value)
