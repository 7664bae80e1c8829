"""`make run-cluster`, started and ended as in a terminal."""

import asyncio
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.cluster.postgres import find_programs
from tests.cluster.s3 import find_weed
from tests.service import ROOT, descendants, gone
from tests.site import Site
from tests.tools import without

# Seconds until the nodes are ready, and until all processes have ended.
READY_WITHIN, GONE_WITHIN = 60.0, 15.0


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for temporary files that every user may read, as `/tmp` is: the database runs as another
    user.
    """
    folder = Path(tempfile.mkdtemp(prefix="clipwire-terminal-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@asynccontextmanager
async def terminal(folder: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run `make run-cluster` in its own process group, which gets Ctrl-C as a whole."""
    if not find_programs() or not find_weed():
        without("PostgreSQL and an S3 server", "make packages")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("CLIPWIRE_")},
        "TMPDIR": str(folder),
        "CLIPWIRE_DOWNLOADS__ALLOWED_PRIVATE_HOSTS": '["127.0.0.1"]',
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.cluster"),
        cwd=ROOT,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def links(process: asyncio.subprocess.Process) -> list[str]:
    assert process.stdout
    async with asyncio.timeout(READY_WITHIN):
        lines = [await process.stdout.readline() for _ in range(4)]
    assert all(lines), "it ended instead"
    return [line.decode().strip() for line in lines]


async def end(process: asyncio.subprocess.Process) -> None:
    """Send Ctrl-C; fail if a process or file is left."""
    started = descendants(process.pid)
    assert started
    began = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    async with asyncio.timeout(GONE_WITHIN):
        assert await process.wait() == 0
    await gone(started, within=max(0.1, began + GONE_WITHIN - time.monotonic()))


@pytest.mark.long
async def test_a_link_goes_in_at_one_node_its_file_comes_out_of_another_and_ctrl_c_leaves_nothing(
    site: Site, media: Path, folder: Path
) -> None:
    async with terminal(folder) as process:
        one, other, *workers = await links(process)
        async with aiohttp.ClientSession() as client:
            body = {"url": site.url("/video.mp4"), "outputs": ["video"]}
            async with client.post(f"{one}/api/process", json=body) as answer:
                task_id = (await answer.json())["task_id"]
            async with asyncio.timeout(30), client.ws_connect(f"{other}/ws/{task_id}") as socket:
                [*_, last] = [message.json() async for message in socket]
            async with client.get(other + last["files"]["video"]) as answer:
                assert await answer.read() == (media / "video.mp4").read_bytes()
            for worker in workers:
                async with client.get(f"{worker}/api/tasks") as answer:
                    assert answer.status == 404
                async with client.get(f"{worker}/readyz") as answer:
                    assert answer.status == 200
        await end(process)
    assert list(folder.iterdir()) == []


@pytest.mark.long
async def test_ctrl_c_in_the_middle_of_the_start_leaves_nothing(folder: Path) -> None:
    async with terminal(folder) as process:
        async with asyncio.timeout(READY_WITHIN):
            while not list(folder.glob("clipwire-server-postgres-*/data/PG_VERSION")):
                assert process.returncode is None
                await asyncio.sleep(0.02)
        await end(process)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("line", ["web: ", "worker: "])
def test_the_procfile_has_a_line_for_each_role(line: str) -> None:
    assert [each for each in (ROOT / "Procfile").read_text().splitlines() if each.startswith(line)]
