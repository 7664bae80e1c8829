"""The servers that tests share leave nothing behind."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from tests.cluster import folders, shared
from tests.cluster.folders import own_folder, remove_abandoned
from tests.cluster.s3 import S3
from tests.cluster.shared import Borrowed, Lender
from tests.ports import free_port
from tests.service import ROOT

OWNER = """
import time
from tests.cluster.folders import keep_ports, own_folder
with own_folder("of-a-test") as folder:
    keep_ports(folder, [{port}])
    print(folder, flush=True)
    time.sleep(60)
"""

CHOOSE = """
import random
from tests.ports import free_port
drawn, randrange = [{port}], random.randrange
random.randrange = lambda *bounds: drawn.pop() if drawn else randrange(*bounds)
print(free_port())
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let folders be made in a place of this test, where each may count as abandoned at once."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(folders, "SOCKETS", tmp_path)
    monkeypatch.setattr(folders, "NEW", -1.0)
    return tmp_path


def test_no_other_worker_gets_a_port_although_nobody_listens_there_yet() -> None:
    port = free_port()
    command = (sys.executable, "-c", CHOOSE.format(port=port))
    chosen = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(chosen.stdout) != port


def test_all_workers_get_the_server_that_the_first_one_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []

    class Fake(shared.OwnServers):
        def s3(self) -> S3:
            started.append("s3")
            raise RuntimeError("does not start")

        def postgres(self) -> str:
            if not started:
                started.append("postgres")
            return f"started {started}"

        def close(self) -> None:
            started.append("ended")

    monkeypatch.setattr(shared, "OwnServers", Fake)
    with closing(Lender()) as lender:
        assert started == []
        for worker in Borrowed(lender.door), Borrowed(lender.door):
            assert worker.postgres() == "started ['postgres']"
            worker.close()
        with pytest.raises(RuntimeError, match=r"^does not start$"):
            Borrowed(lender.door).s3()
    assert started == ["postgres", "s3", "ended"]


def test_what_a_killed_run_has_left_the_next_one_removes_and_nothing_else(place: Path) -> None:
    with socket.socket() as listener, own_folder("alive") as alive:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        abandoned, owner = begin(port)
        left = [place / f"seaweedfs-{part}-grpc-{port}.sock" for part in ("filer", "s3")]
        others = place / f"seaweedfs-s3-grpc-{port + 1}.sock"
        for path in (*left, others):
            path.touch()
        remove_abandoned(str(place))
        assert abandoned.exists()
        owner.send_signal(signal.SIGKILL)
        owner.wait(10)
        with own_folder("next"):
            assert alive.exists()
            assert others.exists()
            assert [path for path in (abandoned, *left) if path.exists()] == []


def begin(port: int) -> "tuple[Path, subprocess.Popen[str]]":
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER.format(port=port)],
        stdout=subprocess.PIPE, text=True, cwd=ROOT, env=os.environ | {"TMPDIR": tempfile.gettempdir()},
    )  # fmt: skip
    assert process.stdout
    with process.stdout as said:
        return Path(said.readline().strip()), process


@pytest.mark.long
def test_servers_die_with_a_run_that_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    command = (
        sys.executable,
        "-m",
        "pytest",
        "-n",
        "2",
        "tests/tasks/test_turns.py",
        "tests/files/test_file_stores.py",
    )
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o755)  # PostgreSQL may run as another user
        environment = os.environ | {"TMPDIR": place}
        with open(os.devnull, "wb") as nowhere:
            run = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=nowhere, stderr=nowhere)
        until(lambda: {"postgres", "weed"} <= running(place))
        run.send_signal(signal.SIGKILL)
        run.wait(10)
        until(lambda: not running(place))
        monkeypatch.setattr(folders, "NEW", -1.0)
        assert len(list(Path(place).glob(f"{folders.PREFIX}*"))) == 2
        remove_abandoned(place)
        assert list(Path(place).glob(f"{folders.PREFIX}*")) == []


def running(place: str) -> set[str]:
    """Return the names of servers whose folder is below `place`."""
    processes = psutil.process_iter(["name", "cmdline"])
    return {each.info["name"] for each in processes if place in " ".join(each.info["cmdline"] or ())}


def until(holds: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < give_up
        time.sleep(0.05)
